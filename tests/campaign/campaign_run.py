"""Run one schedule of the campaign, in memory or over sockets, and record its outcomes.

In memory it runs with the autojump clock, with every source of randomness seeded, including
Trio's scheduler: the same seed gives the same run, event by event. Over sockets the clock runs a
hundred times as fast as real time; the same seed gives the same faults, not the same run.
"""

from __future__ import annotations

import math
import os
import random
from contextlib import ExitStack
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING
from unittest import mock

import trio
import trio.testing
from campaign_faults import EPOCH
from campaign_play import BOUND, Network, Play, Run

from trio_mix.sse import _reconnect
from trio_mix.sse._supervisor import Supervisor
from trio_mix.testing import FaultPlan, FaultProxy, MixServer, Say, Turn

if TYPE_CHECKING:
    from campaign_schedule import Schedule

__all__ = ["carry_out"]

HURRY = 100.0
"""How much faster than real the clock runs over sockets."""

_MOST_ROUNDS = 100_000
"""Of Trio's scheduler, at one time of the fake clock."""
_FILES = "/proc/self/fd"


def carry_out(schedule: Schedule, *, in_memory: bool = True) -> Run:
    """Run a schedule and return its outcomes."""
    run = Run(schedule, in_memory=in_memory)
    with ExitStack() as stack:
        for patch in _patches(schedule.seed, schedule.order):
            stack.enter_context(patch)
        before = _open_files()
        clock = trio.testing.MockClock(
            rate=0.0 if in_memory else HURRY, autojump_threshold=0.0 if in_memory else math.inf
        )
        trio.run(_main, run, in_memory, clock=clock)
        if (after := _open_files()) > before:
            run.left.append(f"{after - before} open files")
    return run


def _open_files() -> int:
    return len(os.listdir(_FILES)) if os.path.isdir(_FILES) else 0


def _patches(seed: int, order: int) -> list[mock._patch[object] | mock._patch_dict]:
    """Seed every source of randomness, and derive the time of day from Trio's clock."""
    from trio._core import _run

    defaults = Supervisor.__init__.__kwdefaults__ or {}
    return [
        mock.patch.object(_run, "_r", random.Random(f"trio {seed}" + f" {order}" * (order > 0))),
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(_reconnect, "_jitter", random.Random(f"policy {seed}")),
        mock.patch.dict(defaults, wall_clock=_time_of_day),
        mock.patch("trio_mix._rest._retry.time", SimpleNamespace(time=_time_of_day)),
    ]


def _time_of_day() -> float:
    return EPOCH + trio.current_time()


class _BusyLoops(trio.abc.Instrument):
    """Cancels a run whose tasks are at work without end while the fake clock stands still."""

    def __init__(self, run: Run, scope: trio.CancelScope) -> None:
        self._run, self._scope = run, scope
        self._now, self._rounds = -1.0, 0

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - the interface of Trio
        now = trio.current_time()
        self._rounds = self._rounds + 1 if now == self._now else 0
        self._now = now
        if self._rounds == _MOST_ROUNDS:
            self._run.left.append(f"a busy loop at {now}")
            self._scope.cancel()


async def _main(run: Run, in_memory: bool) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    bound = 30 * BOUND if in_memory else 5 * BOUND
    with trio.fail_after(bound), trio.CancelScope() as scope:
        if in_memory:
            trio.lowlevel.add_instrument(_BusyLoops(run, scope))
        await _act(run, in_memory)
    await trio.testing.wait_all_tasks_blocked()
    after = trio.lowlevel.current_statistics().tasks_living
    if after != before:
        run.left.append(f"{after - before} tasks")


async def _act(run: Run, in_memory: bool) -> None:
    schedule = run.schedule
    async with MixServer(
        schedule.api,
        listen=not in_memory,
        pace=0.0,
        replay=schedule.replay,
        connected_id=schedule.connected_id,
        cancel_on_disconnect=schedule.cancel_on_disconnect,
        ghost_runs=schedule.ghost_runs,
        answer_delay=schedule.answer_delay,
        cancel_latency=schedule.cancel_latency,
        cancelled_tool=schedule.cancelled_tool,
        jsonrpc=schedule.jsonrpc,
        error_delay=schedule.error_delay,
        names_users="names users" in schedule.features or None,
    ) as server:
        server._backend._epoch = datetime.fromtimestamp(EPOCH, UTC)
        for text, turns in schedule.turns.items():
            server.script(text, *turns)
        words = [f"foreign.{number} " for number in range(4)]
        server.script("foreign", Turn(Say("".join(words), deltas=words)))
        async with FaultProxy(server, FaultPlan(*schedule.rules)) as proxy:
            network = Network(proxy)
            await Play(run, server, proxy, network if in_memory else None).play()
            run.faults = proxy.statistics().by_kind
            if any(not end._closed for end in network.ends):
                run.left.append("an open connection of the client")
        run.log = list(server.log)
        run.timeline = server.timeline
