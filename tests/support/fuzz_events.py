"""The fuzz target ``events``: decoding agrees with a plain reading of the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, get_type_hints

import attrs

from tests.support.fuzz_bytes import Bytes
from trio_mix._wire._events import EVENT_CLASSES, decode_event
from trio_mix._wire._lenient_endings import ENDINGS
from trio_mix.events import Event, UnknownEvent
from trio_mix.sse import ServerSentEvent

__all__ = ["events", "wire_key"]


# -- events ----------------------------------------------------------------------------------

_NAMES: Final = (*sorted(EVENT_CLASSES), "message", "brand_new", "", "Content")
_OWN_ID: Final = {"permission": "permission_id", "notification": "notification_id"}
_CALL_ID: Final = ("tool", "tool_use_start", "tool_use_parameter_streaming_complete")


class _InDoubtError(Exception):
    """JSON on which parsers may differ."""


def events(data: bytes) -> None:
    given = Bytes(data)
    name = _NAMES[given.number(len(_NAMES))]
    frame_id = ("", "7")[given.number(2)]
    shape = given.number(4)
    raw = _payload(name, given) if shape > 1 else given.rest()
    text = raw.decode("utf-8", "replace")
    if shape == 1:  # no stream gives such text, yet nothing may raise
        text = raw.decode("utf-8", "surrogatepass") if _passes(raw) else raw.decode("latin-1")
    frame = ServerSentEvent(id=frame_id, event=name, data=text)
    event = decode_event(frame)
    assert isinstance(event, Event)
    assert event.id == (frame_id or None)
    assert event == decode_event(frame), "it depends on what came before"
    hash(event)
    if isinstance(event, UnknownEvent):
        assert (event.name, event.data) == (name, text)
    else:
        assert type(event) is EVENT_CLASSES[name]
        json.dumps(attrs.asdict(event), default=list).encode()
    if name in ENDINGS:
        return  # read leniently where the strict rules reject them
    try:
        expected = _plainly_read(frame)
    except _InDoubtError:
        return
    assert event == expected, f"{event} is not {expected}"


_VALUES: Final = (
    *(b'"a"', b"null", b"true", b"false", b"0", b"-1", b"1.0", b"1.5", b"1e3", b"1e999", b"[]"),
    *(b"{}", b'["a"]', b'["a",1]', b'{"a":[null,1]}', b'"\\ud83d\\ude00"', b'"\\ud800"', b"NaN"),
    *(b"9007199254740993", b"9223372036854775808", b'"\xff"', b'"\n"', b"", b"01", b"[[[[1]]]]"),
)


def _payload(name: str, given: Bytes) -> bytes:
    """Make JSON of the fields that such an event has, and a few others, with odd values."""
    cls = EVENT_CLASSES.get(name, UnknownEvent)
    keys = [wire_key(name, field.name) for field in attrs.fields(cls) if field.name != "id"]
    required = [
        wire_key(name, field.name)
        for field in attrs.fields(cls)
        if field.name != "id" and field.default is attrs.NOTHING
    ]
    pairs = [(key, _VALUES[given.number(len(_VALUES))]) for key in required if given.number(16)]
    while given and len(pairs) < 12:
        key = (*keys, "toolCallId", "type", "\\u0000")[given.number(len(keys) + 3)]
        pairs.append((key, _VALUES[given.number(len(_VALUES))]))
    return b"{" + b",".join(b'"%s":%s' % (key.encode(), value) for key, value in pairs) + b"}"


def _passes(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _plainly_read(frame: ServerSentEvent) -> Event:
    """Decode as the documentation says, field by field."""
    unknown = UnknownEvent(id=frame.id or None, name=frame.event, data=frame.data)
    cls = EVENT_CLASSES.get(frame.event)
    if cls is None:
        return unknown
    try:
        payload = json.loads(frame.data, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise _InDoubtError from None
    except ValueError:
        return unknown
    if not isinstance(payload, dict):
        return unknown
    _check(payload)
    values: dict[str, Any] = {}
    for field in attrs.fields(cls):
        if field.name == "id":
            continue
        key = wire_key(frame.event, field.name)
        if key == "id" and field.name == "tool_call_id" and key not in payload:
            key = "toolCallId"
        value = payload.get(key)
        if value is None and (field.default is attrs.NOTHING or key in payload):
            if field.default is attrs.NOTHING or type(None) not in _members(cls, field.name):
                return unknown
        elif key in payload:
            value = _fit(value, _members(cls, field.name))
            if value is None:
                return unknown
        if value == "" and field.name.endswith("_id") and field.default is None:
            value = None  # an optional id that is empty names nothing
        if key in payload or field.default is attrs.NOTHING:
            values[field.name] = value
    return cls(id=frame.id or None, **values)


def _members(cls: type, field: str) -> tuple[Any, ...]:
    hint = get_type_hints(cls)[field]
    return (
        tuple(getattr(hint, "__args__", ()))
        if type(None) in getattr(hint, "__args__", ())
        else (hint,)
    )


def _fit(value: object, hints: tuple[Any, ...]) -> object:
    """Return the value as the field has it; None: it does not fit."""
    for hint in hints:
        origin = getattr(hint, "__origin__", hint)
        if origin is int and type(value) in (int, float):
            number = float(value)  # type: ignore[arg-type]
            if abs(number) >= 2**53:
                raise _InDoubtError
            return int(number) if number == int(number) else None
        if origin in (str, bool) and type(value) is origin:
            return value
        if origin is Mapping and isinstance(value, dict):
            return value
        if origin is tuple and isinstance(value, list):
            fits = all(isinstance(each, str) for each in value)
            return tuple(value) if fits else None
    return None


def wire_key(name: str, field: str) -> str:
    if _OWN_ID.get(name) == field or (name in _CALL_ID and field == "tool_call_id"):
        return "id"
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _InDoubtError
    return dict(pairs)


def _no_constant(text: str) -> object:
    raise ValueError(text)


def _check(value: object) -> None:
    """Give up where a number or a text is of the kind that parsers differ about."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise _InDoubtError
    elif isinstance(value, int | float):
        if abs(value) >= 2**53:
            raise _InDoubtError
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)
