"""Servers as generators of legal event streams that know the turn of each event.

`AsyncWorld` emits turns of this client and of others, interleaved, with ids; `OrderWorld` emits one
turn after another, without ids. Both are driven by draws, so that Hypothesis can shrink a run.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from tests.support.event_makers import (
    asked,
    begins,
    done,
    error,
    permission,
    piece,
    ran,
    rate_limit,
    runs,
    says,
    thinks,
    tool,
    unknown,
    whole,
)
from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Draw = Callable[[int], int]
    """Draw a number from 0 up to, not including, the argument."""

NOISE: tuple[ev.Event, ...] = (
    ev.HeartbeatEvent(),
    ev.SessionCreatedEvent(session_id="x", title="", created_at=0),
    ev.ConnectedEvent(session_id="s"),
)


@attrs.frozen
class Step:
    """Some events that follow each other at once."""

    events: Sequence[ev.Event]
    new_round: bool = False
    terminal: bool = False
    later: Sequence[ev.Event] = ()
    """What it leaves behind."""


@attrs.define(eq=False)
class Running:
    """A turn under way, as the server knows it."""

    name: str
    steps: Iterator[Step]
    age: int | None = None
    next: Step | None = None
    due: int = 2

    def advance(self) -> None:
        self.next = next(self.steps, None)


class AsyncWorld:
    """Turns on one wire with ids, interleaved so that the rules can distinguish them."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._count = itertools.count()
        self.running: list[Running] = []
        self.leftovers: list[ev.Event] = []

    def turn(self, text: str, *, begun: bool = True) -> Running:
        """Begin a turn; ``begun`` False: its beginning is not on this stream."""
        number = next(self._count)
        steps = list(self._steps(f"t{number}", text))
        if not begun:
            steps = steps[1 + self._draw(max(1, len(steps) - 2)) :]
        turn = Running(f"t{number}", iter(steps))
        turn.advance()
        self.running.append(turn)
        return turn

    def movable(self, turn: Running) -> bool:
        """Return whether its next event can be distinguished from those of the other turns."""
        if turn.next is None or not turn.next.new_round:
            return turn.next is not None
        heard = [other for other in self.running if other.age is not None]
        return turn is min(heard, key=lambda other: (-other.due, other.age), default=turn)

    def move(self, turn: Running) -> Step:
        """Emit its next events."""
        step = turn.next
        assert step is not None
        if turn.age is None:
            begun = isinstance(step.events[0], ev.UserMessageCreatedEvent)
            turn.age = next(self._count) if begun else -1
        for event in step.events:
            if getattr(event, "parent_tool_call_id", None) is not None:
                continue
            if isinstance(event, ev.ContentEvent | ev.ThinkingEvent | ev.CompleteEvent):
                turn.due = 0
            elif isinstance(event, ev.ToolExecutionCompleteEvent):
                turn.due = 2
            elif hasattr(event, "tool_call_id"):
                turn.due = 1
        turn.advance()
        if step.terminal:
            self.running.remove(turn)
            self.leftovers += step.later
        return step

    def _steps(self, name: str, text: str) -> Iterator[Step]:
        yield Step([asked(f"{name}-u", text)])
        rounds = 1 + self._draw(3)
        message = ""
        for number in range(rounds):
            message = f"{name}-m{number}"
            yield Step([thinks("hm", message)], new_round=True)
            for _ in range(self._draw(3)):
                yield Step([says(f"{name} ", message)])
            if number < rounds - 1:
                yield from self._calls(name, message)
        yield self._ending(name, message)

    def _calls(self, name: str, message: str) -> Iterator[Step]:
        # Ids of calls are used again by every round of every turn of a provider that counts.
        call = f"{message}-c" if self._draw(2) else f"{name}-c"
        yield Step([begins(call, message)])
        yield Step([piece(call, "{", message), whole(call, "{}", message)])
        yield Step([runs(call), [permission(call), unknown(), rate_limit()][self._draw(3)]])
        for number in range(self._draw(3)):
            sub = f"{message}-s{number}"
            yield Step([asked(f"{sub}-u", "hello", call), says("sub", sub, call)])
            yield Step([begins(f"{sub}-c", sub, call), ran(f"{sub}-c", call)])
            yield Step([done(sub, "sub", call), error("sub", call)][self._draw(2) :])
        yield Step([ran(call)])

    def _ending(self, name: str, message: str) -> Step:
        last, end = says("last ", message), [done(message)]
        match self._draw(4):
            case 1:
                failed = error(name)
                return Step([last, failed], terminal=True, later=[failed])
            case 2:
                return Step(end, terminal=True, later=[last])
            case 3:
                return Step(end, terminal=True, later=end)
        return Step(end, terminal=True)


class OrderWorld:
    """One turn after another, on a wire without ids."""

    def __init__(self, draw: Draw, *, deltas: bool) -> None:
        self._draw = draw
        self._deltas = deltas
        self._count = itertools.count()

    def turn(self) -> tuple[list[ev.Event], list[ev.Event]]:
        """Return a turn's events, and what may come again after its end."""
        number = next(self._count)
        events: list[ev.Event] = []
        again: list[ev.Event] = []
        for _ in range(self._draw(3)):
            if self._deltas:
                events += [thinks("hm"), says("x")][: self._draw(3)]
            call = f"call_{self._draw(2)}" if self._draw(2) else f"c{number}"
            states = [tool(call), tool(call, "", "completed"), tool(call, "{}", "completed")]
            events += [*states, permission(), unknown()][: 3 + self._draw(3)]
            again = [states[-1]]
        match self._draw(4):
            case 0:
                # Not the same one twice: without ids nothing tells a repetition from a new one.
                events.append(error(f"error {number}"))
            case 1:
                events.append(rate_limit(text=f"limit {number}"))
            case 2:
                events.append(done(None, "ok"))
            case _:
                events.append(done(f"m{number}", "ok"))
                again.append(events[-1])
        return events, again
