"""Rule 9 of the router: turn ids, which relays add, win over ids and order."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from trio_mix import events as ev
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._turn import Input, Phase, Turn
from trio_mix._turns._wire_traits import WireTraits, turn_id_of


def content(text: str) -> ev.ContentEvent:
    return ev.ContentEvent(content=text)


def complete(done: bool = True) -> ev.CompleteEvent:
    return ev.CompleteEvent(content="", done=done)


def posted(router: TurnRouter, text: str = "hi") -> Turn:
    turn = router.register(text)
    router.apply(turn, Input.SENDING)
    return turn


def test_events_of_two_turns_without_message_ids_are_separated() -> None:
    router = TurnRouter(WireTraits(ids=False, answers=False, turn_ids=True))
    turn = posted(router)
    first: list[ev.Event] = [content("theirs"), content("ours"), complete()]
    assert router.route(first[:1], ["t1"]).events == []
    assert router.route(first[1:2], ["t2"]).events == []
    assert (turn.phase, turn.heard) == (Phase.POSTED, 2)
    named = router.name(turn, "t2")
    assert named.events == first[1:2]
    router.apply(turn, Input.ACCEPTED)
    assert router.route(first[2:], ["t1"]).events == []
    assert turn.phase is not Phase.OVER
    last = router.route([content("!"), complete()], ["t2", "t2"])
    assert [type(event) for event in last.events] == [ev.ContentEvent, ev.CompleteEvent]
    assert turn.over
    assert router.route([content("late")], ["t2"]).events == []


def test_a_turn_that_was_over_before_its_answer_came_is_whole() -> None:
    router = TurnRouter(WireTraits(ids=False, answers=None, turn_ids=True))
    turn = posted(router)
    events: list[ev.Event] = [content("a"), complete()]
    router.route(events, ["t9", "t9"])
    assert router.name(turn, "t9").events == events
    router.apply(turn, Input.ACCEPTED)
    assert turn.over


def test_without_an_answer_the_other_rules_decide() -> None:
    router = TurnRouter(WireTraits(ids=False, answers=False, turn_ids=True))
    turn = posted(router)
    events: list[ev.Event] = [content("a"), complete()]
    router.route(events[:1], ["t1"])
    assert router.name(turn, None).events == events[:1]
    assert router.route(events[1:], ["t1"]).events == events[1:]
    assert turn.over


def test_a_sub_agent_s_end_is_not_the_end_of_its_turn() -> None:
    router = TurnRouter(WireTraits(ids=True, answers=False, turn_ids=True))
    turn = posted(router)
    router.name(turn, "t1")
    inner = ev.CompleteEvent(content="", done=True, parent_tool_call_id="call")
    assert router.route([inner], ["t1"]).events == [inner]
    assert not turn.over


@given(st.lists(st.sampled_from(["ours", "theirs", None]), max_size=30), st.integers(0, 30))
def test_whenever_the_answer_comes_exactly_the_turn_s_own_events_are_its(
    names: list[str | None], answered: int
) -> None:
    router = TurnRouter(WireTraits(ids=False, answers=False, turn_ids=True))
    turn = posted(router)
    received: list[ev.Event] = []
    sent = []
    for number, name in enumerate(names):
        if number == answered:
            received += router.name(turn, "ours").events
        event = content(str(number)) if name else ev.ConnectedEvent(session_id="s")
        sent.append((name, event))
        received += router.route([event], [name]).events
    received += router.name(turn, "ours").events
    assert received == [event for name, event in sent if name == "ours"]


def test_the_turn_id_is_the_last_field_of_the_data() -> None:
    assert turn_id_of('{"content":"x","turnId":"t-1"}') == "t-1"
    assert turn_id_of('{"turnId": "t-1"}\n') == "t-1"
    assert turn_id_of(json.dumps({"content": "x" * 10_000, "turnId": "t"})) == "t"
    for other in ("", "{}", '{"turnId":"a","x":1}', json.dumps({"content": '"turnId":"t"}'})):
        assert turn_id_of(other) is None


def test_a_busy_server_is_reported_also_if_its_error_has_a_turn_id() -> None:
    busy: ev.Event = ev.ErrorEvent(error="session is currently processing another request")
    for turn_id in (None, "t1"):
        router = TurnRouter(WireTraits(ids=False, answers=False, turn_ids=True))
        turn = posted(router)
        router.name(turn, None)
        route = router.route([busy], [turn_id])
        assert (route.turn, route.busy) == (turn, busy)
        assert turn.phase is Phase.REGISTERED
