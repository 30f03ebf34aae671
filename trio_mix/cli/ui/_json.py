"""JSON lines: events, replies and the server's resources."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix.events import EVENT_CLASSES, StreamGapEvent

if TYPE_CHECKING:
    from trio_mix import Reply
    from trio_mix.events import Event

_NAMES: Final = {cls: name for name, cls in EVENT_CLASSES.items()}


def event_json(event: Event) -> str:
    """Return an event as one line of JSON: its name, and its fields that are not null."""
    name = _NAMES.get(type(event))
    if name is None:
        name = "stream_gap" if isinstance(event, StreamGapEvent) else "unknown"
    fields = {
        key: value for key, value in attrs.asdict(event, recurse=False).items() if value is not None
    }
    return json.dumps({"event": name, **fields}, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    try:
        return dict(value)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        return str(value)


def print_json(event: Event) -> None:
    """Print an event as a line of JSON."""
    print(event_json(event), flush=True)


def reply_json(reply: Reply) -> str:
    """Return a reply as one line of JSON, with the event name ``reply``."""
    fields = {key: value for key, value in attrs.asdict(reply).items() if value is not None}
    return json.dumps({"event": "reply", **fields}, ensure_ascii=False, default=plain)


def as_json(record: attrs.AttrsInstance, extra: Mapping[str, object] | None = None) -> str:
    """Return a record as one line of JSON, without null fields and fields hidden from its repr."""
    fields = attrs.asdict(record, filter=lambda field, value: field.repr and value is not None)
    return json.dumps({**(extra or {}), **fields}, ensure_ascii=False, default=plain)


def plain(value: object) -> object:
    """Return the JSON form of a value that `json` does not support."""
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else str(value)
