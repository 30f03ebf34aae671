"""Act out one schedule: its clients, their session streams, and the accidents.

`campaign_run` provides the server, the network and the clock.
"""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Literal

import attrs
import trio
from campaign_schedule import Accident, Client, Dead, Job, Schedule, Visit

from tests.support.wire_client import CutError, open_frames, send
from trio_mix import Mix, Reply, errors
from trio_mix import events as ev
from trio_mix.testing import (
    FaultPlan,
    FaultProxy,
    FrameQueued,
    MemoryNetwork,
    MemoryStream,
    MessageAccepted,
    MixServer,
    StreamOpened,
)

if TYPE_CHECKING:
    from trio_mix import Message, SessionStream
    from trio_mix.events import Event
    from trio_mix.testing import Record

__all__ = ["BOUND", "Network", "Outcome", "Play", "Run"]

BOUND = 3000.0
"""Seconds of the mock clock within which each message must have ended."""

_MOST_SLOW = 100
"""The number of events for which a consumer is slow, so that it ends within `BOUND`."""

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
    client: int = 0
    """The number of the client that sent it."""
    began: float = 0.0
    """When it was sent, on Trio's clock."""
    ended: float = 0.0
    """When its block was left."""


@attrs.define
class Run:
    """The outcomes of a schedule."""

    schedule: Schedule
    in_memory: bool = True
    """Whether the clock is independent of the machine's load."""
    outcomes: list[Outcome] = attrs.field(factory=list)
    opened: bool = False
    final: Outcome | None = None
    """The message that is sent after all faults; None: the stream had failed before."""
    died_of: BaseException | None = None
    """The exception that ended the last stream of the first client."""
    log: list[Record] = attrs.field(factory=list)
    stored: list[dict[str, object]] = attrs.field(factory=list)
    faults: dict[str, int] = attrs.field(factory=dict)
    accidents: int = 0
    received: list[list[Event]] = attrs.field(factory=list)
    """The events of each subscriber."""
    asked: list[tuple[str, str]] = attrs.field(factory=list)
    """The permission requests that were put to the policy: the message's text, and the command."""
    left: list[str] = attrs.field(factory=list)
    """Tasks, connections and files that were not closed."""
    timeline: str = ""
    losses: int = 0
    connects: int = 0


class Network(MemoryNetwork):
    """Remembers the client side of all connections."""

    def __init__(self, proxy: FaultProxy) -> None:
        super().__init__(lambda _stream: True)
        self._proxy = proxy
        self.ends: list[MemoryStream] = []

    def connect(self) -> MemoryStream:
        end = self._proxy.network.connect()
        self.ends.append(end)
        return end


class Play:
    """Carries out one schedule."""

    def __init__(
        self, run: Run, server: MixServer, proxy: FaultProxy, network: Network | None
    ) -> None:
        self._run = run
        self._schedule = run.schedule
        self._server = server
        self._proxy = proxy
        self._network = network
        self._session = server.create_session()
        self._restarting = trio.Lock()
        self._weather = trio.CancelScope()
        self._others = trio.Event()

    async def play(self) -> None:
        """Play the schedule to its end."""
        for dead in self._schedule.dead:
            await self._die(dead)
        first, *others = self._schedule.clients
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._storm)
            if others:
                nursery.start_soon(self._play_others)
            else:
                self._others.set()
            await self._be(0, first)
            self._weather.cancel()

    async def _die(self, dead: Dead) -> None:
        """Send a message as a process that is killed soon after."""
        cut = (CutError, trio.BrokenResourceError)
        with trio.move_on_after(dead.lives), contextlib.suppress(*cut):
            async with open_frames(self._server, self._session):
                with contextlib.suppress(CutError):
                    await send(self._server, self._session, dead.text)
                await trio.sleep_forever()
        await trio.sleep(dead.wait)

    async def _storm(self) -> None:
        with self._weather:
            async with trio.open_nursery() as nursery:
                for accident in self._schedule.accidents:
                    nursery.start_soon(self._happen, accident)

    async def _play_others(self) -> None:
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(self._schedule.clients[1:], 1):
                nursery.start_soon(self._be, number, client)
        self._others.set()

    async def _be(self, number: int, client: Client) -> None:
        schedule, run = self._schedule, self._run
        known = schedule.api if schedule.named else "auto"
        mix = Mix(
            self._proxy.url,
            api="pipeline" if known == "pipeline-oldest" else known,
            network=self._network,
        )
        suffix = f" {number}" if number else ""
        mix._caller.rng = random.Random(f"retries {schedule.seed}{suffix}")
        async with mix:
            for visit in client.visits:
                if visit.wait:
                    await trio.sleep(visit.wait)
                last = number == 0 and visit is client.visits[-1]
                begun = len(run.outcomes)
                scope = trio.CancelScope()
                if visit.lasts is not None:
                    scope.deadline = trio.current_time() + visit.lasts
                try:
                    with trio.fail_after(3 * BOUND), scope:
                        await self._visit(mix, number, visit, last=last)
                except errors.TrioMixError as exc:
                    if last:
                        run.died_of = exc
                except trio.TooSlowError:
                    run.left.append("a stream that does not end")
                if scope.cancelled_caught:
                    for outcome in run.outcomes[begun:]:
                        if outcome.how == "hung" and outcome.client == number:
                            outcome.how = "cancelled"

    async def _visit(self, mix: Mix, number: int, visit: Visit, *, last: bool) -> None:
        schedule = self._schedule

        async def grant(request: ev.PermissionEvent, message: Message) -> bool:
            await trio.lowlevel.checkpoint()
            self._run.asked.append((message.text, str((request.params or {}).get("command", ""))))
            return True

        async with mix.open_stream(
            self._session,
            message_buffer=schedule.message_buffer,
            on_permission=grant if schedule.grants else None,
        ) as session:
            self._run.opened = True
            async with trio.open_nursery() as listeners:
                for buffer, slowness in schedule.subscribers:
                    received: list[Event] = []
                    self._run.received.append(received)
                    listeners.start_soon(self._listen, session, buffer, slowness, received)
                async with trio.open_nursery() as senders:
                    for jobs in visit.senders:
                        senders.start_soon(self._send_all, session, number, jobs)
                if last:
                    await self._others.wait()
                    await self._finish(session)
                listeners.cancel_scope.cancel()

    async def _finish(self, session: SessionStream) -> None:
        """Send the last message, after all faults."""
        run = self._run
        self._weather.cancel()
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

    async def _send_all(self, session: SessionStream, number: int, jobs: tuple[Job, ...]) -> None:
        for job in jobs:
            await trio.sleep(job.wait)
            outcome = Outcome(job, client=number)
            self._run.outcomes.append(outcome)
            await self._send(session, outcome)

    async def _send(self, session: SessionStream, outcome: Outcome) -> None:
        outcome.began = trio.current_time()
        with trio.move_on_after(BOUND):
            try:
                await self._do(session, outcome)
            except errors.TrioMixError as exc:
                outcome.how, outcome.error = "error", exc
            except Exception as exc:  # noqa: BLE001 - every exception is judged
                outcome.how, outcome.error = "defect", exc
        outcome.ended = trio.current_time()

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
                        if job.mode == "slow" and len(outcome.events) <= _MOST_SLOW:
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
            case "upgrade":
                with trio.CancelScope(shield=True):
                    async with self._restarting:
                        await server.restart(api=self._schedule.upgrade)
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
