"""Every event of a session, whoever's message it belongs to.

What it knows: its own waiting line. What it must never know: messages, the wire.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, final

import trio

from trio_mix._public import public
from trio_mix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from types import TracebackType

    from trio_mix._session._buffers import SubscriberBuffer
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix.events import Event

__all__ = ["Subscription"]


@public("trio_mix")
@final
class Subscription:
    """An asynchronous iterator over all events of a session, from entering it on.

    Made by `SessionStream.subscribe`; use it as an async context manager. A subscriber that falls
    behind loses its oldest events, visibly: a `StreamGapEvent` with their number stands in their
    place. It ends when the stream is closed, and raises what the stream was lost with.
    """

    def __init__(self, switchboard: EventDispatcher, size: int) -> None:
        self._switchboard = switchboard
        self._size = size
        self._line: SubscriberBuffer | None = None

    async def __aenter__(self) -> Self:
        """Start to listen: what comes from this call on is not missed. A checkpoint."""
        if self._line is not None:
            raise UsageError("A subscription can be entered once: call stream.subscribe() again.")
        line = self._switchboard.subscribe(self._size)
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            self._switchboard.unsubscribe(line)
            raise
        self._line = line
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop to listen, dropping what stands waiting."""
        if self._line is not None:
            self._switchboard.unsubscribe(self._line)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Iterate the events; see `__anext__`."""
        return self

    def __anext__(self) -> Awaitable[Event]:
        """Return the next event of the session.

        Raises:
          ReconnectFailed, SessionNotFound, ProtocolError: what the stream was lost with.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses nothing.
        """
        if self._line is None:
            raise UsageError("Enter it first: `async with stream.subscribe() as everything`.")
        return self._line.__anext__()
