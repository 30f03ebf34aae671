"""`Relay`: one server, its log, and the listeners for any number of consumers.

Rules (tests cite the numbers):

1. The relay has one client for the server; all consumers share its streams.
2. No task and no connection outlives the relay's ``async with``.
3. A relay that others than this machine can reach needs authentication.
4. One client's connection never ends the relay: what its handler raises is logged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix._allowed_hosts import is_loopback
from trio_mix._lifetime import OwnedNursery
from trio_mix._mix import Mix
from trio_mix._public import public
from trio_mix._terminal_text import get_logger
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.relay._connection import StreamConnection, open_listeners
from trio_mix.relay._drain import drain
from trio_mix.relay._exchange import HttpLimits
from trio_mix.relay._guard import OriginGuard
from trio_mix.relay._health import ServerState
from trio_mix.relay._http import serve_connection
from trio_mix.relay._hub import Hub
from trio_mix.relay._page import Page
from trio_mix.relay._passthrough import Upstream
from trio_mix.relay._routes import Routes
from trio_mix.relay._settings import HubSettings
from trio_mix.relay._sqlite import SqliteLog
from trio_mix.relay._sse import Streams
from trio_mix.relay._ws import Sockets

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType
    from typing import Self

    from trio_mix._http import NetworkBackend
    from trio_mix.relay._connection import ServerConnection, SocketConnection
    from trio_mix.relay._grants import Auth
    from trio_mix.relay._log import Log

_log = get_logger("trio_mix.relay")

_IN_MEMORY: Final = "localhost"
_LAST_RESPONSES: Final = 1.0
_CLEANUP: Final = 5.0
"""Seconds that handlers may take to finish after a drain."""


@final
@public("trio_mix.relay")
class Relay:
    """A relay in front of one Mix server.

    Use it as an async context manager, and call `serve` in it::

        async with Relay("http://localhost:8088", log=SqliteLog("relay.db")) as relay:
            await relay.serve(port=8090)

    Args:
      upstream: the address of the Mix server.
      log: where events and messages are stored, which is opened and closed by the relay.
      auth: who may do what; None: everybody on this machine may do everything.
      headers: headers for every request to the Mix server, as for an authenticating proxy.
      allowed_hosts: further names for the ``Host`` header, without a port.
      allowed_origins: origins of web pages that may use the relay.
      queue_max: how many messages may be queued per session.
      ring: how many of a session's newest events are kept in memory.
      stall_timeout: seconds without a byte taken after which a consumer is closed.
      heartbeat: seconds between two heartbeats of an idle stream.
      idle_close: seconds without consumers and turns after which the stream of a session to the
        server is closed.
      drain_timeout: seconds that `drain` gives to running turns.
      page: whether the web page is served, at ``/relay/page/``.
      network: makes the connections to the Mix server, for tests.

    Raises:
      ConfigurationError: an argument that cannot work.
    """

    def __init__(
        self,
        upstream: str | None = None,
        *,
        log: Log,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        allowed_hosts: Collection[str] = (),
        allowed_origins: Collection[str] = (),
        queue_max: int = 100,
        ring: int = 2000,
        stall_timeout: float = 30.0,
        heartbeat: float = 15.0,
        idle_close: float = 300.0,
        drain_timeout: float = 30.0,
        page: bool = False,
        network: NetworkBackend | None = None,
    ) -> None:
        seconds = {
            "stall_timeout": stall_timeout,
            "heartbeat": heartbeat,
            "idle_close": idle_close,
        }
        for name, value in seconds.items():
            if not value > 0:
                raise ConfigurationError(f"Relay({name}={value!r}): it must be positive seconds")
        if not (drain_timeout >= 0 and math.isfinite(drain_timeout)):
            raise ConfigurationError(
                f"Relay(drain_timeout={drain_timeout!r}): it must be a finite number of seconds"
            )
        for name, count in (("queue_max", queue_max), ("ring", ring)):
            if not (isinstance(count, int) and count >= 1):
                raise ConfigurationError(f"Relay({name}={count!r}): it must be at least 1")
        OriginGuard(_IN_MEMORY, allowed_hosts, allowed_origins)
        self.drain_timeout = drain_timeout
        self._allowed_hosts = tuple(allowed_hosts)
        self._allowed_origins = tuple(allowed_origins)
        self._auth = auth
        self._page = Page(auth) if page else None
        self._mix = Mix(
            upstream, headers={**(headers or {}), "Mix-Relay-Upstream": "1"}, network=network
        )
        settings = HubSettings(
            queue_max=queue_max,
            ring=ring,
            idle_close=idle_close,
            append_interval=log.commit_interval if isinstance(log, SqliteLog) else 0.0,
        )
        self._hub = Hub(self._mix, log, settings)
        self._streams = Streams(heartbeat=heartbeat, stall_timeout=stall_timeout)
        self._sockets = Sockets(self._hub, self._streams.rooms, heartbeat=heartbeat)
        self._upstream = Upstream(self._mix)
        self._limits = HttpLimits(stall_timeout=stall_timeout)
        self._state = ServerState()
        self._tasks = OwnedNursery("Relay")
        self._drained = trio.Event()
        self._serving: list[trio.Event] = []
        self._handlers = 0
        self._idle = trio.Event()
        self._url = ""

    def __repr__(self) -> str:
        return f"<trio_mix.relay.Relay in front of {self._mix.server_url}>"

    @property
    def url(self) -> str:
        """The address that `serve` has bound; empty before."""
        return self._url

    async def __aenter__(self) -> Self:
        """Open the log, and resume the messages that were accepted before.

        Raises:
          LogError: the log cannot be opened.
          UsageError: the relay was entered before.
        """
        try:
            await self._hub.__aenter__()
        except UsageError:  # it is in use
            raise
        except BaseException:
            with trio.move_on_after(_CLEANUP, shield=True):
                await self._mix.aclose()
            raise
        nursery = await self._tasks.open()  # the last one, because it is closed first
        self._hub.announcements.subscribe(self._streams.announce)
        self._hub.announcements.subscribe(self._sockets.announce)
        nursery.start_soon(self._streams.run)
        nursery.start_soon(self._sockets.run)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections and the log; nothing that was acknowledged is lost."""
        self._drained.set()  # ends `serve`
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - nothing may be served
            for served in self._serving:
                await served.wait()
        self._hub.stop("the relay is closed")  # ends requests that wait for the log
        try:
            await self._tasks.close("the relay is closed", exc)
        finally:
            try:
                await self._hub.__aexit__(exc_type, exc, traceback)
            finally:
                await self._mix.aclose()

    async def serve(
        self,
        host: str = "127.0.0.1",
        port: int = 8090,
        *,
        task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve consumers until cancelled, or until `drain` has ended.

        ``nursery.start(relay.serve)`` returns the address when it is bound.

        Args:
          host: the name or address to bind.
          port: the port; 0: any free port.
          task_status: receives the address.

        Raises:
          ConfigurationError: others than this machine could connect, without authentication.
          UsageError: outside of the relay's ``async with``.
          OSError: the address cannot be bound.
        """
        nursery = self._nursery()
        loopback = is_loopback(host)
        if self._auth is None and not loopback:
            raise ConfigurationError(
                f"The relay cannot listen at {host!r} without authentication: anybody in the"
                " network could use the agent. Pass auth=Auth.tokens(FILE), or listen at"
                " 127.0.0.1. On the command line: --token-file FILE, or --listen 127.0.0.1:8090."
            )
        routes = self._routes(host, loopback=loopback)
        listeners = await open_listeners(host, port)
        shown = f"[{host}]" if ":" in host else host
        self._url = f"http://{shown}:{listeners[0].port}"

        async def handle(connection: SocketConnection) -> None:
            await self._serve(connection, routes)

        served = trio.Event()
        self._serving.append(served)
        try:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(self._cancel_when_drained, accepting.cancel_scope)
                task_status.started(self._url)
                await trio.serve_listeners(handle, listeners, handler_nursery=nursery)
        finally:
            served.set()

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        """Serve one connection over any stream, as of a network in memory, until it is closed.

        Args:
          stream: the connection, which is closed at the end.
        """
        routes = self._routes(_IN_MEMORY, loopback=True)
        await self._serve(StreamConnection(stream), routes)

    async def wait_ready(self) -> None:
        """Wait until the Mix server was reached: now, or before the log was opened again."""
        await self._hub.wait_ready()

    async def drain(self, timeout: float | None = None) -> None:
        """Stop: accept no messages, let running turns finish, close all streams.

        `serve` returns afterwards. Messages that are queued are sent by the next start.

        Args:
          timeout: seconds that running turns may take; None: ``drain_timeout``.
        """
        limit = self.drain_timeout if timeout is None else timeout
        await drain(self._hub, self._streams, self._sockets, self._state, limit)
        with trio.move_on_after(_LAST_RESPONSES):  # noqa: ASYNC912 - serving a connection waits
            while self._handlers:
                self._idle = trio.Event()
                await self._idle.wait()
        self._drained.set()

    def _nursery(self) -> trio.Nursery:
        nursery = self._tasks.nursery
        if nursery is None:
            raise UsageError("Relay.serve() works inside of `async with Relay(...) as relay`.")
        return nursery

    def _routes(self, host: str, *, loopback: bool) -> Routes:
        return Routes(
            hub=self._hub,
            mix=self._mix,
            upstream=self._upstream,
            streams=self._streams,
            sockets=self._sockets,
            guard=OriginGuard(host, self._allowed_hosts, self._allowed_origins),
            auth=self._auth,
            state=self._state,
            loopback=loopback,
            page=self._page,
        )

    async def _serve(self, connection: ServerConnection, routes: Routes) -> None:  # noqa: ASYNC910 - serving a connection waits
        """Serve one connection (rule 4)."""
        self._state.connections += 1
        self._handlers += 1
        try:
            await serve_connection(connection, routes.handle, self._limits)
        except Exception:  # noqa: BLE001 - rule 4
            _log.exception("the connection of a client failed")
        finally:
            self._state.connections -= 1
            self._handlers -= 1
            self._idle.set()

    async def _cancel_when_drained(self, scope: trio.CancelScope) -> None:
        await self._drained.wait()
        scope.cancel(reason="the relay was drained")
