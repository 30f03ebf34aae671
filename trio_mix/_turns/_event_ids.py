"""The ids in an event that show which turn it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix.events import Event

__all__ = ["EventIds", "begins_call", "ids_of"]

EventIds: TypeAlias = tuple[str | None, str | None, str | None]
"""The id of the user or assistant message, of the tool call, and of the parent tool call."""

_NAMING_MESSAGES = frozenset((ev.CompleteEvent, ev.UserMessageCreatedEvent))


def ids_of(event: Event) -> EventIds:
    """Return the ids in an event; None where it has none. Only the parent's may be empty."""
    field = "message_id" if type(event) in _NAMING_MESSAGES else "assistant_message_id"
    return (
        getattr(event, field, None) or None,
        getattr(event, "tool_call_id", None) or None,
        getattr(event, "parent_tool_call_id", None),
    )


def begins_call(event: Event) -> bool:
    """Return whether a tool call begins with the event."""
    return isinstance(event, ev.ToolUseStartEvent) or (
        isinstance(event, ev.ToolEvent) and event.status != "completed"
    )
