"""Decode the events of a stream: parse their JSON, name their fields, check the types.

Rules:

1. `decode_event` never raises, whatever the data: what does not fit is an `UnknownEvent` with the
   payload's own text. A pipeline server writes permission events without a lock, so the data of
   one may be two events torn into each other.
2. Extra fields are ignored. An optional field may be missing or null.
   An optional id may also be empty: servers written in Go send that for one that is not set.
3. A field of the wrong type makes the event unknown: nothing is coerced. An integral float is an
   int (JSON has one kind of number); a bool never is.
4. Numbers that no server means (``NaN``, ``1e999``, past 64 bits) and lone surrogates, which no
   terminal, file or socket accepts, make the event unknown too.
5. What can end a turn is decided leniently: see `trio_mix._wire._lenient_endings`.
6. One decoder per class, made when its first event arrives: an import pays for none.
7. The parameters of a permission request must be such that they can be shown: one that is nested
   deeper than `MAX_DEPTH` levels makes the event unknown, and the server denies the request after
   a while. So is a request or notification without an id, which nobody can answer.
8. An id of more than `LONGEST_ID` characters makes the event unknown, because ids are remembered.

msgspec parses the JSON and checks the types into a private `msgspec.Struct` that has the wire's
names; a function generated for the class copies its fields into the event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union, get_type_hints

import attrs
import msgspec

from trio_mix import events as ev
from trio_mix._json import MAX_DEPTH, is_too_deep
from trio_mix._record import unfrozen
from trio_mix._wire._lenient_endings import ENDINGS, LONGEST_ID, decode_ending
from trio_mix._wire._names import camel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

EVENT_CLASSES: Final[Mapping[str, type[Event]]] = {
    "connected": ev.ConnectedEvent,
    "heartbeat": ev.HeartbeatEvent,
    "error": ev.ErrorEvent,
    "rate_limit_error": ev.RateLimitEvent,
    "complete": ev.CompleteEvent,
    "thinking": ev.ThinkingEvent,
    "content": ev.ContentEvent,
    "tool": ev.ToolEvent,
    "tool_parameter_delta": ev.ToolParameterDeltaEvent,
    "tool_use_start": ev.ToolUseStartEvent,
    "tool_use_parameter_delta": ev.ToolUseParameterDeltaEvent,
    "tool_use_parameter_streaming_complete": ev.ToolUseParameterStreamingCompleteEvent,
    "tool_execution_start": ev.ToolExecutionStartEvent,
    "tool_execution_complete": ev.ToolExecutionCompleteEvent,
    "permission": ev.PermissionEvent,
    "notification": ev.NotificationEvent,
    "user_message_created": ev.UserMessageCreatedEvent,
    "summarize": ev.SummarizeEvent,
    "session_created": ev.SessionCreatedEvent,
    "session_deleted": ev.SessionDeletedEvent,
}
"""The class for each SSE event name of any API version."""

_Decoder: TypeAlias = "Callable[[str, str | None], Event]"

_PAYLOAD_ID: Final[Mapping[type, str]] = {
    ev.ToolEvent: "tool_call_id",
    ev.ToolUseStartEvent: "tool_call_id",
    ev.ToolUseParameterStreamingCompleteEvent: "tool_call_id",
    ev.PermissionEvent: "permission_id",
    ev.NotificationEvent: "notification_id",
}
"""The classes whose payload has an ``id``, and the field that takes it."""

_OTHER_ID: Final = "other_id"
"""The Struct's field for ``toolCallId``, where the call's id should be in ``id``."""

_Id: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_ID)]
_Answerable: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ID)]
_ID_TYPES: Final[Mapping[object, Any]] = {str: _Id, str | None: Union[_Id, None]}  # noqa: UP007 - for pyright
_ANSWERABLE: Final = frozenset({"permission_id", "notification_id"})

_INT64: Final = 2**63

_decoders: Final[dict[str, _Decoder]] = {}


def decode_event(frame: ServerSentEvent) -> Event:
    """Return the event that a server-sent event carries; never raises, never blocks.

    Args:
      frame: the server-sent event, its data not parsed yet.

    Returns:
      An instance of the class in `trio_mix.events` that has its name, or an `UnknownEvent`.
    """
    name = frame.event
    decode = _decoders.get(name) or _make_decoder(name)
    if decode is not None:
        try:
            return decode(frame.data, frame.id or None)
        except (ValueError, RecursionError):
            # Rule 1. msgspec's errors are ValueErrors, as is a text that is not UTF-8;
            # RecursionError: brackets nested deeper than the JSON parser goes.
            if name in ENDINGS:
                ending = decode_ending(name, frame.data, frame.id or None)
                if ending is not None:
                    return ending
    return ev.UnknownEvent(id=frame.id or None, name=name, data=frame.data)


def _shown(params: object, data: str) -> object:
    """Return the parameters of a permission request with this payload.

    Raises:
      ValueError: they are nested too deep to be shown (rule 7).
    """
    if is_too_deep(data, params):
        raise ValueError(MAX_DEPTH)
    return params


def _make_decoder(name: str) -> _Decoder | None:
    cls = EVENT_CLASSES.get(name)
    if cls is None:
        return None
    decoder = _decoders[name] = _decoder_for(cls)
    return decoder


def _whole(value: float | None) -> int | None:
    """Take a JSON number for an int, where it is one (rules 3 and 4)."""
    if value is None:
        return None
    number = int(value)
    if number != value or not -_INT64 <= number < _INT64:
        raise ValueError(value)
    return number


def _either(ours: str | msgspec.UnsetType, other: object) -> str:
    """Take a call's id from ``id``, else from ``toolCallId``: the events beside these say that."""
    found = other if isinstance(ours, msgspec.UnsetType) else ours
    if not isinstance(found, str) or len(found) > LONGEST_ID:
        raise ValueError(LONGEST_ID)
    return found


def _decoder_for(cls: type[Event]) -> _Decoder:
    """Write the function that makes events of one class, as attrs writes their ``__init__``."""
    hints = get_type_hints(cls)
    own_id = _PAYLOAD_ID.get(cls)
    wire: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    lines = ["def decode(data, frame_id):", " wire = parse(data)", " event = new(unfrozen)"]
    lines.append(" event.id = frame_id")
    tools: dict[str, Any] = {"cls": cls, "unfrozen": unfrozen(cls), "new": object.__new__}
    tools |= {"whole": _whole, "either": _either, "shown": _shown}
    for field in attrs.fields(cls):
        name, hint = field.name, hints[field.name]
        if name == "id":
            continue
        default = msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default
        value = f"wire.{name}"
        if hint in (int, int | None):
            hint |= float
            value = f"whole({value})"
        elif hint == str | None and name.endswith("_id"):
            value = f"{value} or None"
        if name.endswith("_id"):
            hint = _Answerable if name in _ANSWERABLE else _ID_TYPES[hint]
        names[name] = "id" if name == own_id else camel(name)
        if name == own_id == "tool_call_id":
            names[_OTHER_ID] = camel(name)
            wire.append((_OTHER_ID, object, msgspec.UNSET))
            hint, default = hint | msgspec.UnsetType, msgspec.UNSET
            value = f"either({value}, wire.{_OTHER_ID})"
        wire.append((name, hint, default))
        if cls is ev.PermissionEvent and name == "params":
            value = f"shown({value}, data)"
        lines.append(f" event.{name} = {value}")
    lines += [" event.__class__ = cls", " return event"]
    struct = msgspec.defstruct(
        f"_{cls.__name__}Payload", wire, rename=names, kw_only=True, gc=False
    )
    tools["parse"] = msgspec.json.Decoder(struct).decode
    exec("\n".join(lines), tools)  # noqa: S102 - built from the names of trio_mix fields
    decoder: _Decoder = tools["decode"]
    return decoder
