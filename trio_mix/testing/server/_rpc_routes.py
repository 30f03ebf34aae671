"""JSON-RPC at ``/rpc``, which the oldest servers have instead of REST.

Rules:

1. Every response has the status 200. An error has a code: of JSON-RPC for an unknown method, a
   missing parameter and a failure inside the server, -32000 for all others.
2. An empty list is null. An unknown session has no messages, and an unknown permission request can
   be granted: neither is an error.
3. The session of the last stream or message is the current one, which cannot be deleted.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix.testing._records import CancelRequested, MessageAccepted, MessageRun
from trio_mix.testing.server._account_routes import MCP_SERVERS
from trio_mix.testing.server._agent import TurnRun
from trio_mix.testing.server._default_agent import COMMANDS, slash_output
from trio_mix.testing.server._routes import ApiRoute, RouteCall, RouteResponse, catch_all
from trio_mix.testing.server._traits import BUSY

if TYPE_CHECKING:
    from trio_mix.testing.server._backend import Backend, LiveSession
    from trio_mix.testing.server._store import SessionRow

_PARSE_ERROR: Final = -32700
_NO_SUCH_METHOD: Final = -32601
_BAD_PARAMETER: Final = -32602
_INTERNAL: Final = -32603
_APPLICATION: Final = -32000


class _Failed(Exception):
    """An error with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@attrs.frozen
class _RpcCall:
    """One call, as a method receives it."""

    backend: Backend
    params: dict[str, object]

    def text(self, name: str, *, required: bool = True) -> str:
        """Return a parameter that is a string; ``""`` if it is missing.

        Raises:
          _Failed: it is missing although it is required, or is no string.
        """
        value = self.params.get(name, "")
        if not isinstance(value, str):
            raise _Failed(_BAD_PARAMETER, f"Invalid params: {name} must be a string")
        if required and not value:
            raise _Failed(_BAD_PARAMETER, f"Missing required parameter: {name}")
        return value

    def number(self, name: str) -> int:
        """Return a parameter that is a whole number; 0 if it is missing."""
        value = self.params.get(name, 0)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _Failed(_BAD_PARAMETER, f"Invalid params: {name} must be a number")
        return value

    def session(self, name: str, purpose: str) -> LiveSession:
        """Return the session that a parameter names.

        Raises:
          _Failed: there is no such session; ``purpose`` is the beginning of the text.
        """
        live = self.backend.live.get(self.text(name))
        if live is None:
            raise _Failed(_APPLICATION, f"{purpose}: sql: no rows in result set")
        return live


async def rpc(call: RouteCall) -> RouteResponse:
    """``POST /rpc``: 200, whether or not the method succeeds (rule 1)."""
    await trio.lowlevel.checkpoint()
    if not call.backend.settings.jsonrpc:
        return catch_all(call.exchange)
    request: object = None
    with suppress(ValueError, RecursionError):
        request = json.loads(call.exchange.request.body)
    if not isinstance(request, dict):
        error: object = {"code": _PARSE_ERROR, "message": "Parse error"}
        return RouteResponse({"error": error, "id": None})
    answer: dict[str, object] = {}
    try:
        answer["result"] = await _run(call.backend, request)
    except _Failed as failed:
        answer["error"] = {"code": failed.code, "message": failed.message}
    return RouteResponse(answer | {"id": request.get("id")})


async def _run(backend: Backend, request: dict[str, object]) -> object:
    await trio.lowlevel.checkpoint()
    name, params = request.get("method"), request.get("params") or {}
    method = _METHODS.get(name) if isinstance(name, str) else None
    if method is None:
        raise _Failed(_NO_SUCH_METHOD, f"Method not found: {name}")
    if not isinstance(params, dict):
        raise _Failed(_BAD_PARAMETER, "Invalid params: an object is expected")
    result = method(_RpcCall(backend, params))
    if isinstance(result, Awaitable):
        return await result
    return result


def _shown(backend: Backend, row: SessionRow) -> dict[str, object]:
    return row.as_json(backend.traits) | {"workingDirectory": row.extra.get("folder", "")}


def _sessions(call: _RpcCall) -> object:
    rows = call.backend.store.sessions.values()
    return [_shown(call.backend, row) for row in rows] or None


def _session(call: _RpcCall) -> object:
    return _shown(call.backend, call.session("id", "Failed to get session").row)


def _create(call: _RpcCall) -> object:
    backend = call.backend
    row = backend.store.create(call.text("title"))
    row.extra["folder"] = call.text("workingDirectory", required=False)
    backend.adopt(row)
    if call.params.get("setCurrent") is True:
        backend.current_session = row.id
    return _shown(backend, row)


def _delete(call: _RpcCall) -> object:
    backend, session_id = call.backend, call.text("id")
    if session_id == backend.current_session:
        raise _Failed(_APPLICATION, "Cannot delete the currently active session")
    call.session("id", "Failed to delete session")
    backend.delete_session(session_id)
    return {"message": f"Session deleted: {session_id}"}


def _fork(call: _RpcCall) -> object:
    live = call.session("sourceSessionId", "Failed to fork session")
    count = call.number("messageIndex")  # in REST the index of the last one, here their number
    if count <= 0:
        raise _Failed(_BAD_PARAMETER, "Missing required parameter: messageIndex must be > 0")
    title = call.text("title", required=False) or "Forked Session"
    copy = call.backend.store.fork(live.row, count - 1, title)
    call.backend.adopt(copy)
    return _shown(call.backend, copy)


def _current(call: _RpcCall) -> object:
    row = call.backend.store.sessions.get(call.backend.current_session)
    if row is None:
        raise _Failed(_APPLICATION, "No current session selected")
    return _shown(call.backend, row)


def _select(call: _RpcCall) -> object:
    live = call.session("id", "Failed to select session")
    call.backend.current_session = live.row.id
    return {"message": f"Session selected: {live.row.id}"}


def _messages(call: _RpcCall) -> object:
    live = call.backend.live.get(call.text("sessionId"))
    rows = [] if live is None else call.backend.store.shown(live.row)
    return [row.as_rpc() for row in rows] or None


def _history(call: _RpcCall) -> object:
    limit, offset = call.number("limit") or 50, call.number("offset")
    rows = call.backend.store.history(role="user")
    return [row.as_rpc() for row in rows[offset : offset + limit]] or None


async def _send(call: _RpcCall) -> object:
    await trio.lowlevel.checkpoint()
    backend, text = call.backend, call.text("content")
    live = call.session("sessionId", "Failed to set session")
    backend.current_session = live.row.id
    backend.log.add(MessageAccepted(session_id=live.row.id, text=text))
    if text.startswith("/"):
        return _slash(backend, live, text)
    if not backend.accounts.ready:
        reason = "no API key is stored"
        raise _Failed(_APPLICATION, f"Agent processing failed: 401 authentication: {reason}")
    if live.running:
        raise _Failed(_APPLICATION, f"Failed to send message: {BUSY}")
    run, done = TurnRun(backend, live, text, silent=True), trio.Event()

    async def run_it() -> None:
        try:
            await run.run()
        finally:
            done.set()

    backend.spawn(run_it)
    await done.wait()
    if run.ending != "complete" or run.row is None:
        raise _Failed(_APPLICATION, f"Agent processing failed: {run.error or 'no answer'}")
    return _answer(run.row.id, "user", text, run.row.text)


def _slash(backend: Backend, live: LiveSession, text: str) -> object:
    name = text[1:].split()[0] if text[1:].split() else ""
    output = slash_output(text[1:])
    if output is None:
        raise _Failed(_APPLICATION, f"Command '{name}' not found")
    live.runs[text] += 1
    backend.log.add(MessageRun(session_id=live.row.id, text=text, times=live.runs[text]))
    return _answer(f"cmd-{name}", "assistant", text, output)


def _answer(message_id: str, role: str, question: str, answer: str) -> object:
    shown = {"id": message_id, "sessionId": "", "role": role, "content": question}
    return shown | {"response": answer}


def _cancel(call: _RpcCall) -> object:
    session_id = call.text("sessionId")
    live = call.backend.live.get(session_id)
    running = 0 if live is None else call.backend.cancel(live)
    call.backend.log.add(CancelRequested(session_id=session_id, running=running))
    return {"status": "cancelled", "sessionId": session_id}


def _grant(call: _RpcCall) -> object:
    return _decide(call, "granted")


def _deny(call: _RpcCall) -> object:
    return _decide(call, "denied")


def _decide(call: _RpcCall, answer: str) -> object:
    permission_id = call.text("id")
    call.backend.decide(permission_id, answer)
    message = f"Permission {answer} successfully"
    return {"status": answer, "id": permission_id, "message": message}


def _commands(call: _RpcCall) -> object:
    del call
    return [_command_row(name) for name in sorted(COMMANDS)]


def _command(call: _RpcCall) -> object:
    name = call.text("name")
    if name not in COMMANDS:
        raise _Failed(_APPLICATION, f"Command not found: {name}")
    return _command_row(name)


def _command_row(name: str) -> dict[str, object]:
    return {"name": name, "description": COMMANDS[name], "type": "builtin"}


def _mcp_servers(call: _RpcCall) -> object:
    del call
    return [{"tools": None, **MCP_SERVERS[name]} for name in sorted(MCP_SERVERS)]


def _api_key(call: _RpcCall) -> object:
    call.text("apiKey")
    call.backend.accounts.methods["anthropic"] = "api_key"
    message = "API key set successfully. You can now use the application."
    return {"status": "success", "message": message}


def _login(call: _RpcCall) -> object:
    if call.text("apiKey", required=False):
        return _api_key(call)
    if not call.text("authCode", required=False):
        raise _Failed(_BAD_PARAMETER, "Missing required parameter: authCode or apiKey")
    raise _Failed(_INTERNAL, "OAuth flow not found for this session")


_METHODS: Final[dict[str, Callable[[_RpcCall], object]]] = {
    "sessions.list": _sessions,
    "sessions.get": _session,
    "sessions.create": _create,
    "sessions.delete": _delete,
    "sessions.fork": _fork,
    "sessions.current": _current,
    "sessions.select": _select,
    "messages.list": _messages,
    "messages.history": _history,
    "messages.send": _send,
    "agent.cancel": _cancel,
    "permission.grant": _grant,
    "permission.deny": _deny,
    "commands.list": _commands,
    "commands.get": _command,
    "mcp.list": _mcp_servers,
    "auth.login": _login,
    "auth.apikey": _api_key,
}

ROUTES = (ApiRoute("POST", "/rpc", rpc, since=(0,), until=(0, 6)),)
"""The routes of this module."""
