"""Subscriptions: all events of a session, of all messages and clients."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, final

import trio

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix._usage import AsyncScope
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from types import TracebackType

    from trio_mix._session._buffers import SubscriberBuffer
    from trio_mix._session._controller import StreamController
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._healing import Healing
    from trio_mix._session._message import Message
    from trio_mix._turns._replay_filter import ReplayFilter
    from trio_mix.events import Event

_Item = TypeVar("_Item")


class _Subscriber(AsyncScope, Generic[_Item]):
    """What both kinds of subscriptions have in common: the buffer, its scope and the cursor."""

    _entered_as = "async with session.subscribe() as everything"

    def __init__(self, dispatcher: EventDispatcher, size: int, replay_filter: ReplayFilter) -> None:
        self._dispatcher = dispatcher
        self._size = size
        self._filter = replay_filter
        self._last_id: str | None = None
        self._buffer: SubscriberBuffer[Any] | None = None

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that was returned, or None: where `Mix.open_stream` can resume.

        Before the first event it is the position at which the subscription was entered. The id of
        ``connected`` counts only if the server says that its stream starts after it.
        """
        return self._last_id

    def _returned(self, event_id: str | None, *, is_connected: bool) -> None:
        """Move the cursor to an event that is returned now."""
        if event_id and (self._filter.start_named or not is_connected):
            self._last_id = event_id
        elif not (event_id or self._filter.mark):
            self._last_id = None  # the server has set the id to nothing

    def _subscribe(self) -> SubscriberBuffer[Any]:
        raise NotImplementedError

    def _unsubscribe(self, buffer: SubscriberBuffer[Any]) -> None:
        self._dispatcher.unsubscribe(buffer)

    async def __aenter__(self) -> Self:
        """Begin to buffer events: none after this call is missed. A checkpoint."""
        self._enter()
        buffer = self._subscribe()
        cursor = self._filter.mark or None
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:
            self._unsubscribe(buffer)
            raise
        self._buffer = buffer
        self._last_id = cursor
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, and drop the buffered events."""
        self._left = True
        if self._buffer is not None:
            self._unsubscribe(self._buffer)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Return the iterator itself; see `__anext__`."""
        return self

    def _entered(self) -> SubscriberBuffer[Any]:
        if self._buffer is None or self._left:
            raise self._outside()
        return self._buffer


@public("trio_mix")
@final
class Subscription(_Subscriber["Event"]):
    """An asynchronous iterator over all events of a session, beginning when it is entered.

    Returned by `SessionStream.subscribe`; use it as an async context manager. If a subscriber falls
    behind, a `StreamGapEvent` with their number takes the place of its oldest events. The iteration
    ends when the stream is closed, and raises the error that ended the stream.
    """

    def __init__(
        self,
        dispatcher: EventDispatcher,
        size: int,
        replay_filter: ReplayFilter,
        heal: StreamController | None = None,
    ) -> None:
        super().__init__(dispatcher, size, replay_filter)
        self._heal = heal
        self._healing: Healing | None = None

    def _subscribe(self) -> SubscriberBuffer[Event]:
        if self._heal is None:
            return self._dispatcher.subscribe(self._size)
        self._healing = self._heal.heal(self._size)
        return self._healing.buffer

    def _unsubscribe(self, buffer: SubscriberBuffer[Any]) -> None:
        if self._heal is not None and self._healing is not None:
            self._heal.end_healing(self._healing)
        super()._unsubscribe(buffer)

    async def __anext__(self) -> Event:
        """Return the next event of the session.

        Raises:
          ReconnectFailed, SessionNotFound, ProtocolError: the error that ended the stream.
          StreamClosed: the scope of the subscription was left.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses no event.
        """
        event: Event = await self._entered().__anext__()
        kind = type(event)
        if kind is not ev.StreamGapEvent:
            self._returned(event.id, is_connected=kind is ev.ConnectedEvent)
        return event


@public("trio_mix")
@final
class RawSubscription(_Subscriber["tuple[ServerSentEvent, Message | None]"]):
    """An asynchronous iterator over all frames of a session, beginning when it is entered.

    Returned by `SessionStream.subscribe` with ``raw=True``; use it as an async context manager. It
    differs from `Subscription` in its items only: each is the `ServerSentEvent` as the server sent
    it, without replayed ones, and the `Message` of this stream whose turn the event belongs to, or
    None. Of an event whose turn is known only later, the message is None.

    In place of a `StreamGapEvent` it returns a frame that no server sent: its ``event`` is
    ``"stream_gap"``, its ``id`` is empty, and its ``data`` is a JSON object with ``missed`` and
    ``reason``.
    """

    def _subscribe(self) -> SubscriberBuffer[tuple[ServerSentEvent, object]]:
        return self._dispatcher.subscribe_raw(self._size)

    async def __anext__(self) -> tuple[ServerSentEvent, Message | None]:
        """Return the next frame of the session, and the message that it belongs to.

        Raises:
          ReconnectFailed, SessionNotFound, ProtocolError: the error that ended the stream.
          StreamClosed: the scope of the subscription was left.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses no frame.
        """
        item = await self._entered().__anext__()
        if isinstance(item, ev.StreamGapEvent):
            data = json.dumps({"missed": item.missed, "reason": item.reason})
            return ServerSentEvent(event="stream_gap", data=data), None
        frame, sender = item
        self._returned(frame.id, is_connected=frame.event == "connected")
        return frame, cast("Message | None", sender)
