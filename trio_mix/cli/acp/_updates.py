"""Translates the events of a message, and stored messages, to the protocol's session updates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

from trio_mix import events as ev
from trio_mix.models._inputs import parse_input

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from trio_mix import Reply
    from trio_mix.models import BackendMessage

Update: TypeAlias = dict[str, object]
"""The member ``update`` of ``session/update``."""

_KINDS: Final = (
    ("execute", {"bash", "shell", "exec", "execute", "run", "command", "python", "terminal"}),
    ("fetch", {"fetch", "web", "http", "url", "download", "browser"}),
    ("search", {"search", "grep", "glob", "find"}),
    ("delete", {"delete", "remove", "rm"}),
    ("move", {"move", "rename", "mv"}),
    ("edit", {"edit", "write", "patch", "create", "replace", "update"}),
    ("read", {"read", "view", "cat", "ls", "list", "open"}),
    ("think", {"think", "plan", "todo", "task"}),
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_PATHS: Final = ("file_path", "path", "filePath", "file")


def text_block(text: str) -> dict[str, object]:
    """Return a content block with a text."""
    return {"type": "text", "text": text}


def chunk(kind: str, text: str, message_id: str | None = None) -> Update:
    """Return an update with a piece of a message: ``agent_message_chunk``, for example."""
    update: Update = {"sessionUpdate": kind, "content": text_block(text)}
    return update if message_id is None else {**update, "messageId": message_id}


def tool_kind(name: str) -> str:
    """Return the protocol's kind of a tool, which clients show as an icon."""
    words = {word.lower() for word in _WORD.findall(name)}
    return next((kind for kind, names in _KINDS if names & words), "other")


class MessageUpdates:
    """The updates of one message.

    What sub-agents write is not part of the reply, so only their tool calls are shown.
    """

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[str, str] = {}
        """The status of each tool call that was sent."""

    def of_event(self, event: ev.Event) -> Iterator[Update]:
        """Return the updates of an event."""
        match event:
            case ev.ContentEvent(parent_tool_call_id=None, content=text) if text:
                self._text.append(text)
                yield chunk("agent_message_chunk", text, event.assistant_message_id)
            case ev.ThinkingEvent(parent_tool_call_id=None, content=text) if text:
                yield chunk("agent_thought_chunk", text, event.assistant_message_id)
            case ev.ToolUseStartEvent():
                yield from self._call(event.tool_call_id, event.name, "pending")
            case ev.ToolEvent() | ev.ToolUseParameterStreamingCompleteEvent():
                known = event.tool_call_id in self._calls
                yield from self._call(event.tool_call_id, event.name, "pending")
                value = parse_input(event.input)
                if value is not None and not (known and self._has_started(event.tool_call_id)):
                    yield _changed(event.tool_call_id, rawInput=value, **_locations(value))
            case ev.ToolExecutionStartEvent():
                yield from self._call(event.tool_call_id, event.tool_name, "in_progress")
                if event.progress:
                    yield _changed(event.tool_call_id, title=event.progress)
            case ev.ToolExecutionCompleteEvent():
                status = "completed" if event.success else "failed"
                yield from self._call(event.tool_call_id, event.tool_name, status)
            case _:
                pass

    def of_reply(self, reply: Reply) -> Iterator[Update]:
        """Return what the events did not contain: results, recovered text."""
        for call in reply.tool_calls:
            yield from self._call(call.tool_call_id, call.name, "pending")
            if call.result is not None:
                yield _changed(call.tool_call_id, **_result(call.result))
            if self._calls[call.tool_call_id] in ("pending", "in_progress"):
                status = "failed" if call.success is False else "completed"
                yield from self._call(call.tool_call_id, call.name, status)
        shown = "".join(self._text)
        if rest := reply.text.removeprefix(shown):
            if rest == reply.text and shown:
                rest = "\n\n" + rest  # what was shown contradicts the reply: show it whole
            yield chunk("agent_message_chunk", rest, reply.message_id)

    def _has_started(self, tool_call_id: str) -> bool:
        return self._calls[tool_call_id] != "pending"

    def _call(self, tool_call_id: str, name: str, status: str) -> Iterator[Update]:
        before = self._calls.get(tool_call_id)
        if before is None:
            self._calls[tool_call_id] = status
            yield tool_call(tool_call_id, name, status)
        elif before != status and status != "pending":
            self._calls[tool_call_id] = status
            yield _changed(tool_call_id, status=status)


def tool_call(tool_call_id: str, name: str, status: str) -> Update:
    """Return the update that shows a new tool call."""
    return {
        "sessionUpdate": "tool_call",
        "toolCallId": tool_call_id,
        "title": name or "tool",
        "name": name or None,
        "kind": tool_kind(name),
        "status": status,
    }


def of_history(messages: Iterable[BackendMessage]) -> Iterator[Update]:
    """Return the updates that show stored messages."""
    for message in messages:
        if message.role == "user" and message.user_input:
            yield chunk("user_message_chunk", message.user_input, message.id)
        if message.reasoning:
            yield chunk("agent_thought_chunk", message.reasoning, message.id)
        for call in message.tool_calls or ():
            status = "failed" if call.is_error else "completed" if call.finished else "pending"
            value = parse_input(call.input)
            update = tool_call(call.id, call.name, status)
            if value is not None:
                update |= {"rawInput": value, **_locations(value)}
            if call.result is not None:
                update |= _result(call.result)
            yield update
        if message.assistant_response:
            yield chunk("agent_message_chunk", message.assistant_response, message.id)


def _changed(tool_call_id: str, **changes: object) -> Update:
    return {"sessionUpdate": "tool_call_update", "toolCallId": tool_call_id, **changes}


def _result(result: str) -> dict[str, object]:
    return {"content": [{"type": "content", "content": text_block(result)}], "rawOutput": result}


def _locations(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        return {}
    members = value.items()
    paths = [path for name, path in members if name in _PATHS and isinstance(path, str) and path]
    return {"locations": [{"path": path} for path in paths]} if paths else {}
