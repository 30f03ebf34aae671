"""JSON from outside: what is refused, and large bodies that are parsed in steps."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import case
from tests.support.rest_samples import EXPORT, MESSAGE, SESSION
from trio_mix import ToolCall, models
from trio_mix._json import MAX_DEPTH, NotJSON, parse, parse_leniently
from trio_mix._wire import _large_json
from trio_mix._wire._events import decode_event
from trio_mix._wire._large_json import Unreadable, parse_steps
from trio_mix._wire._mismatch import Mismatch
from trio_mix._wire._models import decode, decode_steps
from trio_mix.events import UnknownEvent
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Generator

REFUSED = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "9" * 5000,
    '"\\ud800"',
    '"\\ude00\\ud83d"',
    '"\\ud800 and more"',
    "[" * 5000 + "]" * 5000,
    '"\x00"',
    "01",
    "",
]
"""Values that JSON's grammar or Python's parser allows, and Python's texts and numbers do not."""


def steps_of(steps: Generator[None, None, Any]) -> tuple[Any, int]:
    taken = 0
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value, taken
        taken += 1


def parsed(body: bytes) -> Any:
    return steps_of(parse_steps(body))[0]


def titled(text: str) -> bytes:
    """Return the JSON of a session whose title is any text."""
    row = json.dumps({**SESSION, "title": 0})
    return row.replace('"title": 0', f'"title": {text}').encode()


def test_what_python_cannot_represent_is_refused_without_a_trace_of_the_text() -> None:
    for text in REFUSED:
        for given_text in (text, text.encode()):
            with case(text[:20]):
                with pytest.raises(NotJSON) as caught:
                    parse(given_text)
                assert caught.value.__context__ is None
                assert len(str(caught.value)) < 80
    with pytest.raises(NotJSON, match="surrogate"):
        parse('"\ud800"')
    with pytest.raises(NotJSON, match="UTF-8"):
        parse(b'"\xed\xa0\x80"')


def test_the_last_of_equal_keys_counts_and_pairs_of_surrogates_are_one_character() -> None:
    for each in (parse, parse_leniently):
        assert each('{"a": 1, "a": 2}') == {"a": 2}
        assert each('"\\ud83d\\ude00"') == "😀"


def test_values_are_nested_up_to_the_same_depth_on_every_python() -> None:
    def nested(levels: int) -> str:
        return '[{"a": ' * (levels // 2) + "[1]" * (levels % 2) + "}]" * (levels // 2)

    for each in (parse, parse_leniently):
        assert each("[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH)
        assert each(nested(MAX_DEPTH - 1))
        assert each(json.dumps([*("[" * MAX_DEPTH), '"' + "{" * MAX_DEPTH])), "brackets in texts"
        for levels in (MAX_DEPTH + 1, 900, 5000, 500_000):
            for text in (nested(levels // 2 * 2 + 1), "[" * levels + "]" * levels):
                with case(levels), pytest.raises(NotJSON, match="nested deeper than 100 levels"):
                    each(text)


def test_every_way_in_refuses_the_same_values() -> None:
    for text in REFUSED[:-1]:
        with case(text[:20]):
            call = ToolCall(tool_call_id="t", input=f'{{"a": {text}}}')
            assert call.parsed_input is None
            stored = models.ToolCallData(
                id="t", name="n", input=call.input, type="f", finished=True
            )
            assert stored.parsed_input is None
            permission = f'{{"id": "p", "params": {call.input}, "toolName": "t", "action": "a"}}'
            event = decode_event(ServerSentEvent(event="permission", data=permission))
            assert isinstance(event, UnknownEvent)
            with pytest.raises(Mismatch, match=r"\$\.title: expected"):
                decode(parsed(titled(text)), models.SessionData)


def test_a_whole_number_beyond_64_bits_does_not_fit_as_in_events() -> None:
    for number in (2**63, -(2**63) - 1, 10**30, 1e30):
        with case(number), pytest.raises(Mismatch, match="64 bits"):
            decode({**SESSION, "promptTokens": number}, models.SessionData)
    largest = decode({**SESSION, "promptTokens": 2**63 - 1}, models.SessionData)
    assert largest.prompt_tokens == 2**63 - 1


def test_an_item_that_cannot_be_parsed_does_not_spoil_the_list() -> None:
    good = json.dumps(SESSION).encode()
    for text in REFUSED:
        body = b"[%b, %b, %b]" % (good, titled(text), good)
        with case(text[:20]):
            with pytest.raises(Mismatch, match="expected JSON") as caught:
                decode(parsed(body), list[models.SessionData])
            assert caught.value.path == "$[1]"
            assert [each.id for each in caught.value.items] == ["s1", "s1"]  # type: ignore[attr-defined]


def test_the_items_are_those_of_the_outermost_list() -> None:
    call = {"id": "t", "name": "B", "input": "{}", "type": "f", "finished": True}
    odd = {**MESSAGE, "toolCalls": [call, {**call, "finished": 1}, call]}
    for value, shape, path in [
        ([MESSAGE, odd, MESSAGE], list[models.BackendMessage], "$[1].toolCalls[1].finished"),
        (odd, models.BackendMessage, "$.toolCalls[1].finished"),
    ]:
        with case(path):
            with pytest.raises(Mismatch) as caught:
                decode(value, shape)
            assert caught.value.path == path
            assert len(caught.value.items) == 2
    with pytest.raises(Mismatch) as caught:
        decode({**SESSION, "title": 1}, models.SessionData)
    assert caught.value.items == ()


def test_of_millions_of_bad_items_only_some_are_looked_at() -> None:
    with pytest.raises(Mismatch) as caught:
        decode([0] * 5000 + [SESSION], list[models.SessionData])
    assert caught.value.path == "$[0]"
    assert caught.value.items == ()
    with pytest.raises(NotJSON, match="1000"):
        parsed(b"[" + b"x," * 5000 + b"0]")


class Searched(bytes):
    """A body that counts the bytes that are searched in it from the end."""

    searched = 0

    def rfind(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        Searched.searched += len(range(*slice(start, end).indices(len(self))))
        return super().rfind(sub, start, end)


def test_a_large_member_is_searched_once_and_what_follows_it_parsed_in_steps() -> None:
    size = 4 * 2**20
    rows = b'{"a": "b"}, ' * (size // 12)
    for members in (
        b" " * size + b"1",
        b"9" * size,
        b'""' * (size // 2),
        b'"%b", %b 1' % (b"x" * 40_000, rows),
        b"%b, %b 1" % (b"1" * 1000 + b" " * 40_000, rows),
    ):
        Searched.searched = steps = 0
        with contextlib.suppress(NotJSON):
            for _ in parse_steps(Searched(b"[%b]" % members)):
                steps += 1
        assert Searched.searched < 4 * size
        assert steps > size / 100_000


def test_a_long_text_is_parsed_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = 0

    def measured(text: bytes) -> object:
        nonlocal longest
        longest = max(longest, len(text))
        return parse(text)

    monkeypatch.setattr(_large_json, "parse", measured)
    for unit in ("x", "é", "日本", "\U0001f600", "\\ \n", 'some "words" \U0001f600 é\n'):
        text = unit * (2**20 // len(unit))
        for value in (text, [text], {"a": [{"b": text}]}):
            for ascii_only in (True, False):
                assert parsed(json.dumps(value, ensure_ascii=ascii_only).encode() + b" ") == value
    assert longest <= _large_json._AT_ONCE
    for wrong in (b"\\ud83d", b"\\udc00", b"\xff", b"\n", b"\\x", b'"'):
        with pytest.raises(NotJSON):
            parsed(b'"' + b"x" * 2**20 + wrong + b'x"')


def test_a_long_list_is_parsed_and_decoded_in_steps() -> None:
    rows = [{**SESSION, "id": f"s{number}"} for number in range(10_000)]
    message: Any = EXPORT["messages"][0]
    messages = [{**message, "id": f"m{number}"} for number in range(10_000)]
    shapes: list[tuple[object, type[object]]] = [
        (rows, list[models.SessionData]),
        ({**EXPORT, "messages": messages}, models.ExportSession),
    ]
    for value, shape in shapes:
        body = json.dumps(value).encode()
        found, parse_taken = steps_of(parse_steps(body))
        assert found == value
        assert parse_taken > len(body) / 100_000
        model, decode_taken = steps_of(decode_steps(found, shape))
        assert model == decode(json.loads(body), shape)
        assert decode_taken >= 99


def test_what_is_no_json_is_refused_also_in_a_large_body() -> None:
    filler = b'{"a": ' + b'"x", "b": ' * 100_000 + b"1}"
    for before, after in [
        (b"", b" 1"),
        (b"", b"]"),
        (b"[", b""),
        (b"[", b"}"),
        (b'{"a" ', b"}"),
        (b'["', b""),
        (b'["\\', b""),
        (b"<html>", b""),
        (b"", b"\\"),
    ]:
        with case(before, after), pytest.raises(NotJSON):
            parsed(before + filler + after)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(), inner, max_size=6),
    max_leaves=30,
)
layouts = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n\t", " :\r ")])


@given(json_values, layouts, st.booleans(), st.integers(2, 40), st.integers(0, 60))
def test_steps_of_any_size_return_the_value(
    value: object, layout: tuple[str, str], ascii_only: bool, step: int, at_once: int
) -> None:
    body = json.dumps(value, separators=layout, ensure_ascii=ascii_only, allow_nan=True).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_large_json, "_STEP", step)
        patch.setattr(_large_json, "_AT_ONCE", at_once)
        try:
            expected = parse(body)
        except NotJSON:
            return  # an infinite number
        assert parsed(body) == expected
        assert parsed(b"\xef\xbb\xbf " + body + b"\n") == expected


def test_a_missing_member_of_a_large_array_is_not_skipped() -> None:
    members = [b'"%b"' % (b"a" * 20_000)] * 40
    for at in (0, 20, 40):
        odd = [*members[:at], b"", *members[at:]]
        with case(at):
            found: Any = parsed(b"[%b]" % b",".join(odd))
            assert [isinstance(each, Unreadable) for each in found].count(True) == 1
            assert len(found) == 41


@given(st.binary(max_size=40) | st.text('[]{}",:\\ 1e\ud800', max_size=40), st.integers(2, 9))
def test_any_bytes_are_a_value_or_no_json(data: bytes | str, step: int) -> None:
    body = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_large_json, "_STEP", step)
        patch.setattr(_large_json, "_AT_ONCE", 0)
        try:
            found = parsed(body)
        except NotJSON:
            found = Unreadable("", "")
    try:
        expected = parse(body)
    except NotJSON:
        assert "Unreadable" in repr(found)
    else:
        assert found == expected
