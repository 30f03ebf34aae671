"""Collect the tool calls of one turn from the events of any generation, and report their progress.

Rule 1  Every call is reported exactly twice: with its parameters, and when the tool has finished,
        whatever events the generation sends, unless the turn failed or was cancelled in between.
Rule 2  What events do not show is reported at the end of the turn, from its reply.
Rule 3  The work for an event is linear in its own size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from trio_mix import events as ev
from trio_mix._json import is_json
from trio_mix._reply import ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from trio_mix.events import Event

ToolEvent: TypeAlias = (
    ev.ToolEvent
    | ev.ToolParameterDeltaEvent
    | ev.ToolUseStartEvent
    | ev.ToolUseParameterDeltaEvent
    | ev.ToolUseParameterStreamingCompleteEvent
    | ev.ToolExecutionStartEvent
    | ev.ToolExecutionCompleteEvent
)

_OF_A_CALL: Final = 50


@attrs.define(kw_only=True)
class _Call:
    """A tool call, and how much of its parameters is known."""

    tool_call_id: str
    name: str = ""
    pieces: Sequence[str] = ()
    """The parameters: a list while deltas come, which costs the garbage collector more."""
    size: int = 0
    complete: bool = False
    torn: bool = False
    """Whether a gap took some of the parameters: only all of them at once count from then on."""
    started: bool = False
    """Whether the tool was started since it was last checked that the parameters are complete."""
    rejected: int = 0
    """The size that the parameters had when they were last found not to be complete."""
    running: bool = False
    """Whether an event showed that the tool was started, and none that it has finished."""
    finished: bool = False
    success: bool | None = None
    result: str | None = None
    parent_tool_call_id: str | None = None

    @property
    def input(self) -> str:
        return "".join(self.pieces)

    def replace(self, text: str, *, complete: bool) -> None:
        """Set all of the parameters."""
        self.pieces, self.size, self.complete = (text,), len(text), complete
        self.started, self.rejected = False, 0

    def add(self, text: str) -> None:
        """Add a delta, unless the parameters are complete or it would leave a hole."""
        if self.started and self.size >= 2 * self.rejected:
            self.check()  # so seldom that checking takes no longer than all deltas do
        if not (self.complete or self.torn):
            if not isinstance(self.pieces, list):
                self.pieces = list(self.pieces)
            self.pieces.append(text)
            self.size += len(text)

    def check(self) -> None:
        """Decide whether the parameters with which the tool was started are complete."""
        if self.started and not (self.complete or self.torn):
            self.complete, self.rejected = is_json(self.input), self.size
        self.started = False

    def build(self) -> ToolCall:
        self.check()
        return ToolCall(
            tool_call_id=self.tool_call_id,
            name=self.name,
            input=self.input,
            input_complete=self.complete,
            finished=self.finished,
            success=self.success,
            result=self.result,
            parent_tool_call_id=self.parent_tool_call_id,
        )


class ToolCalls:
    """The tool calls of one turn, each once, in the order in which they began."""

    def __init__(self) -> None:
        self._calls: dict[str, _Call] = {}
        self._running: set[str] = set()
        self._since_gap: list[_Call] = []
        self._after_gap = False
        self.overtaken: bool = False
        """Whether the agent called a tool, or completed its turn, while a tool of the turn itself
        was running.

        It waits for its tools: that tool, or what came then, may be another turn's.
        """
        self.left_unfinished: bool = False
        """Whether the turn was completed before an event showed that each tool which the turn
        itself called has finished."""

    @property
    def size(self) -> int:
        """The number of characters of the calls, each with a little for itself."""
        return sum(
            _OF_A_CALL
            + len(call.tool_call_id)
            + len(call.name)
            + call.size
            + len(call.result or "")
            for call in self._calls.values()
        )

    @property
    def names(self) -> Iterator[str]:
        """The names of the tools that were called."""
        return (call.name for call in self._calls.values())

    def build(self) -> tuple[ToolCall, ...]:
        """Return the calls as far as they are known."""
        return tuple(call.build() for call in self._calls.values())

    def has_more_than(self, stored: Iterable[ToolCall]) -> bool:
        """Return whether a call of the turn itself is not among the stored ones."""
        own = {name for name, call in self._calls.items() if call.parent_tool_call_id is None}
        return not own <= {call.tool_call_id for call in stored}

    def known(self, tool_call_id: str) -> ToolCall | None:
        """Return a call whose parameters are complete, or whose tool has finished, else None.

        A finished call whose parameters a gap took is not known: what is stored has them.
        """
        call = self._calls[tool_call_id]
        call.check()
        return call.build() if call.complete or (call.finished and not call.torn) else None

    def turn_completed(self) -> None:
        """Note that the agent has completed its turn: it waits for the tools that it calls.

        A tool whose start was seen, and whose end was not, may have been cancelled.
        """
        self.overtaken = self.overtaken or bool(self._running)
        calls = self._calls.values()
        self.left_unfinished = any(
            not (each.finished or each.parent_tool_call_id) for each in calls
        )
        for call in calls:
            call.finished = call.finished or not call.running

    def gap(self) -> None:
        """Note that events may have been lost here: parameters that were not complete are torn."""
        for call in self._since_gap:
            call.check()
            call.torn = not call.complete
        self._since_gap = []
        self._after_gap = True

    def feed(self, event: ToolEvent) -> None:
        """Add an event of a tool call."""
        # If another event than its first comes first after a gap, the beginning has been lost.
        torn = self._after_gap and type(event) not in _BEGINS
        call = self._calls.get(event.tool_call_id)
        if call is None:
            call = self._add(_Call(tool_call_id=event.tool_call_id, torn=torn))
        if event.parent_tool_call_id is not None:
            call.parent_tool_call_id = event.parent_tool_call_id
        _FED_BY[type(event)](call, event)
        if call.parent_tool_call_id is not None:
            return
        if type(event) in _EXECUTION:
            (self._running.add if call.running else self._running.discard)(call.tool_call_id)
        elif self._running and self._running != {call.tool_call_id}:
            self.overtaken = True

    def take_stored(self, stored: ToolCall) -> None:
        """Complete a call from the HTTP answer or from the session's stored messages."""
        call = self._calls.get(stored.tool_call_id)
        if call is None:
            call = self._add(
                _Call(
                    tool_call_id=stored.tool_call_id,
                    complete=stored.input_complete,
                    parent_tool_call_id=stored.parent_tool_call_id,
                )
            )
            call.pieces, call.size = (stored.input,), len(stored.input)
        call.check()
        if stored.input and not call.complete:
            call.replace(stored.input, complete=is_json(stored.input))
        call.name = stored.name or call.name
        call.finished = stored.finished or call.finished
        call.success = call.success if stored.success is None else stored.success
        call.result = stored.result or call.result

    def _add(self, call: _Call) -> _Call:
        self._calls[call.tool_call_id] = call
        self._since_gap.append(call)
        return call


def _delta(call: _Call, event: ev.ToolUseParameterDeltaEvent | ev.ToolParameterDeltaEvent) -> None:
    call.add(event.input)


def _start(call: _Call, event: ev.ToolUseStartEvent) -> None:
    call.name = event.name or call.name


def _parameters(call: _Call, event: ev.ToolUseParameterStreamingCompleteEvent) -> None:
    call.name = event.name or call.name
    call.check()
    if event.input:
        call.replace(event.input, complete=True)


def _tool(call: _Call, event: ev.ToolEvent) -> None:
    call.name = event.name or call.name
    call.check()
    completed = event.status == "completed"
    if event.input and (completed or not call.complete):
        call.replace(event.input, complete=completed)


def _execution_start(call: _Call, event: ev.ToolExecutionStartEvent) -> None:
    call.name = event.tool_name or call.name
    call.started = call.running = True


def _execution_complete(call: _Call, event: ev.ToolExecutionCompleteEvent) -> None:
    call.name = event.tool_name or call.name
    call.finished, call.success = True, event.success
    call.running = False


_DELTAS: Final = frozenset((ev.ToolUseParameterDeltaEvent, ev.ToolParameterDeltaEvent))
_BEGINS: Final = frozenset((ev.ToolUseStartEvent, ev.ToolEvent))
_EXECUTION: Final = frozenset((ev.ToolExecutionStartEvent, ev.ToolExecutionCompleteEvent))
_FED_BY: Final[dict[type, Callable[[_Call, Any], None]]] = {
    ev.ToolUseStartEvent: _start,
    ev.ToolUseParameterDeltaEvent: _delta,
    ev.ToolParameterDeltaEvent: _delta,
    ev.ToolUseParameterStreamingCompleteEvent: _parameters,
    ev.ToolEvent: _tool,
    ev.ToolExecutionStartEvent: _execution_start,
    ev.ToolExecutionCompleteEvent: _execution_complete,
}
TOOL_EVENTS: Final = frozenset(_FED_BY)
"""The classes of `ToolEvent`."""


class ToolUpdates:
    """The updates of the tool calls of one turn."""

    def __init__(self) -> None:
        self._calls = ToolCalls()
        self._begun: set[str] = set()
        self._finished: set[str] = set()

    def feed(self, event: Event) -> list[ToolCall]:
        """Add the next event of the turn, and return the updates that it causes."""
        if isinstance(event, ToolEvent):
            self._calls.feed(event)
            if type(event) in _DELTAS:
                return []  # a call is complete when another event shows it
            call = self._calls.known(event.tool_call_id)
            return [] if call is None else list(self._updates(call))
        if isinstance(event, ev.StreamGapEvent):
            self._calls.gap()
        return []

    def end(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        """Return the updates that no event has caused, from the calls of the finished reply."""
        return [update for call in calls for update in self._updates(call)]

    def _updates(self, call: ToolCall) -> Iterator[ToolCall]:
        if call.tool_call_id not in self._begun:
            self._begun.add(call.tool_call_id)
            yield attrs.evolve(call, finished=False, success=None, result=None)
        if call.finished and call.tool_call_id not in self._finished:
            self._finished.add(call.tool_call_id)
            yield call
