"""The text and the JSON of events, without a terminal, a server or Trio."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from tests.support.effort import CountedText
from trio_mix._terminal_text import clean
from trio_mix._wire._events import EVENT_CLASSES
from trio_mix.cli.ui._json import event_json
from trio_mix.cli.ui._text import excerpt
from trio_mix.cli.ui._transcript import Piece, PlainLines, Transcript
from trio_mix.events import (
    CompleteEvent,
    ContentEvent,
    ErrorEvent,
    HeartbeatEvent,
    PermissionEvent,
    StreamGapEvent,
    ThinkingEvent,
    ToolEvent,
    ToolExecutionCompleteEvent,
    ToolExecutionStartEvent,
    ToolUseParameterDeltaEvent,
    ToolUseParameterStreamingCompleteEvent,
    ToolUseStartEvent,
    UnknownEvent,
    UserMessageCreatedEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_mix.events import Event


def lines(events: Iterable[Event], *, users: bool = False, prefix: str = "") -> list[str]:
    transcript, plain = Transcript(users=users), PlainLines(prefix)
    shown = [line for event in events for line in plain.feed(transcript.feed(event))]
    return shown + plain.finish()


def test_deltas_of_one_message_become_one_line() -> None:
    assert lines(
        [
            ThinkingEvent(content="Hm, "),
            ThinkingEvent(content="files."),
            ContentEvent(content="Two "),
            ContentEvent(content="files."),
            CompleteEvent(done=True, content="Two files."),
        ]
    ) == ["thinking: Hm, files.", "text: Two files.", "done: complete"]


def test_each_line_of_a_text_has_the_label_and_is_returned_when_complete() -> None:
    transcript, plain = Transcript(), PlainLines("[1] ")
    assert plain.feed(transcript.feed(ContentEvent(content="a\nb"))) == ["[1] text: a"]
    assert plain.feed(transcript.feed(ContentEvent(content="c\n"))) == ["[1] text: bc"]
    assert plain.finish() == []


def test_a_heartbeat_does_not_split_a_line() -> None:
    assert lines(
        [ContentEvent(content="one "), HeartbeatEvent(), ContentEvent(content="line")]
    ) == ["text: one line"]


def test_a_new_assistant_message_begins_a_line_of_its_own() -> None:
    assert lines(
        [
            ContentEvent(content="one", assistant_message_id="a"),
            ContentEvent(content="two", assistant_message_id="b"),
        ]
    ) == ["text: one", "text: two"]


def test_a_tool_call_of_the_new_kind_is_shown_once_with_its_parameters() -> None:
    assert lines(
        [
            ToolUseStartEvent(tool_call_id="t", name="glob"),
            ToolUseParameterDeltaEvent(tool_call_id="t", input='{"p"'),
            ToolUseParameterStreamingCompleteEvent(tool_call_id="t", name="glob", input='{"p": 1}'),
            ToolExecutionStartEvent(tool_call_id="t", tool_name="glob", progress=""),
            ToolExecutionCompleteEvent(
                tool_call_id="t", tool_name="glob", progress="2 found", success=True
            ),
        ]
    ) == ['tool: glob {"p": 1}', "tool: glob done: 2 found"]


def test_a_repeated_tool_event_of_the_old_kind_is_shown_once() -> None:
    call = ToolEvent(tool_call_id="t", name="glob", input="", status="running")
    full = attrs.evolve(call, input='{"p": 1}', status="completed")
    assert lines([call, attrs.evolve(call, status="completed"), full, full]) == [
        'tool: glob {"p": 1}'
    ]


def test_a_call_without_parameters_is_shown_by_the_end_of_the_turn() -> None:
    assert lines(
        [
            ToolEvent(tool_call_id="t", name="ls", input="", status="completed"),
            CompleteEvent(done=True),
        ]
    ) == ["tool: ls", "done: complete"]


def test_without_deltas_the_text_of_complete_is_shown() -> None:
    events = [CompleteEvent(done=True, content="Hello", reasoning="Say hello")]
    assert lines(events) == ["thinking: Say hello", "text: Hello", "done: complete"]


def test_the_next_turn_is_shown_from_its_own_complete() -> None:
    shown = lines(
        [
            ContentEvent(content="one"),
            CompleteEvent(done=True, content="one"),
            CompleteEvent(done=True, content="two"),
        ]
    )
    assert shown == ["text: one", "done: complete", "text: two", "done: complete"]


def test_a_sub_agent_is_indented_and_its_complete_does_not_hide_the_parents_text() -> None:
    shown = lines(
        [
            ContentEvent(content="sub", parent_tool_call_id="t"),
            CompleteEvent(done=True, content="sub", parent_tool_call_id="t"),
            CompleteEvent(done=True, content="top"),
        ]
    )
    assert shown == ["  text: sub", "  done: complete", "text: top", "done: complete"]


def test_sent_messages_are_shown_on_request_only() -> None:
    sent = UserMessageCreatedEvent(message_id="u", content="Hi")
    assert lines([sent]) == []
    assert lines([sent], users=True) == ["user: Hi"]


def test_a_permission_names_tool_action_and_path() -> None:
    asked = PermissionEvent(
        permission_id="p",
        session_id="s",
        tool_name="bash",
        description="run uname",
        action="execute",
        path="/srv",
    )
    assert lines([asked]) == ["permission: bash: run uname in /srv"]


def test_a_gap_an_error_and_an_unknown_event_are_shown() -> None:
    assert lines(
        [
            StreamGapEvent(missed=3, reason="slow"),
            StreamGapEvent(missed=None, reason="lost"),
            UnknownEvent(name="new", data="{}"),
            ErrorEvent(error="no\nkey"),
        ]
    ) == [
        "gap: 3 events may be missing here: slow",
        "gap: some events may be missing here: lost",
        "info: new: {}",
        "error: no key",
    ]


def test_control_characters_cannot_reach_the_terminal() -> None:
    assert clean("a\x1b[2Jb\r\n\tc\x9b\u202e") == "a[2Jb\n\tc"
    assert lines([ContentEvent(content="\x1b]0;owned\x07x")]) == ["text: ]0;ownedx"]
    assert lines([UnknownEvent(name="\x1b[1m", data="\x00")]) == ["info: [1m:"]


def test_an_excerpt_is_one_line_within_its_limit() -> None:
    assert excerpt("a\n b", 10) == "a b"
    assert excerpt("x" * 11, 10) == "x" * 9 + "…"


def _build(cls: Callable[..., Event], **fields: object) -> Event:
    return cls(**fields)


def test_every_event_class_can_be_shown_and_written_as_json() -> None:
    samples: dict[object, object] = {str: "x", int: 1, bool: True}
    for name, cls in EVENT_CLASSES.items():
        attrs.resolve_types(cls)
        required = {
            field.name: samples[field.type]
            for field in attrs.fields(cls)
            if field.default is attrs.NOTHING
        }
        event = _build(cls, id="7", **required)
        Transcript(users=True).feed(event)
        record = json.loads(event_json(event))
        assert record["event"] == name
        assert record["id"] == "7"
        assert all(value is not None for value in record.values())


def test_events_without_a_wire_name_are_json_too() -> None:
    assert json.loads(event_json(UnknownEvent(name="n", data="d"))) == {
        "event": "unknown",
        "name": "n",
        "data": "d",
    }
    assert json.loads(event_json(StreamGapEvent(missed=2, reason="slow"))) == {
        "event": "stream_gap",
        "missed": 2,
        "reason": "slow",
        "healed": False,
    }


def test_nested_parameters_stay_objects_in_json() -> None:
    event = PermissionEvent(
        permission_id="p",
        session_id="s",
        tool_name="bash",
        description="",
        action="execute",
        params={"command": ["ls", {"deep": 1}]},
    )
    assert json.loads(event_json(event))["params"] == {"command": ["ls", {"deep": 1}]}


def test_the_work_for_a_delta_does_not_grow_with_the_text_before_it() -> None:
    transcript, plain = Transcript(), PlainLines()
    CountedText.copied = 0
    shown = []
    for number in range(2000):
        transcript.feed(ContentEvent(content=CountedText("some ")))
        shown += plain.feed([Piece("text", CountedText("some "), fresh=number == 0)])
    shown += plain.finish()
    assert transcript.text == "some " * 2000
    assert shown == [f"text: {'some ' * 2000}".rstrip()]
    assert CountedText.copied <= 2 * len("some ") * 2000


def test_a_line_without_end_is_divided_and_an_old_text_forgotten() -> None:
    transcript, plain = Transcript(), PlainLines()
    shown = []
    for _ in range(300):
        shown += plain.feed(transcript.feed(ContentEvent(content="x" * 10_000)))
    assert sum(map(len, shown)) > 2_000_000
    assert max(map(len, shown)) < 2**20 + 20_000
    transcript.feed(CompleteEvent(done=True))
    transcript.feed(ContentEvent(content="next"))
    assert transcript.text == "next"
