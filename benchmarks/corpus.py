"""The generated event streams: the same bytes on every run.

Two corpora, each a function from an event's number to the event:

- "deltas": the text deltas of one assistant message.
- "mixed": every kind of event (`benchmarks.mixed`).

Event 1 is ``connected``. A frame has one of two forms: "new" with id, event, data and retry, or
"oldest" with event and data only.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from benchmarks import mixed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CHUNK = 16 * 1024
SESSION = "session-1"
DELTAS = "deltas"
MIXED = "mixed"
_TEXT = "the agent reads a file, thinks about it and writes the answer word by word. "
_WORDS = _TEXT.split(" ")
_OUTSIDE_TURNS = ("connected", "heartbeat", "session_created", "session_deleted")
_PAYLOAD_IDS = ("tool_call_id", "permission_id", "notification_id")
_CLASSES = {"rate_limit_error": "RateLimitEvent", mixed.UNKNOWN: "UnknownEvent"}


@attrs.frozen
class Event:
    """One event of a corpus."""

    name: str
    payload: dict[str, Any]

    @property
    def data(self) -> str:
        """The payload as JSON text, with ``<``, ``>`` and ``&`` escaped as Go's encoder does."""
        text = json.dumps(self.payload, ensure_ascii=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")

    @property
    def of_turn(self) -> bool:
        """Whether the event belongs to a message, and not only to the stream."""
        return self.name not in _OUTSIDE_TURNS

    @property
    def text(self) -> str:
        """The text that the event adds to the reply."""
        top_level = self.name == "content" and "parentToolCallId" not in self.payload
        return str(self.payload["content"]) if top_level else ""

    def matches(self, seen: Any) -> bool:
        """Return whether a client read this event: as a dict, or as an object of its own class."""
        if isinstance(seen, dict):
            return bool(seen == self.payload)
        if hasattr(seen, "model_dump"):  # mix-python-sdk: models that lack the newer fields
            read = seen.model_dump(by_alias=True, exclude_unset=True)
            return bool(read) and all(self.payload.get(key) == read[key] for key in read)
        kind = "".join(map(str.capitalize, self.name.split("_"))) + "Event"
        if type(seen).__name__ != _CLASSES.get(self.name, kind):
            return False
        if self.name == mixed.UNKNOWN:
            return (seen.name, json.loads(seen.data)) == (self.name, self.payload)
        return all(
            json.dumps(_field(seen, key)) == json.dumps(value)
            for key, value in self.payload.items()
            if key != "type" or hasattr(seen, key)
        )


def _field(seen: Any, key: str) -> Any:
    """Return the field of a trio_mix event that holds a key of the payload."""
    if key == "id":
        return next(getattr(seen, name) for name in _PAYLOAD_IDS if hasattr(seen, name))
    return getattr(seen, "".join("_" + c.lower() if c.isupper() else c for c in key))


def event(number: int, kind: str = DELTAS, turn: int = 1) -> Event:
    """Return one event of a corpus."""
    if number == 1:
        return Event("connected", {"sessionId": SESSION})
    if kind == MIXED:
        return Event(*mixed.event(number, turn))
    text = f"{_WORDS[number % len(_WORDS)]} {number} "
    return delta(text, f"assistant-{turn}")


def delta(text: str, message: str = "assistant-1") -> Event:
    """Return a text delta."""
    payload = {"type": "content", "content": text, "assistantMessageId": message}
    return Event("content", payload)


def events(count: int, kind: str = DELTAS, first: int = 2, turn: int = 1) -> Iterator[Event]:
    """Return consecutive events of a corpus."""
    return (event(number, kind, turn) for number in range(first, first + count))


def started(text: str, turn: int) -> Event:
    """Return the event that begins a turn on servers of the async generation."""
    return Event("user_message_created", {"messageId": f"user-{turn}", "content": text})


def completed(turn_events: Iterable[Event]) -> Event:
    """Return the event that ends a turn: its content is the text of the last assistant message."""
    texts: dict[str, list[str]] = {}
    for each in turn_events:
        if each.text:
            texts.setdefault(each.payload["assistantMessageId"], []).append(each.text)
    message, parts = texts.popitem()
    payload = {"type": "complete", "content": "".join(parts), "done": True, "messageId": message}
    return Event("complete", payload)


def frame(event: Event, number: int, form: str = "new") -> bytes:
    """Return one frame as a server writes it."""
    if form == "oldest":
        return f"event: {event.name}\ndata: {event.data}\n\n".encode()
    return f"id: {number}\nevent: {event.name}\ndata: {event.data}\nretry: 30000\n\n".encode()


def frames(
    count: int, kind: str = DELTAS, *, form: str = "new", first: int = 2, turn: int = 1
) -> list[bytes]:
    """Return the frames of consecutive events."""
    numbered = enumerate(events(count, kind, first, turn), first)
    return [frame(each, number, form) for number, each in numbered]


def cut(stream: bytes, size: int) -> list[bytes]:
    """Return a stream in pieces of one size."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def chunked(pieces: list[bytes]) -> bytes:
    """Return pieces in HTTP's chunked framing, a chunk for each."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class Check:
    """Compares what a client reads with what was sent, event by event, before anything is timed."""

    def __init__(self, expected: Iterable[Event]) -> None:
        self.count = 0
        self._expected = iter(expected)

    def add(self, seen: Any, name: str | None = None) -> None:
        """Compare the next event, and its name if the client gives one; exit if it differs."""
        self.count += 1
        wanted = next(self._expected, None)
        if wanted is None:
            raise SystemExit(f"one event too many, number {self.count}: {seen!r:.500}")
        if (name or wanted.name) != wanted.name or not wanted.matches(seen):
            got = f"{name or ''} {seen!r:.500}"
            raise SystemExit(f"event {self.count} differs: {got} instead of {wanted!r:.500}")

    def done(self) -> None:
        """Exit if an event is missing."""
        missing = next(self._expected, None)
        if missing is not None:
            raise SystemExit(f"only {self.count} events; the next is {missing!r:.500}")
