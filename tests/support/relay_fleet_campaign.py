"""Schedules of faults for three real relays on one Redis, and what must hold after each.

Run it as ``python -m tests.support.relay_fleet_campaign --count 100``, or ``--seed N`` for one.
With ``--replicated`` the relays wait for a replica, which is promoted now and then.

The invariants:

1. The ids of a session's events increase, and within an epoch none is missing: there was one owner.
2. What a consumer received is what was stored after its first position, in order, each event once,
   over all relays and reconnects.
3. Each message that was accepted has one turn, which has one end among the events, and a state that
   agrees with it. The server runs no message twice.
4. The text of a completed turn, joined, is what the agent said.
5. A turn is unknown only if a relay lost its lease without releasing it.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP, SIGTERM
from typing import TYPE_CHECKING

import attrs
import trio

from tests.support.redis_server import RedisServer, find_redis
from tests.support.relay_fleet import (
    Consumed,
    Link,
    RelayProcess,
    consume,
    free_port,
    send,
)
from tests.support.relay_world import ends_of, logged, text_of
from trio_mix.relay import LogError, RedisLog
from trio_mix.relay._ids import epoch_of
from trio_mix.relay._records import Audience, TurnState
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from trio_mix.relay._records import LoggedEvent, TurnRecord

from tests.support.relay_fleet_schedule import RELAYS, Schedule, draw

TTL = 1.0
BOUND = 240.0
"""Seconds within which everything must have ended."""
UNCLEAN = frozenset({"kill", "stop", "cut", "half cut", "redis stop", "redis kill", "promote"})
"""Accidents after which a relay may have lost its lease without releasing it."""


@attrs.define
class Run:
    """The outcome of a schedule."""

    schedule: Schedule
    sessions: list[str] = attrs.field(factory=list[str])
    turns: dict[str, str] = attrs.field(factory=dict[str, str])
    """The turns of the messages."""
    records: dict[str, TurnRecord] = attrs.field(factory=dict)
    events: dict[str, list[LoggedEvent]] = attrs.field(factory=dict)
    consumed: list[Consumed] = attrs.field(factory=list[Consumed])
    runs: Counter[str] = attrs.field(factory=Counter[str])
    doing: list[str] = attrs.field(factory=list[str])
    """The accidents that are not over."""
    ended: bool = False


class World:
    """A server, Redis, and the relays, which are used by many schedules."""

    def __init__(self, server: MixServer, program: str, folder: Path, *, replicated: bool) -> None:
        self.server = server
        self.redis = RedisServer(program, port=free_port(), options=("--appendonly", "yes"))
        self.replica: RedisServer | None = None
        self._program = program
        self._replicated = replicated
        self.links = [Link(self.redis.port) for _ in range(RELAYS)]
        self.relays: list[RelayProcess] = []
        self._folder = folder
        self._busy = [trio.Lock() for _ in range(RELAYS)]
        self._redis_busy = trio.Lock()

    async def start(self, nursery: trio.Nursery) -> None:
        """Start everything."""
        await trio.to_thread.run_sync(self.redis.start)
        if self._replicated:
            await self._add_replica()
        settings = f"lease_ttl = {TTL}\ndrain_timeout = 0.3\nheartbeat = 0.5\n"
        settings += f"wait_replicas = {int(self._replicated)}\n"
        for link in self.links:
            await nursery.start(link.run)
            url = f"redis://127.0.0.1:{link.port}"
            self.relays.append(RelayProcess(self.server.url, url, self._folder, settings))
        async with trio.open_nursery() as starting:
            for relay in self.relays:
                starting.start_soon(relay.start)

    async def end(self) -> None:
        """End all processes."""
        for relay in self.relays:
            with suppress(ProcessLookupError):
                await relay.end(SIGKILL)
        for redis in (self.redis, self.replica):
            if redis is not None:
                redis.__exit__()

    async def _add_replica(self) -> None:
        replica = RedisServer(self._program, port=free_port(), replica_of=self.redis.port)
        await trio.to_thread.run_sync(replica.start)
        waited = ("WAIT", "1", "20000")
        answer = await trio.to_thread.run_sync(self.redis.command, *waited)
        assert answer.startswith(":1"), "the replica does not follow"
        self.replica = replica

    async def happen(self, what: str, number: int, length: float) -> None:
        """Let an accident happen, and be over."""
        if "redis" in what or what == "promote":
            async with self._redis_busy:
                await self._happen_to_redis(what, length)
            return
        relay, link = self.relays[number], self.links[number]
        async with self._busy[number]:
            match what:
                case "kill":
                    await relay.end(SIGKILL)
                    await trio.sleep(length)
                    await relay.start()
                case "drain":
                    await relay.end(SIGTERM)
                    await relay.start()
                case "stop":
                    relay.notify(SIGSTOP)
                    await trio.sleep(length)
                    relay.notify(SIGCONT)
                case "cut":
                    link.cut("up", "down")
                    await trio.sleep(length)
                    link.restore()
                case "half cut":
                    link.cut("down")
                    await trio.sleep(length)
                    link.restore()
                case "drop":
                    link.drop()
                case _:
                    await self.server.drop_streams()

    async def _happen_to_redis(self, what: str, length: float) -> None:
        if what == "redis stop":
            self.redis.notify(SIGSTOP)
            await trio.sleep(length)
            self.redis.notify(SIGCONT)
        elif what == "redis kill":
            self.redis.kill()
            await trio.sleep(length)
            await trio.to_thread.run_sync(self.redis.start)
        elif self.replica is not None:
            self.redis.kill()
            self.redis.__exit__()
            self.redis, self.replica = self.replica, None
            self.redis.command("REPLICAOF", "NO", "ONE")
            for link in self.links:
                link.target = self.redis.port
                link.drop()
            await self._add_replica()

    async def play(self, schedule: Schedule) -> Run:
        """Carry out a schedule."""
        run = Run(schedule)
        with trio.move_on_after(BOUND):
            async with trio.open_nursery() as consuming:
                async with trio.open_nursery() as acting:
                    for number, messages in schedule.messages.items():
                        session = self.server.create_session()
                        run.sessions.append(session)
                        for index in range(schedule.consumers):
                            consumed = Consumed(session)
                            run.consumed.append(consumed)
                            start = number + index
                            consuming.start_soon(consume, consumed, self.relays, start)
                        for text, turn in messages:
                            self.server.script(text, turn)
                        acting.start_soon(self._send, run, session, messages)
                    for at, what, relay, length in schedule.accidents:
                        acting.start_soon(self._later, run, at, what, relay, length)
                await self._settle(run)
                consuming.cancel_scope.cancel(reason="the schedule is over")
                run.ended = True
        for text in run.turns:
            run.runs[text] = self.server.runs(text)
        return run

    async def _later(self, run: Run, at: float, what: str, relay: int, length: float) -> None:
        await trio.sleep(at)
        run.doing.append(what)
        await self.happen(what, relay, length)
        run.doing.remove(what)

    async def _send(self, run: Run, session: str, messages: Sequence[tuple[str, Turn]]) -> None:
        rng = random.Random(f"send {session} {run.schedule.seed}")
        for text, _ in messages:
            run.turns[text] = await send(self.relays, session, text, rng.randrange(RELAYS))
            if rng.random() < 0.3:
                again = await send(self.relays, session, text, rng.randrange(RELAYS))
                assert again == run.turns[text], f"{text} has two turns"
            await trio.sleep(rng.choice([0.0, 0.3]))

    async def _settle(self, run: Run) -> None:
        """Wait until all turns are over, and all consumers have everything."""
        while True:
            with suppress(LogError):
                async with RedisLog(self.redis.url) as log:
                    await self._read(run, log)
                    over = all(record.state.over for record in run.records.values())
                    if over and len(run.records) == len(run.turns) and self._received(run):
                        return
            await trio.sleep(0.2)

    async def _read(self, run: Run, log: RedisLog) -> None:
        for turn_id in run.turns.values():
            record = await log.outbox.turn(turn_id)
            if record is not None:
                run.records[turn_id] = record
        for session in run.sessions:
            run.events[session] = await log.read(session, 0, max_bytes=2**30)

    def _received(self, run: Run) -> bool:
        for consumed in run.consumed:
            due = visible(run.events[consumed.session])
            if due and (consumed.first or 0) < due[-1] and consumed.ids[-1:] != due[-1:]:
                return False
        return all(consumed.first is not None for consumed in run.consumed)


def visible(events: Sequence[LoggedEvent]) -> list[int]:
    """Return the ids of the events that plain consumers receive."""
    return [
        event.id
        for event in events
        if event.audience is Audience.ALL and b"\nevent: permission" not in event.frame
    ]


def judge(run: Run) -> list[str]:
    """Return what is wrong (the invariants above)."""
    if not run.ended:
        states = {text: run.records.get(turn) for text, turn in run.turns.items()}
        short = {text: None if each is None else each.state.value for text, each in states.items()}
        received = [each.ids[-1:] for each in run.consumed]
        return [f"it has not ended: {short}, {run.doing}, {received}"]
    wrong: list[str] = []
    for session, events in run.events.items():
        ids = [event.id for event in events]
        for before, after in pairwise(ids):
            same = epoch_of(before) == epoch_of(after)
            if after != before + 1 if same else after <= before:
                wrong.append(f"{session}: {before} is followed by {after}")
    for consumed in run.consumed:
        first = consumed.first or 0
        due = [each for each in visible(run.events[consumed.session]) if each > first]
        if consumed.ids != due:
            lost, more = set(due) - set(consumed.ids), set(consumed.ids) - set(due)
            wrong.append(
                f"{consumed.session}: a consumer lost {sorted(lost)}, has {sorted(more)} more,"
                f" and doubled {len(consumed.ids) - len(set(consumed.ids))}"
            )
        if consumed.gaps:
            wrong.append(f"{consumed.session}: a consumer was given {consumed.gaps} gaps")
    unclean = any(what in UNCLEAN for _, what, _, _ in run.schedule.accidents)
    scripts = dict(pair for pairs in run.schedule.messages.values() for pair in pairs)
    for text, turn_id in run.turns.items():
        record = run.records[turn_id]
        frames = logged(run.events[record.session_id])
        ends = [end for end in ends_of(frames) if end.turn_id == turn_id]
        if len(ends) != 1:
            wrong.append(f"{text}: {len(ends)} ends")
        if run.runs[text] > 1:
            wrong.append(f"{text} ran {run.runs[text]} times")
        expected = "".join(step.text for step in scripts[text].steps if isinstance(step, Say))
        if record.state is TurnState.UNKNOWN:
            if not unclean:
                wrong.append(f"{text} is unknown: {record.outcome}")
        elif run.runs[text] != 1:
            wrong.append(f"{text} is {record.state}, and did not run")
        elif text_of(frames, turn_id) != expected:
            wrong.append(f"{text}: its text is {text_of(frames, turn_id)!r}, not {expected!r}")
    return wrong


@attrs.define
class Figures:
    """The sums over many runs."""

    runs: int = 0
    turns: Counter[str] = attrs.field(factory=Counter[str])
    events: int = 0
    received: int = 0
    connects: int = 0
    epochs: int = 0
    happened: Counter[str] = attrs.field(factory=Counter[str])

    def add(self, run: Run) -> None:
        """Add a run."""
        self.runs += 1
        self.turns.update(record.state.value for record in run.records.values())
        self.events += sum(map(len, run.events.values()))
        self.epochs += sum(len({epoch_of(e.id) for e in each}) for each in run.events.values())
        self.received += sum(len(each.ids) for each in run.consumed)
        self.connects += sum(each.connects for each in run.consumed)
        self.happened.update(what for _, what, _, _ in run.schedule.accidents)

    def __str__(self) -> str:
        return (
            f"{self.runs} schedules, turns {dict(self.turns)}, {self.events} events in"
            f" {self.epochs} epochs, {self.received} received over {self.connects} connections,"
            f" accidents {dict(self.happened)}"
        )


def show_logs(folder: Path) -> None:
    """Print the ends of the relays' logs."""
    for log in folder.glob("*.log"):
        print(log.name, *log.read_text().splitlines()[-20:], sep="\n    ", flush=True)


@asynccontextmanager
async def open_world(program: str, *, replicated: bool) -> AsyncIterator[World]:
    """Start a world, and end it."""
    with tempfile.TemporaryDirectory(prefix="trio-mix-fleet-") as folder:
        async with MixServer() as server, trio.open_nursery() as nursery:
            world = World(server, program, Path(folder), replicated=replicated)
            try:
                await world.start(nursery)
                yield world
            except BaseException:
                show_logs(Path(folder))
                raise
            finally:
                with trio.CancelScope(shield=True):
                    await world.end()
            nursery.cancel_scope.cancel(reason="the world ends")


async def carry_out(
    seeds: Sequence[int], *, replicated: bool, most: int = 5, program: str | None = None
) -> tuple[Figures, dict[int, list[str]]]:
    """Carry out schedules one after the other; return the sums, and what is wrong for each seed."""
    figures, wrong = Figures(), dict[int, list[str]]()
    found = program or find_redis()
    assert found is not None
    async with open_world(found, replicated=replicated) as world:
        for seed in seeds:
            run = await world.play(draw(seed, replicated=replicated))
            figures.add(run)
            if problems := judge(run):
                wrong[seed] = [*problems, str(run.schedule.accidents)]
                print(f"seed {seed}:", *wrong[seed], sep="\n    ", flush=True)
                if len(wrong) >= most or not run.ended:
                    break
            if figures.runs % 25 == 0:
                print(figures, flush=True)
    return figures, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=20, help="the number of schedules")
    parser.add_argument("--start", type=int, help="the first seed; random by default")
    parser.add_argument("--seed", type=int, help="carry out this seed only")
    parser.add_argument("--replicated", action="store_true", help="wait for and promote replicas")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    start, count = options.start, options.count
    if options.seed is not None:
        start, count = options.seed, 1
    elif start is None:
        start = time.time_ns() % 10**9
    print(f"seeds from {start} on", flush=True)
    seeds = range(start, start + count)
    figures, wrong = trio.run(lambda: carry_out(seeds, replicated=options.replicated))
    print(figures)
    print(f"{len(wrong)} failures")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
