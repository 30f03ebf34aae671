"""From an SSE frame to an event: JSON parsed, names turned to snake_case, types checked.

What it knows: the wire's field names, and what is tolerated in them.
What it must never know: I/O, order, or what an event means for a message.

Rules:

1. `decode_event` never raises, whatever the frame: what does not fit is an `UnknownEvent` with the
   payload's own text. A pipeline server writes permission frames without a lock, so one frame's
   data may be two events torn into each other.
2. Extra fields are ignored. An optional field may be missing or null.
3. A field of the wrong type makes the event unknown: nothing is converted by force. An integral
   float is an int (JSON has but one kind of number); a bool never is.
4. Numbers that no server means (``NaN``, ``1e999``, past 64 bits) and lone surrogates, which no
   terminal, file or socket takes, make the event unknown too.
5. One function per class, made when its first event comes: an import pays for none, and a
   generated function can take the place of any.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import attrs
import cattrs
from cattrs.errors import StructureHandlerNotFoundError
from cattrs.gen import make_dict_structure_fn, override

from trio_mix.events import (
    EVENT_CLASSES,
    Event,
    NotificationEvent,
    PermissionEvent,
    ToolEvent,
    ToolUseParameterStreamingCompleteEvent,
    ToolUseStartEvent,
    UnknownEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.sse import ServerSentEvent

__all__ = ["decode_event"]

_Payload = dict[str, object]
_T = TypeVar("_T", bound=attrs.AttrsInstance)

# Where the frame's own id is put for the structure hook to find; a server's key of that name loses.
_FRAME_ID: Final = "\0id"

_PAYLOAD_ID: Final[Mapping[type, str]] = {
    ToolEvent: "tool_call_id",
    ToolUseStartEvent: "tool_call_id",
    ToolUseParameterStreamingCompleteEvent: "tool_call_id",
    PermissionEvent: "permission_id",
    NotificationEvent: "notification_id",
}
"""The classes whose payload has an ``id``, and the field that takes it."""

_INT64: Final = 2**63


def decode_event(frame: ServerSentEvent) -> Event:
    """Return the event that a frame carries; never raises, never blocks.

    Args:
      frame: one dispatched SSE frame.

    Returns:
      An instance of the frame's class in `trio_mix.events`, or an `UnknownEvent`.
    """
    name = frame.event
    data = frame.data
    frame_id = frame.id or None
    structure = _structurers.get(name) or _make_structurer(name)
    if structure is not None:
        try:
            payload = _loads(data)
            if type(payload) is dict and not ("\\u" in data and _unencodable(payload)):
                payload[_FRAME_ID] = frame_id
                return structure(payload)
        except (ValueError, TypeError, KeyError, RecursionError, StructureHandlerNotFoundError):
            # Rule 1. RecursionError: brackets nested deeper than the JSON parser goes.
            pass
    return UnknownEvent(id=frame_id, name=name, data=data)


def _refuse_constant(text: str) -> float:
    raise ValueError(text)


_loads: Final = cast(
    "Callable[[str], object]", json.JSONDecoder(parse_constant=_refuse_constant).decode
)


def _unencodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _str(value: object, _: object) -> str:
    if type(value) is not str:
        raise TypeError(value)
    return value


def _bool(value: object, _: object) -> bool:
    if type(value) is not bool:
        raise TypeError(value)
    return value


def _int(value: object, _: object) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -_INT64 <= value < _INT64:
        raise TypeError(value)
    return value


def _object(value: object, _: object) -> dict[str, object]:
    if type(value) is not dict:
        raise TypeError(value)
    return value


def _texts(value: object, _: object) -> tuple[str, ...]:
    if type(value) is not list:
        raise TypeError(value)
    return tuple(_str(each, str) for each in value)


_converter: Final = cattrs.Converter(detailed_validation=False)
_converter.register_structure_hook(str, _str)
_converter.register_structure_hook(bool, _bool)
_converter.register_structure_hook(int, _int)
_converter.register_structure_hook_func(
    lambda cls: getattr(cls, "__args__", ()) == (str, object), _object
)
_converter.register_structure_hook_func(lambda cls: cls == tuple[str, ...], _texts)

_structurers: Final[dict[str, Callable[[_Payload], Event]]] = {}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _make_structurer(name: str) -> Callable[[_Payload], Event] | None:
    cls = EVENT_CLASSES.get(name)
    if cls is None:
        return None
    structure = _structurer_for(cls)
    _structurers[name] = structure
    return structure


def _structurer_for(cls: type[_T]) -> Callable[[_Payload], _T]:
    attrs.resolve_types(cls)
    names = [each.name for each in attrs.fields(cls)]
    # Any: mypy holds the keywords against the function's own flags.
    overrides: dict[str, Any] = {name: override(rename=_camel(name)) for name in names}
    overrides["id"] = override(rename=_FRAME_ID)
    own_id = _PAYLOAD_ID.get(cls)
    if own_id is not None:
        overrides[own_id] = override(rename="id")
    hook = make_dict_structure_fn(
        cls,
        _converter,
        _cattrs_detailed_validation=False,
        _cattrs_use_linecache=False,
        **overrides,
    )
    structure = cast("Callable[[_Payload, type[_T]], _T]", hook)

    if own_id == "tool_call_id":

        def with_either_id(payload: _Payload) -> _T:
            # The older and newer events beside these say ``toolCallId``: take that too.
            if "id" not in payload and "toolCallId" in payload:
                payload["id"] = payload["toolCallId"]
            return structure(payload, cls)

        return with_either_id
    return lambda payload: structure(payload, cls)
