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
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal
from unittest import mock

import attrs
import trio
import trio.testing
from campaign_schedule import EPOCH, Accident, Job, Schedule

from trio_mix import Mix, Reply, errors
from trio_mix import events as ev
from trio_mix.sse import _reconnect
from trio_mix.sse._supervisor import Supervisor
from trio_mix.testing import (
    FaultPlan,
    FaultProxy,
    FrameQueued,
    MemoryNetwork,
    MemoryStream,
    MessageAccepted,
    MixServer,
    Say,
    StreamOpened,
    Turn,
)

if TYPE_CHECKING:
    from trio_mix import Message, SessionStream
    from trio_mix.events import Event
    from trio_mix.testing import Record

__all__ = ["BOUND", "Outcome", "Run", "carry_out"]

BOUND = 3000.0
"""Seconds of the mock clock within which each message must have ended."""

HURRY = 100.0
"""How much faster than real the clock runs over sockets."""

_FILES = "/proc/self/fd"

How = Literal["reply", "error", "cancelled", "left", "hung", "defect"]


@attrs.define
class Outcome:
    """The outcome of one message."""

    job: Job
    how: How = "hung"
    reply: Reply | None = None
    error: BaseException | None = None
    events: list[Event] = attrs.field(factory=list)
    deltas: list[str] | None = None
    """The pieces of `text_deltas`, if the job uses it."""


@attrs.define
class Run:
    """The outcomes of a schedule."""

    schedule: Schedule
    outcomes: list[Outcome] = attrs.field(factory=list)
    opened: bool = False
    final: Outcome | None = None
    """The message that is sent after all faults; None: the stream had failed before."""
    died_of: BaseException | None = None
    """The exception that ended the stream."""
    log: list[Record] = attrs.field(factory=list)
    stored: list[dict[str, object]] = attrs.field(factory=list)
    faults: dict[str, int] = attrs.field(factory=dict)
    accidents: int = 0
    received: list[list[Event]] = attrs.field(factory=list)
    """The events of each subscriber."""
    left: list[str] = attrs.field(factory=list)
    """Tasks, connections and files that were not closed."""
    timeline: str = ""
    losses: int = 0
    connects: int = 0


def carry_out(schedule: Schedule, *, in_memory: bool = True) -> Run:
    """Run a schedule and return its outcomes."""
    run = Run(schedule)
    with ExitStack() as stack:
        for patch in _patches(schedule.seed):
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


def _patches(seed: int) -> list[mock._patch[object] | mock._patch_dict]:
    """Seed every source of randomness, and derive the time of day from Trio's clock."""
    from trio._core import _run

    defaults = Supervisor.__init__.__kwdefaults__ or {}
    return [
        mock.patch.object(_run, "_r", random.Random(f"trio {seed}")),
        mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        mock.patch.object(
            _reconnect, "random", SimpleNamespace(Random=lambda: random.Random(f"policy {seed}"))
        ),
        mock.patch.dict(defaults, wall_clock=_time_of_day),
        mock.patch("trio_mix._rest._retry.time", SimpleNamespace(time=_time_of_day)),
    ]


def _time_of_day() -> float:
    return EPOCH + trio.current_time()


async def _main(run: Run, in_memory: bool) -> None:
    before = trio.lowlevel.current_statistics().tasks_living
    with trio.fail_after(30 * BOUND if in_memory else 5 * BOUND):
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
    ) as server:
        for text, turns in schedule.turns.items():
            server.script(text, *turns)
        words = [f"foreign.{number} " for number in range(4)]
        server.script("foreign", Turn(Say("".join(words), deltas=words)))
        async with FaultProxy(server, FaultPlan(*schedule.rules)) as proxy:
            network = _Network(proxy)
            await _Play(run, server, proxy, network if in_memory else None).play()
            run.faults = proxy.statistics().by_kind
            if any(not end._closed for end in network.ends):
                run.left.append("an open connection of the client")
        run.log = list(server.log)
        run.timeline = server.timeline


class _Network(MemoryNetwork):
    """Remembers the client side of all connections."""

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(lambda _stream: True)
        self._proxy = proxy
        self.ends: list[MemoryStream] = []

    def connect(self) -> MemoryStream:
        end = self._proxy.network.connect()
        self.ends.append(end)
        return end


class _Play:
    """Carries out one schedule."""

    def __init__(
        self, run: Run, server: MixServer, proxy: FaultProxy, network: _Network | None
    ) -> None:
        self._run = run
        self._schedule = run.schedule
        self._server = server
        self._proxy = proxy
        self._network = network
        self._session = server.create_session()
        self._restarting = trio.Lock()

    async def play(self) -> None:
        schedule, run = self._schedule, self._run
        known = schedule.api if schedule.named else "auto"
        mix = Mix(
            self._proxy.url,
            api="pipeline" if known == "pipeline-oldest" else known,
            network=self._network,
        )
        mix._caller.rng = random.Random(f"retries {schedule.seed}")

        async def grant(_request: ev.PermissionEvent, _message: Message) -> bool:
            await trio.lowlevel.checkpoint()
            return True

        weather = trio.CancelScope()
        async with mix, trio.open_nursery() as nursery:
            nursery.start_soon(self._storm, weather)
            try:
                with trio.fail_after(3 * BOUND):
                    async with mix.open_stream(
                        self._session,
                        message_buffer=schedule.message_buffer,
                        on_permission=grant if schedule.grants else None,
                    ) as session:
                        run.opened = True
                        await self._use(session, weather)
            except errors.TrioMixError as exc:
                run.died_of = exc
            except trio.TooSlowError:
                run.left.append("a stream that does not end")
            weather.cancel()

    async def _storm(self, weather: trio.CancelScope) -> None:
        with weather:
            async with trio.open_nursery() as nursery:
                for accident in self._schedule.accidents:
                    nursery.start_soon(self._happen, accident)

    async def _use(self, session: SessionStream, weather: trio.CancelScope) -> None:
        run = self._run
        async with trio.open_nursery() as listeners:
            for buffer, slowness in self._schedule.subscribers:
                received: list[Event] = []
                run.received.append(received)
                listeners.start_soon(self._listen, session, buffer, slowness, received)
            async with trio.open_nursery() as senders:
                for jobs in self._schedule.senders:
                    senders.start_soon(self._send_all, session, jobs)
            weather.cancel()
            self._proxy.plan = FaultPlan()
            await self._proxy.plug_in()
            self._server._backend.canned.clear()
            for number in range(3):  # a fault of an old connection may still affect it
                run.final = Outcome(Job(f"final {number}", "ask", 0.0, 0.0, 0))
                await self._send(session, run.final)
                run.outcomes.append(run.final)
                if not isinstance(run.final.error, errors.MessageInterrupted | errors.AgentError):
                    break
            statistics = session.statistics()
            run.losses, run.connects = statistics.losses, statistics.connects
            if statistics.turn_running or statistics.senders_waiting:
                run.left.append(f"a turn or a waiting sender: {statistics}")
            listeners.cancel_scope.cancel()

    async def _listen(
        self, session: SessionStream, buffer: int, slowness: float, received: list[Event]
    ) -> None:
        try:
            async with session.subscribe(buffer=buffer) as everything:
                async for event in everything:
                    received.append(event)
                    if slowness:
                        await trio.sleep(slowness)
        except errors.TrioMixError:
            pass

    async def _send_all(self, session: SessionStream, jobs: tuple[Job, ...]) -> None:
        for job in jobs:
            await trio.sleep(job.wait)
            outcome = Outcome(job)
            self._run.outcomes.append(outcome)
            await self._send(session, outcome)

    async def _send(self, session: SessionStream, outcome: Outcome) -> None:
        with trio.move_on_after(BOUND):
            try:
                await self._do(session, outcome)
            except errors.TrioMixError as exc:
                outcome.how, outcome.error = "error", exc
            except Exception as exc:  # noqa: BLE001 - every exception is judged
                outcome.how, outcome.error = "defect", exc

    async def _do(self, session: SessionStream, outcome: Outcome) -> None:
        job = outcome.job
        if job.mode == "cancel":
            await self._cancel(session, outcome)
            return
        async with session.send(job.text) as message:
            match job.mode:
                case "deltas":
                    outcome.deltas = []
                    async for delta in message.text_deltas():
                        outcome.deltas.append(delta)
                case "leave":
                    outcome.how = "left"
                    async for event in message:
                        outcome.events.append(event)
                        if len(outcome.events) > job.ticks % 8:
                            return
                case "ask":
                    await message.wait()
                case _:
                    async for event in message:
                        outcome.events.append(event)
                        if job.mode == "slow":
                            await trio.sleep(job.patience)
            outcome.reply = message.reply
            outcome.how = "reply"

    async def _cancel(self, session: SessionStream, outcome: Outcome) -> None:
        job = outcome.job
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                try:
                    async with session.send(job.text) as message:
                        async for event in message:
                            outcome.events.append(event)
                        outcome.reply = message.reply
                        outcome.how = "reply"
                except errors.TrioMixError as exc:
                    outcome.how, outcome.error = "error", exc
                nursery.cancel_scope.cancel()

            nursery.start_soon(ask)
            await trio.sleep(job.patience)
            for _ in range(job.ticks):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        if outcome.how == "hung":
            outcome.how = "cancelled"

    async def _happen(self, accident: Accident) -> None:
        await self._wait_for(accident)
        for _ in range(accident.ticks):
            await trio.lowlevel.checkpoint()
        server, proxy = self._server, self._proxy
        self._run.accidents += 1
        match accident.what:
            case "restart" | "forget":
                with trio.CancelScope(shield=True):
                    async with self._restarting:
                        await server.restart(keep_sessions=accident.what == "restart")
            case "cut" | "close" | "reset":
                await server.drop_streams(how=accident.what)
            case "drop":
                await proxy.drop()
            case "unplug":
                await proxy.unplug()
                await trio.sleep(accident.length)
                await proxy.plug_in()
            case "foreign":
                # The wire does not distinguish two turns that begin at the same time.
                accepted = sum(isinstance(record, MessageAccepted) for record in server.log)
                idle = not server.running_turns and accepted == server.runs() - server.runs(
                    "foreign"
                )
                async with self._restarting:
                    if self._session in server._backend.live and idle:
                        server.run_message(self._session, "foreign")
            case "busy store":
                server.answer_next(f"/api/sessions/{self._session}", 503, times=3)

    async def _wait_for(self, accident: Accident) -> None:
        if accident.after == "time":
            await trio.sleep(accident.count)
            return
        kinds: dict[str, type[Record]] = {
            "frames": FrameQueued,
            "accepted": MessageAccepted,
            "opened": StreamOpened,
        }
        await self._server.wait_for(kinds[accident.after], count=int(accident.count))
