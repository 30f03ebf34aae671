"""Long runs: a stream for hours on a mock clock, and for minutes on sockets with faults.

Memory, objects, tasks, open files and connections are measured once a period, after a garbage
collection, and must not grow. The memory is that of the whole process, the bundled server included,
whose log and stored messages are kept short. The first quarter is warm-up; the growth of the rest
is printed.

    python -m benchmarks.soak --hours 24 --minutes 2 --mixed 2

``--mixed`` is the run on sockets with every other way in and out at once: large, odd, compressed
and endless bodies, files, redirects, event sources, sessions that are left, random cancellation.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import random
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack

import attrs
import trio
import trio.testing

from benchmarks.soak_mixture import Mixture
from trio_mix import Mix, ReconnectPolicy, SessionStream, errors
from trio_mix.testing import FaultPlan, FaultProxy, MixServer, Pause, Say, Think, Turn, UseTool

_STATM = "/proc/self/statm"
_FILES = "/proc/self/fd"
_PAGE = 4096
_SETTLING = 5.0
_QUIET = 0.02


@attrs.frozen
class Reading:
    """One measurement of the process."""

    memory: int
    objects: int
    tasks: int
    files: int
    connections: int


@attrs.define
class Soak:
    """The results of one run."""

    name: str
    messages: int = 0
    replies: int = 0
    recovered: int = 0
    failed: int = 0
    events: int = 0
    losses: int = 0
    rotations: int = 0
    lasted: float = 0.0
    took: float = 0.0
    run_twice: int = 0
    others: Counter[str] = attrs.field(factory=Counter)
    """The operations beside the messages, and whether each succeeded, failed or was cancelled."""
    unknown: int = 0
    """The messages that ended as ``unknown``."""
    unknown_stored: int = 0
    """Those of them that the server has run and stored."""
    readings: list[Reading] = attrs.field(factory=list)

    def flat(self) -> dict[str, tuple[float, float]]:
        """Return the median of each measure in the second quarter and in the last."""
        found: dict[str, tuple[float, float]] = {}
        if not self.readings:
            return found
        quarter = max(1, len(self.readings) // 4)
        for field in attrs.fields(Reading):
            values = [getattr(reading, field.name) for reading in self.readings]
            early = sorted(values[quarter : 2 * quarter] or values[:1])
            late = sorted(values[-quarter:])
            found[field.name] = (early[len(early) // 2], late[len(late) // 2])
        return found

    def grows(self) -> list[str]:
        """Return the measures that grew: by more than a tenth and a fixed slack."""
        slack = {"memory": 4 * 2**20, "objects": 5000, "tasks": 4, "files": 8, "connections": 8}
        return [
            f"{name} grew from {early} to {late}"
            for name, (early, late) in self.flat().items()
            if late > early * 1.1 + slack[name]
        ]

    def __str__(self) -> str:
        summary = (
            f"{self.name}: {self.lasted / 3600:.2f} h in {self.took:.1f} s; messages"
            f" {self.messages}, replies {self.replies} (recovered {self.recovered}), typed errors"
            f" {self.failed} (unknown {self.unknown}, of them stored {self.unknown_stored}),"
            f" run twice {self.run_twice}; events {self.events}, connections lost {self.losses},"
            f" rotated {self.rotations}"
        )
        lines = [summary, *(f"  {name}: {count}" for name, count in sorted(self.others.items()))]
        for name, (early, late) in self.flat().items():
            unit = 2**20 if name == "memory" else 1
            lines.append(f"  {name:12} {early / unit:10.1f} -> {late / unit:10.1f}")
        return "\n".join([*lines, *(f"  NOT FLAT: {line}" for line in self.grows())])


def _read(server: MixServer) -> Reading:
    gc.collect()
    memory = 0
    if os.path.exists(_STATM):
        with open(_STATM, encoding="ascii") as file:
            memory = int(file.read().split()[1]) * _PAGE
    return Reading(
        memory=memory,
        objects=len(gc.get_objects()),
        tasks=trio.lowlevel.current_statistics().tasks_living,
        files=len(os.listdir(_FILES)) if os.path.isdir(_FILES) else 0,
        connections=server.connections,
    )


def _script(server: MixServer) -> None:
    server.script(
        lambda text: text.startswith("go"),
        Turn(Think("hm"), Say("I look. "), UseTool("glob"), Say("That is all.", deltas=20)),
    )


class _Sender:
    """Sends message after message, and takes measurements."""

    def __init__(self, soak: Soak, server: MixServer, session_id: str) -> None:
        self.soak = soak
        self.server = server
        self.session = session_id

    async def send(self, session: SessionStream) -> None:
        text = f"go {self.soak.messages}"
        self.soak.messages += 1
        try:
            reply = await session.ask(text)
        except errors.MessageError:
            self.soak.failed += 1
        else:
            self.soak.replies += 1
            self.soak.recovered += reply.recovered
        self.soak.run_twice += max(0, self.server.runs(text) - 1)

    def measure(self, session: SessionStream) -> None:
        statistics = session.statistics()
        self.soak.events, self.soak.losses = statistics.events, statistics.losses
        self.soak.rotations = statistics.rotations
        # Only the client is measured: the server forgets what it has stored.
        live = self.server._backend.live[self.session]
        live.row.rows.clear()
        live.runs.clear()
        self.soak.readings.append(_read(self.server))


def on_a_fake_clock(hours: float, every: float = 60.0, seed: int = 1) -> Soak:
    """Run a stream for hours of a mock clock, with a lost connection every few minutes."""
    soak = Soak("fake clock, in memory")
    rng = random.Random(seed)

    async def main() -> None:
        async with (
            MixServer(listen=False, pace=0.0, log_limit=500) as server,
            Mix(server.url, network=server.network) as mix,
        ):
            _script(server)
            session_id = server.create_session()
            policy = ReconnectPolicy(max_elapsed_time=None)
            async with (
                mix.open_stream(session_id, reconnect=policy) as session,
                session.subscribe(buffer=100),
            ):
                sender = _Sender(soak, server, session_id)
                ends, period = hours * 3600, hours * 3600 / 24
                due = period
                while trio.current_time() < ends:
                    await trio.sleep(rng.uniform(0, 2 * every))
                    if rng.random() < 0.2:
                        await server.drop_streams(session_id)
                    await sender.send(session)
                    if trio.current_time() >= due:
                        due += period
                        sender.measure(session)
                soak.lasted = trio.current_time()

    began = time.perf_counter()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    soak.took = time.perf_counter() - began
    return soak


def on_an_oldest_server(
    minutes: float, seed: int = 1, sessions: int = 100, *, jsonrpc: bool = True
) -> Soak:
    """Send a message a second to an oldest server, through a proxy that cuts all connections.

    On a mock clock. Each message goes to the next session; its turn takes two seconds, and the
    connections are cut every few seconds. Without JSON-RPC nothing that is stored can be read.
    """
    soak = Soak("an oldest server, cut connections")
    rng = random.Random(seed)
    texts: dict[str, str] = {}

    async def drop_connections(proxy: FaultProxy) -> None:
        while True:
            await trio.sleep(rng.uniform(1, 15))
            await proxy.drop(rng.choice(["cut", "reset"]))
            proxy.log.clear()

    async def ask(session: SessionStream, text: str) -> None:
        soak.messages += 1
        texts[text] = session.session_id
        try:
            reply = await session.ask(text)
        except errors.MessageError as error:
            soak.failed += 1
            soak.unknown += isinstance(error, errors.MessageInterrupted) and (
                error.outcome == "unknown"
            )
            if getattr(error, "outcome", "") != "unknown":
                del texts[text]
        else:
            soak.replies += 1
            soak.recovered += reply.recovered
            del texts[text]

    async def main() -> None:
        async with (
            MixServer(
                "pipeline-oldest", listen=False, pace=0.0, log_limit=500, jsonrpc=jsonrpc
            ) as server,
            FaultProxy(server) as proxy,
            Mix(proxy.url, network=proxy.network) as mix,
            AsyncExitStack() as stack,
        ):
            tool = UseTool("glob", steps=[Pause(0.5)])
            turn = Turn(Think("hm"), Pause(0.5), tool, Pause(0.5), Say("All."), Pause(0.5))
            server.script(lambda text: text.startswith("go"), turn)
            policy = ReconnectPolicy(max_elapsed_time=None)
            streams = [
                await stack.enter_async_context(
                    mix.open_stream(server.create_session(), reconnect=policy)
                )
                for _ in range(sessions)
            ]
            async with trio.open_nursery() as dropping:
                dropping.start_soon(drop_connections, proxy)
                async with trio.open_nursery() as nursery:
                    for number in range(round(minutes * 60)):
                        await trio.sleep(1)
                        text = f"go {number}"
                        nursery.start_soon(ask, streams[number % sessions], text)
                dropping.cancel_scope.cancel()
            soak.lasted = trio.current_time()
            soak.losses = sum(stream.statistics().losses for stream in streams)
            for live in server._backend.live.values():
                soak.run_twice += sum(times - 1 for times in live.runs.values())
            for text, session_id in texts.items():
                rows = server.stored(session_id)
                soak.unknown_stored += any(row["userInput"] == text for row in rows)

    began = time.perf_counter()
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    soak.took = time.perf_counter() - began
    return soak


def on_sockets(seconds: float, seed: int = 1, *, mixtures: int = 0) -> Soak:
    """Run a stream over real sockets, through a proxy that injects faults.

    Args:
      seconds: how long.
      seed: of everything random.
      mixtures: how many tasks make other operations meanwhile.
    """
    soak = Soak("real clock, sockets, faults" + (", mixed" if mixtures else ""))
    rng = random.Random(seed)

    async def drop_connections(proxy: FaultProxy) -> None:
        while True:
            await trio.sleep(rng.uniform(0.05, 1.0))
            await proxy.drop(rng.choice(["cut", "reset"]))

    async def main() -> None:
        async with (
            MixServer(pace=0.0, log_limit=500) as server,
            FaultProxy(server) as proxy,
            Mix(proxy.url) as mix,
        ):
            _script(server)
            session_id = server.create_session()
            # Short intervals, as the faults are frequent: the default backs off to a minute.
            policy = ReconnectPolicy(
                initial_interval=0.05, max_interval=0.5, stable_after=0.1, max_elapsed_time=None
            )
            async with (
                mix.open_stream(session_id, reconnect=policy, settle_timeout=5.0) as session,
                session.subscribe(buffer=100),
                trio.open_nursery() as nursery,
            ):
                sender = _Sender(soak, server, session_id)
                nursery.start_soon(drop_connections, proxy)
                others = [Mixture(server, proxy.url, rng) for _ in range(mixtures)]
                for other in others:
                    nursery.start_soon(other.run)
                began = trio.current_time()
                due = period = seconds / 24
                while trio.current_time() - began < seconds or any(
                    other.made < 10 for other in others
                ):
                    kinds = ["cut", "reset", "cut_up", "split", "refuse"]
                    proxy.plan = FaultPlan.random(rng.randrange(10**9), kinds=kinds, rate=0.5)
                    await sender.send(session)
                    proxy.log.clear()
                    if trio.current_time() - began >= due:
                        due += period
                        async with AsyncExitStack() as paused:
                            for other in others:
                                await paused.enter_async_context(other.turn)
                            # The server and the proxy notice the end of connections later.
                            with trio.move_on_after(_SETTLING):
                                await trio.testing.wait_all_tasks_blocked(_QUIET)
                            sender.measure(session)
                soak.lasted = trio.current_time() - began
                for other in others:
                    soak.others.update(other.done)
                    soak.others.update(f"{name}, failed" for name in other.failed.elements())
                nursery.cancel_scope.cancel()

    began = time.perf_counter()
    trio.run(main)
    soak.took = time.perf_counter() - began
    return soak


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="on the fake clock; 0: none")
    parser.add_argument("--minutes", type=float, default=2.0, help="on real sockets; 0: none")
    parser.add_argument(
        "--oldest", type=float, default=30.0, help="minutes on an oldest server; 0: none"
    )
    parser.add_argument("--mixed", type=float, default=0.0, help="minutes of everything; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # lost connections are intended here
    soaks = []
    if options.hours:
        soaks.append(on_a_fake_clock(options.hours, seed=options.seed))
        print(soaks[-1], flush=True)
    if options.oldest:
        soaks.append(on_an_oldest_server(options.oldest, seed=options.seed))
        print(soaks[-1], flush=True)
    if options.minutes:
        soaks.append(on_sockets(options.minutes * 60, seed=options.seed))
        print(soaks[-1], flush=True)
    if options.mixed:
        soaks.append(on_sockets(options.mixed * 60, seed=options.seed, mixtures=2))
        print(soaks[-1], flush=True)
    failed = (soak.grows() or soak.run_twice or soak.unknown_stored for soak in soaks)
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
