"""Which ids of turns the events have, and how the generations of servers differ in that."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import Event

TERMINAL: Final = frozenset((ev.CompleteEvent, ev.ErrorEvent, ev.RateLimitEvent))
"""The classes of events that can end a turn."""

EventIds: TypeAlias = tuple[str | None, str | None, str | None]
"""The id of the user or assistant message, of the tool call, and of the parent tool call."""

_LONGEST: Final = 160
_LAST_FIELD: Final = re.compile(r'[,{]\s*"turnId"\s*:\s*"([^"\\]{1,100})"\s*\}\s*$')


@attrs.define
class WireTraits:
    """How this server's generation differs where turns are concerned."""

    ids: bool | None = None
    """Whether events have message ids; None until the first event shows it."""
    rate_limit_ends: bool | None = False
    """Whether ``rate_limit_error`` is a turn's last event (pipeline servers). None: unknown; then
    it is the last one if events have no ids."""
    answers: bool | None = False
    """Whether the POST is answered with the finished reply (blocking servers); None: unknown."""
    turn_ids: bool = False
    """Whether a relay adds the ids of turns (rule 9 of the router)."""
    used: bool = False
    """Whether the server has accepted a message since the current connection began."""
    stale: bool = False
    """Whether the connection is older than an upgrade: its events are of no message sent since."""
    proof: bool = False
    """Whether only the stored messages show whose a ``complete`` is (pipeline servers)."""
    readable: bool = True
    """Whether the stored messages can be read, as far as is known."""

    @property
    def streams_run(self) -> bool:
        """Whether each stream runs the messages that are sent while it is open (pipeline servers).

        As long as no event has come, an async server may be taken for one.
        """
        return self.answers is False and not self.ids

    def update(self, known: WireTraits) -> None:
        """Take over what the client knows of the server; what events have shown is kept."""
        self.ids = self.ids or known.ids
        self.rate_limit_ends, self.answers = known.rate_limit_ends, known.answers

    def learn(self, event: Event, ids: EventIds) -> None:
        """Note that this server's events have message ids, if an event shows it.

        A pipeline server, whose events have none, may have been upgraded.
        """
        announced = isinstance(event, ev.UserMessageCreatedEvent)
        if self.ids is None:
            named = bool(ids[0]) and not isinstance(event, ev.CompleteEvent)
            if named or ids[2] is not None or announced:
                self.ids = True
        elif announced and ids[2] is None:
            self.ids = True

    def ends(self, event: Event, ids: EventIds) -> bool:
        """Return whether an event ends its turn; a sub-agent's never does."""
        if type(event) not in TERMINAL or ids[2] is not None:
            return False
        if isinstance(event, ev.CompleteEvent):
            return event.done
        if isinstance(event, ev.RateLimitEvent):
            ends = self.rate_limit_ends
            return not self.ids if ends is None else ends
        return True


def turn_id_of(data: str) -> str | None:
    """Return the turn id in the data of an event; None without one.

    A relay appends it as the last field, so that only the end of the data is looked at.
    """
    match = _LAST_FIELD.search(data, max(0, len(data) - _LONGEST))
    return None if match is None else match[1]


def ids_of(event: Event) -> EventIds:
    """Return the ids in an event; None where it has none."""
    return _IDS.get(type(event), _none)(event)


def begins_call(event: Event) -> bool:
    """Return whether a tool call begins with the event."""
    return isinstance(event, ev.ToolUseStartEvent) or (
        isinstance(event, ev.ToolEvent) and event.status != "completed"
    )


def _none(_: Any) -> EventIds:
    return None, None, None


def _of_user_message_or_end(event: Any) -> EventIds:
    return event.message_id, None, event.parent_tool_call_id


def _of_text(event: Any) -> EventIds:
    return event.assistant_message_id, None, event.parent_tool_call_id


def _of_tool_use(event: Any) -> EventIds:
    return event.assistant_message_id, event.tool_call_id, event.parent_tool_call_id


def _of_tool_execution(event: Any) -> EventIds:
    return None, event.tool_call_id, event.parent_tool_call_id


def _of_sub_agents_only(event: Any) -> EventIds:
    return None, None, event.parent_tool_call_id


_IDS: Final[dict[type, Callable[[Any], EventIds]]] = {
    ev.UserMessageCreatedEvent: _of_user_message_or_end,
    ev.CompleteEvent: _of_user_message_or_end,
    ev.ContentEvent: _of_text,
    ev.ThinkingEvent: _of_text,
    ev.ToolEvent: _of_tool_use,
    ev.ToolParameterDeltaEvent: _of_tool_use,
    ev.ToolUseStartEvent: _of_tool_use,
    ev.ToolUseParameterDeltaEvent: _of_tool_use,
    ev.ToolUseParameterStreamingCompleteEvent: _of_tool_use,
    ev.ToolExecutionStartEvent: _of_tool_execution,
    ev.ToolExecutionCompleteEvent: _of_tool_execution,
    ev.ErrorEvent: _of_sub_agents_only,
    ev.RateLimitEvent: _of_sub_agents_only,
    ev.PermissionEvent: _of_sub_agents_only,
    ev.NotificationEvent: _of_sub_agents_only,
}


def _unless_top_level(event: Any) -> EventIds | None:
    return None if event.parent_tool_call_id is None else _IDS[type(event)](event)


def _of_unknown(event: ev.UnknownEvent) -> EventIds | None:
    return None if event.name in ("complete", "error") else (None, None, None)


_BEGIN_OR_END: Final = (ev.UserMessageCreatedEvent, ev.CompleteEvent)

PLAIN_IDS: Final[dict[type, Callable[[Any], EventIds | None]]] = {
    **{kind: ids_of_kind for kind, ids_of_kind in _IDS.items() if kind not in _BEGIN_OR_END},
    ev.ErrorEvent: _unless_top_level,
    ev.RateLimitEvent: _unless_top_level,
    ev.SummarizeEvent: _none,
    ev.UnknownEvent: _of_unknown,
}
"""Functions that return the ids of an event that shows only that its turn goes on.

They return None for one that may begin or end a turn; of other classes each event may, or names a
message in another way.
"""
