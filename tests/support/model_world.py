"""A client, a server and a network on a mock clock that only the model advances.

A program is a list of steps. After each step everything runs until all tasks wait, so that the next
step starts from a stable state; only "time" steps advance the clock. `campaign_judge` checks the
invariants.
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio
import trio.testing
from campaign_judge import judge
from campaign_play import Outcome, Run
from campaign_run import _patches
from campaign_schedule import Job, Schedule

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import FaultProxy, MixServer, Pause, Say, Think, Turn, UseTool

if TYPE_CHECKING:
    from trio_mix import Message, SessionStream
    from trio_mix.testing import Api

__all__ = ["Program", "Step", "carry_out_program"]

StepName: TypeAlias = Literal[
    "send", "read", "cancel", "leave", "cut", "drop", "unplug", "plug", "restart", "foreign", "time"
]
TURNS = 16
TEXTS = ("alpha", "beta", "gamma")


@attrs.frozen
class Step:
    """One step and its parameters."""

    name: StepName
    number: int = 0
    amount: float = 0.0
    how: Literal["cut", "close", "reset"] = "cut"


@attrs.frozen
class Program:
    """A kind of server, and the steps."""

    api: Api
    replay: bool
    steps: tuple[Step, ...]


class _Sender:
    """Sends one message and reads it as the model's steps demand."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.scope = trio.CancelScope()
        self.more = trio.Semaphore(0)
        self.leaving = False

    async def run(self, session: SessionStream) -> None:
        with self.scope:
            try:
                async with session.send(self.outcome.job.text) as message:
                    await self._read(message)
            except errors.TrioMixError as exc:
                self.outcome.how, self.outcome.error = "error", exc
        if self.scope.cancelled_caught:
            self.outcome.how = "cancelled"

    async def _read(self, message: Message) -> None:
        async for event in message:
            self.outcome.events.append(event)
            await self.more.acquire()
            if self.leaving:
                self.outcome.how = "left"
                return
        self.outcome.reply = message.reply
        self.outcome.how = "reply"


def carry_out_program(program: Program) -> list[str]:
    """Carry out a program; return the violated invariants, with the step."""
    run = Run(_schedule(program))
    found: list[str] = []
    clock = trio.testing.MockClock()
    with ExitStack() as stack:
        for patch in _patches(1, 0):
            stack.enter_context(patch)
        trio.run(partial(_main, program, run, clock, found), clock=clock)
    return found or [str(violation) for violation in judge(run)]


def _turn(name: str, shape: int) -> Turn:
    words = [f"{name}.{number} " for number in range(6)]
    parts = [Say("".join(words[at : at + 3]), deltas=words[at : at + 3]) for at in (0, 3)]
    return (
        Turn(*parts),
        Turn(Think("hm"), parts[0], Pause(7), UseTool("glob"), parts[1]),
        Turn(Pause(30), parts[0], Pause(0.5), parts[1], Pause(2)),
    )[shape % 3]


def _schedule(program: Program) -> Schedule:
    turns = {
        text: tuple(_turn(f"{text}{number}", number) for number in range(TURNS)) for text in TEXTS
    }
    turns["final 0"] = (_turn("final", 0),)
    return Schedule(
        seed=1,
        api=program.api,
        replay=program.replay,
        connected_id=True,
        named=True,
        cancel_on_disconnect=False,
        ghost_runs=True,
        answer_delay=0.0,
        grants=False,
        message_buffer=1024,
        turns=turns,
        clients=(),
        subscribers=(),
        rules=(),
        accidents=(),
    )


async def _main(
    program: Program, run: Run, clock: trio.testing.MockClock, found: list[str]
) -> None:
    async with (
        MixServer(program.api, listen=False, pace=0.0, replay=program.replay) as server,
        FaultProxy(server) as proxy,
        Mix(proxy.url, network=proxy.network, api=_named(program.api)) as mix,
    ):
        for text, turns in run.schedule.turns.items():
            server.script(text, *turns)
        words = [f"foreign.{number} " for number in range(3)]
        server.script("foreign", Turn(Say("".join(words), deltas=words)))
        world = _World(run, server, proxy, clock)
        try:
            async with mix.open_stream(world.session_id) as session:
                run.opened = True
                async with trio.open_nursery() as nursery:
                    for step in program.steps:
                        await world.step(session, nursery, step)
                        if wrong := world.check():
                            found += [f"after {step}: {line}" for line in wrong]
                            return
                    await world.end(session, nursery)
        except errors.TrioMixError as exc:
            run.died_of = exc
        run.log = list(server.log)


def _named(api: Api) -> Literal["pipeline", "blocking", "async"]:
    return "pipeline" if api == "pipeline-oldest" else api


class _World:
    def __init__(
        self, run: Run, server: MixServer, proxy: FaultProxy, clock: trio.testing.MockClock
    ) -> None:
        self.run = run
        self.server = server
        self.proxy = proxy
        self.clock = clock
        self.session_id = server.create_session()
        self.senders: list[_Sender] = []

    async def step(self, session: SessionStream, nursery: trio.Nursery, step: Step) -> None:
        match step.name:
            case "send":
                self._send(session, nursery, TEXTS[step.number % len(TEXTS)])
            case "time":
                self.clock.jump(step.amount)
            case "cut":
                await self.server.drop_streams(how=step.how)
            case "drop":
                await self.proxy.drop("reset" if step.how == "reset" else "cut")
            case "unplug":
                await self.proxy.unplug()
            case "plug":
                await self.proxy.plug_in()
            case "restart":
                await self.server.restart()
            case "foreign":
                if not self.server.running_turns and not self._busy():
                    self.server.run_message(self.session_id, "foreign")
            case _:
                self._control_sender(step)
        await trio.testing.wait_all_tasks_blocked()

    def _send(self, session: SessionStream, nursery: trio.Nursery, text: str) -> None:
        outcome = Outcome(Job(text, "iterate", 0.0, 0.0, 0))
        sender = _Sender(outcome)
        self.run.outcomes.append(outcome)
        self.senders.append(sender)
        nursery.start_soon(sender.run, session)

    def _busy(self) -> bool:
        return any(sender.outcome.how == "hung" for sender in self.senders)

    def _control_sender(self, step: Step) -> None:
        if not self.senders:
            return
        sender = self.senders[step.number % len(self.senders)]
        if step.name == "cancel":
            sender.scope.cancel()
        else:
            sender.leaving = sender.leaving or step.name == "leave"
            for _ in range(int(step.amount) + 1):
                sender.more.release()

    def check(self) -> list[str]:
        """Return the invariants that are violated while the program is running."""
        self.run.log = list(self.server.log)
        wrong = [str(violation) for violation in judge(self._so_far())]
        if self.server.open_streams > 2 and self.run.schedule.api != "pipeline-oldest":
            wrong.append(f"{self.server.open_streams} streams at once")
        return wrong

    def _so_far(self) -> Run:
        """Return the run so far, with its running messages marked as left."""
        ended = [outcome for outcome in self.run.outcomes if outcome.how != "hung"]
        waiting = [attrs.evolve(o, how="left") for o in self.run.outcomes if o.how == "hung"]
        so_far = attrs.evolve(self.run, outcomes=[*ended, *waiting])
        so_far.opened = False
        return so_far

    async def end(self, session: SessionStream, nursery: trio.Nursery) -> None:
        """Wait until everything has ended, and check that the next message works."""
        await self.proxy.plug_in()
        for sender in self.senders:
            for _ in range(1000):
                sender.more.release()
        self.run.final = Outcome(Job("final 0", "ask", 0.0, 0.0, 0))
        final = _Sender(self.run.final)
        for _ in range(1000):
            final.more.release()
        nursery.start_soon(final.run, session)
        for _ in range(1500):
            await trio.testing.wait_all_tasks_blocked()
            if not self._busy() and self.run.final.how != "hung":
                break
            self.clock.jump(2.0)
        self.run.outcomes.append(self.run.final)
        statistics = session.statistics()
        if statistics.turn_running or statistics.senders_waiting:
            self.run.left.append(f"a turn or a waiting sender: {statistics}")
        if any(isinstance(event, ev.StreamGapEvent) for event in self.run.final.events):
            self.run.left.append("a gap in the message after all faults")
        nursery.cancel_scope.cancel()
