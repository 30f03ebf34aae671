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
5. One decoder per class, made when its first event comes: an import pays for none.

How: msgspec parses the JSON, and checks the types, into a private `msgspec.Struct` that bears the
wire's names; a function written for the class copies its fields into the event. Where the frames of
a read are all deltas of one class, those structs go on, and become events when they are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, get_type_hints

import attrs
import msgspec

from trio_mix._wire._names import camel
from trio_mix.events import (
    EVENT_CLASSES,
    ContentEvent,
    Event,
    NotificationEvent,
    PermissionEvent,
    ThinkingEvent,
    ToolEvent,
    ToolUseParameterStreamingCompleteEvent,
    ToolUseStartEvent,
    UnknownEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.sse import ServerSentEvent
    from trio_mix.sse._decoder import Columns

__all__ = [
    "PENDING_DELTAS",
    "PendingContent",
    "PendingDelta",
    "PendingThinking",
    "decode_event",
    "decode_run",
    "made",
]

_Decoder: TypeAlias = "Callable[[str, str | None], Event]"

_PAYLOAD_ID: Final[Mapping[type, str]] = {
    ToolEvent: "tool_call_id",
    ToolUseStartEvent: "tool_call_id",
    ToolUseParameterStreamingCompleteEvent: "tool_call_id",
    PermissionEvent: "permission_id",
    NotificationEvent: "notification_id",
}
"""The classes whose payload has an ``id``, and the field that takes it."""

_OTHER_ID: Final = "other_id"
"""The Struct's field for ``toolCallId``, where the call's id should be in ``id``."""

_INT64: Final = 2**63

_decoders: Final[dict[str, _Decoder]] = {}


class PendingDelta(msgspec.Struct, gc=False, rename="camel"):
    """A delta whose event is made when somebody takes it.

    So that what stands waiting, or is merged, costs neither an object of Python's for each nor the
    garbage collector's walks. It has the event's fields, and the wire's names.
    """

    content: str
    assistant_message_id: str | None = None
    parent_tool_call_id: str | None = None
    id: Any = msgspec.field(default=None, name="\x7f")  # the frame's: no payload's field is meant

    of: ClassVar[type[ContentEvent | ThinkingEvent]]
    """The event's class."""

    def event(self) -> ContentEvent | ThinkingEvent:
        """Make the event."""
        raise NotImplementedError


class PendingContent(PendingDelta, gc=False):
    """A `ContentEvent` to be."""

    of = ContentEvent

    def event(self) -> ContentEvent:
        """Make the event."""
        event: ContentEvent = _new(ContentEvent)
        _set_id(event, self.id)
        _set_content(event, self.content)
        _set_content_message(event, self.assistant_message_id)
        _set_content_parent(event, self.parent_tool_call_id)
        return event


class PendingThinking(PendingDelta, gc=False):
    """A `ThinkingEvent` to be."""

    of = ThinkingEvent

    def event(self) -> ThinkingEvent:
        """Make the event."""
        return ThinkingEvent(
            id=self.id,
            content=self.content,
            assistant_message_id=self.assistant_message_id,
            parent_tool_call_id=self.parent_tool_call_id,
        )


PENDING_DELTAS: Final = frozenset((PendingContent, PendingThinking))
_parsers: Final[Mapping[str, Callable[[str], PendingDelta]]] = {
    "content": msgspec.json.Decoder(PendingContent).decode,
    "thinking": msgspec.json.Decoder(PendingThinking).decode,
}


def made(event: Event | PendingDelta) -> Event:
    """Return an event, which is made now if it waits to be."""
    return event.event() if isinstance(event, PendingDelta) else event


def decode_run(columns: Columns) -> list[PendingDelta] | None:
    """Decode frames that all carry deltas of one class; None where they do not, or one is odd.

    Those are `decode_event`'s. Never raises, never blocks.
    """
    parse = _parsers.get(columns.names[0])
    if parse is None or columns.names.count(columns.names[0]) != len(columns):
        return None
    try:
        run: list[PendingDelta] = list(map(parse, columns.data))
    except (ValueError, RecursionError):
        return None
    for event, frame_id in zip(run, columns.ids):  # noqa: B905 - of one length
        event.id = frame_id or None
    return run


def decode_event(frame: ServerSentEvent) -> Event:
    """Return the event that a frame carries; never raises, never blocks.

    Args:
      frame: one dispatched SSE frame.

    Returns:
      An instance of the frame's class in `trio_mix.events`, or an `UnknownEvent`.
    """
    name = frame.event
    decode = _decoders.get(name) or _make_decoder(name)
    if decode is not None:
        try:
            return decode(frame.data, frame.id or None)
        except (ValueError, RecursionError):
            # Rule 1. msgspec's errors are ValueErrors, as is a text that is no UTF-8;
            # RecursionError: brackets nested deeper than the JSON parser goes.
            pass
    return UnknownEvent(id=frame.id or None, name=name, data=frame.data)


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
    if not isinstance(found, str):
        raise ValueError(found)
    return found


def _decoder_for(cls: type[Event]) -> _Decoder:
    """Write the function that makes events of one class, as attrs writes their ``__init__``.

    A frozen class's ``__init__`` takes three times as long as setting its slots does.
    """
    hints = get_type_hints(cls)
    own_id = _PAYLOAD_ID.get(cls)
    wire: list[tuple[str, Any, Any]] = []
    names: dict[str, str] = {}
    lines = ["def decode(data, frame_id):", " wire = parse(data)", " event = new(cls)"]
    lines.append(" set_id(event, frame_id)")
    tools: dict[str, Any] = {"cls": cls, "new": object.__new__, "whole": _whole, "either": _either}
    tools["set_id"] = _setter(cls, "id")
    for field in attrs.fields(cls):
        name, hint = field.name, hints[field.name]
        if name == "id":
            continue
        default = msgspec.NODEFAULT if field.default is attrs.NOTHING else field.default
        value = f"wire.{name}"
        if hint in (int, int | None):
            hint |= float
            value = f"whole({value})"
        names[name] = "id" if name == own_id else camel(name)
        if name == own_id == "tool_call_id":
            names[_OTHER_ID] = camel(name)
            wire.append((_OTHER_ID, object, msgspec.UNSET))
            hint, default = hint | msgspec.UnsetType, msgspec.UNSET
            value = f"either({value}, wire.{_OTHER_ID})"
        wire.append((name, hint, default))
        tools[f"set_{name}"] = _setter(cls, name)
        lines.append(f" set_{name}(event, {value})")
    lines.append(" return event")
    struct = msgspec.defstruct(
        f"_{cls.__name__}Payload", wire, rename=names, kw_only=True, gc=False
    )
    tools["parse"] = msgspec.json.Decoder(struct).decode
    exec("\n".join(lines), tools)  # noqa: S102 - built from the names of our own fields
    decoder: _Decoder = tools["decode"]
    return decoder


def _setter(cls: type, name: str) -> Any:
    """Return what sets a slot, of the class or of its base, past the frozen ``__setattr__``."""
    slot = next(base.__dict__[name] for base in cls.__mro__ if name in base.__dict__)
    return slot.__set__


_new = object.__new__
_set_id = _setter(ContentEvent, "id")
_set_content = _setter(ContentEvent, "content")
_set_content_message = _setter(ContentEvent, "assistant_message_id")
_set_content_parent = _setter(ContentEvent, "parent_tool_call_id")
