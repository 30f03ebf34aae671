"""The mixed corpus: every kind of event, as servers of any API generation write them.

The events repeat in a cycle, which is one round of the model: text, a tool call of the newer
generations, a permission, a tool call of the older ones, a sub-agent, and the events of the whole
server. Names and texts hold characters of one to four bytes in UTF-8. Every 300th event is large:
2 to 50 KB.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from typing import Any

UNKNOWN = "workspace_changed"
"""A name that no generation has."""
LARGE_EVERY = 300
_SUB_AGENT = (
    "user_message_created",
    "thinking",
    "content",
    "error",
    "rate_limit_error",
    "complete",
)
_KINDS = (
    *["content"] * 2,
    *["thinking"] * 2,
    "tool_use_start",
    *["tool_use_parameter_delta"] * 2,
    "tool_use_parameter_streaming_complete",
    "permission",
    "tool_execution_start",
    *_SUB_AGENT,
    "tool_execution_complete",
    "content",
    "heartbeat",
    "tool",
    *["tool_parameter_delta"] * 2,
    *["tool"] * 2,
    "notification",
    "summarize",
    "session_created",
    "session_deleted",
    UNKNOWN,
    "content",
)
_SUB_AGENT_AT = _KINDS.index(_SUB_AGENT[0])
_WORDS = (
    "the ",
    "Größe of ",
    "文件 and ",
    'the "main" module ',
    "naïve, ",
    "if a < b && b > 0:\n",
    "is done 🚀 ",
    "данные ",
    "in C:\\temp ",
    "«żółw» ",
    "at https://example.org/?q=é&n=1 ",
)
_NAMES = ("Zoë", "Ανδρέας", "山田", "O'Brien", "Łukasz", "Anna", "Bjørn")
_LINE = 'def größe(path):  # "文件" → bytes, 🚀\n    return len(open(path).read()) if path else 0\n'
_LARGE = (
    "content",
    "tool_use_parameter_streaming_complete",
    "thinking",
    "tool",
    "permission",
    "tool_execution_complete",
)
_SIZES = (2_500, 49_500, 8_000, 20_000, 35_000, 4_000, 12_000)


def event(number: int, turn: int) -> tuple[str, dict[str, Any]]:
    """Return the name and the payload of one event."""
    round_, at = divmod(number, len(_KINDS))
    nth, large = divmod(number, LARGE_EVERY)
    if not large:
        name, size = _LARGE[nth % len(_LARGE)], _SIZES[nth % len(_SIZES)]
        text = _LINE * _lines(name, size)
        return name, _payload(name, number, f"{turn}-{round_}-large", text, 1.0)
    name = _KINDS[at]
    text = f"{_WORDS[number % len(_WORDS)]}{number} "
    payload = _payload(name, number, f"{turn}-{round_}", text, _PROGRESS[at])
    if 0 <= at - _SUB_AGENT_AT < len(_SUB_AGENT):
        payload["parentToolCallId"] = f"toolu_{turn}-{round_}"
        if "assistantMessageId" in payload:
            payload["assistantMessageId"] = f"sub-{turn}-{round_}"
    return name, payload


def _progress() -> list[float]:
    """Return, for each event of the cycle, how much of its kind has come by then."""
    totals, seen = Counter(_KINDS), Counter[str]()
    found = []
    for name in _KINDS:
        seen[name] += 1
        found.append(seen[name] / totals[name])
    return found


_PROGRESS = _progress()


@functools.cache
def _lines(name: str, size: int) -> int:
    """Return how many lines give a payload of a size in bytes."""
    few, many = (
        len(json.dumps(_payload(name, 0, "", _LINE * count, 1.0), ensure_ascii=False).encode())
        for count in (1, 11)
    )
    return 1 + (size - few) * 10 // (many - few)


def _payload(name: str, number: int, round_: str, text: str, progress: float) -> dict[str, Any]:
    """Return the payload of one kind of event.

    Args:
      name: the event's name.
      number: the event's number, which its names are taken by.
      round_: a part of the ids.
      text: the text, of any length.
      progress: how much of a tool's parameters has been sent, this event included: up to 1.0.
    """
    call, old_call = f"toolu_{round_}", f"call_{round_}"
    user = _NAMES[number % len(_NAMES)]
    params = {"file_path": f"/home/{user}/größe.py", "content": text, "mode": 420, "append": None}
    head: dict[str, Any] = {"type": name}
    match name:
        case "content" | "thinking":
            return head | {"content": text, "assistantMessageId": f"assistant-{round_}"}
        case "tool_use_start":
            return head | {"id": call, "name": "write", "assistantMessageId": f"assistant-{round_}"}
        case "tool_use_parameter_delta":
            return head | {"toolCallId": call, "input": _half(_input(round_), progress)}
        case "tool_use_parameter_streaming_complete":
            whole = _input(round_) if len(text) < 100 else json.dumps(params, ensure_ascii=False)
            return head | {"id": call, "name": "write", "input": whole}
        case "tool_execution_start":
            return head | {"toolCallId": call, "toolName": "write", "progress": f"Writing {user}"}
        case "tool_execution_complete":
            done = {"toolName": "write", "progress": text, "success": number % 7 > 0}
            return head | {"toolCallId": call} | done
        case "tool":
            whole = _input(round_) if len(text) < 100 else json.dumps(params, ensure_ascii=False)
            status = "completed" if progress > 0.5 else "running"
            return head | {
                "id": old_call,
                "name": "mcp_дата_lookup",
                "input": whole if progress == 1.0 else "",
                "status": status,
            }
        case "tool_parameter_delta":
            return head | {"toolCallId": old_call, "input": _half(_input(round_), progress)}
        case "permission":
            return head | {
                "id": f"permission-{round_}",
                "sessionId": "session-1",
                "toolName": "write",
                "description": f"Write größe.py for {user}",
                "action": "write",
                "path": f"/home/{user}/größe.py",
                "params": params | {"edits": [1, {"from": None, "to": [user]}]},
            }
        case "notification":
            return head | {
                "id": f"notification-{round_}",
                "sessionId": "session-1",
                "notificationType": "question",
                "title": f"{user} asks",
                "message": text,
                "responseType": "choice",
                "timeout": 300,
                "createdAt": 1_760_000_000 + number,
                "choices": ["да", "nein", "later"],
            }
        case "error" | "rate_limit_error":
            tries = {"attempt": 1 + number % 8, "maxAttempts": 8, "retryAfter": 1500}
            return {"error": f"overloaded: {text}", "type": "overloaded_error"} | tries
        case "complete":
            answer = {"content": text, "done": True, "messageId": f"sub-{round_}"}
            return head | answer | {"reasoning": f"{user} wants it", "reasoningDuration": number}
        case "user_message_created":
            return head | {"messageId": f"sub-user-{round_}", "content": text}
        case "summarize":
            return head | {"progress": text, "done": number % 2 > 0}
        case "session_created":
            title = {"title": f"{user}: {text}", "createdAt": 1_760_000_000 + number}
            return head | {"sessionId": f"other-{round_}"} | title
        case "session_deleted":
            return head | {"sessionId": f"other-{round_}"}
        case "heartbeat":
            return {"type": "ping"}
        case _:
            return head | {"paths": [f"/home/{user}/größe.py"], "count": number}


def _input(round_: str) -> str:
    """Return the parameters of a small tool call as JSON text."""
    params = {"file_path": f"/srv/データ/{round_}.md", "content": 'Größe:\n"12 KB"', "mode": 420}
    return json.dumps(params, ensure_ascii=False)


def _half(text: str, progress: float) -> str:
    """Return the second half of a text if all of it has been sent by now, or else the first."""
    middle = len(text) // 2
    return text[middle:] if progress == 1.0 else text[:middle]
