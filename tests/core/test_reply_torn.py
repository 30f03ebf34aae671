"""Text that gets lost without a lost connection: torn frames, deltas that an ending contradicts."""

from __future__ import annotations

import pytest
from event_makers import begins, done, fed, says

from trio_mix import events as ev
from trio_mix._turns._reply import StoredReply, is_torn


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


@pytest.mark.parametrize(("name", "data"), TORN.values(), ids=TORN)
def test_a_ruined_frame_is_a_gap(name: str, data: str) -> None:
    event = unknown(name, data)
    assert is_torn(event)
    builder = fed(says("One "), event, says("three."), done("m", "One two three."))
    assert builder.patchy
    assert builder.build().incomplete
    builder.take_stored(StoredReply(texts=("One two three.",), recovered=True))
    assert not builder.build().incomplete
    assert builder.text == "One two three."


@pytest.mark.parametrize(("name", "data"), WHOLE.values(), ids=WHOLE)
def test_what_is_merely_unknown_is_none(name: str, data: str) -> None:
    assert not is_torn(unknown(name, data))
    assert not fed(says("One."), unknown(name, data), done("m", "One.")).build().incomplete


def test_known_events_are_never_torn() -> None:
    assert not is_torn(says("x"))


CONTRADICTED = {
    "ids": [says("One ", "m"), says("three.", "m"), done("m", "One two three.")],
    "no ids": [says("One "), says("three."), done("m", "One two three.")],
    "the last round": [says("a", "m1"), begins("c", "m1"), says("c", "m2"), done("m2", "bc!")],
    "the last round, no ids": [says("a"), begins("c"), says("c"), done(None, "bc!")],
}
AGREED = {
    "white space": [says("\nOne two. \n", "m"), done("m", "One two.")],
    "overtaken": [says("One ", "m"), done("m", "One two.")],
    "more came than it says": [says("One two.", "m"), done("m", "One")],
    "nothing came": [done("m", "One.")],
    "nothing of the last came": [says("a", "m1"), done("m2", "b")],
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
