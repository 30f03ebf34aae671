"""Text that gets lost without a lost connection: torn frames, deltas that an ending contradicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.effort import peak_memory
from tests.support.event_makers import (
    begins,
    done,
    fed,
    old_piece,
    piece,
    ran,
    runs,
    says,
    tool,
    whole,
)
from trio_mix import events as ev
from trio_mix._reply import ToolCall
from trio_mix._turns._stored_rows import StoredReply
from trio_mix._turns._torn_events import is_torn

if TYPE_CHECKING:
    from trio_mix._turns._reply_builder import ReplyBuilder


def unknown(name: str, data: str) -> ev.Event:
    return ev.UnknownEvent(name=name, data=data)


TORN = {
    "text in pieces": ("content", '{"type":"content","cont'),
    "a tool's event in pieces": ("tool", '{"a": 1}{"b": 2}'),
    "a frame that lost its name": ("message", '{"content": "x"}'),
    "a frame that lost its name, in pieces": ("message", "x"),
    "a name that was changed": ("cnntent", '{"type": "content", "content": "x"}'),
    "text of another shape": ("content", '{"type": "content", "cnntent": "x"}'),
    "an ending of another shape": ("complete", '{"done": "perhaps"}'),
}
WHOLE = {
    "an event of a newer server": ("mood", '{"type": "mood"}'),
    "one without JSON": ("mood", "good"),
    "a newer shape of what is no text": ("notification", '{"type": "notification"}'),
    "JSON that is no object": ("mood", "[1]"),
    "a type that is no text": ("mood", '{"type": ["content"]}'),
    "brackets without end": ("mood", "[" * 100_000),
}


def test_a_torn_event_is_distinguished_from_an_unknown_one() -> None:
    for case, (name, data) in TORN.items():
        assert is_torn(unknown(name, data)), case
    for case, (name, data) in WHOLE.items():
        assert not is_torn(unknown(name, data)), case


def test_a_torn_event_of_megabytes_is_recognized_without_building_its_values() -> None:
    text = '{"type": "x", "list": [' + '{"a":1},' * 1_000_000
    assert peak_memory(lambda: is_torn(unknown("tool", text))) < len(text)
    assert is_torn(unknown("tool", text))
    assert not is_torn(unknown("mood", text))


def test_a_gap_leaves_the_reply_incomplete_until_the_stored_text_is_known() -> None:
    torn = ev.StreamGapEvent(missed=None, reason="torn")
    builder = fed(says("One "), torn, says("three."), done("m", "One two three."))
    assert builder.patchy
    assert builder.build().incomplete
    builder.take_stored(StoredReply(texts=("One two three.",), recovered=True))
    assert not builder.build().incomplete
    assert builder.text == "One two three."


def test_known_events_are_never_torn() -> None:
    assert not is_torn(says("x"))


CONTRADICTED = {
    "more came than it says": [says("One two.", "m"), done("m", "One")],
    "ids": [says("One ", "m"), says("three.", "m"), done("m", "One two three.")],
    "no ids": [says("One "), says("three."), done("m", "One two three.")],
    "the last round": [says("a", "m1"), begins("c", "m1"), says("c", "m2"), done("m2", "bc!")],
    "the last round, no ids": [says("a"), begins("c"), says("c"), done(None, "bc!")],
    "an id of no event": [says("two.", "m"), done("nan", "One two.")],
    "the same, and a tool was called last": [says("a", "m"), begins("c", "m"), done("nan", "a")],
}
AGREED = {
    "white space": [says("\nOne two. \n", "m"), done("m", "One two.")],
    "overtaken": [says("One ", "m"), done("m", "One two.")],
    "nothing came": [done("m", "One.")],
    "nothing of the last came": [says("a", "m1"), begins("c", "m1"), done("m2", "b")],
    "an id of no event": [says("a", "m1"), says("b", "m1"), done("nan", "abc")],
    "all rounds": [says("a"), begins("c"), says("b"), done(None, "ab")],
}


@pytest.mark.parametrize("events", CONTRADICTED.values(), ids=CONTRADICTED)
def test_deltas_that_the_end_contradicts_make_a_reply_incomplete(events: list[ev.Event]) -> None:
    builder = fed(*events)
    ending = events[-1]
    assert isinstance(ending, ev.CompleteEvent)
    assert not builder.patchy  # it is too late to hold anything back
    assert builder.build().incomplete
    assert builder.build().final_text == ending.content


@pytest.mark.parametrize("events", AGREED.values(), ids=AGREED)
def test_deltas_that_it_does_not_are_complete(events: list[ev.Event]) -> None:
    assert not fed(*events).build().incomplete


# -- parameters of tools ---------------------------------------------------------------------


def call_of(builder: ReplyBuilder) -> tuple[str, bool]:
    (call,) = builder.build().tool_calls
    return call.input, call.input_complete


def test_parameters_are_complete_once_the_server_says_so_or_starts_the_tool() -> None:
    assert call_of(fed(begins("1"), piece("1", "{"))) == ("{", False)
    assert call_of(fed(begins("1"), piece("1", "{"), piece("1", "}"))) == ("{}", False)
    assert call_of(fed(begins("1"), piece("1", "{}"), runs("1"))) == ("{}", True)
    assert call_of(fed(begins("1"), piece("1", "{"), runs("1"))) == ("{", False)
    assert call_of(fed(begins("1"), piece("1", "{"), whole("1", "{}"))) == ("{}", True)
    assert call_of(fed(tool("1", "{}"))) == ("{}", False)
    assert call_of(fed(tool("1", "{}", "completed"))) == ("{}", True)
    assert call_of(fed(tool("1", "{}", "completed"), tool("1", "{", "running"))) == ("{}", True)


@pytest.mark.parametrize("delta", [piece, old_piece])
def test_parameters_that_a_gap_has_torn_are_never_put_together_with_a_hole(delta: Any) -> None:
    builder = fed(begins("1"), delta("1", '{"a": "b'))
    builder.gap()
    builder.feed([delta("1", 'd"}')])
    builder.feed([runs("1")])
    builder.feed([ran("1")])
    assert call_of(builder) == ('{"a": "b', False)
    builder.feed([whole("1", '{"a": "bcd"}')])
    assert call_of(builder) == ('{"a": "bcd"}', True)


def test_parameters_whose_beginning_a_gap_took_are_not_taken_for_all() -> None:
    builder = fed(says("x"))
    builder.gap()
    builder.feed([piece("1", "[1]}")])
    builder.feed([runs("1")])
    assert call_of(builder) == ("", False)
    builder.feed([begins("2")])
    builder.feed([piece("2", "{}")])
    builder.feed([runs("2")])
    assert builder.build().tool_calls[1].input_complete


def test_what_is_stored_completes_torn_parameters_and_changes_no_complete_ones() -> None:
    builder = fed(begins("1"), piece("1", '{"a'), begins("2"), whole("2", '{"b": 1}'))
    builder.gap()
    stored = [ToolCall(tool_call_id="1", input='{"a": 1}'), ToolCall(tool_call_id="2", input="{")]
    builder.take_stored(StoredReply(texts=("",), tool_calls=tuple(stored), recovered=True))
    first, second = builder.build().tool_calls
    assert (first.input, first.input_complete) == ('{"a": 1}', True)
    assert (second.input, second.input_complete) == ('{"b": 1}', True)


def test_stored_parameters_that_are_no_json_are_not_complete() -> None:
    builder = fed()
    calls = (ToolCall(tool_call_id="1", input='{"a'), ToolCall(tool_call_id="2"))
    builder.take_stored(StoredReply(texts=("",), tool_calls=calls, recovered=True))
    assert [call.input_complete for call in builder.build().tool_calls] == [False, False]
