"""What every engine of the log must do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias

import attrs
import pytest
import trio

from tests.support.relay_memory_log import MemoryLog, MemoryStore
from trio_mix.relay import RedisLog, Retention, SqliteLog
from trio_mix.relay._cursor import missed_after
from trio_mix.relay._errors import Fenced, KeyReused
from trio_mix.relay._ids import IdSequence, before_first, epoch_of
from trio_mix.relay._records import (
    Answer,
    Audience,
    LoggedEvent,
    Outcome,
    SendRequest,
    TurnRecord,
    TurnState,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.support.redis_server import RedisServer
    from trio_mix.relay._log import Lease, Log

    Open: TypeAlias = "Callable[..., AbstractAsyncContextManager[Log]]"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def open_log(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return a function that opens the log again and again, as processes do one after another."""
    store = MemoryStore()

    def made(retention: Retention | None) -> MemoryLog | SqliteLog | RedisLog:
        if request.param == "memory":
            return MemoryLog(store, retention=retention)
        if request.param == "sqlite":
            return SqliteLog(tmp_path / "relay.db", retention=retention)
        server: RedisServer = request.getfixturevalue("redis")
        return RedisLog(server.url, retention=retention)

    @asynccontextmanager
    async def opened(retention: Retention | None = None) -> AsyncIterator[Log]:
        async with made(retention) as log:
            yield log

    return opened


def made(lease: Lease, count: int, size: int = 10) -> list[LoggedEvent]:
    """Return the next events of a lease's epoch, the first time it is used."""
    ids = IdSequence(lease.epoch)
    events = []
    for number in range(count):
        event_id = ids.take()
        frame = encode_frame(event_id, "content", "x" * size)
        events.append(LoggedEvent(event_id, Audience(number % 3), frame))
    return events


def turn(name: str, session: str = "s", **values: object) -> TurnRecord:
    request = SendRequest(text=f"text of {name} ⏎", media=("a.png",), max_steps=3)
    record = TurnRecord(
        turn_id=name, session_id=session, request=request, digest=name, created_at=1.0
    )
    return attrs.evolve(record, **values)  # type: ignore[arg-type]


async def test_what_was_appended_is_read_in_order_also_by_the_next_process(open_log: Open) -> None:
    async with open_log() as log:
        lease = await log.acquire("s")
        assert (lease.epoch, lease.newest, lease.takeover) == (1, before_first(1), False)
        first = made(lease, 5)
        await lease.append(first[:2])
        await lease.append(first[2:])
        assert await log.read("s", 0) == first
        assert await log.read("s", first[1].id) == first[2:]
        assert await log.read("s", first[-1].id) == await log.read("another", 0) == []
    async with open_log() as log:
        assert await log.read("s", 0) == first
        lease = await log.acquire("s")
        assert (lease.epoch, lease.newest) == (2, first[-1].id)
        more = made(lease, 1)
        await lease.append(more)
        assert await log.read("s", first[0].id) == first[1:] + more
        extent = await log.extent("s")
        assert extent is not None
        assert (extent.oldest, extent.newest) == (first[0].id - 1, more[0].id)
        assert await log.extent("another") is None


async def test_a_read_is_bounded_by_bytes_but_returns_at_least_one_event(open_log: Open) -> None:
    async with open_log() as log:
        lease = await log.acquire("s")
        events = made(lease, 6, size=1000)
        await lease.append(events)
        size = len(events[0].frame)
        assert await log.read("s", 0, max_bytes=1) == events[:1]
        assert await log.read("s", events[0].id, max_bytes=3 * size) == events[1:4]


async def test_a_lease_that_was_taken_over_or_released_appends_nothing(open_log: Open) -> None:
    async with open_log() as log:
        old = await log.acquire("s")
        await log.outbox.accept(turn("t"))
        new = await log.acquire("s")
        with pytest.raises(Fenced):
            await old.append(made(old, 1), [turn("t", state=TurnState.DONE)])
        assert await log.read("s", 0) == []
        assert await log.outbox.turn("t") == turn("t")
        await new.append(made(new, 1))
        await old.release()
        await new.append([attrs.evolve(made(new, 2)[1])])
        await new.release()
        with pytest.raises(Fenced):
            await new.append([made(new, 3)[2]])
        assert [epoch_of(event.id) for event in await log.read("s", 0)] == [2, 2]


async def test_sessions_are_independent(open_log: Open) -> None:
    async with open_log() as log:
        leases = [await log.acquire(name) for name in "abc"]
        async with trio.open_nursery() as nursery:
            for lease in leases:
                nursery.start_soon(lease.append, made(lease, 3))
        for name, lease in zip("abc", leases, strict=True):
            assert await log.read(name, 0) == made(lease, 3)


async def test_a_turn_is_stored_with_everything_that_is_known_of_it(open_log: Open) -> None:
    over = turn(
        "t",
        state=TurnState.DONE,
        ticket='{"version": 1}',
        outcome=Outcome(
            kind="complete",
            text="é\n",
            final_text="é",
            message_id="m",
            tool_calls=({"id": "c", "name": "bash", "input": "{}", "finished": True},),
        ),
        answer=Answer(status=404, content_type="text/plain", body=b"\x00\xff"),
        ended_at=4e9,
        first_id=before_first(1),
    )
    async with open_log() as log:
        assert await log.outbox.turn("t") is None
        assert await log.outbox.accept(turn("t")) == turn("t")
        lease = await log.acquire("s")
        await lease.append([], [over])
    async with open_log() as log:
        assert await log.outbox.turn("t") == over


async def test_pending_turns_are_in_the_order_of_their_acceptance(open_log: Open) -> None:
    async with open_log() as log:
        for name, session in (("b", "s"), ("x", "other"), ("a", "s"), ("c", "s")):
            await log.outbox.accept(turn(name, session))
        lease = await log.acquire("s")
        await lease.append([], [turn("a", state=TurnState.CANCELLED, ended_at=3.0)])
        await lease.append([], [turn("b", state=TurnState.POSTING)])
        assert [each.turn_id for each in await log.outbox.pending("s")] == ["b", "c"]
        assert await log.outbox.sessions() == ["s", "other"]
        other = await log.acquire("other")
        await other.append([], [turn("x", "other", state=TurnState.UNKNOWN, ended_at=3.0)])
        assert await log.outbox.sessions() == ["s"]


async def test_a_key_is_accepted_once_for_each_session_and_subject(open_log: Open) -> None:
    async with open_log() as log:
        assert isinstance(log, MemoryLog | SqliteLog | RedisLog)
        now = log.now()
        first = turn("t1", key="k", digest="d", created_at=now)
        assert await log.outbox.accept(first) == first
        assert await log.outbox.accept(turn("t2", key="k", digest="d", created_at=now)) == first
        with pytest.raises(KeyReused, match="another body"):
            await log.outbox.accept(turn("t3", key="k", digest="other", created_at=now))
        for other in (
            turn("t4", "other", key="k", digest="x", created_at=now),
            turn("t5", key="k", digest="x", subject="eve", created_at=now),
            turn("t6", key="k2", digest="x", created_at=now),
            turn("t7", digest="d", created_at=now),
        ):
            assert await log.outbox.accept(other) == other
        assert await log.outbox.turn("t2") is None
    async with open_log() as log:
        assert await log.outbox.accept(turn("t8", key="k", digest="d", created_at=now)) == first


async def test_an_old_key_is_free_once_its_turn_is_over(open_log: Open) -> None:
    async with open_log() as log:
        old = turn("t1", key="k", created_at=-100_000.0)
        await log.outbox.accept(old)
        assert await log.outbox.accept(turn("t1", key="k")) == old
        lease = await log.acquire("s")
        await lease.append([], [attrs.evolve(old, state=TurnState.DONE, ended_at=1.0)])
        again = turn("t2", key="k")
        assert await log.outbox.accept(again) == again


async def test_values_are_remembered(open_log: Open) -> None:
    async with open_log() as log:
        assert await log.recall("generation") is None
        await log.remember("generation", "async")
        await log.remember("generation", "blocking")
    async with open_log() as log:
        assert await log.recall("generation") == "blocking"


async def test_deleted_events_are_counted(open_log: Open) -> None:
    keep = Retention(events=20)
    async with open_log(keep) as log:
        lease = await log.acquire("s")
        first = made(lease, 15)
        await lease.append(first)
    async with open_log(keep) as log:
        lease = await log.acquire("s")
        second = made(lease, 30)
        await lease.append(second)
    async with open_log(keep) as log:
        extent = await log.extent("s")
        assert extent is not None
        assert await log.read("s", 0) == (first + second)[25:]
        assert extent.oldest == second[10].id - 1
        assert extent.newest == second[-1].id
        for seen, missed in ((first[4], 20), (first[-1], 10), (second[3], 6), (second[9], None)):
            gap = missed_after(seen.id, extent.deleted)
            assert (None if gap is None else gap.missed) == missed


async def test_the_largest_session_loses_events_where_all_are_too_large(open_log: Open) -> None:
    async with open_log(Retention(bytes=10_000)) as log:
        small, large = await log.acquire("small"), await log.acquire("s")
        kept = made(small, 1, size=1000)
        await small.append(kept)
        events = made(large, 20, size=1000)
        for event in events:
            await large.append([event])
    async with open_log(Retention(bytes=10_000)) as log:
        left = await log.read("s", 0)
        assert left == events[-len(left) :]
        assert 6 <= len(left) <= 9
        if not isinstance(log, MemoryLog):
            assert await log.read("small", 0) == kept


async def test_an_append_that_is_cancelled_is_stored_whole_or_not_at_all(open_log: Open) -> None:
    async with open_log() as log:
        for number in range(6):
            name = f"s{number}"
            lease = await log.acquire(name)
            await log.outbox.accept(turn(f"t{number}", name))
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    over = turn(f"t{number}", name, state=TurnState.DONE, ended_at=1.0)
                    nursery.start_soon(lease.append, made(lease, 2), [over])
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    scope.cancel(reason="test")
            await lease.release()  # what was submitted before it has been decided by then
            stored = await log.read(name, 0)
            known = await log.outbox.turn(f"t{number}")
            assert known is not None
            assert len(stored) == (2 if known.state.over else 0)
