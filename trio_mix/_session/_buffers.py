"""Buffer events between the reader of a stream, which never waits, and one consumer.

A buffer is a Trio memory channel of batches. The events of one read of the socket are one batch,
and while the consumer is behind, more are added to the last batch that it has not received: sending
never blocks and is never refused, and one channel operation serves a whole read.

Rule 1  Below the mark every event is kept as it came.
Rule 2  At the mark a message's buffer merges adjacent text deltas of one assistant message: nothing
        is lost. Past the hard limit it overflows.
Rule 3  A subscriber's buffer drops its oldest events, visibly: a gap event with their number takes
        their place.
Rule 4  One consumer at a time: a second one gets `trio.BusyResourceError`.
Rule 5  After `close` the consumer still gets what is buffered, then the end or the failure.
Rule 6  Where the buffers of a client hold too many bytes together, the largest one is reduced,
        whichever has just grown, and first those whose consumers were found to take no events: a
        subscriber's drops its older half as in rule 3, a message's overflows. A buffer counts the
        data of its events from when they are put until they were received, and the consumer asks
        for the next batch.
Rule 7  Each event taken is a cancellation point. The first of a batch, and every 64th after it, is
        a schedule point as well.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

import attrs
import trio

from trio_mix import events as ev
from trio_mix._turns._turn import size_of
from trio_mix._usage import check_trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix.events import Event

_Item = TypeVar("_Item")

HARD_LIMIT_FACTOR: Final = 16
MERGED_CHARACTERS: Final = 16 * 2**20
EVENTS_BETWEEN_CHECKPOINTS: Final = 64
_NOTHING: Final[deque[Any]] = deque(maxlen=0)
"""What a consumer without events has received; it cannot grow."""
_FELL_BEHIND: Final = "this subscriber fell behind"
_LARGE: Final = 16
"""A buffer with more than this part of the limit is large."""


class Budget:
    """Counts the bytes in the buffers of one client.

    Args:
      limit: how many bytes they may hold together; None: no limit.

    Attributes:
      used: how many bytes they hold.
      mark: with more bytes than this a consumer is behind: a part of the limit, or nothing while
        half of the limit is used.
    """

    __slots__ = ("_buffers", "_half", "_part", "limit", "mark", "used")

    def __init__(self, limit: int | None = None) -> None:
        self.limit: float = math.inf if limit is None else limit
        self.used: int = 0
        self._half = self.limit / 2
        self._part = self.limit / _LARGE
        self.mark: float = self._part
        self._buffers: set[EventBuffer[Any]] = set()

    def grow(self, buffer: EventBuffer[Any], size: int) -> None:
        """Note that a buffer holds more (rule 6)."""
        self.used += size
        self._buffers.add(buffer)
        if self.used > self._half:
            while self.used > self.limit and self._buffers:
                max(self._buffers, key=_first_to_reduce).shed()
            self.mark = 0 if self.used > self._half else self._part

    def shrink(self, buffer: EventBuffer[Any], size: int) -> None:
        """Note that a buffer holds less."""
        self.used -= size
        if not buffer.bytes:
            self._buffers.discard(buffer)
        if not self.mark and self.used <= self._half:
            self.mark = self._part


def _first_to_reduce(buffer: EventBuffer[Any]) -> tuple[bool, int]:
    return buffer.idle, buffer.bytes


class EventBuffer(Generic[_Item]):
    """A buffer of events, iterated by one task.

    Args:
      size: the number of events that can be buffered before events are merged or dropped.

    Attributes:
      half: half of the size: with more events buffered, the consumer is behind.
      idle: whether the consumer is behind and was found to take no events.
      budget: counts the bytes of all buffers of the client.
      bytes: the size of what is buffered, as `put` was given it.
    """

    def __init__(self, size: int = sys.maxsize) -> None:
        self.half: int = size // 2
        self.idle: bool = False
        self.budget: Budget | None = None
        self.bytes: int = 0
        self._received_bytes = 0
        self._sender, self._receiver = trio.open_memory_channel[deque[_Item]](math.inf)
        self._sent: deque[_Item] | None = None  # the last batch, until it is received
        self._received: deque[_Item] = _NOTHING
        self._busy = False
        self._closed = False
        self._failure: BaseException | None = None
        # How many of the received events may be taken before the next schedule point (rule 7).
        self._at_once = 0

    def __len__(self) -> int:
        return len(self._received) + (0 if self._sent is None else len(self._sent))

    @property
    def closed(self) -> bool:
        """Whether no more events are accepted."""
        return self._closed

    def put(self, events: Sequence[_Item], size: int = 0) -> None:
        """Append a batch of events; never waits. After `close` it is ignored.

        Args:
          events: the events.
          size: the size of their data, in bytes.
        """
        if self._closed or not events:
            return
        self._append(events)
        self._grow(size)

    def _append(self, events: Sequence[_Item]) -> None:
        if self._sent is None:
            self._sent = deque(events)
            self._sender.send_nowait(self._sent)
        else:
            self._sent.extend(events)

    def _grow(self, size: int) -> None:
        if size and self.budget is not None:
            self.bytes += size
            self.budget.grow(self, size)

    def _shrink(self, size: int) -> None:
        if size and self.budget is not None:
            self.bytes -= size
            self.budget.shrink(self, size)

    def shed(self) -> None:
        """Drop some of the buffered events, because the budget is exceeded (rule 6)."""
        self._clear()

    def _clear(self) -> None:
        self._received.clear()
        if self._sent is not None:
            self._sent.clear()
        self._at_once = self._received_bytes = 0
        self._shrink(self.bytes)

    def close(self, failure: BaseException | None = None) -> None:
        """End the buffer: cleanly, or with the exception that its consumer gets."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._sender.close()

    def discard(self) -> None:
        """Drop what is buffered and end the buffer."""
        self._clear()
        self.close()

    def __aiter__(self) -> Self:
        """Iterate the events."""
        return self

    async def __anext__(self) -> _Item:
        """Return the next event, or end.

        Raises the failure that the buffer was closed with. A checkpoint, also if an event is
        buffered (rule 7). Cancelled, it loses no event.
        """
        if not self._at_once:
            await self._wait()
            return self._pop()
        self._at_once -= 1
        await trio.lowlevel.checkpoint_if_cancelled()
        return self._received.popleft()

    async def _wait(self) -> None:  # noqa: ASYNC910 - raises, or waits
        """Wait until events are received; a schedule point in any case."""
        check_trio()
        if self._busy:
            raise trio.BusyResourceError(
                "another task is already iterating this message or subscription: let one task"
                " iterate it, or give each its own subscription"
            )
        self._busy, self.idle = True, False
        try:
            if self._received:
                await trio.lowlevel.checkpoint()
            else:
                self._release()
            while not self._received:
                self._receive(await self._receiver.receive())
        except trio.EndOfChannel:
            await trio.lowlevel.checkpoint()
        finally:
            self._busy = False
        if not self._received:
            raise StopAsyncIteration if self._failure is None else self._failure
        self._at_once = min(len(self._received), EVENTS_BETWEEN_CHECKPOINTS) - 1

    def _receive(self, batch: deque[_Item]) -> None:
        self._release()
        self._sent, self._received = None, batch
        self._received_bytes = self.bytes

    def _release(self) -> None:
        """Stop counting the batch that was received and taken."""
        self._received = _NOTHING
        size, self._received_bytes = self._received_bytes, 0
        self._shrink(size)

    def _pop(self) -> _Item:
        return self._received.popleft()


class MessageBuffer(EventBuffer["Event"]):
    """A message's buffer: at the mark text deltas are merged, at the hard limit it overflows.

    Args:
      mark: the number of buffered events from which on deltas are merged.

    Attributes:
      overflowed: whether events were refused, or too much text was merged (rule 2).
    """

    def __init__(self, mark: int) -> None:
        super().__init__(mark)
        self._mark = max(mark, 1)
        self._limit = self._mark * HARD_LIMIT_FACTOR
        self._merged: list[str] = []  # the pieces of the last event in ``_sent``, not joined yet
        self._characters = 0
        self.overflowed: bool = False
        self.on_shed: Callable[[], None] = lambda: None

    def put(self, events: Sequence[Event], size: int = 0) -> None:
        """Append a batch of events, merging deltas from the mark on; check `overflowed` after."""
        room = max(self._mark - len(self), 0)
        self._add(events[:room])
        for event in events[room:]:
            if self._closed or self.overflowed:
                return
            if not self._merge(event):
                self.overflowed = len(self) >= self._limit
                self._add([event])
        if not (self._closed or self.overflowed):
            self._grow(size)

    def _add(self, events: Sequence[Event]) -> None:
        if events and not (self.overflowed or self._closed):
            if self._merged:
                self._join()
            self._append(events)

    def shed(self) -> None:
        """Overflow, and drop everything: the message fails."""
        self.overflowed = True
        self._merged = []
        self._clear()
        self.on_shed()

    def _merge(self, event: Event) -> bool:
        """Add a delta to the last event, if both are text of one message; return whether."""
        last = self._sent[-1] if self._sent else None
        if (
            self._sent is None
            or not isinstance(event, ev.ContentEvent | ev.ThinkingEvent)
            or not isinstance(last, ev.ContentEvent | ev.ThinkingEvent)
            or type(last) is not type(event)
            or last.assistant_message_id != event.assistant_message_id
            or last.parent_tool_call_id != event.parent_tool_call_id
        ):
            return False
        if not self._merged:
            self._merged, self._characters = [last.content], len(last.content)
        self._merged.append(event.content)
        self._characters += len(event.content)
        self._sent[-1] = event
        self.overflowed = self._characters > MERGED_CHARACTERS
        return True

    def _join(self) -> None:
        """Join the deltas that were merged, as the last event."""
        if self._merged and self._sent:
            last: Any = self._sent[-1]
            self._sent[-1] = attrs.evolve(last, content="".join(self._merged))
        self._merged = []

    def _receive(self, batch: deque[Event]) -> None:
        self._join()
        super()._receive(batch)


class SubscriberBuffer(EventBuffer["_Item | ev.StreamGapEvent"], Generic[_Item]):
    """A subscriber's buffer: the oldest events are dropped, visibly (rule 3).

    A gap event that is dropped itself counts as one, and its reason is kept.

    Args:
      size: the number of events that can be buffered.
      size_of: returns the size of an item, in bytes.
    """

    def __init__(self, size: int, size_of: Callable[[Any], int] = size_of) -> None:
        super().__init__(size)
        self._size_of = size_of
        self._size = max(size, 1)
        self._missed = 0
        self._dropped_reason = ""  # that of the last gap event that was dropped

    def put(self, events: Sequence[_Item | ev.StreamGapEvent], size: int = 0) -> None:
        """Append a batch of events, dropping the oldest ones beyond the limit."""
        if self._closed or not events:
            return
        self._append(events)
        self._grow(size)
        while len(self) > self._size:
            self._drop_oldest()

    def shed(self) -> None:
        """Drop the older half of what is buffered, visibly (rule 3)."""
        target = self.bytes // 2
        while len(self) and self.bytes > target:
            self._drop_oldest()
        if not len(self):
            self._clear()  # also what was taken last, which the consumer may still hold

    def _drop_oldest(self) -> None:
        received = bool(self._received)
        queue: deque[Any] = self._received or self._sent  # type: ignore[assignment]
        dropped = queue.popleft()
        self._missed += 1
        self._at_once = 0  # the gap event comes before what could be taken at once
        if isinstance(dropped, ev.StreamGapEvent):
            self._dropped_reason = dropped.reason
        if self.budget is not None:
            counted = self._received_bytes if received else self.bytes - self._received_bytes
            # `put` may have counted more than the text of the events: at least an equal share goes.
            share = counted // (len(queue) + 1)
            size = min(counted, max(self._size_of(dropped), share)) if queue else counted
            self._received_bytes -= size if received else 0
            self._shrink(size)

    def _pop(self) -> _Item | ev.StreamGapEvent:
        if self._missed:
            reason = f"{_FELL_BEHIND}; {self._dropped_reason}".removesuffix("; ")
            gap = ev.StreamGapEvent(missed=self._missed, reason=reason)
            self._missed, self._dropped_reason = 0, ""
            return gap
        return super()._pop()
