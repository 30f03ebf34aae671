"""The tool calls of a reply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.effort import CountedText, lines_run
from tests.support.event_makers import (
    begins,
    fed,
    old_piece,
    piece,
    ran,
    runs,
    tool,
    whole,
)
from trio_mix import events as ev
from trio_mix._json import is_json
from trio_mix._reply import ToolCall
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_rows import StoredReply

if TYPE_CHECKING:
    import pytest


def test_old_tool_events_repeat_and_make_one_call_each() -> None:
    builder = fed(
        tool("1"),
        tool("1", "", "completed"),
        tool("1", '{"a": 1}', "completed"),
        tool("2", "{"),
        tool("1", '{"a": 1}', "completed"),
        tool("1", "", "completed"),
        old_piece("2", '"b"'),
        old_piece("2", ": 2}"),
        tool("2", "", "completed"),
        tool("2", '{"b": 2}', "completed"),
        old_piece("2", "late"),
    )
    calls = builder.build().tool_calls
    assert [(call.tool_call_id, call.parsed_input) for call in calls] == [
        ("1", {"a": 1}),
        ("2", {"b": 2}),
    ]
    assert not calls[0].finished


def test_parameters_that_are_not_complete_are_gone_on_with() -> None:
    (call,) = fed(tool("1", "{"), old_piece("1", "}")).build().tool_calls
    assert call.parsed_input == {}


def test_new_tool_events_make_one_call_each_with_its_outcome() -> None:
    builder = fed(
        begins("1", "m", name="bash"),
        piece("1", "{", "m"),
        piece("1", "}", "m"),
        begins("2", "m"),
        whole("1", "{}", "m", name=""),
        piece("1", "late", "m"),
        runs("1", name=""),
        ran("1", name="", success=False),
        ran("2"),
    )
    assert builder.build().tool_calls == (
        ToolCall(
            tool_call_id="1",
            name="bash",
            input="{}",
            input_complete=True,
            finished=True,
            success=False,
        ),
        ToolCall(tool_call_id="2", name="ls", finished=True, success=True),
    )


def test_a_sub_agents_calls_stand_there_with_their_parent() -> None:
    builder = fed(begins("1", "m"), begins("2", "s", "1"), ran("2", "1"), ran("1"))
    calls = builder.build().tool_calls
    assert [(c.tool_call_id, c.parent_tool_call_id) for c in calls] == [("1", None), ("2", "1")]


def test_stored_calls_add_what_events_did_not_bring() -> None:
    builder = fed(begins("1", "m", "parent"), ran("1", "parent"))
    stored = (
        ToolCall(tool_call_id="1", name="", input="{}", result="out"),
        ToolCall(tool_call_id="2", name="cat", finished=True, success=False),
    )
    builder.take_stored(StoredReply(tool_calls=stored))
    first, second = builder.build().tool_calls
    assert first == ToolCall(
        tool_call_id="1",
        name="ls",
        input="{}",
        input_complete=True,
        finished=True,
        success=True,
        result="out",
        parent_tool_call_id="parent",
    )
    assert second == stored[1]


# -- the work for large parameters -----------------------------------------------------------


def fed_in_pieces(count: int) -> ReplyBuilder:
    builder = ReplyBuilder()
    for _ in range(count):
        builder.feed([piece("c", CountedText("x" * 40), "m")])
    return builder


def test_parameters_in_small_deltas_take_work_for_each_delta_and_not_for_its_predecessors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(CountedText, "copied", 0)
    assert lines_run(lambda: fed_in_pieces(2_000)) < 2.1 * lines_run(lambda: fed_in_pieces(1_000))
    assert CountedText.copied == 0
    (call,) = fed_in_pieces(1_000).build().tool_calls
    assert len(call.input) == 1_000 * 40


def test_starts_of_a_tool_do_not_read_its_parameters_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = 0

    def counting(text: str) -> bool:
        nonlocal read
        read += len(text)
        return is_json(text)

    monkeypatch.setattr("trio_mix._turns._tool_calls.is_json", counting)
    part = '{"a": [' + '{"b": 1}, ' * 100_000
    builder = fed(piece("c", part))
    for _ in range(30):
        builder.feed([runs("c"), piece("c", "1, ")])
    builder.build()
    assert 0 < read < 2.1 * len(part)
    builder.feed([piece("c", "1]}"), runs("c")])
    (call,) = builder.build().tool_calls
    assert call.input_complete
    assert len(call.input) == len(part) + 30 * 3 + 3


def test_a_gap_in_a_reply_with_many_calls_takes_no_more_work_than_in_one_without() -> None:
    calls = [event for number in range(200) for event in (begins(f"{number}"), runs(f"{number}"))]
    gap = ev.StreamGapEvent(missed=None, reason="torn")
    many, none = fed(*calls, gap), fed(gap)
    assert lines_run(lambda: many.feed([gap] * 200)) < 2 * lines_run(lambda: none.feed([gap] * 200))
