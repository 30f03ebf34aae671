"""Encodes a Server-Sent Event as real Mix servers do.

Rules:

1. Later servers write ``id``, ``event``, ``data``, ``retry``, in this order; the oldest only the
   middle two.
2. ``retry`` is 30000 on ordinary events, 45000 on heartbeats, 750 on errors, or the error's own
   ``retryAfter``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs

Json: TypeAlias = Mapping[str, object]

_ERRORS: Final = frozenset({"error", "rate_limit_error"})
_ESCAPES: Final = str.maketrans(
    {c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}  # as the servers' JSON encoder does
)


@attrs.frozen
class ServerEvent:
    """An event before it is encoded."""

    name: str
    """The SSE event's name."""
    data: Json
    """The payload."""
    turn: bool = True
    """Whether it belongs to a turn."""

    @property
    def retry(self) -> int:
        """The milliseconds of the frame's ``retry`` field."""
        if self.name in _ERRORS:
            after = self.data.get("retryAfter")
            return after if isinstance(after, int) else 750
        return 45000 if self.name == "heartbeat" else 30000


def to_json(value: object) -> str:
    """Encode JSON as the servers do: compact, UTF-8, HTML characters escaped."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def encode_frame(event: ServerEvent, event_id: str | None, *, retry: bool) -> bytes:
    """Return the frame's bytes."""
    lines = [] if event_id is None else [f"id: {event_id}"]
    lines += [f"event: {event.name}", f"data: {to_json(event.data)}"]
    if retry:
        lines.append(f"retry: {event.retry}")
    return ("\n".join(lines) + "\n\n").encode("utf-8", "surrogatepass")
