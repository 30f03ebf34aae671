"""The ids in an event that show which turn it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import Event

__all__ = ["EventIds", "begins_call", "ids_of"]

EventIds: TypeAlias = tuple[str | None, str | None, str | None]
"""The id of the user or assistant message, of the tool call, and of the parent tool call."""


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
