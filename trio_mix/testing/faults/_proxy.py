"""`FaultProxy`: forwards bytes between clients and a server, with planned faults.

Rules:

1. It binds loopback unless another address is given; for a server in memory it opens no socket.
2. Each client connection has one server connection. When either side ends, so does the other.
3. Every fault that occurs is recorded in `FaultProxy.log`, with its connection.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Self

import attrs
import trio

from trio_mix._lifetime import OwnedNursery, open_tcp_stream
from trio_mix._usage import AsyncScope
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.testing.faults._forwarder import Forwarder
from trio_mix.testing.faults._plan import Answer, Direction, Fault, FaultPlan, Refuse
from trio_mix.testing.net._listener import Reachable, check_port, open_listener, parse_server_url
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream, sever

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_READ = 64 * 1024
_HEAD = 64 * 1024


@attrs.frozen
class FaultRecord:
    """A fault that occurred."""

    time: float
    """When, on Trio's clock."""
    connection: int
    """The number of the connection, from 1."""
    request: str
    """The method and path of the connection's first request."""
    fault: Fault
    """The fault."""


@attrs.frozen(kw_only=True)
class FaultStatistics:
    """The counts of a proxy so far."""

    connections: int
    """How many connections were accepted."""
    open: int
    """How many connections are open."""
    faults: int
    """How many faults occurred."""
    by_kind: dict[str, int]
    """The number of faults, by the fault's class name."""
    bytes_down: int
    """How many bytes were forwarded from the server to clients."""
    bytes_up: int
    """How many bytes were forwarded from clients to the server."""


class FaultProxy(AsyncScope):
    """A proxy that cuts, resets, stalls, throttles, splits, corrupts and refuses connections.

    Use it as ``async with FaultProxy(server, plan) as proxy`` and give clients `url`, or `network`
    if the server is in memory.

    Args:
      upstream: a `MixServer`, `Recorder`, `Replay` or `FaultProxy`, or the URL of an HTTP server.
      plan: the faults; it can be replaced at any time, for later connections.
      host: the address to bind.
      port: the port to bind; 0: any free port.

    Raises:
      ConfigurationError: the URL is not plain http, or the port is out of range.
    """

    _entered_as = "async with FaultProxy(...) as proxy"

    def __init__(
        self,
        upstream: str | Reachable,
        plan: FaultPlan | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        url = upstream if isinstance(upstream, str) else upstream.url
        parts = parse_server_url(url, "http")
        if parts is None:
            raise ConfigurationError(
                "FaultProxy needs the http:// URL of a server, or a running MixServer"
            )
        self.plan: FaultPlan = FaultPlan() if plan is None else plan
        self.log: list[FaultRecord] = []
        self.network: MemoryNetwork = MemoryNetwork(self._accept)
        self._upstream = (str(parts.hostname), parts.port or 80)
        self._memory: MemoryNetwork | None = None
        if not isinstance(upstream, str) and upstream.in_memory:
            self._memory = upstream.network
        self._host = host
        self._port = check_port(port)
        self._url = url.rstrip("/") if self._memory is not None else ""
        self._tasks = OwnedNursery("FaultProxy")
        self._open: dict[int, tuple[trio.abc.Stream, trio.CancelScope]] = {}
        self._taken = 0
        self._bytes: dict[Direction, int] = {"down": 0, "up": 0}
        self._listening: trio.CancelScope | None = None
        self._unplugged = False
        self._closed = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()

    @property
    def url(self) -> str:
        """The address for clients."""
        return self._url

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket and is reachable through `network` only."""
        return self._memory is not None

    def statistics(self) -> FaultStatistics:
        """Return the counts so far."""
        by_kind: dict[str, int] = {}
        for record in self.log:
            name = type(record.fault).__name__
            by_kind[name] = by_kind.get(name, 0) + 1
        return FaultStatistics(
            connections=self._taken,
            open=len(self._open),
            faults=len(self.log),
            by_kind=by_kind,
            bytes_down=self._bytes["down"],
            bytes_up=self._bytes["up"],
        )

    async def __aenter__(self) -> Self:
        await self._tasks.open()
        try:
            await self.plug_in()
        except BaseException:
            await self._tasks.close("the proxy could not start")
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._tasks.close("the proxy was left", exc)

    async def unplug(self) -> None:
        """Refuse new connections from now on; open connections stay open."""
        await trio.lowlevel.checkpoint()
        self._unplugged = True
        scope, self._listening = self._listening, None
        if scope is not None:
            scope.cancel(reason="the proxy was unplugged")
            await self._closed.wait()

    async def plug_in(self) -> None:
        """Accept connections, at the same address as before; entering the proxy calls this.

        Raises:
          OSError: the address cannot be bound.
          UsageError: the proxy is not inside its ``async with``.
        """
        await trio.lowlevel.checkpoint()
        nursery = self._tasks.nursery
        if nursery is None:
            raise UsageError("use the proxy as `async with FaultProxy(…)`")
        self._unplugged = False
        if self._memory is None and self._listening is None:
            listener, self._url = await open_listener(self._host, self._port)
            self._port = listener.socket.getsockname()[1]
            self._listening, self._closed = trio.CancelScope(), trio.Event()
            nursery.start_soon(self._listen, listener, self._listening)

    async def drop(self, how: Literal["cut", "reset"] = "cut") -> int:
        """Close all open connections and return how many there were.

        Args:
          how: what the clients see: ``"cut"`` or ``"reset"``.
        """
        await trio.lowlevel.checkpoint()
        lost = list(self._open.values())
        for client, scope in lost:
            sever(client, how)
            scope.cancel(reason="the connection was dropped")
        return len(lost)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is checked at every connection, fault and end."""
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.park()

    # --- inside -----------------------------------------------------------------------------------

    def _accept(self, stream: MemoryStream) -> bool:
        nursery = self._tasks.nursery
        if nursery is None or self._unplugged:
            return False
        nursery.start_soon(self._connection, stream)
        return True

    async def _listen(self, listener: trio.SocketListener, scope: trio.CancelScope) -> None:
        closed = self._closed
        try:
            with scope:
                nursery = self._tasks.nursery
                await trio.serve_listeners(self._connection, [listener], handler_nursery=nursery)
        finally:
            closed.set()

    async def _connection(self, client: trio.abc.Stream) -> None:  # noqa: ASYNC910 - started as a task
        self._taken += 1
        number = self._taken
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - it reads or connects
            self._open[number] = (client, scope)
            try:
                await self._serve(client, number)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # one side has gone, so the other is closed too
            finally:
                sever(client, "cut")
                del self._open[number]
                self._changed.unpark_all()

    async def _serve(self, client: trio.abc.Stream, number: int) -> None:
        head = bytearray()
        while b"\r\n\r\n" not in head and len(head) < _HEAD:
            data = await client.receive_some(_READ)
            if not data:
                return
            head += data
        method, _, rest = bytes(head.split(b"\r\n", 1)[0]).decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        occurred = partial(self._add_record, number, f"{method} {path}")
        faults = self.plan.faults_for(method, path)
        for fault in faults:
            if isinstance(fault, Refuse):
                occurred(fault)
                sever(client, "reset")
                await trio.lowlevel.checkpoint()
                return
            if isinstance(fault, Answer):
                occurred(fault)
                await client.send_all(_response(fault))
                return
        server = await self._connect()
        try:
            await Forwarder(client, server, faults, occurred, self._count_bytes).run(bytes(head))
        finally:
            sever(server, "cut")

    async def _connect(self) -> trio.abc.Stream:
        if self._memory is not None:
            await trio.lowlevel.checkpoint()
            return self._memory.connect()
        return await open_tcp_stream(*self._upstream)

    def _count_bytes(self, direction: Direction, size: int) -> None:
        self._bytes[direction] += size

    def _add_record(self, connection: int, request: str, fault: Fault) -> None:
        now = trio.current_time()
        self.log.append(FaultRecord(now, connection, request, fault))
        self._changed.unpark_all()


def _response(fault: Answer) -> bytes:
    reason = HTTPStatus(fault.status).phrase if fault.status in set(HTTPStatus) else ""
    lines = [f"HTTP/1.1 {fault.status} {reason}", "Content-Type: text/plain", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fault.headers]
    lines.append(f"Content-Length: {len(fault.body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + fault.body
