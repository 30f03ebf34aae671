"""One full payload of each event, as servers write it, and the event that it must become."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import events

if TYPE_CHECKING:
    from trio_mix.events import Event

__all__ = ["FULL"]


# One full payload per name, as servers write it, and the event it must become. Written by hand:
# a table made from the decoder's own rules could not tell when they are wrong.
FULL: dict[str, tuple[dict[str, object], Event]] = {
    "connected": ({"sessionId": "s1"}, events.ConnectedEvent(session_id="s1")),
    "heartbeat": ({"type": "ping"}, events.HeartbeatEvent()),
    "error": (
        {
            "error": "overloaded",
            "type": "provider",
            "attempt": 1,
            "maxAttempts": 8,
            "retryAfter": 2000,
            "parentToolCallId": "t0",
        },
        events.ErrorEvent(
            error="overloaded",
            type="provider",
            attempt=1,
            max_attempts=8,
            retry_after=2000,
            parent_tool_call_id="t0",
        ),
    ),
    "rate_limit_error": (
        {"error": "slow down", "type": "rate", "attempt": 2, "maxAttempts": 8, "retryAfter": 60},
        events.RateLimitEvent(
            error="slow down", type="rate", attempt=2, max_attempts=8, retry_after=60
        ),
    ),
    "complete": (
        {
            "type": "complete",
            "content": "Hi",
            "done": True,
            "messageId": "a1",
            "reasoning": "Hm",
            "reasoningDuration": 120,
            "parentToolCallId": "t0",
        },
        events.CompleteEvent(
            content="Hi",
            done=True,
            message_id="a1",
            reasoning="Hm",
            reasoning_duration=120,
            parent_tool_call_id="t0",
        ),
    ),
    "thinking": (
        {
            "type": "thinking",
            "content": "Hm",
            "assistantMessageId": "a1",
            "parentToolCallId": "t0",
        },
        events.ThinkingEvent(content="Hm", assistant_message_id="a1", parent_tool_call_id="t0"),
    ),
    "content": (
        {"type": "content", "content": "Hi", "assistantMessageId": "a1", "parentToolCallId": "t0"},
        events.ContentEvent(content="Hi", assistant_message_id="a1", parent_tool_call_id="t0"),
    ),
    "tool": (
        {
            "type": "tool",
            "name": "bash",
            "input": "{}",
            "id": "t1",
            "status": "completed",
            "parentToolCallId": "t0",
        },
        events.ToolEvent(
            tool_call_id="t1",
            name="bash",
            input="{}",
            status="completed",
            parent_tool_call_id="t0",
        ),
    ),
    "tool_parameter_delta": (
        {"type": "tool_parameter_delta", "toolCallId": "t1", "input": '{"a'},
        events.ToolParameterDeltaEvent(tool_call_id="t1", input='{"a'),
    ),
    "tool_use_start": (
        {
            "type": "tool_use_start",
            "id": "t1",
            "name": "Bash",
            "assistantMessageId": "a1",
            "parentToolCallId": "t0",
        },
        events.ToolUseStartEvent(
            tool_call_id="t1", name="Bash", assistant_message_id="a1", parent_tool_call_id="t0"
        ),
    ),
    "tool_use_parameter_delta": (
        {"type": "x", "toolCallId": "t1", "input": '{"a', "assistantMessageId": "a1"},
        events.ToolUseParameterDeltaEvent(
            tool_call_id="t1", input='{"a', assistant_message_id="a1"
        ),
    ),
    "tool_use_parameter_streaming_complete": (
        {"type": "x", "id": "t1", "name": "Bash", "input": "{}", "assistantMessageId": "a1"},
        events.ToolUseParameterStreamingCompleteEvent(
            tool_call_id="t1", name="Bash", input="{}", assistant_message_id="a1"
        ),
    ),
    "tool_execution_start": (
        {"type": "x", "toolCallId": "t1", "toolName": "Bash", "progress": "ls"},
        events.ToolExecutionStartEvent(tool_call_id="t1", tool_name="Bash", progress="ls"),
    ),
    "tool_execution_complete": (
        {"type": "x", "toolCallId": "t1", "toolName": "Bash", "progress": "ls", "success": False},
        events.ToolExecutionCompleteEvent(
            tool_call_id="t1", tool_name="Bash", progress="ls", success=False
        ),
    ),
    "permission": (
        {
            "type": "permission",
            "id": "p1",
            "sessionId": "s1",
            "toolName": "Bash",
            "description": "Run ls",
            "action": "execute",
            "path": "/srv/x",
            "params": {"command": "ls", "deep": [1, {"a": None}]},
            "parentToolCallId": "t0",
        },
        events.PermissionEvent(
            permission_id="p1",
            session_id="s1",
            tool_name="Bash",
            description="Run ls",
            action="execute",
            path="/srv/x",
            params={"command": "ls", "deep": [1, {"a": None}]},
            parent_tool_call_id="t0",
        ),
    ),
    "notification": (
        {
            "type": "notification",
            "id": "n1",
            "sessionId": "s1",
            "notificationType": "question",
            "title": "T",
            "message": "M",
            "responseType": "choice",
            "choices": ["a", "b"],
            "timeout": 300,
            "createdAt": 1700000000,
            "parentToolCallId": "t0",
        },
        events.NotificationEvent(
            notification_id="n1",
            session_id="s1",
            notification_type="question",
            title="T",
            message="M",
            response_type="choice",
            choices=("a", "b"),
            timeout=300,
            created_at=1700000000,
            parent_tool_call_id="t0",
        ),
    ),
    "user_message_created": (
        {"type": "x", "messageId": "u1", "content": "hi", "parentToolCallId": "t0"},
        events.UserMessageCreatedEvent(message_id="u1", content="hi", parent_tool_call_id="t0"),
    ),
    "summarize": (
        {"type": "summarize", "progress": "half", "done": False},
        events.SummarizeEvent(progress="half", done=False),
    ),
    "session_created": (
        {"type": "x", "sessionId": "s2", "title": "T", "createdAt": 1700000000},
        events.SessionCreatedEvent(session_id="s2", title="T", created_at=1700000000),
    ),
    "session_deleted": (
        {"type": "x", "sessionId": "s2"},
        events.SessionDeletedEvent(session_id="s2"),
    ),
}
