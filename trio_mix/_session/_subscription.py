"""Subscriptions: all events of a session, of all messages and clients."""

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
    """An asynchronous iterator over all events of a session, beginning when it is entered.

    Returned by `SessionStream.subscribe`; use it as an async context manager. If a subscriber falls
    behind, a `StreamGapEvent` with their number takes the place of its oldest events. The iteration
    ends when the stream is closed, and raises the error that ended the stream.
    """

    def __init__(self, dispatcher: EventDispatcher, size: int) -> None:
        self._dispatcher = dispatcher
        self._size = size
        self._buffer: SubscriberBuffer | None = None

    async def __aenter__(self) -> Self:
        """Begin to buffer events: none after this call is missed. A checkpoint."""
        if self._buffer is not None:
            raise UsageError("A subscription can be entered once: call stream.subscribe() again.")
        buffer = self._dispatcher.subscribe(self._size)
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            self._dispatcher.unsubscribe(buffer)
            raise
        self._buffer = buffer
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, and drop the buffered events."""
        if self._buffer is not None:
            self._dispatcher.unsubscribe(self._buffer)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Return the iterator itself; see `__anext__`."""
        return self

    def __anext__(self) -> Awaitable[Event]:
        """Return the next event of the session.

        Raises:
          ReconnectFailed, SessionNotFound, ProtocolError: the error that ended the stream.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses no event.
        """
        if self._buffer is None:
            raise UsageError("Enter it first: `async with stream.subscribe() as everything`.")
        return self._buffer.__anext__()
