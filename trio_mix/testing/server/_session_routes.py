"""The routes of health, sessions, stored messages, permissions and notifications."""

from __future__ import annotations

from urllib.parse import quote

from trio_mix.testing._records import CancelRequested, NotificationAnswered
from trio_mix.testing.server._routes import ApiRoute, Problem, RouteCall, RouteResponse, plain
from trio_mix.testing.server._store import iso

_BROWSER_MODES = ("electron-embedded-browser", "local-browser-service", "remote-cdp-websocket")
_PROMPT_MODES = ("default", "append", "replace")
_NEW_FIELDS = ("browserMode", "cdpUrl", "modelId", "provider", "sessionType", "subagentType")


def health(call: RouteCall) -> RouteResponse:
    """``GET /health``."""
    backend = call.backend
    version = backend.traits.version
    return RouteResponse({"status": "ok", "timestamp": iso(backend.now()), "version": version})


def list_sessions(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions``; with sub-agents' sessions only on request."""
    everything = call.exchange.request.query.get("includeSubagents") == "true"
    traits = call.backend.traits
    rows = call.backend.store.sessions.values()
    return RouteResponse([row.as_json(traits) for row in rows if everything or not row.subagent])


def create_session(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions``: unknown fields are refused; new versions require ``browserMode``."""
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
    row.callbacks = _callbacks(body) if "callbacks" in body else []
    call.backend.adopt(row)
    return RouteResponse(row.as_json(traits), 201)


def _callbacks(body: dict[str, object]) -> list[object]:
    """Return the session callbacks of a request body.

    Raises:
      Problem: the callbacks are not a list of objects with a type and a tool's name.
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
    """``GET /api/sessions/{id}/messages``; partial rows are included."""
    row = call.backend.store.sessions.get(call.params["id"])
    if row is None:
        raise Problem(404, f"session not found: {call.params['id']}")
    return RouteResponse([message.as_json() for message in call.backend.store.shown(row)])


def history(call: RouteCall) -> RouteResponse:
    """``GET /api/messages/history``."""
    query = call.exchange.request.query
    try:
        limit, offset = int(query.get("limit", "50")), int(query.get("offset", "0"))
    except ValueError:
        raise Problem(400, "limit and offset must be integers") from None
    if not 1 <= limit <= 1000 or offset < 0:
        raise Problem(400, "limit must be from 1 to 1000 and offset not negative")
    rows = call.backend.store.history()[offset : offset + limit]
    return RouteResponse([message.as_json() for message in rows])


def export_session(call: RouteCall) -> RouteResponse:
    """``GET /api/sessions/{id}/export``; each row has its finish reason."""
    row = call.session().row
    name = f"attachment; filename=session_{quote(row.id)}_transcript.json"
    shown = row.as_export(call.backend.store.shown(row))
    return RouteResponse(shown, headers=(("Content-Disposition", name),))


def fork(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/fork``."""
    row = call.session().row
    body = call.json(("messageIndex", "title"), ("messageIndex",))
    index = body["messageIndex"]
    if not isinstance(index, int) or not 0 <= index < max(1, len(row.rows)):
        raise Problem(400, "messageIndex must be the index of a message, from 0")
    title = call.text(body, "title") or "Forked Session"
    copy = call.backend.store.fork(row, index, title)
    call.backend.adopt(copy)
    return RouteResponse(copy.as_json(call.backend.traits), 201)


def rewind(call: RouteCall) -> RouteResponse:
    """``POST /api/sessions/{id}/rewind``: keep the messages up to the named one."""
    row = call.session().row
    body = call.json(("messageId", "cleanupMedia"))
    message_id = call.text(body, "messageId")
    if not message_id:
        raise Problem(400, "messageId is required")
    ids = [message.id for message in row.rows]
    if message_id not in ids:
        raise Problem(404, f"message not found: {message_id}")
    kept = ids.index(message_id) + 1
    if body.get("cleanupMedia", True):
        since = row.rows[kept - 1].updated
        for name in [name for name, (_, stored) in row.files.items() if stored > since]:
            del row.files[name]
    del row.rows[kept:]
    return RouteResponse(row.as_json(call.backend.traits))


def update_callbacks(call: RouteCall) -> RouteResponse:
    """``PATCH /api/sessions/{id}/callbacks``."""
    row = call.session().row
    row.callbacks = _callbacks(call.json(("callbacks",), ("callbacks",)))
    return RouteResponse(row.as_json(call.backend.traits))


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
    pending = call.backend.notifications.get(call.params["id"])
    if pending is None:
        raise Problem(404, f"notification not found: {call.params['id']}")
    pending.answer, pending.value = kind, value
    del call.backend.notifications[call.params["id"]]
    note = NotificationAnswered(notification_id=call.params["id"], type=kind, value=value)
    call.backend.log.add(note)
    pending.answered.set()
    return RouteResponse(status=204)


def _settle(call: RouteCall, answer: str) -> None:
    if not call.backend.decide(call.params["id"], answer):
        raise Problem(404, f"permission not found: {call.params['id']}")


ROUTES = (
    ApiRoute("GET", "/health", health),
    ApiRoute("GET", "/api/sessions", list_sessions),
    ApiRoute("POST", "/api/sessions", create_session),
    ApiRoute("GET", "/api/sessions/{id}", get_session),
    ApiRoute("DELETE", "/api/sessions/{id}", delete_session),
    ApiRoute("GET", "/api/sessions/{id}/messages", session_messages),
    ApiRoute("GET", "/api/sessions/{id}/export", export_session, since=(0, 6, 9)),
    ApiRoute("POST", "/api/sessions/{id}/cancel", cancel),
    ApiRoute("POST", "/api/sessions/{id}/fork", fork, until=(0, 11)),
    ApiRoute("POST", "/api/sessions/{id}/rewind", rewind, since=(0, 6, 9)),
    ApiRoute("PATCH", "/api/sessions/{id}/callbacks", update_callbacks, since=(0, 11)),
    ApiRoute("GET", "/api/messages/history", history),
    ApiRoute("POST", "/api/permissions/{id}/grant", grant),
    ApiRoute("POST", "/api/permissions/{id}/deny", deny),
    ApiRoute("POST", "/api/notifications/{id}/respond", respond, since=(0, 11, 1)),
)
"""The routes of this module."""
