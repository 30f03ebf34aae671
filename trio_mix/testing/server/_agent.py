"""Runs a turn: performs the steps of a script.

Rules:

1. A turn ends once: with ``complete``, with an error, cancelled, or killed with the server.
2. A turn that a pipeline stream runs waits until that stream has written each event. It does not
   notice that the client has left: the answer is finished and stored. After ``stall_after``
   undelivered tool events it hangs until it is cancelled.
3. Any other turn never waits for a reader.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import trio

from trio_mix.testing._records import MessageFinished, MessageRun
from trio_mix.testing.server._frames import ServerEvent
from trio_mix.testing.server._questions import ask_permission, notify
from trio_mix.testing.server._script import (
    AskPermission,
    Complete,
    Do,
    Drop,
    Emit,
    Fail,
    Hang,
    LateDelta,
    Notify,
    Pause,
    RateLimit,
    Raw,
    Restart,
    Say,
    Step,
    SubAgent,
    Think,
    UseTool,
    UseTools,
    WaitFor,
    split_text,
    with_fields,
)
from trio_mix.testing.server._turn_writer import TurnWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_mix.testing.server._backend import (
        Backend,
        CancelledTool,
        LiveSession,
        OpenStream,
    )
    from trio_mix.testing.server._script import Turn
    from trio_mix.testing.server._store import Row, StoredToolCall
    from trio_mix.testing.server._stream import ServerStream

CANCELLED = "request cancelled by user"
_DRAIN_TIME = 5.0

Ending = Literal["complete", "error", "cancelled", "killed"]


class _TurnEnded(Exception):
    """Ends the turn before its last step."""


class TurnRun:
    """The run of one message."""

    def __init__(
        self,
        backend: Backend,
        live: LiveSession,
        text: str,
        *,
        plan_mode: bool = False,
        stream: ServerStream | None = None,
        silent: bool = False,
    ) -> None:
        self.text = text
        self.ending: Ending = "killed"
        self.error = ""
        self._backend = backend
        self._live = live
        self._plan_mode = plan_mode
        self._stream = stream
        self._silent = silent
        self._scope = trio.CancelScope()
        self._asking = False
        self._cancel_when_answered = False
        self._undelivered = 0
        self._tools = 0
        self._writer = TurnWriter(backend.store, backend.traits, live.row, self._emit)
        self._held: list[str] = []

    @property
    def row(self) -> Row | None:
        """The last assistant row of the turn."""
        return self._writer.last

    @property
    def calls(self) -> Iterator[StoredToolCall]:
        """The tool calls of the turn."""
        return self._writer.calls

    def cancel(self) -> None:
        """Cancel the turn; its error event follows."""
        if self._asking:
            # Real servers do not wake the request: the turn ends once it is answered or times out.
            self._cancel_when_answered = True
            return
        end = trio.current_time() + self._backend.settings.cancel_latency
        self._scope.deadline = min(self._scope.deadline, end)

    async def run(self) -> None:
        """Run the turn to its end."""
        live, log = self._live, self._backend.log
        live.running.append(self)
        live.cancellable = self
        live.runs[self.text] += 1
        times = live.runs[self.text]
        log.add(MessageRun(session_id=live.row.id, text=self.text, times=times))
        try:
            with self._scope:
                await self._turn(self._backend.turn_for(self.text))
            if self._scope.cancelled_caught:
                self._end_cancelled()
        except Exception as error:
            # The error event ends the turn: the client would wait for the end otherwise.
            self._writer.abort()
            self.ending, self.error = "error", f"the script of this turn failed: {error!r}"
            self._fail(Fail(self.error))
            raise
        finally:
            live.running.remove(self)
            live.cancellable = None  # no longer a later turn either: rule 3 of `Backend`
            log.add(MessageFinished(session_id=live.row.id, text=self.text, how=self.ending))

    def _end_cancelled(self) -> None:
        backend = self._backend
        usual: CancelledTool = "error" if backend.traits.pipeline else "context"
        how = (backend.settings.cancelled_tool or usual) if self._tools else "error"
        self.ending = "cancelled"
        self.error = "context canceled" if how == "context" else CANCELLED
        if how == "complete":
            self._publish(ServerEvent("complete", self._writer.break_off()))
        else:
            self._writer.abort()
            self._fail(Fail(self.error))

    async def _turn(self, turn: Turn) -> None:
        added = self._backend.settings.plan_mode_text if self._plan_mode else ""
        await self._writer.begin(self.text + added)
        steps = list(turn.steps)
        if not any(isinstance(step, Complete) for step in steps):
            late: list[Step] = [step for step in steps if isinstance(step, LateDelta)]
            steps = [step for step in steps if not isinstance(step, LateDelta)]
            steps += [Complete(), *late]
        try:
            for at, step in enumerate(steps):
                await self._step(step, self._writer, withhold=_withheld(steps, at))
        except _TurnEnded:
            return

    async def _steps(self, steps: Sequence[Step], writer: TurnWriter) -> None:
        await trio.lowlevel.checkpoint()  # there may be no steps
        for step in steps:
            await self._step(step, writer)

    async def _step(self, step: Step, writer: TurnWriter, *, withhold: int = 0) -> None:
        match step:
            case Think(text, deltas):
                await writer.think(split_text(text, deltas))
            case Say(text, deltas):
                held = await writer.say(split_text(text, deltas), withhold=withhold)
                self._held += held
            case LateDelta(text):
                await writer.delta(text)
            case UseTool():
                await writer.use([step], partial(self._inner_steps, writer))
            case UseTools(calls):
                await writer.use(calls, partial(self._inner_steps, writer))
            case SubAgent():
                await self._delegate(step, writer)
            case AskPermission():
                await self._ask(step, writer)
            case Notify():
                await notify(self._backend, self._live, step, writer.emit)
            case Complete(_, times, loses, data):
                await trio.lowlevel.checkpoint()
                for _ in range(times):
                    await writer.complete(data)
                self.ending = "complete"
                while len(self._held) > loses:
                    await writer.delta(self._held.pop(0))
            case Fail():
                writer.abort()
                self.ending, self.error = "error", step.error
                self._fail(step)
                raise _TurnEnded
            case RateLimit():
                await self._rate_limit(step)
            case _:
                await self._fault(step)

    async def _fault(self, step: Step) -> None:
        await trio.lowlevel.checkpoint()  # a drop may have nothing to do
        match step:
            case Pause(seconds):
                await trio.sleep(seconds)
            case Hang():
                await trio.sleep_forever()
            case WaitFor(event):
                await event.wait()
            case Do(function):
                await function()
            case Emit(name, data):
                await self._emit(name, dict(data))
            case Raw(data, past_framing):
                for stream in self._recipients():
                    stream.send_raw(data, past_framing=past_framing)
                await self._written("raw")
            case Restart():
                restart = self._backend.restart
                if restart is not None:
                    restart(step)
                await trio.sleep_forever()  # the restart ends the turn
            case Drop(how):
                with trio.move_on_after(_DRAIN_TIME):
                    for stream in self._recipients():
                        await stream.drained()
                    # Later events must not be queued on a connection that is being closed.
                    lost = self._backend.drop(self._live, how)
                    await self._backend.log.wait_until(lambda: all(s.closed for s in lost))

    async def _inner_steps(self, writer: TurnWriter, call: UseTool, made: StoredToolCall) -> None:
        del made
        await self._in_tool(call.steps, writer)

    async def _in_tool(self, steps: Sequence[Step], writer: TurnWriter) -> None:
        self._tools += 1
        await self._steps(steps, writer)
        self._tools -= 1  # only where the tool was not cancelled

    async def _delegate(self, step: SubAgent, writer: TurnWriter) -> None:
        store, traits = self._backend.store, self._backend.traits
        call = UseTool(traits.tool("task"), {"prompt": step.task})

        async def work(_call: UseTool, made: StoredToolCall) -> None:
            row = store.create(step.task, parent=self._live.row, tool_call_id=made.id)
            row.extra["subagentType"] = "general-purpose"
            inner = TurnWriter(store, traits, row, self._emit, made.id)
            await inner.begin(step.task)
            await self._in_tool(step.steps, inner)
            await inner.complete()

        await writer.use([call], work)

    async def _ask(self, step: AskPermission, writer: TurnWriter) -> None:
        self._asking = True
        try:
            answer = await ask_permission(
                self._backend, self._live, step, writer.parent_tool_call_id, silent=self._silent
            )
        finally:
            self._asking = False
        if self._cancel_when_answered:
            self.cancel()
            await trio.sleep_forever()
        otherwise = step.otherwise
        if otherwise is None:
            otherwise = [Say("I was not given permission, so I did not do it.")]
        await self._steps(step.then if answer == "granted" else otherwise, writer)

    async def _rate_limit(self, step: RateLimit) -> None:
        data: dict[str, object] = {
            "error": f"rate limited by the provider, retrying after {step.retry_after} s",
            "type": "rate_limit_error",
            "attempt": step.attempt,
            "maxAttempts": step.max_attempts,
            "retryAfter": step.retry_after,
        }
        await self._emit("rate_limit_error", with_fields(data, step.data))
        if self._backend.traits.rate_limit_ends_turn:
            self._writer.abort()
            self.ending, self.error = "error", str(data["error"])
            raise _TurnEnded
        await trio.sleep(step.retry_after if step.pause is None else step.pause)

    def _fail(self, step: Fail) -> None:
        data: dict[str, object] = {"error": step.error}
        if step.type is not None:
            data["type"] = step.type
        if step.retry_after is not None:
            data["retryAfter"] = step.retry_after
        event = ServerEvent("error", with_fields(data, step.data))
        usual = 2 if self._backend.traits.errors_twice else 1
        times = usual if step.times is None else step.times
        delay = self._backend.settings.error_delay

        async def repeat() -> None:
            await trio.sleep(delay)
            self._publish_all(event, times - 1)

        if delay and times > 1:
            self._publish(event)
            self._backend.spawn(repeat)
        else:
            self._publish_all(event, times)

    def _publish_all(self, event: ServerEvent, times: int) -> None:
        for _ in range(times):
            self._publish(event)

    def _recipients(self) -> Sequence[OpenStream]:
        if self._silent:
            return []
        if self._stream is not None and not self._backend.settings.replay:
            return [self._stream]
        return list(self._live.streams)

    def _publish(self, event: ServerEvent) -> None:
        if not self._silent:
            self._backend.publish(self._live, event, self._stream)

    async def _emit(self, name: str, data: dict[str, object]) -> None:
        self._publish(ServerEvent(name, data))
        await self._written(name)

    async def _written(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if self._stream is None:
            return
        await self._stream.drained()
        if self._stream.closed and name.startswith("tool"):
            self._undelivered += 1
            most = self._backend.settings.stall_after
            if most is not None and self._undelivered >= most:
                await trio.sleep_forever()


def _withheld(steps: Sequence[Step], at: int) -> int:
    """Return how many deltas of the step at ``at`` follow the ``complete`` or are lost."""
    for position, step in enumerate(steps):
        if isinstance(step, Complete):
            later = steps[at + 1 : position]
            last = not any(isinstance(each, Say | UseTool | UseTools | SubAgent) for each in later)
            return step.overtakes + step.loses if last and at < position else 0
    return 0
