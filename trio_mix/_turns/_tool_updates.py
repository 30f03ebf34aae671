"""Reports each tool call of a turn twice: with its parameters, and when the tool has finished.

Rule 1  Every call is reported exactly twice, in this order, whatever events the generation sends,
        unless the turn failed or was cancelled in between.
Rule 2  What events do not show is reported at the end of the turn, from its reply.
Rule 3  The work for an event is linear in its own size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._tool_calls import ToolCalls, ToolEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_mix._reply import ToolCall
    from trio_mix.events import Event

__all__ = ["ToolUpdates"]

_DELTAS: Final = (ev.ToolUseParameterDeltaEvent, ev.ToolParameterDeltaEvent)


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
            if isinstance(event, _DELTAS):
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
