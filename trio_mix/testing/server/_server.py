"""`MixServer`: the bundled Mix server, from outside.

What it knows: listeners, the nursery, starting and stopping, what a test may ask and do.
What it must never know: frames, routes, steps; it hands over to those who do.

Rules:

1. It binds loopback unless told otherwise, or nothing at all with ``listen=False``.
2. Stopping loses every connection and kills every turn, as the end of a process does. What is
   stored stays, unless a restart is told to forget it.
3. What goes wrong inside is raised when the server is left, as it was raised, in no group.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, Self

import trio

from trio_mix.testing._lifetime import Lifetime, runs_inside
from trio_mix.testing._log import Log, Match, Observed
from trio_mix.testing._records import ServerStarted, ServerStopped
from trio_mix.testing.net._http1 import serve_connection
from trio_mix.testing.net._listener import MEMORY_URL, checked_port
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream, sever
from trio_mix.testing.server import (
    _account_routes,
    _file_routes,
    _message_routes,
    _session_routes,
    _tunnel_routes,
)
from trio_mix.testing.server._agent import TurnRun
from trio_mix.testing.server._backend import Backend, CannedResponse, LiveSession, ServerSettings
from trio_mix.testing.server._frames import ServerEvent
from trio_mix.testing.server._providers import Accounts
from trio_mix.testing.server._routes import dispatch
from trio_mix.testing.server._traits import Api, traits_for
from trio_mix.testing.server._tunnel import BrowserTunnels  # noqa: TC001 - for typing.get_type_hints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from trio_mix.testing.server._script import How, Turn

__all__ = ["MixServer"]

_ROUTES = (
    *_session_routes.ROUTES,
    *_message_routes.ROUTES,
    *_file_routes.ROUTES,
    *_account_routes.ROUTES,
    *_tunnel_routes.ROUTES,
)


class MixServer(Observed):
    """A Mix-compatible server in this process, faithful to the quirks of the real ones.

    Use it as ``async with MixServer() as server``. It speaks real HTTP/1.1, on a loopback socket at
    `url`, and in memory through `network`.

    Args:
      api: the generation: ``"async"``, ``"blocking"``, ``"pipeline"`` or ``"pipeline-oldest"``.
      version: a version of that generation, as ``"0.6.4"``; None: its usual one.
      host: the address to bind.
      port: the port to bind; 0: any free one.
      listen: whether to open a socket at all.
      replay: whether ids run through the session and a stream with ``Last-Event-ID`` gets what
        came after it, as the specification promises and no real server does.
      restart_ids: whether ids begin at 1 on each connection; None: yes, unless ``replay``.
      connected_id: whether the ``connected`` frame has an id where ids run through the session.
      heartbeat_interval: seconds between heartbeats; None: none, and idle streams live for ever.
      max_connection_age: seconds that a stream lives; None: for ever.
      cancel_endpoint: whether there is one.
      cancel_answer: ``"status"`` as real servers, ``"spec"`` as the specification says.
      unknown_session: ``"stream"``: 200 and an ``error`` event, as real servers do;
        ``"404"``: as the specification says.
      permission_timeout: seconds until an unanswered permission request counts as denied.
      slow_reader_limit: how many events may wait for a slow reader before further ones are thrown
        away; None: any number.
      cancel_on_disconnect: whether a turn is cancelled when the session's last stream goes, or the
        client of a blocking send does: as older async servers do.
      provider_key: whether the server has a key for its model; without, messages are refused.
      answer_delay: seconds by which the answer to a send comes later, events meanwhile.
      rest_send: whether a pipeline server has the blocking send as well.
      ghost_runs: whether a pipeline server's dead stream still runs what is queued on it.
      stall_after: how many tool events that nobody takes leave a pipeline session busy for good;
        None: no number does.
      pace: what the default agent's pauses are multiplied by; 0: none.
      max_upload: the largest request body in bytes; beyond, the answer is 413.
      plan_mode_text: what is appended to a message that is sent in plan mode.
      log_limit: how many records `log` keeps at least; None: all.
      id_prefix: what the number in each id begins with, so that servers that follow each other at
        one address give out different ones.

    Raises:
      ValueError: no such generation, version or port, or arguments that contradict each other.
    """

    def __init__(
        self,
        api: Api = "async",
        *,
        version: str | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        listen: bool = True,
        replay: bool = False,
        restart_ids: bool | None = None,
        connected_id: bool = True,
        heartbeat_interval: float | None = 45.0,
        max_connection_age: float | None = 600.0,
        cancel_endpoint: bool = True,
        cancel_answer: Literal["status", "spec"] = "status",
        unknown_session: Literal["stream", "404"] = "stream",
        permission_timeout: float = 30.0,
        slow_reader_limit: int | None = 50,
        cancel_on_disconnect: bool = False,
        provider_key: bool = True,
        answer_delay: float = 0.0,
        rest_send: bool = True,
        ghost_runs: bool = True,
        stall_after: int | None = 64,
        pace: float = 1.0,
        max_upload: int = 64 * 2**20,
        plan_mode_text: str = "\n\n(Plan mode: do not change anything yet.)",
        log_limit: int | None = None,
        id_prefix: str = "",
    ) -> None:
        traits = traits_for(api, version)
        if replay and restart_ids:
            raise ValueError("replay needs ids that run through the session: leave restart_ids out")
        if replay and not traits.frame_fields:
            raise ValueError("the oldest servers send no ids, so there is nothing to replay by")
        super().__init__(Log(log_limit))
        settings = ServerSettings(
            replay=replay,
            restart_ids=not replay if restart_ids is None else restart_ids,
            connected_id=connected_id,
            heartbeat_interval=heartbeat_interval,
            max_connection_age=max_connection_age,
            cancel_endpoint=cancel_endpoint,
            cancel_answer=cancel_answer,
            unknown_session=unknown_session,
            permission_timeout=permission_timeout,
            slow_reader_limit=slow_reader_limit,
            cancel_on_disconnect=cancel_on_disconnect,
            answer_delay=answer_delay,
            rest_send=rest_send,
            ghost_runs=ghost_runs,
            stall_after=stall_after,
            pace=pace,
            max_upload=max_upload,
            plan_mode_text=plan_mode_text,
            id_prefix=id_prefix,
        )
        self._backend = Backend(settings, traits, self._log, Accounts())
        if provider_key:
            self._backend.accounts.methods["anthropic"] = "api_key"
        self._host = host
        self._port = checked_port(port)
        self._listen = listen
        self._url = "" if listen else MEMORY_URL
        self._transports: set[trio.abc.Stream] = set()
        self._lifetime = Lifetime()
        self._scope: trio.CancelScope | None = None
        self._stopped = trio.Event()
        self._changing = trio.Lock()
        self.network: MemoryNetwork = MemoryNetwork(self._accept)

    # --- what it is ---------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end; it stays the same over restarts."""
        return self._url

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket and is reached through `network` alone."""
        return not self._listen

    @property
    def api(self) -> Api:
        """The generation."""
        return self._backend.traits.api

    @property
    def version(self) -> str:
        """The version, as ``/health`` says it."""
        return self._backend.traits.version

    @property
    def open_streams(self) -> int:
        """How many streams are open."""
        return len(self._backend.streams())

    @property
    def running_turns(self) -> int:
        """How many turns the agent works on."""
        return sum(len(live.running) for live in self._backend.live.values())

    @property
    def connections(self) -> int:
        """How many connections of any kind are open."""
        return len(self._transports)

    @property
    def browser_tunnels(self) -> BrowserTunnels:
        """The open browser tunnels, by session; a test sends its commands through them."""
        return self._backend.tunnels

    @property
    def failures(self) -> Sequence[Exception]:
        """What handlers and scripted functions have raised; the first is raised on leaving."""
        return self._backend.failures

    # --- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._lifetime.open()
        try:
            await self.start()
        except BaseException:
            await self._lifetime.close("the server could not start")
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope = None
        await self._lifetime.close("the server was left")
        if exc is None and self._backend.failures:
            raise self._backend.failures[0]

    async def start(self) -> None:
        """Take connections, at the address that the server had before, if any.

        Waits for a `start`, `stop` or `restart` that another task is at.

        Raises:
          RuntimeError: it does so already, or its ``async with`` was left.
          OSError: the address cannot be bound.
        """
        async with self._changing:
            await self._start()

    async def stop(self, how: Literal["cut", "reset"] = "cut") -> None:
        """Stop as a killed process does: connections are lost, turns end unfinished.

        Stopping a stopped server does nothing. Sessions and messages stay stored. Waits for a
        `start`, `stop` or `restart` that another task is at.

        Raises:
          RuntimeError: a turn of the server's own (`Do`) would wait for its own end.
        """
        async with self._changing:
            await self._stop(how)

    async def restart(
        self, *, keep_sessions: bool = True, how: Literal["cut", "reset"] = "cut"
    ) -> None:
        """Stop and start again at the same address, with or without what is stored.

        Two at a time are two restarts, one after the other. Cancelled in between, it stays stopped.
        Raises what `stop` and `start` raise.
        """
        async with self._changing:
            await self._stop(how)
            if not keep_sessions:
                self._backend.forget_everything()
            await self._start()

    async def _start(self) -> None:
        nursery = self._lifetime.nursery
        if nursery is None or self._scope is not None:
            raise RuntimeError("start() is for a stopped server inside its `async with`")
        listeners: list[trio.SocketListener] = []
        if self._listen:
            listeners = (await trio.open_tcp_listeners(self._port, host=self._host))[:1]
            self._port = listeners[0].socket.getsockname()[1]
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._url = f"http://{host}:{self._port}"
        self._stopped = trio.Event()
        self._scope = trio.CancelScope()
        try:
            await nursery.start(self._serve, listeners, self._scope)
        except BaseException:
            self._scope = None
            for listener in listeners:
                listener.socket.close()
            raise
        self._log.add(ServerStarted(url=self._url))

    async def _stop(self, how: Literal["cut", "reset"]) -> None:
        await trio.lowlevel.checkpoint()
        if self._scope is None:
            return
        if runs_inside(self._backend.nursery):
            raise RuntimeError("a turn of this server cannot stop it: do so in another task")
        for transport in list(self._transports):
            sever(transport, how)
        self._scope.cancel(reason="the server was stopped")
        self._scope = None
        with trio.CancelScope(shield=True):
            await self._stopped.wait()
        self._log.add(ServerStopped())

    # --- what the agent does --------------------------------------------------------------------

    def script(self, match: Match, *turns: Turn) -> None:
        """Say what the agent does for the messages that match; others get the default agent.

        Args:
          match: the message's very text, a compiled pattern that is searched in it, or a function
            of it. The script that came last is asked first.
          turns: what is done for the first such message, the second, and so on; the last one is
            for all that follow.
        """
        self._backend.add_script(match, turns)

    def create_session(self, title: str = "Test", *, session_id: str | None = None) -> str:
        """Create a session as if through the API, also where there is none, and return its id."""
        return self._backend.create_session(title, session_id).row.id

    def stored(self, session_id: str) -> list[dict[str, object]]:
        """Return a session's stored messages, as REST shows them, partial rows included."""
        return [row.as_json() for row in self._live(session_id).row.rows]

    def run_message(self, session_id: str, text: str) -> None:
        """Have the agent run a message that none of your clients sent; all streams hear of it."""
        run = TurnRun(self._backend, self._live(session_id), text)
        self._backend.spawn(run.run)

    def emit(self, session_id: str, name: str, data: Mapping[str, object]) -> None:
        """Send an event to the session's streams, outside any turn."""
        self._backend.publish(self._live(session_id), ServerEvent(name, data, turn=False))

    def answer_next(
        self,
        path: str,
        status: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        times: int = 1,
    ) -> None:
        """Answer the next requests whose path begins with ``path`` with this, and do nothing."""
        pairs = tuple((headers or {}).items())
        self._backend.canned.append(CannedResponse(path, status, pairs, body, times))

    # --- accidents --------------------------------------------------------------------------------

    def lose_events(self, name: str, times: int | None = None) -> None:
        """Never put the next events of this name on the wire, as if dropped for a slow reader.

        Args:
          name: the event's name, as ``"user_message_created"``.
          times: how many of them; None: all from now on.
        """
        self._backend.unheard[name] = times

    async def drop_streams(self, session_id: str | None = None, how: How = "cut") -> int:
        """Lose the open streams of one session, or of all, and return how many there were.

        Returns when they are gone from the server's side. Cancelling it leaves them going.
        """
        await trio.lowlevel.checkpoint()
        lost = self._backend.streams(session_id)
        for stream in lost:
            stream.end(how)
        await self._log.wait_until(lambda: all(stream.closed for stream in lost))
        return len(lost)

    # --- inside -----------------------------------------------------------------------------------

    def _live(self, session_id: str) -> LiveSession:
        try:
            return self._backend.live[session_id]
        except KeyError:
            raise KeyError(f"there is no session {session_id!r} on this server") from None

    async def _serve(
        self,
        listeners: list[trio.SocketListener],
        scope: trio.CancelScope,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    self._backend.nursery = nursery
                    for listener in listeners:
                        nursery.start_soon(self._take, listener, nursery)
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self._backend.nursery = None
            self._stopped.set()

    async def _take(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._connection, [listener], handler_nursery=nursery)

    def _accept(self, stream: MemoryStream) -> bool:
        if self._backend.nursery is None or self._scope is None:  # stopped, or about to be
            return False
        self._backend.nursery.start_soon(self._connection, stream)
        return True

    async def _connection(self, stream: trio.abc.Stream) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        self._transports.add(stream)
        handler = partial(dispatch, self._backend, _ROUTES)
        try:
            await serve_connection(stream, handler, max_body=self._backend.settings.max_upload)
        except Exception as error:  # noqa: BLE001 - kept, and raised when the server is left
            self._backend.failed(error)
        finally:
            self._transports.discard(stream)
