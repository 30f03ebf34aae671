"""From a frame to an event: beside `json.loads`, which makes only a dict of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from benchmarks import corpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.sse import ServerSentEvent

OTHERS = {
    "thinking": {"type": "thinking", "content": "Hm", "assistantMessageId": "a1"},
    "tool_use_start": {"type": "t", "id": "t1", "name": "bash", "assistantMessageId": "a1"},
    "tool_use_parameter_delta": {"type": "t", "toolCallId": "t1", "input": '{"a'},
    "tool_execution_start": {"type": "t", "toolCallId": "t1", "toolName": "x", "progress": "p"},
    "complete": {"type": "complete", "content": "Hi", "done": True, "messageId": "a1"},
    "permission": {
        "type": "permission",
        "id": "p1",
        "sessionId": "s1",
        "toolName": "bash",
        "description": "Run ls",
        "action": "execute",
        "params": {"command": "ls", "deep": [1, {"a": None}]},
    },
    "error": {"error": "overloaded", "type": "x", "attempt": 1, "maxAttempts": 8},
    "user_message_created": {"type": "x", "messageId": "u1", "content": "hi"},
}


def trio_mix() -> Callable[[ServerSentEvent], Any]:
    from trio_mix._wire._events import decode_event

    return decode_event


def json_loads() -> Callable[[ServerSentEvent], Any]:
    loads = json.loads
    return lambda frame: loads(frame.data)


def msgspec_dict() -> Callable[[ServerSentEvent], Any]:
    import msgspec

    decode = msgspec.json.Decoder().decode
    return lambda frame: decode(frame.data)


DECODERS = {
    "trio_mix": trio_mix,
    "json.loads": json_loads,
    "floor: msgspec to a dict": msgspec_dict,
}


def sample(peer: str, *, what: str, count: int) -> dict[str, float]:
    """Return the µs for each event, less what the loop itself takes."""
    from trio_mix.sse import ServerSentEvent

    if what == "content":
        frames = [ServerSentEvent(str(n), "content", corpus.data_of(n)) for n in range(2000)]
    else:
        frames = [ServerSentEvent("1", name, json.dumps(data)) for name, data in OTHERS.items()]
    decode = DECODERS[peer]()
    for number, frame in enumerate(frames):
        event = decode(frame)
        if what == "content":
            content = event["content"] if isinstance(event, dict) else event.content
            assert content == corpus.text_of(number)
        else:
            assert type(event).__name__ != "UnknownEvent"
    frames *= count // len(frames)
    began = time.process_time()
    for _ in map(decode, frames):
        pass
    took = time.process_time() - began
    return {"µs/event": took / len(frames) * 1e6}
