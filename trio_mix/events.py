"""The events of a session's stream, one frozen class for each SSE event name of any API generation.

What it knows: the fields of each event, in snake_case, and which of them every server sends.
What it must never know: JSON, bytes, or which message an event belongs to.

Rules:

1. ``id`` is the SSE id of the frame (``None`` where the server sends none). An ``id`` inside the
   payload has a name of its own: ``tool_call_id``, ``permission_id``, ``notification_id``.
2. Numbers are the wire's own, in the unit that each field's documentation names.
3. A field that some generation lacks is optional, and ``None`` where the server did not send it.
4. ``parent_tool_call_id`` names the tool call whose sub-agent the event is about.
5. A name or a shape that no class fits is an `UnknownEvent`: it never breaks the stream.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # cattrs reads the annotations at run time
from types import MappingProxyType
from typing import Final, TypeAlias

import attrs

from trio_mix._record import Record

__all__ = [
    "EVENT_CLASSES",
    "CompleteEvent",
    "ConnectedEvent",
    "ContentEvent",
    "ErrorEvent",
    "Event",
    "HeartbeatEvent",
    "NotificationEvent",
    "PermissionEvent",
    "RateLimitEvent",
    "SessionCreatedEvent",
    "SessionDeletedEvent",
    "StreamGapEvent",
    "SummarizeEvent",
    "ThinkingEvent",
    "ToolEvent",
    "ToolExecutionCompleteEvent",
    "ToolExecutionStartEvent",
    "ToolParameterDeltaEvent",
    "ToolUseParameterDeltaEvent",
    "ToolUseParameterStreamingCompleteEvent",
    "ToolUseStartEvent",
    "UnknownEvent",
    "UserMessageCreatedEvent",
]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class _BaseEvent(Record):
    """What all events share."""

    id: str | None = None
    """The SSE id of the frame. Real servers restart it at 1 on each connection."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectedEvent(_BaseEvent):
    """``connected``: the stream is open, and a message sent from now on is seen on it."""

    session_id: str
    """The session whose events the stream carries."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HeartbeatEvent(_BaseEvent):
    """``heartbeat``: the server is alive (every 45 s; on pipeline servers not during a turn)."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorEvent(_BaseEvent):
    """``error``: the message failed; before ``connected``, the session does not exist."""

    error: str
    """What the server says went wrong."""
    type: str | None = None
    """The error's class, as ``authentication_error``."""
    attempt: int | None = None
    """Which try of the server's own this was, counted from 1."""
    max_attempts: int | None = None
    """How many tries the server makes."""
    retry_after: int | None = None
    """When the server tries again, in milliseconds by the specification."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent failed."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RateLimitEvent(_BaseEvent):
    """``rate_limit_error``: the model's provider asks for fewer requests (not in the OpenAPI).

    On pipeline servers it ends the turn; on later ones the server goes on trying.
    """

    error: str
    """What the server says went wrong."""
    type: str | None = None
    """The error's class."""
    attempt: int | None = None
    """Which try of the server's own this was, counted from 1."""
    max_attempts: int | None = None
    """How many tries the server makes."""
    retry_after: int | None = None
    """When the server tries again, in seconds as real servers send it."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent met the limit."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CompleteEvent(_BaseEvent):
    """``complete``: an agent has answered; the top-level one ends the turn."""

    done: bool
    """Whether the answer is complete."""
    content: str | None = None
    """The text of the last assistant message."""
    message_id: str | None = None
    """The id of the last assistant message; ``None`` for a command's answer."""
    reasoning: str | None = None
    """The reasoning of the last assistant message."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent is done."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ThinkingEvent(_BaseEvent):
    """``thinking``: a piece of the agent's reasoning."""

    content: str
    """The piece; all pieces of one assistant message joined are its reasoning."""
    assistant_message_id: str | None = None
    """The assistant message that the piece belongs to."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent thinks."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ContentEvent(_BaseEvent):
    """``content``: a piece of the agent's text."""

    content: str
    """The piece; all pieces of one assistant message joined are its text."""
    assistant_message_id: str | None = None
    """The assistant message that the piece belongs to."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent writes."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolEvent(_BaseEvent):
    """``tool`` (up to 0.10): a tool call as it is known so far; comes several times for each."""

    tool_call_id: str
    """The tool call's id (``id`` on the wire)."""
    name: str
    """The tool's name."""
    input: str
    """The parameters as JSON text; empty or partial until they are complete."""
    status: str
    """``completed`` means that the parameters are complete, not that the tool has run."""
    assistant_message_id: str | None = None
    """The assistant message that makes the call."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent calls."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolParameterDeltaEvent(_BaseEvent):
    """``tool_parameter_delta`` (up to 0.10, not in the OpenAPI): a piece of a call's parameters."""

    tool_call_id: str
    """The tool call's id."""
    input: str
    """The piece of the parameters' JSON text."""
    assistant_message_id: str | None = None
    """The assistant message that makes the call."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent calls."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolUseStartEvent(_BaseEvent):
    """``tool_use_start`` (from 0.10): the agent begins a tool call, without its parameters yet."""

    tool_call_id: str
    """The tool call's id (``id`` on the wire)."""
    name: str
    """The tool's name."""
    assistant_message_id: str | None = None
    """The assistant message that makes the call."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent calls."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolUseParameterDeltaEvent(_BaseEvent):
    """``tool_use_parameter_delta`` (from 0.10): a piece of a tool call's parameters."""

    tool_call_id: str
    """The tool call's id."""
    input: str
    """The piece of the parameters' JSON text."""
    assistant_message_id: str | None = None
    """The assistant message that makes the call."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent calls."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolUseParameterStreamingCompleteEvent(_BaseEvent):
    """``tool_use_parameter_streaming_complete`` (from 0.10): a call's parameters are complete."""

    tool_call_id: str
    """The tool call's id (``id`` on the wire)."""
    name: str
    """The tool's name."""
    input: str
    """All of the parameters as JSON text."""
    assistant_message_id: str | None = None
    """The assistant message that makes the call."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent calls."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolExecutionStartEvent(_BaseEvent):
    """``tool_execution_start``: the server begins to run a tool."""

    tool_call_id: str
    """The tool call's id."""
    tool_name: str
    """The tool's name."""
    progress: str
    """What the server says it is doing, for people to read."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent's tool runs."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolExecutionCompleteEvent(_BaseEvent):
    """``tool_execution_complete``: a tool has run."""

    tool_call_id: str
    """The tool call's id."""
    tool_name: str
    """The tool's name."""
    progress: str
    """What the server says it has done, for people to read."""
    success: bool
    """Whether the tool succeeded."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent's tool ran."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PermissionEvent(_BaseEvent):
    """``permission``: a tool waits to be allowed; unanswered, it is denied after 30 s."""

    permission_id: str
    """What to grant or deny (``id`` on the wire)."""
    session_id: str
    """The session that asks; a sub-agent's has an id of its own."""
    tool_name: str
    """The tool's name."""
    description: str
    """What is asked, for people to read."""
    action: str
    """What the tool would do, as ``execute``."""
    path: str | None = None
    """The file or folder that the tool would touch."""
    params: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The tool's parameters, as the server gives them."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent asks."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NotificationEvent(_BaseEvent):
    """``notification`` (from 0.11.1): the agent tells or asks the user something."""

    notification_id: str
    """What to respond to (``id`` on the wire)."""
    session_id: str
    """The session that asks."""
    notification_type: str
    """``info``, ``warning``, ``error`` or ``question``; others are kept as they are."""
    title: str
    """The headline."""
    message: str
    """The text."""
    response_type: str
    """``acknowledge``, ``text`` or ``choice``; others are kept as they are."""
    timeout: int
    """How long the server waits for the answer, in seconds."""
    created_at: int
    """When it was made, as a Unix timestamp."""
    choices: tuple[str, ...] | None = None
    """What can be chosen, when ``response_type`` is ``choice``."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent notifies."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UserMessageCreatedEvent(_BaseEvent):
    """``user_message_created``: the server has stored a message that was sent."""

    message_id: str
    """The stored message's id."""
    content: str
    """The text that was sent; in plan mode the server appends to it."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when the message is a sub-agent's task."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SummarizeEvent(_BaseEvent):
    """``summarize`` (up to 0.10): the server is shortening the session's history."""

    progress: str
    """What the server says it is doing, for people to read."""
    done: bool
    """Whether it has finished."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionCreatedEvent(_BaseEvent):
    """``session_created``: some session was made; it comes on every open stream."""

    session_id: str
    """The new session, seldom the stream's own."""
    title: str
    """Its title."""
    created_at: int
    """When it was made, as a Unix timestamp."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionDeletedEvent(_BaseEvent):
    """``session_deleted``: some session was deleted; it comes on every open stream."""

    session_id: str
    """The session that is gone."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownEvent(_BaseEvent):
    """An event whose name or shape no class fits, or whose payload is torn."""

    name: str
    """The SSE event name, as it came."""
    data: str
    """The payload's text, as it came."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamGapEvent(_BaseEvent):
    """The client's own event: some events may be missing here."""

    missed: int | None
    """How many, or ``None`` where nobody can know."""
    reason: str
    """Why, for people to read."""


Event: TypeAlias = (
    ConnectedEvent
    | HeartbeatEvent
    | ErrorEvent
    | RateLimitEvent
    | CompleteEvent
    | ThinkingEvent
    | ContentEvent
    | ToolEvent
    | ToolParameterDeltaEvent
    | ToolUseStartEvent
    | ToolUseParameterDeltaEvent
    | ToolUseParameterStreamingCompleteEvent
    | ToolExecutionStartEvent
    | ToolExecutionCompleteEvent
    | PermissionEvent
    | NotificationEvent
    | UserMessageCreatedEvent
    | SummarizeEvent
    | SessionCreatedEvent
    | SessionDeletedEvent
    | UnknownEvent
    | StreamGapEvent
)
"""Everything that a stream can yield: a union, so type checkers see a ``match`` that lacks one."""

EVENT_CLASSES: Final[Mapping[str, type[Event]]] = MappingProxyType(
    {
        "connected": ConnectedEvent,
        "heartbeat": HeartbeatEvent,
        "error": ErrorEvent,
        "rate_limit_error": RateLimitEvent,
        "complete": CompleteEvent,
        "thinking": ThinkingEvent,
        "content": ContentEvent,
        "tool": ToolEvent,
        "tool_parameter_delta": ToolParameterDeltaEvent,
        "tool_use_start": ToolUseStartEvent,
        "tool_use_parameter_delta": ToolUseParameterDeltaEvent,
        "tool_use_parameter_streaming_complete": ToolUseParameterStreamingCompleteEvent,
        "tool_execution_start": ToolExecutionStartEvent,
        "tool_execution_complete": ToolExecutionCompleteEvent,
        "permission": PermissionEvent,
        "notification": NotificationEvent,
        "user_message_created": UserMessageCreatedEvent,
        "summarize": SummarizeEvent,
        "session_created": SessionCreatedEvent,
        "session_deleted": SessionDeletedEvent,
    }
)
"""The class for each SSE event name of any API generation."""
