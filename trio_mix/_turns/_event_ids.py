"""The ids on an event that say which turn it is of, each prefixed by its kind.

What it knows: in which field each class of event has its ids. What it must never know: turns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix.events import Event

__all__ = ["begins_call", "call_of", "carries_ids", "ids_of", "message_of", "parent_of"]


def message_of(event: Event) -> str:
    if isinstance(event, ev.CompleteEvent | ev.UserMessageCreatedEvent):
        message_id = event.message_id
    else:
        message_id = getattr(event, "assistant_message_id", None)
    return f"message {message_id}" if message_id else ""


def call_of(event: Event) -> str:
    call = getattr(event, "tool_call_id", None)
    return f"call {call}" if call else ""


def parent_of(event: Event) -> tuple[str, ...]:
    parent = getattr(event, "parent_tool_call_id", None)
    return () if parent is None else (f"call {parent}",)


def ids_of(event: Event) -> tuple[str, ...]:
    """Return the ids that bind an event to its turn; a sub-agent's binds only calls (rule 4)."""
    message, call = "" if parent_of(event) else message_of(event), call_of(event)
    return tuple(name for name in (message, call) if name)


def begins_call(event: Event) -> bool:
    return isinstance(event, ev.ToolUseStartEvent) or (
        isinstance(event, ev.ToolEvent) and event.status != "completed"
    )


def carries_ids(event: Event) -> bool:
    """Return whether an event has an id that only servers send whose events name their turn."""
    return (
        isinstance(event, ev.UserMessageCreatedEvent)
        or bool(getattr(event, "assistant_message_id", None))
        or bool(parent_of(event))
    )
