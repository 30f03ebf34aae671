"""From a producer that never waits to one consumer that may be slow.

What it knows: the order of what was put in, how much may stand waiting. What it must never know:
what an event means beyond whether two of them may be merged into one.

A trio memory channel either blocks its sender or refuses; here the reader of a socket must do
neither (DESIGN: it never waits for a slow consumer), so the waiting line itself gives way:

Rule 1  Below the mark everything stands as it came.
Rule 2  A message's line (`MessageBuffer`) merges, at the mark, adjacent text deltas of one
        assistant message: nothing is lost. Past the hard limit it fails, and says so once.
Rule 3  A subscriber's line (`SubscriberBuffer`) drops its oldest, visibly: a gap event with their
        number stands in their place.
Rule 4  One consumer at a time: a second one gets `trio.BusyResourceError`.
Rule 5  After `close` the consumer still gets what stood waiting, then the end or the failure.
Rule 6  Each event taken is a point of cancellation. The first one of those that stand waiting, and
        every 64th after it, lets other tasks run as well.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self

import attrs
import trio

from trio_mix import events as ev
from trio_mix._wire._events import PENDING_DELTAS, PendingDelta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._router import RunDelta
    from trio_mix.events import Event

__all__ = ["EventBuffer", "MessageBuffer", "SubscriberBuffer"]

HARD_LIMIT_FACTOR: Final = 16
MERGED_CHARACTERS: Final = 16 * 2**20
EVENTS_BETWEEN_CHECKPOINTS: Final = 64
_DELTAS: Final = (ev.ContentEvent, ev.ThinkingEvent, PendingDelta)
_FELL_BEHIND: Final = "this subscriber fell behind"


class EventBuffer:
    """A waiting line of events, without limit."""

    def __init__(self) -> None:
        self._line: deque[Event | PendingDelta | _Merged] = deque()
        self._parked: trio.lowlevel.Task | None = None
        self._taken = False
        # How many of those that stand waiting may be taken before other tasks have to run (rule
        # 6); only while nobody waits.
        self._at_once = 0
        self._closed = False
        self._failure: BaseException | None = None

    def __len__(self) -> int:
        return len(self._line)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be put in."""
        return self._closed

    def put(self, event: Event) -> None:
        """Append an event; never waits. After `close` it is ignored."""
        if not self._closed:
            self._line.append(event)
            if self._parked is not None:
                self._wake()

    def put_run(self, run: Sequence[RunDelta]) -> bool:
        """Put in adjacent deltas of one class and one message at once.

        Return False, having taken none, where that cannot be: they are `put`'s, one by one.
        """
        if not self._closed:
            self._line.extend(run)
            self._wake()
        return True

    def close(self, failure: BaseException | None = None) -> None:
        """End the line: cleanly, or with what its consumer shall see raised."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._wake()

    def discard(self) -> None:
        """Drop what stands waiting and end the line."""
        self._line.clear()
        self._at_once = 0
        self.close()

    def __aiter__(self) -> Self:
        """Iterate what is put in."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event, or end; raises what the line failed with.

        A checkpoint, also when an event stands waiting (rule 6). A cancelled wait loses nothing.
        """
        if not self._at_once:
            return await self._next()
        self._at_once -= 1
        await trio.lowlevel.checkpoint_if_cancelled()
        item = self._line.popleft()
        if not self._line:
            self._at_once = 0
        return item.event() if type(item) in _MADE_LATE else item  # type: ignore[union-attr, return-value]

    async def _next(self) -> Event:
        if self._taken:
            raise trio.BusyResourceError(
                "another task is already iterating this message or subscription: let one task"
                " iterate it, or give each a stream.subscribe() of its own"
            )
        self._taken = True
        try:
            if self._line or self._closed:
                await trio.lowlevel.checkpoint()
            while not self._line and not self._closed:
                self._parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._taken = False
        if self._line:
            event = self._pop()
            self._at_once = EVENTS_BETWEEN_CHECKPOINTS - 1 if self._line else 0
            return event  # noqa: ASYNC910 - it has waited, or see the line's own
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    def _pop(self) -> Event:
        item = self._line.popleft()
        return item.event() if type(item) in _MADE_LATE else item  # type: ignore[union-attr, return-value]

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _wake(self) -> None:
        if self._parked is not None:
            task, self._parked = self._parked, None
            trio.lowlevel.reschedule(task)


class MessageBuffer(EventBuffer):
    """A message's line: text deltas merge at the mark, the hard limit fails it (rule 2).

    Args:
      mark: events waiting from which on deltas are merged.
    """

    def __init__(self, mark: int) -> None:
        super().__init__()
        self._mark = max(mark, 1)
        self._limit = self._mark * HARD_LIMIT_FACTOR
        self.overflowed: bool = False

    def put(self, event: Event) -> None:
        """Append an event, or merge it into the last one; `overflowed` tells of the limit."""
        if self._closed or self.overflowed:
            return
        if len(self._line) < self._mark:
            self._line.append(event)
            if self._parked is not None:
                self._wake()
            return
        if isinstance(event, ev.ContentEvent | ev.ThinkingEvent):
            last = self._line[-1]
            if isinstance(last, _DELTAS):
                last = _Merged(last)
            if isinstance(last, _Merged) and last.takes(event):
                last.add(event)
                self._line[-1] = last
                self.overflowed = last.size > MERGED_CHARACTERS
                return
        if len(self._line) >= self._limit:
            self.overflowed = True
            return
        super().put(event)

    def put_run(self, run: Sequence[RunDelta]) -> bool:
        """Put in adjacent deltas at once, merged from the mark on; not where it may overflow."""
        room = max(self._mark - len(self._line), 0)
        if self._closed or self.overflowed or len(run) <= room:
            return self.overflowed or super().put_run(run)
        last = run[room - 1] if room else self._line[-1]
        if isinstance(last, _DELTAS):
            last = _Merged(last)
        rest = run[room:]
        if not (isinstance(last, _Merged) and last.takes(rest[0])):
            return False
        if last.size + sum(len(event.content) for event in rest) > MERGED_CHARACTERS:
            return False
        self._line.extend(run[:room])
        self._line[-1] = last
        for event in rest:
            last.add(event)
        self._wake()
        return True


class SubscriberBuffer(EventBuffer):
    """A subscriber's line: the oldest give way, visibly (rule 3).

    Args:
      size: events that may stand waiting.

    A gap that is dropped itself counts as one, and its reason is kept.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = max(size, 1)
        self._missed = 0
        self._reasons = [_FELL_BEHIND]

    def put(self, event: Event) -> None:
        """Append an event, dropping the oldest where the line is full."""
        if not self._closed and len(self._line) >= self._size:
            dropped = self._line.popleft()
            self._missed += 1
            self._at_once = 0  # the gap stands before what may be taken at once
            if isinstance(dropped, ev.StreamGapEvent):
                self._reasons[1:] = [dropped.reason]
        super().put(event)

    def put_run(self, run: Sequence[RunDelta]) -> bool:
        """Put in adjacent deltas at once, where none has to give way."""
        return len(self._line) + len(run) <= self._size and super().put_run(run)

    def _pop(self) -> Event:
        if self._missed:
            gap = ev.StreamGapEvent(missed=self._missed, reason="; ".join(self._reasons))
            self._missed, self._reasons = 0, [_FELL_BEHIND]
            return gap
        return super()._pop()


@attrs.define
class _Merged:
    """Several adjacent deltas of one assistant message, joined only when they are taken."""

    last: RunDelta
    pieces: list[str] = attrs.field(init=False)
    size: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.pieces = [self.last.content]
        self.size = len(self.last.content)

    def takes(self, event: RunDelta) -> bool:
        return (
            _class_of(event) is _class_of(self.last)
            and event.assistant_message_id == self.last.assistant_message_id
            and event.parent_tool_call_id == self.last.parent_tool_call_id
        )

    def add(self, event: RunDelta) -> None:
        self.pieces.append(event.content)
        self.size += len(event.content)
        self.last = event

    def event(self) -> Event:
        last = self.last.event() if isinstance(self.last, PendingDelta) else self.last
        return attrs.evolve(last, content="".join(self.pieces))


def _class_of(event: RunDelta) -> type:
    return event.of if isinstance(event, PendingDelta) else type(event)


_MADE_LATE: Final = frozenset((*PENDING_DELTAS, _Merged))
