"""The main road's operations: health, sessions, messages, permissions, notifications.

What it knows: what each request is answered with, generation by generation.
What it must never know: sockets, frames, how a turn is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from trio_mix.testing._records import CancelRequested, NotificationAnswered
from trio_mix.testing.server._routes import Endpoint, Problem, RouteCall, RouteResponse, plain
from trio_mix.testing.server._store import iso

if TYPE_CHECKING:
    from trio_mix.testing.server._backend import PendingQuestion

__all__ = ["ROUTES"]

_BROWSER_MODES = ("electron-embedded-browser", "local-browser-service", "remote-cdp-websocket")
_PROMPT_MODES = ("default", "append", "replace")
_NEW_FIELDS = ("browserMode", "cdpUrl", "modelId", "provider", "sessionType", "subagentType")


def health(call: RouteCall) -> RouteResponse:
    """``GET /health``."""
    backend = call.backend
    version = backend.traits.version
    return RouteResponse({"status": "ok", "timestamp": iso(backend.now()), "version": version})


def list_sessions(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions``; sub-agents' sessions only where they are asked for."""
    everything = call.exchange.request.query.get("includeSubagents") == "true"
    traits = call.backend.traits
    rows = call.backend.store.sessions.values()
    return RouteResponse([row.as_json(traits) for row in rows if everything or not row.subagent])


def create_session(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions``: unknown fields are refused, the newest want ``browserMode``."""
    traits = call.backend.traits
    known = ["title", "customSystemPrompt", "promptMode"]
    if traits.browser_mode:
        known += [*_NEW_FIELDS, "callbacks"]
    body = call.json(known)
    title = call.text(body, "title")
    if not title:
        raise Problem(400, "title is required")
    if call.text(body, "promptMode", "default") not in _PROMPT_MODES:
        raise Problem(400, f"promptMode must be one of: {', '.join(_PROMPT_MODES)}")
    if traits.browser_mode:
        mode = call.text(body, "browserMode")
        if mode not in _BROWSER_MODES:
            complaint = "is required and must be" if not mode else "must be"
            raise Problem(400, f"browserMode {complaint} one of: {', '.join(_BROWSER_MODES)}")
        if mode == "remote-cdp-websocket" and not body.get("cdpUrl"):
            raise Problem(400, "cdpUrl is required with browserMode remote-cdp-websocket")
        if call.text(body, "sessionType", "main") != "main":
            raise Problem(400, "sessionType must be main")
    row = call.backend.store.create(title)
    row.extra = {name: body[name] for name in _NEW_FIELDS if name in body}
    row.callbacks = callbacks_of(body) if "callbacks" in body else []
    call.backend.adopt(row)
    return RouteResponse(row.as_json(traits), 201)


def callbacks_of(body: dict[str, object]) -> list[object]:
    """Return the session callbacks of a request.

    Raises:
      Problem: they are not a list of objects with a type and a tool's name.
    """
    callbacks = body.get("callbacks")
    if not isinstance(callbacks, list):
        raise Problem(400, "callbacks must be a list")
    for callback in callbacks:
        if not isinstance(callback, dict) or not callback.get("toolName"):
            raise Problem(400, "a callback needs a toolName")
        if callback.get("type") not in ("bash_script", "sub_agent", "send_message"):
            raise Problem(400, "a callback's type is bash_script, sub_agent or send_message")
    return list(callbacks)


def get_session(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}``."""
    row = call.backend.store.sessions.get(call.params["id"])
    if row is None:
        raise Problem(404, f"session not found: {call.params['id']}")
    return RouteResponse(row.as_json(call.backend.traits))


def delete_session(call: RouteCall) -> RouteResponse:
    """``DELETE /api/sessions/{id}``."""
    call.backend.delete_session(call.session().row.id)
    return RouteResponse(status=204)


def session_messages(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}/messages``: partial rows too."""
    row = call.backend.store.sessions.get(call.params["id"])
    if row is None:
        raise Problem(404, f"session not found: {call.params['id']}")
    return RouteResponse([message.as_json() for message in row.rows])


def history(call: RouteCall) -> RouteResponse:
    """``GET /api/messages/history``."""
    query = call.exchange.request.query
    try:
        limit, offset = int(query.get("limit", "50")), int(query.get("offset", "0"))
    except ValueError:
        raise Problem(400, "limit and offset must be integers") from None
    if not 1 <= limit <= 1000 or offset < 0:
        raise Problem(400, "limit must be from 1 to 1000 and offset not negative")
    return RouteResponse(
        [message.as_json() for message in call.backend.store.history(limit, offset)]
    )


def export_session(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}/export``: with the reason why each row ended."""
    row = call.session().row
    name = f"attachment; filename=session_{quote(row.id)}_transcript.json"
    return RouteResponse(
        row.as_export(call.backend.traits), headers=(("Content-Disposition", name),)
    )


def cancel(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/cancel``."""
    backend = call.backend
    if not backend.settings.cancel_endpoint:
        return plain(404, "404 page not found")
    live = call.session()
    running = backend.cancel(live)
    backend.log.add(CancelRequested(session_id=live.row.id, running=running))
    if backend.settings.cancel_answer == "spec":
        return RouteResponse({"cancelled": True})
    return RouteResponse({"status": "cancelled", "sessionId": live.row.id})


def grant(call: RouteCall) -> RouteResponse:
    """``POST /api/permissions/{id}/grant``."""
    _settle(call, "granted")
    return RouteResponse({"granted": True})


def deny(call: RouteCall) -> RouteResponse:
    """``POST /api/permissions/{id}/deny``."""
    _settle(call, "denied")
    return RouteResponse({"denied": True})


def respond(call: RouteCall) -> RouteResponse:
    """``POST /api/notifications/{id}/respond``."""
    body = call.json(("type", "value"), ("type",))
    kind = call.text(body, "type")
    if kind not in ("acknowledge", "text", "choice"):
        raise Problem(400, "type must be acknowledge, text or choice")
    value = call.text(body, "value") if "value" in body else None
    pending = _pending(call, call.backend.notifications, "notification")
    pending.answer, pending.value = kind, value
    del call.backend.notifications[call.params["id"]]
    note = NotificationAnswered(notification_id=call.params["id"], type=kind, value=value)
    call.backend.log.add(note)
    pending.answered.set()
    return RouteResponse(status=204)


def _settle(call: RouteCall, answer: str) -> None:
    pending = _pending(call, call.backend.permissions, "permission")
    if pending.answer is None:
        pending.answer = answer
        pending.answered.set()


def _pending(call: RouteCall, waiting: dict[str, PendingQuestion], what: str) -> PendingQuestion:
    try:
        return waiting[call.params["id"]]
    except KeyError:
        raise Problem(404, f"{what} not found: {call.params['id']}") from None


ROUTES = (
    Endpoint("GET", "/health", health),
    Endpoint("GET", "/api/sessions", list_sessions),
    Endpoint("POST", "/api/sessions", create_session),
    Endpoint("GET", "/api/sessions/{id}", get_session),
    Endpoint("DELETE", "/api/sessions/{id}", delete_session),
    Endpoint("GET", "/api/sessions/{id}/messages", session_messages),
    Endpoint("GET", "/api/sessions/{id}/export", export_session, since=(0, 6, 9)),
    Endpoint("POST", "/api/sessions/{id}/cancel", cancel),
    Endpoint("GET", "/api/messages/history", history),
    Endpoint("POST", "/api/permissions/{id}/grant", grant),
    Endpoint("POST", "/api/permissions/{id}/deny", deny),
    Endpoint("POST", "/api/notifications/{id}/respond", respond, since=(0, 11, 1)),
)
"""The table."""
