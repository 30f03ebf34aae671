"""A network in memory that an HTTP client uses in place of sockets.

Rules:

1. A pipe holds a bounded number of bytes: writing to a reader that does not read blocks, as on a
   real network, so that slow readers can be tested.
2. All waiting is Trio's: with a `trio.testing.MockClock` and ``autojump_threshold=0``, hours pass
   at once, which is unreliable with real sockets.
"""

from __future__ import annotations

import math
import operator
import struct
from typing import TYPE_CHECKING, Any, Literal

import httpcore
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

_CAPACITY = 64 * 1024


class _Pipe:
    """One direction."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.data: bytearray = bytearray()
        self.ended = False  # the writer has ended: the rest can be read, then b""
        self.reset = False  # the writer has reset it: reading fails after the buffered bytes
        self.deaf = False  # the reader has closed: writing fails
        self.changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()


class _OneTask:
    """Lets one task at a time into a block."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(f"another task is {self._what} this stream")
        self._busy = True

    def __exit__(self, *_: object) -> None:
        self._busy = False


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._in = incoming
        self._out = outgoing
        self._closed = False
        self._sending = _OneTask("sending on")
        self._receiving = _OneTask("receiving from")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all data; wait while the pipe is full.

        Raises:
          trio.BrokenResourceError: the other side has closed.
          trio.ClosedResourceError: this side is closed.
          trio.BusyResourceError: another task is sending.
        """
        with self._sending:
            await trio.lowlevel.checkpoint()
            rest = bytes(data)
            while True:
                self._check_sendable()
                room = self._out.capacity - len(self._out.data)
                if rest and room > 0:
                    self._out.data += rest[:room]
                    rest = rest[room:]
                    self._out.changed.unpark_all()
                if not rest:
                    return
                await self._out.changed.park()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the pipe has room.

        Raises:
          trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError: as `send_all`.
        """
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while len(self._out.data) >= self._out.capacity:
                await self._out.changed.park()
                self._check_sendable()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is buffered, or wait for data; ``b""`` is the end.

        Raises:
          trio.BrokenResourceError: the other side reset the connection.
          trio.ClosedResourceError: this side is closed.
          trio.BusyResourceError: another task is receiving.
        """
        size = _CAPACITY if max_bytes is None else operator.index(max_bytes)
        if size < 1:
            raise ValueError("max_bytes must be positive")
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                if self._in.data:
                    piece = bytes(self._in.data[:size])
                    del self._in.data[:size]
                    self._in.changed.unpark_all()
                    return piece
                if self._in.reset:  # after the data that arrived before it, as on Linux
                    raise trio.BrokenResourceError("the connection was reset by the other side")
                if self._in.ended:
                    return b""
                await self._in.changed.park()

    async def send_eof(self) -> None:
        """Close the sending side."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_open()
            self._out.ended = True
        self._out.changed.unpark_all()

    async def aclose(self) -> None:
        """Close both directions."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self, *, reset: bool = False) -> None:
        """Close both directions at once; with ``reset`` the other side reads an error."""
        self._closed = True
        self._out.ended = True
        self._out.reset = self._out.reset or reset
        self._in.deaf = True
        self._in.changed.unpark_all()
        self._out.changed.unpark_all()

    @property
    def readable(self) -> bool:
        """Whether reading returns or fails at once: data, the end or an error is available."""
        return bool(self._in.data) or self._in.ended or self._in.reset

    def _check_sendable(self) -> None:
        self._check_open()
        if self._out.ended:
            raise trio.ClosedResourceError("the sending side of this stream is closed")
        if self._out.deaf or self._in.reset:
            raise trio.BrokenResourceError("the other side has closed the connection")

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream is closed")


def memory_pipe(capacity: int = _CAPACITY) -> tuple[MemoryStream, MemoryStream]:
    """Return the two ends of a connection that buffers ``capacity`` bytes in each direction."""
    one, two = _Pipe(capacity), _Pipe(capacity)
    return MemoryStream(one, two), MemoryStream(two, one)


def sever(stream: trio.abc.Stream, how: Literal["cut", "reset"]) -> None:
    """Close a connection at once, as when a process is killed (cut) or a host crashes (reset).

    It may be closed already.
    """
    if isinstance(stream, trio.SocketStream):
        if how == "reset" and stream.socket.fileno() >= 0:
            # With a linger time of zero, close() sends a reset instead of an orderly end.
            linger = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)
        stream.socket.close()
    elif isinstance(stream, MemoryStream):
        stream.close(reset=how == "reset")


class _HttpcoreStream(httpcore.AsyncNetworkStream):
    """A memory stream behind httpcore's interface."""

    def __init__(self, stream: MemoryStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                return await self._stream.receive_some(max_bytes)
        except trio.TooSlowError as error:
            raise httpcore.ReadTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer:
            await trio.lowlevel.checkpoint()
            return
        try:
            with trio.fail_after(math.inf if timeout is None else timeout):
                await self._stream.send_all(buffer)
        except trio.TooSlowError as error:
            raise httpcore.WriteTimeout(str(error)) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,  # noqa: ARG002 - httpcore's signature
        server_hostname: str | None = None,  # noqa: ARG002
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        await self.aclose()
        raise httpcore.ConnectError("the network in memory supports http only, not https")

    # httpcore's own signature: the type of the result depends on `info`.
    def get_extra_info(self, info: str) -> Any:
        return self._stream.readable if info == "is_readable" else None


class MemoryNetwork(httpcore.AsyncNetworkBackend):
    """Connections to one server without sockets, for httpcore and what is built on it.

    Args:
      accept: called with the server's end of each new connection; False refuses the connection.
      capacity: how many bytes each direction of a connection buffers.
    """

    def __init__(
        self, accept: Callable[[MemoryStream], bool], *, capacity: int = _CAPACITY
    ) -> None:
        self._accept = accept
        self.capacity = capacity

    def connect(self) -> MemoryStream:
        """Open a connection and return the client's end.

        Raises:
          ConnectionRefusedError: the server does not accept connections.
        """
        client, server = memory_pipe(self.capacity)
        if not self._accept(server):
            raise ConnectionRefusedError("the server in memory does not accept connections")
        return client

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the one server; host and port are ignored."""
        await trio.lowlevel.checkpoint()
        try:
            return _HttpcoreStream(self.connect())
        except ConnectionRefusedError as error:
            raise httpcore.ConnectError(f"{error} ({host}:{port})") from error

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 - httpcore's signature
        timeout: float | None = None,  # noqa: ARG002
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore.AsyncNetworkStream:
        """Raise `httpcore.ConnectError`: Unix sockets are not supported."""
        await trio.lowlevel.checkpoint()
        raise httpcore.ConnectError("the network in memory does not support Unix sockets")

    async def sleep(self, seconds: float) -> None:
        """Sleep on Trio's clock."""
        await trio.sleep(seconds)
