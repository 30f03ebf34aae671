"""The events of a session's stream: one frozen class for each SSE event name of any API version.

1. ``id`` is the SSE id of the frame; ``None`` if the server sends none. An ``id`` inside the
   payload is called ``tool_call_id``, ``permission_id`` or ``notification_id``.
2. Numbers have the values of the wire, in the unit that the documentation of the field names.
3. A field that is missing in some API versions is optional, and ``None`` if it was not sent.
4. ``parent_tool_call_id`` is the id of the tool call that started the sub-agent which the event is
   about.
5. An event with an unknown name, or with a payload that does not match its class, is an
   `UnknownEvent`: it never breaks the stream.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # cattrs reads the annotations at run time
from typing import TypeAlias

import attrs

from trio_mix._record import Record

__all__ = [
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
    """The base class of all events."""

    id: str | None = None
    """The SSE id of the frame. Real servers restart it at 1 on each connection."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ConnectedEvent(_BaseEvent):
    """``connected``: the stream is open and receives the events of messages sent from now on."""

    session_id: str
    """The session that the stream belongs to."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HeartbeatEvent(_BaseEvent):
    """``heartbeat``: the server is alive (every 45 s; on pipeline servers not during a turn)."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ErrorEvent(_BaseEvent):
    """``error``: the message failed; before ``connected``, the session does not exist."""

    error: str
    """The server's description of the error."""
    type: str | None = None
    """The type of the error, such as ``authentication_error``."""
    attempt: int | None = None
    """The number of the server's attempt, counted from 1."""
    max_attempts: int | None = None
    """The number of attempts that the server makes."""
    retry_after: int | None = None
    """When the server retries, in milliseconds according to the specification."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent failed."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RateLimitEvent(_BaseEvent):
    """``rate_limit_error``: the model's provider limits the request rate (not in the OpenAPI).

    On pipeline servers it ends the turn; later servers continue to retry.
    """

    error: str
    """The server's description of the error."""
    type: str | None = None
    """The type of the error."""
    attempt: int | None = None
    """The number of the server's attempt, counted from 1."""
    max_attempts: int | None = None
    """The number of attempts that the server makes."""
    retry_after: int | None = None
    """When the server retries, in seconds as real servers send it."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when the limit applies to a sub-agent."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CompleteEvent(_BaseEvent):
    """``complete``: an agent has finished; the top-level one ends the turn."""

    done: bool
    """Whether the reply is complete."""
    content: str | None = None
    """The text of the last assistant message."""
    message_id: str | None = None
    """The id of the last assistant message; ``None`` for the output of a command."""
    reasoning: str | None = None
    """The reasoning of the last assistant message."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent has finished."""


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
    """``tool`` (up to 0.10): the state of a tool call; several of these follow for each call."""

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
    """``tool_use_start`` (from 0.10): the agent begins a tool call; the parameters follow."""

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
    """``tool_execution_start``: the server starts a tool."""

    tool_call_id: str
    """The tool call's id."""
    tool_name: str
    """The tool's name."""
    progress: str
    """What the server is doing, as text for people."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent's tool runs."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolExecutionCompleteEvent(_BaseEvent):
    """``tool_execution_complete``: a tool has finished."""

    tool_call_id: str
    """The tool call's id."""
    tool_name: str
    """The tool's name."""
    progress: str
    """What the server has done, as text for people."""
    success: bool
    """Whether the tool succeeded."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent's tool ran."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class PermissionEvent(_BaseEvent):
    """``permission``: a tool needs permission; unanswered, it is denied after 30 s."""

    permission_id: str
    """The id of the request (``id`` on the wire)."""
    session_id: str
    """The session that asks; a sub-agent has its own session."""
    tool_name: str
    """The tool's name."""
    description: str
    """The request, as text for people."""
    action: str
    """What the tool would do, such as ``execute``."""
    path: str | None = None
    """The file or folder that the tool would access."""
    params: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The tool's parameters, as the server sends them."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent asks."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class NotificationEvent(_BaseEvent):
    """``notification`` (from 0.11.1): a message or a question of the agent to the user."""

    notification_id: str
    """The id of the notification (``id`` on the wire)."""
    session_id: str
    """The session that asks."""
    notification_type: str
    """``info``, ``warning``, ``error`` or ``question``; other values are kept."""
    title: str
    """The title."""
    message: str
    """The text."""
    response_type: str
    """``acknowledge``, ``text`` or ``choice``; other values are kept."""
    timeout: int
    """How long the server waits for the answer, in seconds."""
    created_at: int
    """When it was created, as a Unix timestamp."""
    choices: tuple[str, ...] | None = None
    """The possible answers, when ``response_type`` is ``choice``."""
    parent_tool_call_id: str | None = None
    """The tool call of the parent agent, when a sub-agent sends the notification."""


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
    """What the server is doing, as text for people."""
    done: bool
    """Whether it has finished."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionCreatedEvent(_BaseEvent):
    """``session_created``: a session was created; the server sends it on every open stream."""

    session_id: str
    """The new session, rarely the session of this stream."""
    title: str
    """The title of the session."""
    created_at: int
    """When it was created, as a Unix timestamp."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionDeletedEvent(_BaseEvent):
    """``session_deleted``: a session was deleted; the server sends it on every open stream."""

    session_id: str
    """The session that was deleted."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UnknownEvent(_BaseEvent):
    """An event with an unknown name, or with a payload that is incomplete or malformed."""

    name: str
    """The SSE event name, as received."""
    data: str
    """The payload's text, as received."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamGapEvent(_BaseEvent):
    """Events may be missing here. The client inserts this event; no server sends it."""

    missed: int | None
    """The number of missing events; ``None`` if it is unknown."""
    reason: str
    """The reason, as text for people."""
    healed: bool = False
    """Whether what is missing follows, read from the stored messages: see
    `SessionStream.subscribe`."""


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
"""All events of a stream: a union, so that type checkers find an incomplete ``match``."""
