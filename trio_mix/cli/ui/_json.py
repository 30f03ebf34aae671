"""JSON lines: events, replies and the server's resources.

Rules:

1. Output is UTF-8 whatever the locale, one object per line, written at once.
2. Hidden characters are escapes of JSON: no line can control a terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._terminal_text import escape_json
from trio_mix._wire._events import EVENT_CLASSES
from trio_mix.events import StreamGapEvent

if TYPE_CHECKING:
    from trio_mix import Reply
    from trio_mix.events import Event

_NAMES: Final = {cls: name for name, cls in EVENT_CLASSES.items()}


def to_json(value: object) -> str:
    """Return one line of JSON."""
    return escape_json(json.dumps(value, ensure_ascii=False, default=_plain))


def print_json(line: str) -> None:
    """Print a line of JSON to stdout."""
    sys.stdout.flush()
    sys.stdout.buffer.write(f"{line}\n".encode())
    sys.stdout.buffer.flush()


def print_event(event: Event, *, session: str | None = None) -> None:
    """Print an event as a line of JSON, with the id of a session under ``session``."""
    print_json(event_json(event, session=session))


def print_reply(reply: Reply) -> None:
    """Print a reply as a line of JSON, with the event name ``reply``."""
    fields = {key: value for key, value in attrs.asdict(reply).items() if value is not None}
    print_json(to_json({"event": "reply", **fields}))


def print_record(record: attrs.AttrsInstance, extra: Mapping[str, object] | None = None) -> None:
    """Print a record as a line of JSON, without null fields and fields hidden from its repr."""
    fields = attrs.asdict(record, filter=lambda field, value: field.repr and value is not None)
    print_json(to_json({**(extra or {}), **fields}))


def event_json(event: Event, *, session: str | None = None) -> str:
    """Return an event as one line of JSON: its name, and its fields that are not null.

    Args:
      event: the event.
      session: the id of a session that the line is to have under ``session``.
    """
    name = _NAMES.get(type(event))
    if name is None:
        name = "stream_gap" if isinstance(event, StreamGapEvent) else "unknown"
    fields = {
        key: value for key, value in attrs.asdict(event, recurse=False).items() if value is not None
    }
    of_session = {} if session is None else {"session": session}
    return to_json({"event": name, **of_session, **fields})


def _plain(value: object) -> object:
    """Return the JSON form of a value that `json` does not support."""
    if isinstance(value, datetime):
        return value.isoformat()
    return dict(value) if isinstance(value, Mapping) else str(value)
