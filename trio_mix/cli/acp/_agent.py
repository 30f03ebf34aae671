"""An agent of the Agent Client Protocol (version 1) whose sessions are those of a Mix server.

Rules (tests cite the numbers):

1. The response to a prompt is sent after all updates of its turn.
2. A cancelled prompt is left, which cancels its turn on the server, and is answered by the stop
   reason ``cancelled``; so is a prompt that is cancelled before its message was sent.
3. A session runs one prompt at a time.
4. A session's stream stays open until the session is closed or the editor goes. A stream that has
   failed is opened again by the next prompt.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import StreamState, __version__, errors
from trio_mix.cli._errors import problem_of
from trio_mix.cli.acp._params import (
    ClientCapabilities,
    Initialize,
    NewSession,
    OfSession,
    Prompt,
    SetMode,
    parse_params,
    prompt_text,
)
from trio_mix.cli.acp._peer import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    Peer,
    RPCError,
)
from trio_mix.cli.acp._questions import Questions
from trio_mix.cli.acp._updates import MessageUpdates, of_history

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.abc import ReceiveStream, SendStream

    from trio_mix import Mix, Reply, SessionStream
    from trio_mix.cli.acp._updates import Update

AUTH_REQUIRED: Final = -32000
RESOURCE_NOT_FOUND: Final = -32002

_MAX_STREAMS: Final = 100
"""Sessions that are open at the same time."""
_DEFAULT: Final = "default"
_PLAN: Final = "plan"
_MODES: Final = [
    {"id": _DEFAULT, "name": "Agent"},
    {"id": _PLAN, "name": "Plan", "description": "The agent plans only."},
]


@attrs.define(eq=False)
class _Open:
    """A session with an open stream."""

    stream: SessionStream
    closing: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)


class Agent:
    """Serves one editor.

    Args:
      mix: the client of the Mix server.
      receive: what the editor sends.
      send: to the editor.
    """

    def __init__(self, mix: Mix, receive: ReceiveStream, send: SendStream) -> None:
        self._mix = mix
        self._capabilities: ClientCapabilities | None = None
        self._nursery: trio.Nursery
        self._open: dict[str, _Open] = {}
        self._plans: set[str] = set()
        """The sessions in the mode that only plans."""
        self._prompts: dict[str, trio.CancelScope] = {}
        requests: dict[str, Callable[[object], Awaitable[object]]] = {
            "session/new": self._new,
            "session/load": self._load,
            "session/resume": self._resume,
            "session/list": self._list,
            "session/close": self._close,
            "session/delete": self._delete,
            "session/set_mode": self._set_mode,
        }
        self._peer = Peer(
            receive,
            send,
            {
                "initialize": self._initialize,
                "session/prompt": self._prompt,
                **{method: self._guarded(handler) for method, handler in requests.items()},
            },
            {"session/cancel": self._cancel},
        )

    async def run(self) -> None:
        """Serve the editor until it closes its end; then running prompts are cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._peer.run()
            nursery.cancel_scope.cancel(reason="the editor has closed the connection")

    # -- Requests that return at once -------------------------------------------------------------

    async def _initialize(self, params: object) -> object:
        await trio.lowlevel.checkpoint()
        request = parse_params(params, Initialize)
        self._capabilities = request.client_capabilities
        return {
            "protocolVersion": 1,
            "agentInfo": {"name": "trio-mix", "title": "Mix", "version": __version__},
            "agentCapabilities": {
                "loadSession": True,
                "promptCapabilities": {"image": False, "audio": False, "embeddedContext": True},
                "sessionCapabilities": {"list": {}, "resume": {}, "close": {}, "delete": {}},
            },
            "authMethods": [],
        }

    async def _set_mode(self, params: object) -> object:
        await trio.lowlevel.checkpoint()
        request = parse_params(params, SetMode)
        if request.mode_id not in (_DEFAULT, _PLAN):
            raise RPCError(INVALID_PARAMS, f"no such mode: {request.mode_id[:100]}")
        (self._plans.add if request.mode_id == _PLAN else self._plans.discard)(request.session_id)
        return {}

    def _cancel(self, params: object) -> None:
        try:
            session_id = parse_params(params, OfSession).session_id
        except RPCError:
            return  # a notification has no response
        if (scope := self._prompts.get(session_id)) is not None:
            scope.cancel(reason="the user cancelled the prompt")

    # -- Sessions ---------------------------------------------------------------------------------

    async def _new(self, params: object) -> object:
        request = parse_params(params, NewSession)
        if request.mcp_servers:
            count = len(request.mcp_servers)
            text = f"trio-mix: {count} MCP servers of the editor are not used: a Mix server has its"
            print(f"{text} own", file=sys.stderr, flush=True)
        folder = request.cwd.replace("\\", "/").rstrip("/").rpartition("/")[2]
        session = await self._mix.sessions.create(title=folder or "trio-mix acp")
        await self._opened(session.id)
        return {"sessionId": session.id, "modes": self._modes(session.id)}

    async def _load(self, params: object) -> object:
        session_id = parse_params(params, OfSession).session_id
        await self._opened(session_id)
        for update in of_history(await self._mix.messages.get_session(id=session_id)):
            await self._update(session_id, update)
        return {"modes": self._modes(session_id)}

    async def _resume(self, params: object) -> object:
        session_id = parse_params(params, OfSession).session_id
        await self._opened(session_id)
        return {"modes": self._modes(session_id)}

    async def _list(self, params: object) -> object:
        match params:
            case {"cwd": str(folder)}:
                pass
            case _:
                folder = str(await trio.Path.cwd())
        # A Mix session has no folder: each is listed for every folder.
        return {
            "sessions": [
                {"sessionId": each.id, "cwd": folder, "title": each.title or each.id}
                for each in await self._mix.sessions.list()
            ]
        }

    async def _close(self, params: object) -> object:
        await trio.lowlevel.checkpoint()
        session_id = parse_params(params, OfSession).session_id
        if (scope := self._prompts.get(session_id)) is not None:
            scope.cancel(reason="the editor closed the session")
        if (opened := self._open.get(session_id)) is not None:
            opened.closing.set()
        return {}

    async def _delete(self, params: object) -> object:
        await self._close(params)
        try:
            await self._mix.sessions.delete(id=parse_params(params, OfSession).session_id)
        except errors.MixError as error:
            if error.status_code != 404:  # it is gone, as was asked
                raise
        return {}

    # -- Prompts ----------------------------------------------------------------------------------

    def _prompt(self, params: object) -> Awaitable[object]:
        self._check_initialized()
        request = parse_params(params, Prompt)
        text = prompt_text(request.prompt)
        if request.session_id in self._prompts:
            raise RPCError(
                INVALID_REQUEST, "a prompt of this session runs: wait for its end, or cancel it"
            )
        scope = self._prompts[request.session_id] = trio.CancelScope()
        return self._run_prompt(request.session_id, text, scope)

    async def _run_prompt(self, session_id: str, text: str, scope: trio.CancelScope) -> object:
        await trio.lowlevel.checkpoint()
        try:
            with scope:
                return await self._turn(session_id, text)
        except errors.TrioMixError as error:
            if not scope.cancel_called:
                raise _rpc_error(error) from None
        finally:
            del self._prompts[session_id]
        return {"stopReason": "cancelled"}

    async def _turn(self, session_id: str, text: str) -> object:
        stream = await self._opened(session_id)
        updates = MessageUpdates()
        async with stream.send(text, plan_mode=session_id in self._plans) as message:
            async for event in message:
                for update in updates.of_event(event):
                    await self._update(session_id, update)
            reply = message.reply
        for update in updates.of_reply(reply):
            await self._update(session_id, update)
        return {"stopReason": "end_turn", **_meta(reply)}

    async def _update(self, session_id: str, update: Update) -> None:
        await self._peer.notify("session/update", {"sessionId": session_id, "update": update})

    # -- Streams ----------------------------------------------------------------------------------

    async def _opened(self, session_id: str) -> SessionStream:
        """Return the open stream of a session."""
        opened = self._open.get(session_id)
        if opened is not None and opened.stream.state is not StreamState.CLOSED:
            await trio.lowlevel.checkpoint()
            return opened.stream
        if opened is not None:
            opened.closing.set()
            await opened.closed.wait()
        if len(self._open) >= _MAX_STREAMS:
            raise RPCError(INVALID_REQUEST, f"{_MAX_STREAMS} sessions are open: close one")
        outcome = await self._nursery.start(self._hold, session_id)
        if isinstance(outcome, errors.TrioMixError):
            raise outcome
        stream: SessionStream = outcome
        return stream

    async def _hold(
        self,
        session_id: str,
        *,
        task_status: trio.TaskStatus[SessionStream | errors.TrioMixError],
    ) -> None:
        """Keep the stream of a session open until it is closed or fails."""
        await trio.lowlevel.checkpoint()
        questions = Questions(self._peer, self._capabilities or ClientCapabilities())
        started = False
        try:
            async with self._mix.open_stream(
                session_id, on_permission=questions.decide, on_notification=questions.respond
            ) as stream:
                self._open[session_id] = opened = _Open(stream)
                try:
                    started = True
                    task_status.started(stream)
                    await opened.closing.wait()
                finally:
                    del self._open[session_id]
                    opened.closed.set()
        except errors.TrioMixError as error:
            if not started:
                task_status.started(error)

    # -- Common parts -----------------------------------------------------------------------------

    def _guarded(
        self, handler: Callable[[object], Awaitable[object]]
    ) -> Callable[[object], Awaitable[object]]:
        """Return a handler that requires ``initialize``, and reports the library's errors."""

        async def guarded(params: object) -> object:
            try:
                return await handler(params)
            except errors.TrioMixError as error:
                raise _rpc_error(error) from None

        def checked(params: object) -> Awaitable[object]:
            self._check_initialized()
            return guarded(params)

        return checked

    def _check_initialized(self) -> None:
        if self._capabilities is None:
            raise RPCError(INVALID_REQUEST, "the first request must be `initialize`")

    def _modes(self, session_id: str) -> dict[str, object]:
        current = _PLAN if session_id in self._plans else _DEFAULT
        return {"currentModeId": current, "availableModes": _MODES}


def _meta(reply: Reply) -> dict[str, object]:
    """Return what the protocol has no member for: whether the reply is certain."""
    if not (reply.incomplete or reply.doubts):
        return {}
    doubts = {"incomplete": reply.incomplete, "doubts": list(reply.doubts)}
    return {"_meta": {"trio_mix": doubts}}


def _rpc_error(error: errors.TrioMixError) -> RPCError:
    match error:
        case errors.SessionNotFound() | errors.MixError(status_code=404):
            code = RESOURCE_NOT_FOUND
        case errors.MixError(status_code=401 | 403):
            code = AUTH_REQUIRED
        case _:
            code = INTERNAL_ERROR
    return RPCError(code, problem_of(error), {"type": type(error).__name__})
