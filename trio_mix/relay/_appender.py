"""Store the events of one session in order, and then pass them to its consumers.

Rule 1  No consumer sees an event before it is stored.
Rule 2  Ids are assigned in the order of `put`; what is put while an append is under way is stored
        with the next one.
Rule 3  Events and turns that are put together are stored in one transaction: an end is never
        stored without the state of its turn.
Rule 4  If the log cannot be written, the same events are tried again: nothing is skipped.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import LogError
from trio_mix.relay._ids import IdSequence
from trio_mix.relay._records import LoggedEvent, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from trio_mix.relay._cursor import Ring
    from trio_mix.relay._log import Lease
    from trio_mix.relay._outbox import Draft
    from trio_mix.relay._records import TurnRecord

_MOST_EVENTS: Final = 1000
_MOST_BYTES: Final = 8 * 2**20
_HIGH_WATER: Final = 16 * 2**20
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0

_logger = get_logger("trio_mix.relay")


class Stored:
    """Whether what was put has been stored."""

    def __init__(self) -> None:
        self.done: bool = False
        self._ended = trio.Event()

    async def wait(self) -> bool:
        """Wait, and return whether it is stored; it is not if the appender has ended."""
        await self._ended.wait()
        return self.done

    def end(self, *, done: bool) -> None:
        """Wake all who wait."""
        self.done = done
        self._ended.set()


@attrs.define(eq=False)
class _Group:
    """What is stored together (rule 3)."""

    events: list[LoggedEvent] = attrs.field(factory=list)
    bytes: int = 0
    turns: Sequence[TurnRecord] = ()
    stored: Stored | None = None


class Appender:
    """Appends to a session with one lease.

    Args:
      lease: the lease.
      ring: receives what is stored.
      listeners: called when the ring has new events.
      interval: seconds from one append to the next. What comes meanwhile is in that one: if it were
        gathered by the log instead, it would wait for the append under way, and then again.

    Attributes:
      failing: the error of the last append, while it is tried again.
    """

    def __init__(
        self,
        lease: Lease,
        ring: Ring,
        listeners: Mapping[object, Callable[[], None]],
        *,
        interval: float = 0.0,
    ) -> None:
        self.failing: LogError | None = None
        self._listeners = listeners
        self._lease = lease
        self._ring = ring
        self._ids = IdSequence(lease.epoch)
        self._groups: deque[_Group] = deque()
        self._bytes = 0
        self._work = trio.Event()
        self._room: trio.Event | None = None
        self._ended = False
        self._interval = interval
        self._next = -math.inf

    @property
    def newest(self) -> int:
        """The position after everything that was put so far, stored or not."""
        return max(self._ids.newest, self._ring.newest)

    def add(self, drafts: Iterable[Draft]) -> None:
        """Store events with the next append."""
        last = self._groups[-1] if self._groups else None
        if last is None or last.stored is not None or len(last.events) >= _MOST_EVENTS:
            last = _Group()
            self._groups.append(last)
        self._encode(drafts, last)

    def put(self, drafts: Iterable[Draft], turns: Sequence[TurnRecord] = ()) -> Stored:
        """Store events, and the new state of turns, together; return what can be waited for."""
        stored = Stored()
        if self._ended:
            stored.end(done=False)
        else:
            group = _Group(turns=turns, stored=stored)
            self._groups.append(group)
            self._encode(drafts, group)
        return stored

    def _encode(self, drafts: Iterable[Draft], group: _Group) -> None:
        for draft in drafts:
            event_id = self._ids.take()
            frame = encode_frame(event_id, draft.event, draft.data)
            group.events.append(LoggedEvent(event_id, draft.audience, frame))
            group.bytes += len(frame)
            self._bytes += len(frame)
        self._work.set()

    async def wait_room(self) -> None:  # noqa: ASYNC910 - usually there is room
        """Wait while very much is not stored yet. A checkpoint only then."""
        while self._bytes > _HIGH_WATER and not self._ended:
            self._room = self._room or trio.Event()
            await self._room.wait()

    async def run(self) -> None:
        """Append until cancelled.

        Raises:
          Fenced: the session has another owner.
        """
        groups: list[_Group] = []
        try:
            while True:
                if not self._groups:
                    self._work = trio.Event()
                    await self._work.wait()
                if self._next > trio.current_time():
                    await trio.sleep_until(self._next)
                groups = self._next_groups()
                await self._append(groups)
                self._next = trio.current_time() + self._interval
                self._pass_on(groups)
        finally:
            self._ended = True
            for group in (*groups, *self._groups):
                if group.stored is not None and not group.stored.done:
                    group.stored.end(done=False)
            self._groups.clear()
            self._wake_room()

    def _next_groups(self) -> list[_Group]:
        """Return the groups of the next append."""
        groups = [self._groups.popleft()]
        events, size = len(groups[0].events), groups[0].bytes
        while self._groups and events < _MOST_EVENTS and size < _MOST_BYTES:
            group = self._groups.popleft()
            groups.append(group)
            events, size = events + len(group.events), size + group.bytes
        return groups

    async def _append(self, groups: Sequence[_Group]) -> None:
        events = [event for group in groups for event in group.events]
        turns = {turn.turn_id: turn for group in groups for turn in group.turns}
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._lease.append(events, list(turns.values()))
            except LogError as exc:
                if self.failing is None:
                    session_id = self._lease.session_id
                    _logger.error("Events of session %r are not stored yet: %s", session_id, exc)
                self.failing = exc
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self.failing = None
                return

    def _pass_on(self, groups: Sequence[_Group]) -> None:
        """Pass on what is stored (rule 1)."""
        events = [event for group in groups for event in group.events]
        self._bytes -= sum(group.bytes for group in groups)
        self._ring.append(events)
        self._wake_room()
        for group in groups:
            if group.stored is not None:
                group.stored.end(done=True)
        if events:
            for listener in list(self._listeners.values()):
                listener()

    def _wake_room(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.set()
