"""The bytes of one WebSocket: whole frames from several tasks, on one connection.

Rules (tests cite the numbers):

1. A frame that was begun is finished before another one is sent, also if the task that began it is
   cancelled.
2. Nothing follows the frame that closes the WebSocket.
3. A connection that takes no byte for ``stall_timeout`` seconds is reset.
4. What arrives between two messages is bounded: also fragments without content use memory.
5. What a client sends before its request is answered is received after it: trio-websocket would
   leave it in its parser until more arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.relay._connection import ServerConnection

_CLOSE: Final = 0x88
"""The first byte of a frame that closes a WebSocket."""
_CLOSED: Final = "the WebSocket is being closed"


def _ignore() -> None:
    """Do nothing."""


@final
class FrameOutput:
    """Sends frames.

    Args:
      connection: the connection.
      stall_timeout: seconds (rule 3).

    Attributes:
      on_rest: called when a frame was sent in part: `send_rest` must be called.
      stalled: whether the connection was reset because it took no byte.
    """

    __slots__ = (
        "_closing",
        "_connection",
        "_lock",
        "_rest",
        "_stall_timeout",
        "on_rest",
        "stalled",
    )

    def __init__(self, connection: ServerConnection, stall_timeout: float) -> None:
        self.on_rest: Callable[[], None] = _ignore
        self.stalled = False
        self._connection = connection
        self._stall_timeout = stall_timeout
        self._rest = memoryview(b"")
        self._lock = trio.StrictFIFOLock()
        self._closing = False

    @property
    def closing(self) -> bool:
        """Whether the frame that closes the WebSocket was begun."""
        return self._closing

    @property
    def rest(self) -> bool:
        """Whether a frame was sent in part."""
        return bool(self._rest)

    def send_nowait(self, data: bytes) -> int:
        """Take a whole frame, and return its size; or nothing, and return 0.

        Raises:
          trio.BrokenResourceError: the client has closed the connection.
          trio.ClosedResourceError: the WebSocket is being closed.
        """
        if self._closing:
            raise trio.ClosedResourceError(_CLOSED)
        if self._rest or self._lock.locked():
            return 0
        sent = self._connection.send_nowait(data)
        if 0 < sent < len(data):
            self._rest = memoryview(data)[sent:]
            self.on_rest()
        return len(data) if sent else 0

    async def send_all(self, data: bytes) -> None:
        """Send a whole frame.

        Raises:
          trio.BrokenResourceError: the client has closed the connection, or takes no byte.
          trio.ClosedResourceError: the WebSocket is being closed.
        """
        async with self._lock:
            await self._finish()
            if self._closing:
                raise trio.ClosedResourceError(_CLOSED)
            self._closing = data[:1] == b"%c" % _CLOSE
            self._rest = memoryview(data)
            await self._finish()

    async def send_rest(self) -> None:
        """Send the rest of a frame that was begun."""
        async with self._lock:
            await self._finish()

    async def _finish(self) -> None:  # noqa: ASYNC910 - the lock was a checkpoint
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - sending waits
            while self._rest:
                scope.deadline = trio.current_time() + self._stall_timeout
                sent = await self._connection.send_some(self._rest)
                self._rest = self._rest[sent:]
        if scope.cancelled_caught:
            self.stalled = True
            self._connection.abort()
            raise trio.BrokenResourceError("the client took no byte in time")


@final
class WebSocketStream(trio.abc.Stream):
    """The connection as trio-websocket sees it, beginning with the request.

    Args:
      connection: the connection, which is not closed with the stream.
      output: sends the frames.
      request: the request.
      early: what the client sent after it.
      limit: how many bytes may arrive until `begin_message` is called again (rule 4).
      on_flood: called when more arrive.
    """

    def __init__(
        self,
        connection: ServerConnection,
        output: FrameOutput,
        request: bytes,
        early: bytes,
        limit: int,
        on_flood: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._output = output
        self._request = request
        self._early = early
        self._accepted: trio.Event | None = trio.Event()
        self._limit = limit
        self._received = 0
        self._on_flood = on_flood
        self._closed = False

    def accepted(self) -> None:
        """Receive frames: the request was answered (rule 5)."""
        if self._accepted is not None:
            self._accepted.set()
            self._accepted = None

    def begin_message(self) -> None:
        """Count the bytes of the next message from here on."""
        self._received = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send a frame, or the answer to the request."""
        await self._output.send_all(bytes(data))

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: this is not used."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError(_CLOSED)
        if self._request:
            await trio.lowlevel.checkpoint()
            data, self._request = self._request, b""
            return data
        if self._accepted is not None:
            await self._accepted.wait()
        if self._early:
            await trio.lowlevel.checkpoint()
            data, self._early = self._early, b""
        else:
            data = await self._connection.receive_some(max_bytes or 4096)
        self._received += len(data)
        if self._received > self._limit:
            self._on_flood()
        return data

    async def aclose(self) -> None:
        """Receive nothing more; the connection is closed by its owner."""
        self._closed = True
        await trio.lowlevel.checkpoint()
