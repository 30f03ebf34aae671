"""DevTools messages over a pair of pipes, each message ended by a NUL byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix.browser._transport import TransportLost

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ: Final = 256 * 1024
_NUL: Final = b"\0"


@final
class MessageSplitter:
    """Splits the bytes of a pipe into messages.

    Args:
      max_message: the maximum size of a message in bytes.
    """

    def __init__(self, max_message: int) -> None:
        self._max_message = max_message
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Return the messages that the data completes.

        Raises:
          TransportLost: a message exceeds the maximum.
        """
        *ends, rest = data.split(_NUL)
        for end in ends:
            self._append(end)
            message = b"".join(self._parts)
            self._parts, self._size = [], 0
            yield message
        self._append(rest)

    def _append(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._max_message:
            raise TransportLost(f"a message exceeds {self._max_message:,} bytes")
        if part:
            self._parts.append(part)


@final
class PipeTransport:
    """The connection to a browser that was started with ``--remote-debugging-pipe``."""

    def __init__(
        self,
        sending: trio.abc.SendStream,
        receiving: trio.abc.ReceiveStream,
        *,
        max_message: int,
    ) -> None:
        self._sending = sending
        self._receiving = receiving
        self._splitter = MessageSplitter(max_message)
        self._messages: list[bytes] = []

    async def open(self, nursery: trio.Nursery) -> None:  # noqa: ARG002 - pipes need no task
        """Return: the pipes are open."""
        await trio.lowlevel.checkpoint()

    async def receive(self) -> bytes:
        """Return the next message."""
        await trio.lowlevel.checkpoint()
        while not self._messages:
            try:
                data = await self._receiving.receive_some(_READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            if not data:
                raise TransportLost("it closed its pipe")
            self._messages = list(self._splitter.feed(bytes(data)))
            self._messages.reverse()
        return self._messages.pop()

    async def send(self, text: str) -> None:
        """Send a message; if it is cancelled, the connection is unusable."""
        try:
            await self._sending.send_all(text.encode() + _NUL)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise TransportLost("it closed its pipe") from None

    async def aclose(self, timeout: float) -> None:  # noqa: ARG002 - pipes close at once
        """Close both pipes."""
        with trio.CancelScope(shield=True):
            await self._sending.aclose()
            await self._receiving.aclose()
