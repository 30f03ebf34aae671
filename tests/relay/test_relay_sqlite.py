"""The SQLite file: killed processes, a full disk, commits, what is deleted."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from tests.relay.test_relay_log import made, turn
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.relay import Retention, SqliteLog, _sqlite, _sqlite_schema
from trio_mix.relay._cursor import missed_after
from trio_mix.relay._errors import (
    Fenced,
    LogError,
    LogFull,
    LogReadOnly,
)
from trio_mix.relay._ids import EPOCH
from trio_mix.relay._records import Outcome, SendRequest, TurnState
from trio_mix.relay._sqlite_writer import Job

if TYPE_CHECKING:
    from trio_mix.relay._records import TurnRecord

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("TRIO_MIX_KILLS", "6"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
async def test_a_killed_process_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    draw = random.Random(7)
    acknowledged: dict[str, tuple[int, int]] = {}
    for attempt in range(KILLS):
        program = await trio.lowlevel.open_process(
            [
                sys.executable,
                "-m",
                "tests.support.relay_log_writer",
                str(path),
                ["normal", "full"][attempt % 2],
            ],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        assert program.stdout is not None
        printed = b""
        lines = draw.randrange(4, 400)
        while printed.count(b"\n") < lines:
            piece = await program.stdout.receive_some()
            assert piece, "the program has ended by itself"
            printed += piece
        program.kill()
        await program.wait()
        while piece := await program.stdout.receive_some():
            printed += piece
        await program.stdout.aclose()
        for line in printed.decode().split("\n")[:-1]:
            name, in_epoch, last = line.split()
            acknowledged[name] = int(in_epoch), int(last)
        async with SqliteLog(path, retention=Retention(events=300)) as log:
            for name, (epoch, sequence) in acknowledged.items():
                extent = await log.extent(name)
                assert extent is not None
                assert extent.newest >= epoch * EPOCH + sequence
                stored = [event.id for event in await log.read(name, 0, max_bytes=2**30)]
                assert stored[-1] == extent.newest
                assert stored == sorted(set(stored))
                newest = [event_id for event_id in stored if event_id > epoch * EPOCH]
                assert newest == list(range(newest[0], newest[0] + len(newest)))
                gap = missed_after(EPOCH, extent.deleted)
                assert (gap is None) == (stored[0] == EPOCH + 1)


async def test_what_several_sessions_append_together_is_one_transaction(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "relay.db", commit_interval=0.05) as log:
        leases = [await log.acquire(f"s{number}") for number in range(8)]
        before = log.statistics().commits
        async with trio.open_nursery() as nursery:
            for lease in leases:
                nursery.start_soon(lease.append, made(lease, 3))
        statistics = log.statistics()
        assert statistics.commits - before <= 3
        assert (statistics.appends, statistics.events, statistics.failures) == (8, 24, 0)


async def test_a_full_disk_refuses_appends_until_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[sqlite3.Connection] = []

    def small(path: str, *, synchronous: str) -> sqlite3.Connection:
        connections.append(_sqlite_schema.connect(path, synchronous=synchronous))
        connections[0].execute("PRAGMA max_page_count = 90")
        return connections[0]

    monkeypatch.setattr(_sqlite, "connect", small)
    async with SqliteLog(tmp_path / "relay.db") as log:
        lease, other = await log.acquire("s"), await log.acquire("other")
        events = made(lease, 400, size=1000)
        await lease.append(events[:50])
        for _ in range(2):
            with pytest.raises(LogFull, match="the disk is full. Free space"):
                await lease.append(events[50:])
        assert await log.read("s", 0, max_bytes=2**30) == events[:50]
        connections[0].execute("PRAGMA max_page_count = 100000")
        await lease.append(events[50:])
        await other.append(made(other, 1))
        assert await log.read("s", 0, max_bytes=2**30) == events
        assert log.statistics().failures == 2


async def test_a_read_only_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "relay.db"
    async with SqliteLog(path):
        pass

    def read_only(path: str, *, synchronous: str) -> sqlite3.Connection:
        uri = f"file:{path}?mode=ro"
        return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)

    monkeypatch.setattr(_sqlite, "connect", read_only)
    with pytest.raises(LogReadOnly, match="read-only. Make the file and its folder writable"):
        async with SqliteLog(path) as log:
            await log.remember("a", "b")


async def test_a_job_that_cannot_be_stored_fails_alone(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "relay.db", commit_interval=0.05) as log:
        lease, other = await log.acquire("s"), await log.acquire("other")
        await log.remember("begin", "the interval")
        failures: list[Exception] = []

        async def twice() -> None:
            events = made(lease, 1)
            try:
                await lease.append(events + events)  # the same id twice
            except LogError as exc:
                failures.append(exc)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(twice)
            nursery.start_soon(other.append, made(other, 3))
        assert len(failures) == 1
        assert await log.read("other", 0) == made(other, 3)
        assert await log.read("s", 0) == []


async def test_events_and_turns_that_are_too_old_are_deleted(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    async with SqliteLog(path) as log:
        lease = await log.acquire("s")
        events = made(lease, 4)
        await lease.append(events)
        for name in ("old", "new", "open"):
            await log.outbox.accept(turn(name))
        ended = log.now()
        await lease.append([], [turn("old", ended_at=1.0), turn("new", ended_at=ended)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE event SET at = 5 WHERE id <= ?", (events[1].id,))
    connection.commit()
    connection.close()
    async with SqliteLog(path) as log:
        pass
    async with SqliteLog(path) as log:
        assert await log.read("s", 0) == events[2:]
        extent = await log.extent("s")
        assert extent is not None
        assert extent.deleted == {1: 2}
        assert await log.outbox.turn("old") is None
        assert await log.outbox.turn("new") is not None
        assert await log.outbox.turn("open") is not None


async def test_the_oldest_turns_lose_message_and_reply_and_keep_state_and_key(
    tmp_path: Path,
) -> None:
    keep = Retention(turn_bytes=10_000)
    now = time.time()

    async def known(log: SqliteLog, number: int) -> TurnRecord:
        found = await log.outbox.turn(f"t{number}")
        assert found is not None
        return found

    async with SqliteLog(tmp_path / "relay.db", retention=keep) as log:
        lease = await log.acquire("s")
        for number in range(20):
            sent = attrs.evolve(
                turn(f"t{number}"),
                request=SendRequest(text="x" * 500),
                key=f"k{number}",
                created_at=now,
            )
            await log.outbox.accept(sent)
            reply = Outcome(kind="complete", text="y" * 500, message_id="m")
            over = attrs.evolve(sent, state=TurnState.DONE, outcome=reply, ended_at=now + number)
            await lease.append([], [over])
    async with SqliteLog(tmp_path / "relay.db", retention=keep) as log:
        pass  # what was not deleted while it was open
    async with SqliteLog(tmp_path / "relay.db", retention=keep) as log:
        shown = [(await known(log, number)).to_json() for number in range(20)]
        kept = [each["reply"] is not None for each in shown]
        assert kept == sorted(kept)
        assert 4 <= sum(kept) <= 10
        assert [each["outcome"] for each in shown] == ["complete"] * 20
        oldest = await known(log, 0)
        assert oldest.request.text == ""
        again = attrs.evolve(turn("other"), key="k0", digest=oldest.digest, created_at=now)
        assert await log.outbox.accept(again) == oldest


async def test_counts_of_very_many_epochs_are_forgotten(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "relay.db", retention=Retention(events=1)) as log:
        lease = await log.acquire("s")
        for _ in range(130):
            await lease.append(made(lease, 2))
            lease = await log.acquire("s")
    async with SqliteLog(tmp_path / "relay.db", retention=Retention(events=1)) as log:
        extent = await log.extent("s")
        assert extent is not None
        assert len(extent.deleted) <= 100
        unknown = missed_after(EPOCH, extent.deleted, forgotten=extent.forgotten)
        assert unknown is not None
        assert unknown.missed is None
        known = missed_after(lease.newest - 2, extent.deleted, forgotten=extent.forgotten)
        assert known is not None
        assert known.missed == 1


async def test_a_log_is_used_inside_its_scope(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "relay.db")
    with pytest.raises(UsageError, match="is not open"):
        await log.acquire("s")
    async with log:
        lease = await log.acquire("s")
        with pytest.raises(UsageError, match="is open already"):
            await log.__aenter__()
    with pytest.raises(UsageError, match="is not open"):
        await lease.append(made(lease, 1))
    await lease.release()
    with pytest.raises(ConfigurationError, match="use 'normal' or 'full'"):
        SqliteLog("relay.db", synchronous="off")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="between 0 and 1 second"):
        SqliteLog("relay.db", commit_interval=-1.0)


async def test_a_refused_append_stays_refused_beside_a_job_that_fails(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "relay.db", commit_interval=0.2) as log:
        old = await log.acquire("s")
        await log.acquire("s")
        failed: list[str] = []

        def fail(_: sqlite3.Connection) -> None:
            raise RuntimeError("another job")

        async def broken() -> None:
            with pytest.raises(RuntimeError):
                await log.write(Job(fail))
            failed.append("job")

        async def fenced() -> None:
            with pytest.raises(Fenced):
                await old.append(made(old, 1))
            failed.append("append")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken)
            nursery.start_soon(fenced)
        assert sorted(failed) == ["append", "job"]
        assert await log.read("s", 0) == []


async def test_a_log_whose_thread_cannot_start_can_be_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_sqlite, "Writer", no_thread)
        with pytest.raises(RuntimeError, match="thread"):
            async with SqliteLog(tmp_path / "relay.db"):
                pass
    async with SqliteLog(tmp_path / "relay.db") as log:
        await log.remember("a", "b")


async def test_a_reader_that_cannot_open_the_file_raises_an_error_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_descriptor(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    async with SqliteLog(tmp_path / "relay.db") as log:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", no_descriptor)
            with pytest.raises(LogError):
                await log.recall("a")
        assert await log.recall("a") is None
