"""What decode_event makes of good, odd and broken frames."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix import events
from trio_mix._wire._events import EVENT_CLASSES, decode_event
from trio_mix._wire._lenient_endings import ENDINGS
from trio_mix.events import UnknownEvent
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from trio_mix.events import Event

from tests.support.event_payloads import FULL

NAMES = sorted(EVENT_CLASSES)
WRONG: tuple[object, ...] = (None, ["no"], {})
STRICT = [name for name in NAMES if name not in ENDINGS]


def decode(name: str, payload: object, *, frame_id: str = "7") -> Event:
    return decode_event(ServerSentEvent(id=frame_id, event=name, data=json.dumps(payload)))


def wire_name(name: str, field: str) -> str:
    """The key of a field in the table's payload for that event name."""
    head, *rest = field.split("_")
    camel = head + "".join(word.capitalize() for word in rest)
    own_id = field in ("tool_call_id", "permission_id", "notification_id")
    return "id" if own_id and "id" in FULL[name][0] else camel


def fields_of(name: str, *, required: bool) -> list[str]:
    return [
        each.name
        for each in attrs.fields(EVENT_CLASSES[name])
        if each.name != "id" and (each.default is attrs.NOTHING) == required
    ]


def test_the_table_has_every_event_name() -> None:
    assert sorted(FULL) == NAMES


def test_a_full_payload_becomes_its_class() -> None:
    for name, (payload, expected) in FULL.items():
        assert decode(name, payload) == attrs.evolve(expected, id="7")
        assert decode(name, payload, frame_id="") == expected
        odd = {**payload, "surprise": [1], "\0id": "forged", "_id": 3}
        assert decode(name, odd) == attrs.evolve(expected, id="7"), "extra fields are ignored"


def test_a_required_field_missing_null_or_of_a_wrong_type_makes_the_event_unknown() -> None:
    for name in STRICT:
        for field in fields_of(name, required=True):
            key, whole = wire_name(name, field), FULL[name][0]
            without = {k: v for k, v in whole.items() if k != key}
            for payload in (without, *({**whole, key: odd} for odd in WRONG)):
                unknown = UnknownEvent(id="7", name=name, data=json.dumps(payload))
                assert decode(name, payload) == unknown, (name, payload)


def test_an_optional_field_may_be_missing_or_null_but_not_of_a_wrong_type() -> None:
    for name in STRICT:
        payload, expected = FULL[name]
        for field in fields_of(name, required=False):
            key = wire_name(name, field)
            bare = attrs.evolve(expected, id="7", **{field: None})  # type: ignore[arg-type]
            assert decode(name, {k: v for k, v in payload.items() if k != key}) == bare
            assert decode(name, {**payload, key: None}) == bare
            assert isinstance(decode(name, {**payload, key: [[]]}), UnknownEvent)


def test_a_tool_event_that_says_tool_call_id_instead_of_id_is_understood() -> None:
    for name in ("tool", "tool_use_start", "tool_use_parameter_streaming_complete"):
        payload, expected = FULL[name]
        renamed = {("toolCallId" if k == "id" else k): v for k, v in payload.items()}
        assert decode(name, renamed) == attrs.evolve(expected, id="7")


def test_whole_numbers_are_ints_however_they_are_written() -> None:
    written = {"5": 5, "5.0": 5, "-1": -1, "9223372036854775807": 2**63 - 1, "1e3": 1000}
    for wire, kept in written.items():
        data = f'{{"error":"x","attempt":{wire}}}'
        event = decode_event(ServerSentEvent(event="error", data=data))
        assert isinstance(event, events.ErrorEvent)
        assert (event.attempt, type(event.attempt)) == (kept, int)


@pytest.mark.parametrize(
    "wire",
    ["1.5", "true", '"5"', "1e999", "-1e999", "NaN", "Infinity", "1" * 20, "9" * 5000, "1e300"],
)
def test_numbers_that_no_server_means_make_the_event_unknown(wire: str) -> None:
    payload = json.dumps({**FULL["notification"][0], "timeout": "HERE"})
    frame = ServerSentEvent(event="notification", data=payload.replace('"HERE"', wire))
    assert decode_event(frame) == UnknownEvent(name="notification", data=frame.data)
    said = f'{{"error":"x","attempt":{wire}}}'
    event = decode_event(ServerSentEvent(event="error", data=said))
    if wire in ("NaN", "Infinity", "-1e999"):  # no JSON at all, or no number
        return
    assert isinstance(event, events.ErrorEvent), "an end is not lost for a number"
    assert event.attempt is None


NO_CONTENT = [
    "",
    " ",
    "null",
    "[]",
    "7",
    '"text"',
    "hello",
    "{",
    '{"content": "half',
    '{"content": "a"}{"content": "b"}',
    # Two events torn into each other, as an unlocked writer leaves them.
    '{"type":"content","content":"He{"type":"permission","id":"p1"}llo"}',
    '{"type":"content","content":"He\n{"type":"permission","id":"p1"}',
    '{"content": "a",}',
    "{'content': 'a'}",
    "\ufeff{}",
    "[" * 100_000,
    '{"content": "\\ud800"}',
    '{"content": "a", "type": {"\\uDFFF": 1}}',
    '{"content": "\\u12"}',
    '{"content": "a", "type": NaN}',
    '{"content": "a", "type": [-Infinity]}',
    "\x00",
]


def test_a_payload_that_is_no_json_object_of_the_shape_keeps_its_text() -> None:
    for data in NO_CONTENT:
        frame = ServerSentEvent(id="1", event="content", data=data)
        assert decode_event(frame) == UnknownEvent(id="1", name="content", data=data)


def test_no_depth_of_a_field_that_is_ignored_raises() -> None:
    # The parser skips such a field. How deep it can follow depends on the version of Python.
    for depth in (50, 100_000, 2_000_000):
        data = '{"content": "a", "x": ' + "[" * depth + "]" * depth + "}"
        event = decode_event(ServerSentEvent(id="1", event="content", data=data))
        unknown = UnknownEvent(id="1", name="content", data=data)
        expected = events.ContentEvent(id="1", content="a")
        assert event == expected or (depth > 50 and event == unknown)


def test_a_surrogate_pair_is_text_like_any_other() -> None:
    event = decode_event(ServerSentEvent(event="content", data='{"content": "\\ud83d\\ude00"}'))
    assert event == events.ContentEvent(content="\N{GRINNING FACE}")


def test_a_name_that_no_class_has_is_unknown() -> None:
    for name in ("", "message", "Content", "content ", "__class__", "\0id", "get"):
        frame = ServerSentEvent(event=name, data='{"content": "a"}')
        assert decode_event(frame) == UnknownEvent(name=name, data=frame.data)


def test_events_are_frozen_slotted_and_hashable() -> None:
    for name in NAMES:
        event = decode(name, FULL[name][0])
        hash(event)
        assert not hasattr(event, "__dict__")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.id = "8"  # type: ignore[misc]


def test_every_public_class_field_is_documented_and_in_the_union() -> None:
    classes = {each.__name__ for each in get_args(events.Event)}
    assert classes == {name for name in events.__all__ if name.endswith("Event")} - {"Event"}
    tree = ast.parse(inspect.getsource(events))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(after, ast.Expr), ast.unparse(field)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
wire_keys = sorted({key for payload, _ in FULL.values() for key in payload})


@given(st.sampled_from([*NAMES, "message", "x"]) | st.text(), st.text(), st.text())
def test_any_text_is_an_event(name: str, data: str, frame_id: str) -> None:
    event = decode_event(ServerSentEvent(id=frame_id, event=name, data=data))
    assert isinstance(event, events.Event)
    assert event.id == (frame_id or None)


@given(st.sampled_from(NAMES), st.binary())
def test_any_bytes_are_an_event(name: str, raw: bytes) -> None:
    data = raw.decode(errors="replace")
    assert isinstance(decode_event(ServerSentEvent(event=name, data=data)), events.Event)


@given(
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(wire_keys), json_values),
)
def test_any_json_object_is_an_event_of_its_class_or_unknown(
    name: str, changes: dict[str, object]
) -> None:
    data = json.dumps({**FULL[name][0], **changes})
    event = decode_event(ServerSentEvent(event=name, data=data))
    if not isinstance(event, UnknownEvent):
        assert type(event) is EVENT_CLASSES[name]
    else:
        assert (event.name, event.data) == (name, data)


@given(st.data(), st.sampled_from(NAMES))
def test_whatever_a_server_writes_is_read_back(data: st.DataObject, name: str) -> None:
    cls = EVENT_CLASSES[name]
    strategies: dict[object, st.SearchStrategy[object]] = {
        str: st.text(),
        int: st.integers(-(2**63), 2**63 - 1),
        bool: st.booleans(),
        Mapping[str, object]: st.dictionaries(st.text(), st.integers() | st.text() | st.none()),
        tuple[str, ...]: st.lists(st.text(), max_size=4).map(tuple),
        type(None): st.none(),
    }
    values: dict[str, Any] = {
        field: data.draw(
            st.text(min_size=1)
            if field in ("permission_id", "notification_id")
            else st.one_of(*(strategies[each] for each in alternatives(hint)))
        )
        for field, hint in get_type_hints(cls).items()
        if field != "id"
    }
    payload = {
        wire_name(name, field): value
        for field, value in values.items()
        if value is not None or data.draw(st.booleans())
    }
    hints = get_type_hints(cls)
    optional = [field for field in values if field.endswith("_id") and hints[field] == str | None]
    empty = {field: None for field in optional if values[field] == ""}
    assert decode(name, payload) == cls(id="7", **{**values, **empty})


def alternatives(hint: object) -> tuple[object, ...]:
    return get_args(hint) if isinstance(hint, UnionType) else (hint,)


def test_a_permission_request_that_nobody_can_be_shown_is_unknown() -> None:
    data = json.dumps({**FULL["permission"][0], "params": "HERE"})
    for depth, shown in ((90, True), (150, False), (960, False)):
        params = '{"deep":' * depth + "1" + "}" * depth
        frame = ServerSentEvent(event="permission", data=data.replace('"HERE"', params))
        assert isinstance(decode_event(frame), UnknownEvent) is not shown, depth


def test_an_id_that_cannot_be_kept_or_answered_makes_the_event_unknown() -> None:
    request = {"action": "x", "description": "", "params": {}, "sessionId": "s", "toolName": "t"}
    for name, data in [
        ("permission", {**request, "id": ""}),
        ("permission", {**request, "id": "p" * 5000}),
        ("content", {"content": "x", "assistantMessageId": "m" * 5000}),
        ("tool", {"id": "t" * 5000, "name": "bash", "input": "", "status": "running"}),
        ("tool_use_start", {"toolCallId": "t" * 5000, "name": "bash"}),
        ("user_message_created", {"messageId": "m" * 5000, "content": "x"}),
    ]:
        payload = json.dumps(data)
        event = decode_event(ServerSentEvent(event=name, data=payload, id=""))
        assert event == UnknownEvent(name=name, data=payload)
    payload = json.dumps({**request, "id": "p" * 4096})
    event = decode_event(ServerSentEvent(event="permission", data=payload, id=""))
    assert isinstance(event, events.PermissionEvent)
