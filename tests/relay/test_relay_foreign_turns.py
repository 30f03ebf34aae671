"""Turns that were sent past the relay and run at the same time."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from trio_mix.relay._turn_events import SessionEvents
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.relay._outbox import Draft


def frame(name: str, /, **data: object) -> ServerSentEvent:
    return ServerSentEvent(id="7", event=name, data=json.dumps({"type": name, **data}))


def turn(number: int, words: Sequence[str]) -> list[ServerSentEvent]:
    answer = f"assistant-{number}"
    return [
        frame("user_message_created", messageId=f"user-{number}", content="hi"),
        *(frame("content", content=word, assistantMessageId=answer) for word in words),
        frame("complete", content="".join(words), done=True, messageId=answer),
    ]


def taken(events: SessionEvents, frames: Sequence[ServerSentEvent]) -> list[Draft]:
    return [draft for each in frames for draft in events.take(each, mine=False)]


def text_by_turn(drafts: Sequence[Draft]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for draft in drafts:
        data = json.loads(draft.data)
        if draft.event == "content":
            texts[data["turnId"]] = texts.get(data["turnId"], "") + data["content"]
    return texts


@given(
    st.lists(
        st.lists(st.sampled_from(["ha ", "ho "]), min_size=1, max_size=5), min_size=2, max_size=3
    ),
    st.booleans(),
    st.data(),
)
def test_overlapping_turns_are_separated_and_the_copies_of_their_events_are_dropped(
    texts: list[list[str]], copies: bool, data: st.DataObject
) -> None:
    """The server sends each event once for each turn that runs, or once only."""
    numbers = itertools.count(1)
    events = SessionEvents(lambda: f"foreign {next(numbers)}")
    turns = [turn(number, words) for number, words in enumerate(texts, 1)]
    starting = list(turns)
    sent, running = list[ServerSentEvent](), list[list[ServerSentEvent]]()
    while starting or running:
        chosen, count = data.draw(st.sampled_from(running or [[]])), 1
        if starting and (len(running) < 2 or data.draw(st.booleans())):
            # Its answer begins before another turn's: nothing else shows whose answer it is.
            chosen, count = starting.pop(0), 2
            running.append(chosen)
        for _ in range(count):
            sent += [chosen.pop(0)] * (len(running) if copies else 1)
        running = [each for each in running if each]
    drafts = taken(events, sent)
    assert [draft.event for draft in drafts].count("complete") == len(texts)
    expected = {f"foreign {number}": "".join(words) for number, words in enumerate(texts, 1)}
    assert text_by_turn(drafts) == expected
    assert events.foreign is None


def test_equal_events_of_one_turn_are_not_copies() -> None:
    events = SessionEvents(lambda: "foreign")
    drafts = taken(events, turn(1, ["ha ", "ha ", "ha "]))
    assert text_by_turn(drafts) == {"foreign": "ha ha ha "}


def test_after_a_hole_each_of_several_turns_has_one_end() -> None:
    numbers = itertools.count(1)
    events = SessionEvents(lambda: f"foreign {next(numbers)}")
    drafts = taken(events, [*turn(1, ["a "])[:2], *turn(2, ["b "])[:2]])
    events.hole()
    drafts += taken(events, turn(3, ["c "]))
    ends = [
        json.loads(draft.data)["turnId"] for draft in drafts if draft.event in ("complete", "error")
    ]
    assert sorted(ends) == ["foreign 1", "foreign 2", "foreign 3"]
    assert text_by_turn(drafts) == {"foreign 1": "a ", "foreign 2": "b ", "foreign 3": "c "}
