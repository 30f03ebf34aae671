"""A log of the relay in memory, for tests on a fake clock.

A `MemoryStore` is the disk: it survives the `MemoryLog` of a process that was killed.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Self

import attrs
import trio

from trio_mix.relay._errors import Fenced, KeyReused, LogError
from trio_mix.relay._ids import before_first, epoch_of, sequence_of
from trio_mix.relay._log import KEY_KEPT, Extent, LogStatistics, Retention

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from trio_mix.relay._records import LoggedEvent, TurnRecord

__all__ = ["MemoryLog", "MemoryStore"]


@attrs.define
class StoredSession:
    epoch: int = 0
    token: int = 0
    newest: int = 0
    events: list[LoggedEvent] = attrs.field(factory=list)
    deleted: dict[int, int] = attrs.field(factory=dict)
    times: list[float] = attrs.field(factory=list)
    taken: bool = False
    """Whether a lease was acquired and not released."""


@attrs.define
class MemoryStore:
    """What is stored; ``history`` has all events that ever were, also the deleted ones."""

    sessions: dict[str, StoredSession] = attrs.field(factory=dict)
    turns: dict[str, TurnRecord] = attrs.field(factory=dict)
    values: dict[str, str] = attrs.field(factory=dict)
    history: dict[str, list[LoggedEvent]] = attrs.field(factory=dict)
    tokens: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))


class MemoryLog:
    """A log in memory.

    Args:
      store: the disk.
      retention: how much is kept.
      delay: returns the seconds before, and after, a commit.
      alive: whether previous owners may still be running, which makes a new lease a takeover.
      wall_clock: the time in seconds since 1970.
    """

    def __init__(
        self,
        store: MemoryStore | None = None,
        *,
        retention: Retention | None = None,
        delay: Callable[[], float] = lambda: 0.0,
        alive: bool = False,
        wall_clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self.store: MemoryStore = MemoryStore() if store is None else store
        self.outbox: MemoryOutbox = MemoryOutbox(self)
        self.peers: None = None
        self.failure: LogError | None = None
        """Raised by every write while it is set."""
        self._retention = Retention() if retention is None else retention
        self._delay = delay
        self._alive = alive
        self.now: Callable[[], float] = wall_clock
        self._counts = {"commits": 0, "appends": 0, "events": 0, "bytes": 0, "deleted": 0}

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def acquire(self, session_id: str, *, seen: int = 0) -> MemoryLease:
        del seen
        await self.pause()
        session = self.store.sessions.setdefault(session_id, StoredSession())
        takeover = self._alive and session.taken
        session.epoch += 1
        session.token = next(self.store.tokens)
        session.taken = True
        session.newest = session.newest or before_first(session.epoch)
        lease = MemoryLease(self, session_id, session, takeover=takeover)
        await self.pause()
        return lease

    async def read(
        self, session_id: str, after: int, *, max_bytes: int = 262_144
    ) -> list[LoggedEvent]:
        await trio.lowlevel.checkpoint()
        found: list[LoggedEvent] = []
        size = 0
        session = self.store.sessions.get(session_id, StoredSession())
        for event in session.events:
            if event.id > after:
                size += len(event.frame)
                if found and size > max_bytes:
                    break
                found.append(event)
        return found

    async def extent(self, session_id: str) -> Extent | None:
        await trio.lowlevel.checkpoint()
        session = self.store.sessions.get(session_id)
        if session is None:
            return None
        oldest = session.newest
        if session.events:
            oldest = session.events[0].id - 1
        return Extent(newest=session.newest, oldest=oldest, deleted=dict(session.deleted))

    async def remember(self, name: str, value: str) -> None:
        await self.pause()
        self.store.values[name] = value

    async def recall(self, name: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.store.values.get(name)

    def statistics(self) -> LogStatistics:
        return LogStatistics(**self._counts)

    async def pause(self) -> None:
        """Take the time of a commit; raises the failure, if there is one."""
        delay = self._delay()
        if delay:
            await trio.sleep(delay)
        else:
            await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure

    def stored(self, session_id: str, events: Sequence[LoggedEvent]) -> None:
        """Store events and apply the retention."""
        session = self.store.sessions[session_id]
        session.events += events
        session.times += [self.now()] * len(events)
        self.store.history.setdefault(session_id, []).extend(events)
        if events:
            session.newest = events[-1].id
        self._counts["commits"] += 1
        self._counts["appends"] += 1
        self._counts["events"] += len(events)
        self._counts["bytes"] += sum(len(event.frame) for event in events)
        self.delete_old(session)

    def size(self) -> int:
        stored = self.store.sessions.values()
        return sum(len(event.frame) for each in stored for event in each.events)

    def delete_old(self, session: StoredSession) -> None:
        keep = self._retention
        oldest = self.now() - keep.age
        while session.events and (
            len(session.events) > keep.events
            or session.times[0] < oldest
            or self.size() > keep.bytes
        ):
            gone = session.events.pop(0)
            session.times.pop(0)
            session.deleted[epoch_of(gone.id)] = sequence_of(gone.id)
            self._counts["deleted"] += 1


class MemoryLease:
    """A lease of a session in memory."""

    def __init__(
        self, log: MemoryLog, session_id: str, session: StoredSession, *, takeover: bool
    ) -> None:
        self._log = log
        self._session = session
        self._token = session.token
        self.session_id: str = session_id
        self.epoch: int = session.epoch
        self.newest: int = session.newest
        self.takeover: bool = takeover

    def remaining(self) -> float:
        return math.inf

    async def wait_lost(self) -> None:
        await trio.sleep_forever()

    async def append(self, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord] = ()) -> None:
        await self._log.pause()
        if self._session.token != self._token:
            raise Fenced(f"Another relay owns session {self.session_id!r} now.")
        assert all(epoch_of(event.id) == self.epoch for event in events)
        assert [event.id for event in events] == sorted({event.id for event in events})
        assert not events or events[0].id > self._session.newest
        for turn in turns:
            self._log.store.turns[turn.turn_id] = turn
        self._log.stored(self.session_id, events)
        await trio.lowlevel.checkpoint()

    async def release(self) -> None:
        if self._session.token == self._token:
            self._session.taken = False
            self._session.token = 0
        await trio.lowlevel.cancel_shielded_checkpoint()


class MemoryOutbox:
    """The turns in memory."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def accept(self, turn: TurnRecord) -> TurnRecord:
        await self._log.pause()
        turns = self._log.store.turns
        if turn.key is not None:
            for known in turns.values():
                if (known.session_id, known.subject, known.key) != (
                    turn.session_id,
                    turn.subject,
                    turn.key,
                ):
                    continue
                if known.state.over and self._log.now() - known.created_at > KEY_KEPT:
                    continue
                if known.digest != turn.digest:
                    raise KeyReused(f"The idempotency key {turn.key!r} was used with another body.")
                return known
        self._log.store.sessions.setdefault(turn.session_id, StoredSession())
        turns[turn.turn_id] = turn
        await trio.lowlevel.checkpoint()
        return turn

    async def turn(self, turn_id: str) -> TurnRecord | None:
        await trio.lowlevel.checkpoint()
        return self._log.store.turns.get(turn_id)

    async def pending(self, session_id: str) -> list[TurnRecord]:
        await trio.lowlevel.checkpoint()
        return [
            turn
            for turn in self._log.store.turns.values()
            if turn.session_id == session_id and not turn.state.over
        ]

    async def sessions(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        return list(
            dict.fromkeys(
                turn.session_id for turn in self._log.store.turns.values() if not turn.state.over
            )
        )
