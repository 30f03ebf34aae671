"""Decode the events that can end a turn, whatever the shape of their fields.

Strict rules must not turn an end into silence. Where the payload of ``complete``, ``error`` or
``rate_limit_error`` is rejected by the strict decoder:

Rule 1  A field of the wrong shape is None.
Rule 2  ``done`` is false only where it is absent, null, false, 0 or "false".
Rule 3  A ``parentToolCallId`` that is no text means a sub-agent.
Rule 4  The error's text is the first text among ``error``, ``error.message`` and ``message``,
        else the whole payload, which may be nested deeper than a parser goes.
Rule 5  A payload that begins like JSON and is none was torn: the event stays unknown. Any other
        payload of an error is its text.
Rule 6  The id of a message that is too long is None; that of a tool call is cut.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from trio_mix import events as ev
from trio_mix._json import NotJSON, is_json, parse_leniently, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Mapping

_JSON_BEGINS: Final = '{["'

ENDINGS: Final = frozenset({"complete", "error", "rate_limit_error"})
LONGEST_ID: Final = 4096
"""How many characters the ids of messages, tool calls and questions may have: they are kept."""


def decode_ending(name: str, data: str, event_id: str | None) -> ev.Event | None:
    """Return the event, or None where the data was torn (rule 5).

    Args:
      name: the event's name, one of `ENDINGS`.
      data: the payload.
      event_id: the SSE id.
    """
    try:
        payload = parse_leniently(data, any_depth=True)
    except NotJSON:
        torn = data.lstrip()[:1] in _JSON_BEGINS and not is_json(data, too_deep=True)
        if name == "complete" or not data.strip() or torn:
            return None
        payload = data.strip()
    fields = payload if isinstance(payload, dict) else {}
    parent = _parent(fields.get("parentToolCallId"))
    if name == "complete":
        if not isinstance(payload, dict):
            return None
        return ev.CompleteEvent(
            id=event_id,
            done=fields.get("done") not in (None, False, 0, "false"),
            content=_text(fields.get("content")),
            message_id=_id(fields.get("messageId")),
            reasoning=_text(fields.get("reasoning")),
            reasoning_duration=_whole(fields.get("reasoningDuration")),
            parent_tool_call_id=parent,
        )
    inner = fields.get("error")
    inner = inner if isinstance(inner, dict) else {}
    kind = ev.ErrorEvent if name == "error" else ev.RateLimitEvent
    return kind(
        id=event_id,
        error=_error_text(payload, fields, inner) or without_surrogates(data),
        type=_text(fields.get("type")) or _text(inner.get("type")),
        attempt=_whole(fields.get("attempt")),
        max_attempts=_whole(fields.get("maxAttempts")),
        retry_after=_whole(fields.get("retryAfter")),
        parent_tool_call_id=parent,
    )


def _error_text(
    payload: object, fields: Mapping[str, object], inner: Mapping[str, object]
) -> str | None:
    for said in (payload, fields.get("error"), inner.get("message"), fields.get("message")):
        if text := _text(said):
            return text
    return None


def _text(value: object) -> str | None:
    """Return a text, without the lone surrogates that no file or socket accepts."""
    return without_surrogates(value) if isinstance(value, str) else None


def _id(value: object) -> str | None:
    text = _text(value)
    return text if text and len(text) <= LONGEST_ID else None


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parent(value: object) -> str | None:
    if value is None or value == "":
        return None
    try:
        parent = value if isinstance(value, str) else json.dumps(value)
    except RecursionError:
        parent = type(value).__name__
    return without_surrogates(parent[:LONGEST_ID])
