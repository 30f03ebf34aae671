"""Schedules of faults for the relay, in memory on a fake clock, and what must hold after each.

Run it as ``python -m tests.support.relay_campaign --count 1000``, or ``--seed N`` to replay one.

`relay_judge` has the invariants.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import trio
import trio.testing

from tests.support.relay_judge import Consumed, Figures, Run, decoded, judge
from tests.support.relay_schedules import Schedule, draw
from tests.support.relay_world import logged
from trio_mix import Mix
from trio_mix.relay._errors import AlreadyDecided, LogError, LogFull, RelayError
from trio_mix.relay._hub import Hub
from trio_mix.relay._records import SendRequest
from trio_mix.relay._settings import HubSettings
from trio_mix.sse import _reconnect
from trio_mix.sse._supervisor import Supervisor
from trio_mix.testing import (
    FaultPlan,
    FaultProxy,
    MessageFinished,
    MessageRun,
    MixServer,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.relay._feed import SessionFeed

from tests.support.relay_process import Process, ProcessLog, ProcessNetwork

EPOCH = 1_800_000_000.0
BOUND = 20_000.0
"""Seconds of the fake clock within which everything must have ended."""


class Play:
    """Carries out one schedule."""

    def __init__(self, run: Run, server: MixServer, proxy: FaultProxy) -> None:
        self._run = run
        self._schedule = run.schedule
        self._server = server
        self._proxy = proxy
        self._rng = random.Random(f"play {run.schedule.seed}")
        self._session = server.create_session()
        self._process: Process | None = None
        self._started = trio.Event()
        self._over = trio.Event()
        self._changing = trio.Lock()

    async def play(self) -> None:
        async with trio.open_nursery() as nursery:
            await self._start(nursery, alive=False)
            for index in range(self._schedule.consumers):
                consumed = Consumed(relay=index % 2 == 1)
                self._run.consumed.append(consumed)
                nursery.start_soon(self._consume, consumed)
            async with trio.open_nursery() as acting:
                for at, what, length in self._schedule.accidents:
                    acting.start_soon(self._accident, nursery, at, what, length)
                texts = list(self._schedule.messages)
                for index in range(self._schedule.senders):
                    acting.start_soon(self._sender, texts[index :: self._schedule.senders])
            await self._settle()
            self._over.set()
            await trio.sleep(5.0)
            assert self._process is not None
            nursery.cancel_scope.cancel(reason="the schedule is over")

    # -- processes ----------------------------------------------------------------------------

    async def _start(self, nursery: trio.Nursery, *, alive: bool) -> None:
        rng, limit = self._rng, self._schedule.log_delay
        log = ProcessLog(
            self._run.store,
            retention=self._schedule.retention,
            delay=lambda: rng.uniform(0, limit) if limit else 0.0,
            alive=alive,
            wall_clock=time_of_day,
        )
        network = ProcessNetwork(self._proxy)
        mix = Mix("http://mix.test", network=network)
        settings = HubSettings(ring=self._schedule.ring, settle_timeout=60.0)
        process = Process(
            Hub(mix, log, settings, wall_clock=time_of_day), log, network, trio.CancelScope()
        )
        await nursery.start(self._run_process, mix, process)
        self._process = process
        self._started.set()
        self._started = trio.Event()

    async def _run_process(
        self,
        mix: Mix,
        process: Process,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        started = False
        try:
            with process.scope:
                async with mix, process.hub:
                    started = True
                    task_status.started()
                    await trio.sleep_forever()
        except LogError:
            if not process.log.killed:
                raise
        finally:
            process.ended.set()
            if not started:
                task_status.started()

    async def _kill(self) -> None:
        process = self._process
        assert process is not None
        process.log.killed = True
        process.network.kill()
        process.scope.cancel(reason="killed")
        with trio.CancelScope(shield=True):
            await process.ended.wait()

    async def _accident(self, nursery: trio.Nursery, at: float, what: str, length: float) -> None:
        await trio.sleep(at)
        self._run.happened[what] += 1
        async with self._changing:
            match what:
                case "kill":
                    await self._kill()
                    await trio.sleep(length)
                    await self._start(nursery, alive=False)
                case "takeover":  # the old process is stopped, and goes on later
                    old = self._process
                    await self._start(nursery, alive=True)
                    await trio.sleep(length)
                    assert old is not None
                    current, self._process = self._process, old
                    await self._kill()
                    self._process = current
                case "cut":
                    await self._proxy.drop()
                case "restart":
                    await self._server.restart()
                case "forget":
                    self._run.happened["forgotten"] += 1
                    await self._server.restart(keep_sessions=False)
                case "unplug":
                    await self._proxy.unplug()
                    await trio.sleep(length)
                    await self._proxy.plug_in()
                case "full disk":
                    assert self._process is not None
                    log = self._process.log
                    log.failure = LogFull("the disk is full")
                    await trio.sleep(length)
                    log.failure = None

    # -- senders and consumers ----------------------------------------------------------------

    async def _hub(self) -> Hub:
        while True:
            process = self._process
            if process is not None and not process.ended.is_set() and not process.log.killed:
                return process.hub
            await trio.sleep(0.05)

    def _alive(self, hub: Hub) -> bool:
        process = self._process
        return process is not None and process.hub is hub and not process.log.killed

    async def _sender(self, texts: Sequence[str]) -> None:
        for text in texts:
            await trio.sleep(self._rng.choice([0.0, 0.0, 1.0, 5.0]))
            await self._send(text)
            if self._rng.random() < 0.2:  # the same key again
                await self._send(text)

    async def _send(self, text: str) -> None:
        cancel = self._rng.random() < self._schedule.cancels
        for _ in range(2000):
            hub = await self._hub()
            try:
                async with hub.session(self._session) as feed:
                    sent = await feed.send(SendRequest(text=text), body=text, key=text, subject="")
                self._run.turns.setdefault(text, []).append(sent.turn.turn_id)
                if cancel:
                    self._run.cancelled.add(sent.turn.turn_id)
                    await hub.cancel(sent.turn.turn_id)
                return
            except (RelayError, trio.ClosedResourceError) as exc:
                if exc.__class__.__name__ == "SessionUnknown" and self._run.happened["forgotten"]:
                    return
            except Exception:
                if self._alive(hub):
                    raise
            await trio.sleep(0.5)

    async def _consume(self, consumed: Consumed) -> None:
        while True:
            hub = await self._hub()
            try:
                async with hub.session(self._session) as feed:
                    await self._read(feed, consumed)
            except Exception as exc:
                if not isinstance(exc, RelayError) and self._alive(hub):
                    raise
            await trio.sleep(self._rng.choice([0.0, 0.1, 1.0]))

    async def _read(self, feed: SessionFeed, consumed: Consumed) -> None:
        if consumed.first is None:
            start = await feed.start(from_=self._rng.choice(["now", "earliest", "turn"]))
            consumed.first = consumed.position = start.position
        else:
            before = consumed.position
            start = await feed.start(last_event_id=str(before))
            assert start.position >= before, f"a consumer at {before} was sent back: {start}"
            if start.gap is not None:
                missed = self._missed(before, start.position)
                assert start.gap.missed in (missed, None), (start, missed)
                consumed.skipped.append((before, start.position))
            consumed.position = start.position
        for _ in range(self._rng.randint(1, 30)):
            await feed.wait(consumed.position)
            chunk = feed.read_nowait(consumed.position, relay=consumed.relay, limit=300)
            if chunk is None:
                chunk = await feed.read(consumed.position, relay=consumed.relay, limit=300)
            if chunk.gap is not None:
                first = min(
                    (int(frame.id) for frame in decoded(chunk.data)), default=chunk.position + 1
                )
                consumed.skipped.append((consumed.position, first - 1))
            consumed.frames += decoded(chunk.data)
            consumed.position = chunk.position
            if feed.closed is not None and consumed.position >= feed.newest:
                return
            await self._decide(feed)

    def _missed(self, after: int, up_to: int) -> int:
        history = self._run.store.history.get(self._session, [])
        return sum(after < event.id <= up_to for event in history)

    async def _decide(self, feed: SessionFeed) -> None:
        for _, data in feed.open_requests(feed.newest):
            hub = await self._hub()
            grant = self._rng.random() < 0.5
            try:
                await hub.decide(json.loads(data)["id"], grant=grant, subject="somebody")
            except (AlreadyDecided, RelayError):
                await trio.lowlevel.checkpoint()

    async def _settle(self) -> None:
        """Wait until all turns are over."""
        for _ in range(4000):
            turns = self._run.store.turns.values()
            if all(turn.state.over for turn in turns):
                return
            await trio.sleep(5.0)
        self._run.hung = True


def time_of_day() -> float:
    return EPOCH + trio.current_time()


async def _main(run: Run) -> None:
    schedule = run.schedule
    before = trio.lowlevel.current_statistics().tasks_living
    async with MixServer(schedule.api, listen=False, pace=0.0) as server:
        for text, turns in schedule.messages.items():
            server.script(text, *turns)
        async with FaultProxy(server, FaultPlan(*schedule.rules)) as proxy:
            play = Play(run, server, proxy)
            with trio.move_on_after(BOUND) as scope:
                await play.play()
            run.hung = run.hung or scope.cancelled_caught
            if not run.happened["forgotten"]:
                run.stored = server.stored(play._session)
        run.runs = Counter(each.text for each in server.log if isinstance(each, MessageRun))
        run.killed = {
            each.text
            for each in server.log
            if isinstance(each, MessageFinished) and each.how in ("killed", "cancelled")
        }
        run.timeline = server.timeline
    await trio.testing.wait_all_tasks_blocked()
    run.left = trio.lowlevel.current_statistics().tasks_living - before


def carry_out(schedule: Schedule) -> Run:
    """Run a schedule and return its outcome; the same seed gives the same run."""
    from trio._core import _run

    run = Run(schedule)
    seed = schedule.seed
    defaults = Supervisor.__init__.__kwdefaults__ or {}
    with ExitStack() as stack:
        for patch in (
            mock.patch.object(_run, "_r", random.Random(f"trio {seed}")),
            mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
            mock.patch.object(_reconnect, "_jitter", random.Random(f"policy {seed}")),
            mock.patch.dict(defaults, wall_clock=time_of_day),
            mock.patch("trio_mix._rest._retry.time", SimpleNamespace(time=time_of_day)),
        ):
            stack.enter_context(patch)
        trio.run(_main, run, clock=trio.testing.MockClock(autojump_threshold=0.0))
    return run


# -- the program ---------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--count", type=int, default=100, help="the number of schedules")
    parser.add_argument("--start", type=int, help="the first seed; random by default")
    parser.add_argument("--seed", type=int, help="replay this seed and print its timeline")
    parser.add_argument("--most", type=int, default=10, help="stop after this many failures")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.seed is not None:
        logging.disable(logging.NOTSET)
        logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
        run = carry_out(draw(options.seed))
        print(run.timeline)
        print(run.schedule)
        for session_id, events in run.store.history.items():
            print(session_id, *logged(events, relay=True), sep="\n")
        for turn in run.store.turns.values():
            print(turn.request.text, turn.turn_id, turn.state, turn.outcome)
        print(*judge(run), sep="\n")
        return bool(judge(run))
    start = options.start if options.start is not None else time.time_ns() % 10**9
    print(f"seeds from {start} on")
    figures, failures = Figures(), 0
    for seed in range(start, start + options.count):
        try:
            run = carry_out(draw(seed))
        except BaseException as exc:
            failures += 1
            print(f"seed {seed}: {exc!r}")
            if isinstance(exc, KeyboardInterrupt):
                raise
        else:
            figures.add(run)
            if found := judge(run):
                failures += 1
                print(f"seed {seed}:", *found, sep="\n    ")
        if failures >= options.most:
            break
    print(figures)
    print(f"{failures} failures")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
