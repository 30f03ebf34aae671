"""Schedules of processes that die and resume their tickets, on a fake clock and in memory.

``python tests/campaign/ticket_schedules.py --count 2000`` runs fresh seeds; ``--seed N`` runs one
and prints the server's timeline. A seed determines the generation, the turns, the faults of the
network, the moments at which processes die, and other clients' messages and restarts of the server.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(1, str(Path(__file__).parents[2]))  # the package `tests`

import attrs
import trio
import trio.testing

from trio_mix import Mix, SessionStream, Ticket, errors
from trio_mix.testing import Fail, FaultPlan, FaultProxy, MixServer, Pause, Say, Turn, UseTool

if TYPE_CHECKING:
    from trio_mix import Reply
    from trio_mix.testing import Api

_GENERATIONS: Final[tuple[Api, ...]] = ("async", "blocking", "pipeline", "pipeline-oldest")
_FAULTS: Final = ("cut", "reset", "cut_up", "stall", "split", "throttle", "refuse", "busy")
_MOST_PROCESSES: Final = 40
_BOUND: Final = 3600.0
"""Seconds on the fake clock in which all jobs have ended."""


@attrs.define
class World:
    """One schedule and its outcome."""

    seed: int
    rng: random.Random
    api: Api
    jobs: dict[str, str] = attrs.field(factory=dict[str, str])
    """The text of each job."""
    replies: dict[str, str] = attrs.field(factory=dict[str, str])
    """The whole reply to each text; empty where its turn fails."""
    disk: dict[str, str] = attrs.field(factory=dict[str, str])
    """The tickets as JSON."""
    results: dict[str, tuple[str, Reply | None]] = attrs.field(
        factory=dict[str, "tuple[str, Reply | None]"]
    )
    kills: int = 0
    disturbed: bool = False
    """Whether the server was restarted, or another client's turn ran, so that one may be gone."""


def draw(seed: int) -> World:
    """Return a schedule."""
    rng = random.Random(f"tickets {seed}")
    world = World(seed, rng, rng.choice(_GENERATIONS))
    for number in range(rng.randint(1, 3)):
        # Some jobs have the same text.
        text = f"job {rng.choice((number, number, 0))}"
        world.jobs[f"{number}"] = text
    return world


def _turn(world: World, text: str) -> Turn:
    rng = world.rng
    pause = Pause(rng.choice((0.0, 0.1, 2.0, 12.0)))
    tools = [UseTool("glob", {"pattern": "*"})] * rng.choice((0, 0, 1))
    if rng.random() < 0.1:
        world.replies[text] = ""
        return Turn(Say("It began"), pause, Fail("no luck"))
    world.replies[text] = f"You said {text}."
    return Turn(Say("You said ", deltas=3), pause, *tools, Say(f"{text}."), pause)


async def _do(world: World, session: SessionStream, name: str, killed: trio.Event) -> None:
    """Do one job, as a program does; a process that was killed writes nothing any more."""
    if name in world.results:
        return

    async def save(ticket: Ticket) -> None:
        await trio.lowlevel.checkpoint()
        if not killed.is_set():
            world.disk[name] = ticket.to_json()

    if name in world.disk:
        ticket = Ticket.from_json(world.disk[name])
    else:
        ticket = await session.prepare(world.jobs[name])
        await save(ticket)
    result: tuple[str, Reply | None]
    try:
        async with session.resume(ticket, save=save) as message:
            result = ("finished", await message.wait())
    except errors.MessageInterrupted as exc:
        result = (exc.outcome, exc.partial)
    except errors.MessageRejected as exc:
        result = ("refused", exc.partial)
    except errors.AgentError as exc:
        result = ("failed", exc.partial)
    if not killed.is_set():
        world.results[name] = result


async def _process(world: World, proxy: FaultProxy, session_id: str, killed: trio.Event) -> None:
    """One process, until all jobs have ended, an error ends it, or it is killed."""
    try:
        async with (
            Mix(proxy.url, network=proxy.network) as mix,
            mix.open_stream(session_id, settle_timeout=20, cleanup_timeout=0.001) as session,
        ):
            for name in world.jobs:
                await _do(world, session, name, killed)
    except errors.TrioMixError:
        await trio.lowlevel.checkpoint()


async def play(world: World) -> MixServer:
    """Play a schedule; return the server."""
    rng = world.rng
    async with (
        MixServer(world.api, listen=False, pace=0.0, double_events=False) as server,
        FaultProxy(server) as proxy,
    ):
        for text in {*world.jobs.values()}:
            server.script(text, _turn(world, text))
        session_id = server.create_session()
        for number in range(_MOST_PROCESSES):
            if len(world.results) == len(world.jobs):
                break
            last = number == _MOST_PROCESSES - 1
            quiet = last or rng.random() < 0.5
            faults = FaultPlan() if quiet else FaultPlan.random(rng.getrandbits(32), kinds=_FAULTS)
            proxy.plan = faults
            killed = trio.Event()
            async with trio.open_nursery() as nursery:

                async def run(killed: trio.Event = killed, nursery: trio.Nursery = nursery) -> None:
                    await _process(world, proxy, session_id, killed)
                    nursery.cancel_scope.cancel()

                nursery.start_soon(run)
                await trio.sleep(_BOUND if last else rng.choice((0, 0.001, 0.1, 1, 5, 30, 100)))
                world.kills += 1
                killed.set()
                await proxy.unplug()
                await proxy.drop("reset")
                nursery.cancel_scope.cancel()
            if world.api == "async" and rng.random() < 0.1:
                # Rows of a turn may follow the question of another, which hides its growth.
                world.disturbed = True
                server.run_message(session_id, "another client's message")
            if rng.random() < 0.05:
                world.disturbed = True
                await server.restart()
            await trio.sleep(rng.choice((0, 0, 0.5, 4)))
            await proxy.plug_in()
        await trio.sleep(300)  # what is still running ends
    return server


def judge(world: World, server: MixServer) -> list[str]:
    """Return what does not hold."""
    wrong: list[str] = []
    texts = list(world.jobs.values())
    rows = str([*server.stored("session-1")]) if world.results else ""
    for name, text in world.jobs.items():
        runs, sent = server.runs(text), texts.count(text)
        if runs > sent:
            wrong.append(f"{text!r} ran {runs} times for {sent} jobs")
        if name not in world.results:
            wrong.append(f"{text!r} never ended")
            continue
        state, reply = world.results[name]
        if state == "finished" and reply is not None and not reply.incomplete:
            whole = world.replies[text]
            last = world.api == "pipeline-oldest" and whole.endswith(reply.text)
            if reply.text != whole and not last:
                wrong.append(f"{text!r} has a wrong reply: {reply.text!r}")
        # Where another client's turn overlaps it and one of both was killed, nothing shows which.
        if state == "unknown" and sent == 1 and repr(text) in rows and not world.disturbed:
            wrong.append(f"{text!r} is unknown, and it is stored")
        if state == "refused" and sent == 1 and runs:
            wrong.append(f"{text!r} is refused, and it ran")
        if state == "gone" and not runs:
            wrong.append(f"{text!r} is gone, and never ran")
        if state in ("gone", "failed") and world.replies[text] and not world.disturbed:
            ok = state == "gone" and world.api in ("pipeline", "pipeline-oldest")
            if not ok:  # there, a turn may end with its stream
                wrong.append(f"{text!r} is {state}, and its turn finished")
    return wrong


def carry_out(seed: int) -> tuple[World, MixServer, list[str]]:
    """Play and judge a seed."""
    world = draw(seed)
    server = trio.run(play, world, clock=trio.testing.MockClock(autojump_threshold=0))
    return world, server, judge(world, server)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="the number of schedules")
    parser.add_argument("--start", type=int, default=time.time_ns() % 10**9)
    parser.add_argument("--seed", type=int, help="run this seed and print the timeline")
    options = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable(logging.WARNING)
    seeds = range(options.start, options.start + options.count)
    if options.seed is not None:
        seeds = range(options.seed, options.seed + 1)
    print(f"seeds from {seeds[0]} on")
    began, failures, kills = time.perf_counter(), 0, 0
    states: dict[str, int] = {}
    for seed in seeds:
        try:
            world, server, wrong = carry_out(seed)
        except BaseException:
            print(f"seed {seed}:", flush=True)
            raise
        kills += world.kills
        for state, reply in world.results.values():
            name = "incomplete" if reply is not None and reply.incomplete else ""
            key = f"{state} {name}".strip()
            states[key] = states.get(key, 0) + 1
        if options.seed is not None:
            print(server.timeline)
            print(world)
        if wrong:
            failures += 1
            print(f"seed {seed} ({world.api}): {wrong}", flush=True)
            if failures >= 10:
                break
    print(f"{kills} kills; {states}; {failures} failures, {time.perf_counter() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
