"""Dispatch each event of a session's stream to its message and to every subscriber.

Rule 1  Every event goes to every subscriber and to at most one message.
Rule 2  Nothing here waits: a slow consumer concerns only its own buffer.
Rule 3  The end of the stream ends every message and every subscription, each with a separate
        exception, so that no two tasks share a traceback.
"""

from __future__ import annotations

import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Final, TypeVar

from trio_mix import events as ev
from trio_mix._session._buffers import Budget, SubscriberBuffer
from trio_mix._turns._reply_builder import MOST_SEARCHED
from trio_mix._turns._turn import Input, Phase, size_of
from trio_mix._turns._wire_traits import turn_id_of
from trio_mix.errors import clone_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from trio_mix._session._buffers import EventBuffer
    from trio_mix._session._healing import HealingBuffer
    from trio_mix._session._message_state import MessageState
    from trio_mix._turns._router import Route, TurnRouter
    from trio_mix._turns._stored_rows import StoredReply
    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

    RawItem: TypeAlias = tuple[ServerSentEvent, object]
    """A frame, and the sender of the message that its event belongs to, or None."""

_Item = TypeVar("_Item")

_data_of: Final = attrgetter("data")
_ENDED: Final = Phase.ENDED
_OVER: Final = Phase.OVER  # compared for every batch, and a member of an enum takes long to reach


class EventDispatcher:
    """Dispatches the events of one session.

    Args:
      router: names each event's owner.
      on_turn_over: called whenever the registered turn is over.
      budget: counts the bytes of all buffers of the client.
    """

    def __init__(
        self,
        router: TurnRouter,
        on_turn_over: Callable[[MessageState], None],
        budget: Budget | None = None,
    ) -> None:
        self.router = router
        self._budget = budget or Budget()
        self._buffers: list[EventBuffer[Any]] = []
        self.batch_limit: int = sys.maxsize
        """How many events any consumer can take at once: half of the smallest buffer."""
        self._on_turn_over = on_turn_over
        self._subscribers: list[SubscriberBuffer[Event]] = []
        self._raw_subscribers: list[SubscriberBuffer[RawItem]] = []
        self.current: MessageState | None = None
        """The message whose turn is not over."""
        # The text of the last turn that did not fail for which no delta has come.
        self._lacked = ""
        self._failure: Callable[[], BaseException] | None = None
        self.on_busy: Callable[[MessageState, Event], None] = lambda _state, _event: None
        self.on_others: Callable[[MessageState], None] = lambda _state: None
        self.on_asked: Callable[[MessageState, Event], None] = lambda _state, _event: None
        self.on_unsettled: Callable[[MessageState], None] = self.finish

    @property
    def subscribers(self) -> int:
        """The number of subscribers."""
        return len(self._all_subscribers())

    def subscribe(self, size: int) -> SubscriberBuffer[Event]:
        """Return a new buffer that receives every event from now on."""
        buffer: SubscriberBuffer[Event] = SubscriberBuffer(size)
        return self._subscribe(buffer, self._subscribers)

    def subscribe_healed(self, buffer: HealingBuffer) -> None:
        """Have a buffer that is healed receive every event from now on."""
        self._subscribe(buffer, self._subscribers)

    def subscribe_raw(self, size: int) -> SubscriberBuffer[RawItem]:
        """Return a new buffer that receives every frame from now on."""
        buffer: SubscriberBuffer[RawItem] = SubscriberBuffer(size, _size_of_raw)
        return self._subscribe(buffer, self._raw_subscribers)

    def _subscribe(
        self, buffer: SubscriberBuffer[_Item], subscribers: list[SubscriberBuffer[_Item]]
    ) -> SubscriberBuffer[_Item]:
        buffer.budget = self._budget
        if self._failure is not None:
            buffer.close(self._failure())
        subscribers.append(buffer)
        self._set_buffers()
        return buffer

    def unsubscribe(self, buffer: SubscriberBuffer[Any]) -> None:
        """Remove a subscriber, and drop its buffered events."""
        for subscribers in (self._subscribers, self._raw_subscribers):
            if buffer in subscribers:
                subscribers.remove(buffer)
        self._set_buffers()
        buffer.discard()

    def behind(self) -> list[EventBuffer[Any]]:
        """Return the buffers that are more than half full and whose consumers are not idle."""
        mark = self._budget.mark
        found = []
        for each in self._buffers:  # no comprehension, for this runs after each read
            if (len(each) > each.half or each.bytes > mark) and not each.idle:
                found.append(each)  # noqa: PERF401
        return found

    def _set_buffers(self) -> None:
        """Note which buffers receive events; called when that has changed."""
        message = [] if self.current is None else [self.current.buffer]
        self._buffers = [*message, *self._subscribers, *self._raw_subscribers]
        self.batch_limit = sys.maxsize
        for buffer in self._buffers:
            self.batch_limit = max(1, min(self.batch_limit, buffer.half))

    def _all_subscribers(self) -> list[SubscriberBuffer[Any]]:
        return [*self._subscribers, *self._raw_subscribers]

    def attach(self, state: MessageState) -> None:
        """Register the state of the message that is sent next."""
        state.buffer.budget = self._budget
        if not self.router.traits.ids:
            state.builder.lacked = self._lacked
        self.current = state
        self._set_buffers()

    def deliver(self, events: Sequence[Event], frames: Sequence[ServerSentEvent] = ()) -> None:
        """Dispatch a batch of events (rule 1).

        Args:
          events: the events.
          frames: the frame of each event, for raw subscribers.
        """
        size = sum(map(len, map(_data_of, frames)))
        for buffer in self._subscribers:
            buffer.put(events, size)
        before = self.router.others
        named = self.router.traits.turn_ids
        turn_ids = [turn_id_of(frame.data) for frame in frames] if named else ()
        route = self.router.route(events, turn_ids)
        state = self.current
        if self._raw_subscribers:
            owned = set(map(id, route.events))
            sender = None if state is None else state.sender
            items = [
                (frame, sender if id(event) in owned else None)
                for event, frame in zip(events, frames, strict=True)
            ]
            for raw_buffer in self._raw_subscribers:
                raw_buffer.put(items, size)
        if state is not None and route.turn is state.turn:
            if len(route.events) != len(events):
                size = _size_of_owned(route.events, events, frames)
            self._pass_on(state, route, size)
        if state is not None and self.router.others > before and not state.turn.over:
            self.on_others(state)

    def name(self, state: MessageState, turn_id: str | None) -> None:
        """Note the turn id of a message, or that no answer to its POST has one."""
        route = self.router.name(state.turn, turn_id)
        if route.turn is state.turn:
            self._pass_on(state, route, sum(map(size_of, route.events)))

    def _pass_on(self, state: MessageState, route: Route, size: int) -> None:
        if route.events:
            state.take(route.events, size)
        if route.busy is not None:
            self.on_busy(state, route.busy)
        for request in route.asked:
            self.on_asked(state, request)
        if state.turn.phase is _OVER:
            self._check(state)
        elif state.turn.phase is _ENDED:
            state.wake()

    def gap(self, reason: str) -> None:
        """Report to every subscriber, and to a message that was cut, that events may be missing."""
        self._lacked = ""  # it may have been lost with the connection
        event = ev.StreamGapEvent(missed=None, reason=reason)
        for buffer in self._all_subscribers():
            buffer.put([event])
        if self.current is not None and self.current.gap_unreported:
            self.current.gap_unreported = False
            self.current.insert_gap(reason)

    def step(self, state: MessageState, what: Input, stored: StoredReply | None = None) -> bool:
        """Apply an input other than an event to a turn; return whether it had an effect."""
        if stored is not None and not state.over.is_set():
            state.builder.take_stored(stored)
        if stored is not None:
            self.router.own(state.turn, stored.user_message_id, stored.message_id)
            if what is Input.SETTLED and stored.user_message_id and not state.turn.bound:
                state.turn.found_as(stored.user_message_id)
        empty = stored is None or not any(stored.texts)
        if what is Input.ANSWER and empty and state.turn.failed:
            what = Input.SETTLED  # it is no reply that contradicts the error
        changed = self.router.apply(state.turn, what)
        if changed and state.turn.phase in (Phase.RUNNING, Phase.ANSWERED):
            state.started.set()
        self._check(state)
        return changed

    def end_with(self, state: MessageState, failure: BaseException, what: Input) -> None:
        """End a message with a failure, and its turn with it."""
        state.fail(failure)
        self.router.apply(state.turn, what)
        self._check(state)

    def close(self, failure: Callable[[], BaseException], *, cleanly: bool) -> None:
        """End everything: the stream has ended (rule 3).

        Args:
          failure: makes the exception for each message and each subscriber.
          cleanly: whether subscribers just end, because the stream was closed on purpose.
        """
        self._failure = failure
        for buffer in self._all_subscribers():
            buffer.close(None if cleanly else failure())
        if self.current is not None:
            state, self.current = self.current, None
            self._set_buffers()
            state.fail(failure())
            state.end_turn()

    def finish(self, state: MessageState) -> None:
        """End a message whose turn is over, with everything that was received of it."""
        if not state.turn_over.is_set():
            state.finish()
            state.end_turn()
            if self.current is state:
                self.current = None
                self._set_buffers()
            # After an error, the text of a turn before may still come. Commands send no deltas.
            if not (state.turn.failed or state.turn.is_command):
                self._lacked = state.builder.rest[: MOST_SEARCHED + 1]
            self._on_turn_over(state)

    def _check(self, state: MessageState) -> None:
        state.wake()
        if not state.turn.over or state.turn_over.is_set():
            return
        if state.gap_unreported:
            state.builder.gap()
        if state.over.is_set() or not state.unsettled:
            self.finish(state)
        else:
            state.recovery.reads_once = not state.in_doubt
            self.on_unsettled(state)


def _size_of_owned(
    owned: Sequence[Event], events: Sequence[Event], frames: Sequence[ServerSentEvent]
) -> int:
    """Return the size of a message's events, of which earlier batches may have brought some.

    Args:
      owned: the message's events.
      events: the events of the last batch.
      frames: the frame of each.
    """
    earlier, size = list(owned), 0
    for event, frame in zip(reversed(events), reversed(frames), strict=False):
        if earlier and event is earlier[-1]:
            earlier.pop()
            size += len(frame.data)
    return size + sum(map(size_of, earlier))


def _size_of_raw(item: RawItem | ev.StreamGapEvent) -> int:
    return 0 if isinstance(item, ev.StreamGapEvent) else len(item[0].data)


def copies_of(failure: BaseException) -> Callable[[], BaseException]:
    """Return a function that copies an exception: one copy for each task that raises it."""
    return lambda: clone_error(failure)
