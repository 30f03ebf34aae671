"""A stream that notices when the peer ends the connection during a WebSocket's handshake."""

from __future__ import annotations

from typing import TypeAlias, final

import h11
import trio

_MAX_ANSWER = 64 * 1024

_Answer: TypeAlias = tuple[int, tuple[tuple[bytes, bytes], ...], bytes]
"""The status, headers and body of an answer."""


@final
class OpeningStream(trio.abc.Stream):
    """A stream as it is, with a scope that is cancelled if it ends before `opened` is called.

    trio-websocket waits for the answer to its handshake also after the connection has ended, and
    has no result for an answer whose body ends with the connection.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.scope = trio.CancelScope()
        self._stream = stream
        self._answer: bytearray | None = bytearray()

    def opened(self) -> None:
        """Stop watching: the handshake is done."""
        self._answer = None

    def refusal(self) -> _Answer | None:
        """Return what the handshake was answered with, if that was a whole HTTP answer."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
        parser.send(h11.EndOfMessage())
        body = b""
        try:
            parser.receive_data(bytes(self._answer or b""))
            response = parser.next_event()
            if not isinstance(response, h11.Response):
                return None
            parser.receive_data(b"")
            while isinstance(event := parser.next_event(), h11.Data):
                body += event.data
        except h11.RemoteProtocolError:
            return None
        headers = tuple((bytes(name), bytes(value)) for name, value in response.headers)
        return response.status_code, headers, body

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send as the stream does."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait as the stream does."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive as the stream does."""
        try:
            data = bytes(await self._stream.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        if not data:
            self._end()
        elif self._answer is not None and len(self._answer) < _MAX_ANSWER:
            self._answer += data
        return data

    async def aclose(self) -> None:
        """Close the stream."""
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        if self._answer is not None:
            self.scope.cancel(reason="the connection ended during the handshake")
