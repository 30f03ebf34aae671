"""Turns on one wire after another: whose event is it, and when is a message over."""

from __future__ import annotations

import pytest

from tests.support.event_makers import (
    BUSY,
    asked,
    begins,
    done,
    error,
    owners,
    permission,
    ran,
    rate_limit,
    router_for,
    runs,
    says,
    send,
    thinks,
    tool,
    unknown,
)
from trio_mix import events as ev
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._turn import TRANSITIONS, Input, Phase
from trio_mix._turns._wire_traits import WireTraits

WITHOUT_IDS = ["pipeline", "pipeline-oldest", "blocking", "auto"]
EVERY_API = [*WITHOUT_IDS, "async"]
CONNECTION_EVENTS = [
    ev.ConnectedEvent(session_id="s"),
    ev.HeartbeatEvent(),
    ev.SessionCreatedEvent(session_id="t", title="", created_at=0),
    ev.SessionDeletedEvent(session_id="t"),
    ev.StreamGapEvent(missed=None, reason=""),
]


# -- the state machine ------------------------------------------------------------------------


def test_every_phase_has_a_row_and_only_over_is_final() -> None:
    assert set(TRANSITIONS) == set(Phase)
    assert [phase for phase, row in TRANSITIONS.items() if not row] == [Phase.OVER]


def test_a_second_registration_before_the_first_is_over_is_a_bug() -> None:
    router = router_for("async")
    router.register("one")
    with pytest.raises(RuntimeError):
        router.register("two")


def test_the_turn_is_the_routers_until_it_is_over() -> None:
    router = router_for("async")
    turn = send(router)
    assert router.turn is turn
    owners(router, asked("u", "hello"), done("a"))
    assert turn.over
    assert router.turn is None


@pytest.mark.parametrize("api", EVERY_API)
@pytest.mark.parametrize("what", [Input.REFUSED, Input.SETTLED])
def test_a_turn_ends_when_it_is_refused_or_settled(api: str, what: Input) -> None:
    router = router_for(api)
    turn = send(router, accept=False)
    assert router.apply(turn, what)
    assert turn.over
    assert not router.apply(turn, what)
    assert owners(router, says("late"), done("a")) == [None, None]


# -- what every wire has in common ------------------------------------------------------------


@pytest.mark.parametrize("api", EVERY_API)
@pytest.mark.parametrize("event", CONNECTION_EVENTS)
def test_events_of_the_connection_are_no_turns(api: str, event: ev.Event) -> None:
    router = router_for(api)
    turn = send(router)
    assert owners(router, asked("u", "hello"))[0] in (turn, None)
    assert owners(router, event) == [None]
    assert not turn.over


@pytest.mark.parametrize("api", WITHOUT_IDS)
def test_without_ids_what_comes_while_the_turn_runs_is_its_own(api: str) -> None:
    router = router_for(api)
    turn = send(router)
    events = [thinks("hm"), says("a"), tool("c"), unknown(), permission(), ran("c"), done("m", "a")]
    assert owners(router, *events) == [turn] * len(events)
    assert turn.over
    assert turn.ended_by is events[-1]


@pytest.mark.parametrize("api", WITHOUT_IDS)
def test_without_ids_what_comes_before_the_post_or_after_the_end_is_nobodys(api: str) -> None:
    router = router_for(api)
    turn = router.register("hello")
    assert owners(router, says("early"), done("x"), error()) == [None, None, None]
    assert turn.phase is Phase.REGISTERED
    router.apply(turn, Input.SENDING)
    router.apply(turn, Input.ACCEPTED)
    assert owners(router, done("m"), says("late"), done("m"), error()) == [turn, None, None, None]


@pytest.mark.parametrize("api", EVERY_API)
def test_a_complete_that_is_not_done_ends_nothing(api: str) -> None:
    router = router_for(api)
    turn = send(router)
    got = owners(router, asked("u", "hello"), done("a", "so far", is_done=False))
    assert got[-1] is turn
    assert not turn.over


@pytest.mark.parametrize("api", EVERY_API)
@pytest.mark.parametrize("events", [[done("s", "x", "task")], [error(parent="task")]])
def test_a_sub_agent_never_ends_the_turn(api: str, events: list[ev.Event]) -> None:
    router = router_for(api)
    turn = send(router)
    owners(router, asked("u", "hello"), begins("task", "a1"))
    assert owners(router, *events) == [turn]
    assert owners(router, rate_limit("task")) == [turn]
    assert not turn.over


@pytest.mark.parametrize(
    ("api", "ends"),
    [("pipeline", True), ("auto", True), ("blocking", False), ("async", False)],
)
def test_a_rate_limit_ends_the_turn_only_where_the_server_gives_up(api: str, ends: bool) -> None:
    router = router_for(api)
    turn = send(router)
    owners(router, *[asked("u", "hello")] * (api == "async"))
    assert owners(router, rate_limit()) == [turn]
    assert turn.over is ends


def test_a_rate_limit_does_not_end_the_first_turn_once_ids_were_seen() -> None:
    router = router_for("auto")
    turn = send(router)
    owners(router, asked("u", "hello"), rate_limit())
    assert not turn.over


# -- without ids ------------------------------------------------------------------------------


def test_a_busy_server_drops_the_message_and_it_is_sent_again() -> None:
    router = router_for("pipeline")
    turn = send(router)
    for _ in range(3):  # the same words each time: none of them is a repetition
        route = router.route([BUSY])
        assert route.busy is BUSY
        assert route.turn is turn
        assert turn.phase is Phase.REGISTERED
        assert owners(router, BUSY, says("of the other"), done("other"), BUSY) == [None] * 4
        assert not router.apply(turn, Input.ACCEPTED), "the first POST's answer comes late"
        assert turn.phase is Phase.REGISTERED
        router.apply(turn, Input.SENDING)
    assert owners(router, says("ours"), done("mine")) == [turn, turn]


def test_busy_words_in_mid_turn_are_another_streams_conflict() -> None:
    router = router_for("pipeline")
    turn = send(router)
    assert owners(router, says("begun"), BUSY, BUSY) == [turn, None, None]
    assert owners(router, error("another"), says("late")) == [turn, None]


def test_after_a_turn_of_ours_its_stream_is_at_no_other_turn() -> None:
    router = router_for("pipeline")
    owners(router, says("of another client"))
    turn = send(router)
    assert owners(router, says("ours"), done("mine")) == [turn, turn]
    assert not router.others_at_work


def test_busy_words_after_the_answer_do_not_send_an_answered_message_again() -> None:
    router = router_for("blocking")
    turn = send(router, accept=False)
    router.apply(turn, Input.ANSWER)
    assert router.route([BUSY]).busy is None


@pytest.mark.parametrize("api", ["pipeline", "blocking"])
def test_the_same_error_again_is_the_next_turns_own(api: str) -> None:
    router = router_for(api)
    for _ in range(4):
        turn = send(router)
        assert owners(router, error("Authentication required")) == [turn]
        assert turn.over


def test_without_ids_an_error_known_to_be_repeated_is_not_the_next_turns() -> None:
    router = router_for("pipeline")
    first = send(router)
    assert owners(router, error(), error()) == [first, None]
    second = send(router)
    assert owners(router, error()) == [second]
    third = send(router, accept=False)
    seen = router.others
    assert owners(router, error()) == [None], "before the POST is accepted"
    assert router.others > seen, "the message's task is woken: it may have been its end"
    router.apply(third, Input.ACCEPTED)
    assert owners(router, says("x"), error()) == [third, third]
    fourth = send(router)
    assert owners(router, error()) == [fourth], "after it, it would be a hang to swallow it"


def test_errors_of_others_do_not_teach_that_errors_are_repeated() -> None:
    router = router_for("pipeline")
    assert owners(router, error(), error()) == [None, None]
    for _ in range(3):
        turn = send(router, accept=False)
        assert owners(router, error()) == [turn]
        router.apply(turn, Input.ACCEPTED)


def test_late_events_with_ids_of_an_earlier_turn_are_not_the_next_ones() -> None:
    router = router_for("pipeline")
    first = send(router)
    owners(router, tool("c1"), done("m1"))
    second = send(router)
    late = [tool("c1", "{}", "completed"), ran("c1"), done("m1"), says("sub", parent="c1")]
    assert owners(router, *late) == [None] * 4
    assert not second.over
    assert first.over
    assert owners(router, says("x"), tool("c1", "{}", "completed"), done("m2")) == [
        second,
        None,
        second,
    ]


def test_a_complete_seen_while_idle_is_not_the_next_turns_when_it_comes_again() -> None:
    router = router_for("pipeline")
    owners(router, done("foreign"))
    turn = send(router)
    assert owners(router, done("foreign"), done("mine")) == [None, turn]


@pytest.mark.parametrize("api", ["pipeline", "async"])
def test_a_tool_call_id_used_again_is_the_new_turns(api: str) -> None:
    router = router_for(api)
    for number in range(3):
        turn = send(router)
        begin: ev.Event = tool("call_0") if api == "pipeline" else begins("call_0", f"a{number}")
        events = [begin, runs("call_0"), ran("call_0"), done(f"b{number}")]
        owners(router, *[asked(f"u{number}", "hello")] * (api == "async"))
        assert owners(router, *events) == [turn] * 4
        assert turn.over


# -- answered in the HTTP response ------------------------------------------------------------


def test_a_blocking_turn_needs_both_its_answer_and_its_end() -> None:
    router = router_for("blocking")
    turn = send(router, accept=False)
    owners(router, says("x"), done("m"))
    assert turn.phase is Phase.ENDED
    assert owners(router, says("late"), error()) == [None, None]
    router.apply(turn, Input.ANSWER)
    assert turn.over

    turn = send(router, accept=False)
    router.apply(turn, Input.ANSWER)
    assert turn.phase is Phase.ANSWERED
    assert owners(router, says("x"), done("m2")) == [turn, turn]
    assert turn.over


@pytest.mark.parametrize("what", [Input.SETTLED, Input.REFUSED, Input.ACCEPTED])
def test_an_ended_turn_waits_for_any_answer(what: Input) -> None:
    router = router_for("blocking")
    turn = send(router, accept=False)
    owners(router, error())
    assert turn.phase is Phase.ENDED
    router.apply(turn, what)
    assert turn.over
    assert isinstance(turn.ended_by, ev.ErrorEvent)


def test_an_error_after_the_answer_is_another_clients() -> None:
    for ids in (None, True):
        router = TurnRouter(WireTraits(ids=ids, answers=True))
        turn = send(router, accept=False)
        router.apply(turn, Input.ANSWER)
        assert router.route([error("request cancelled by user")]).turn is None
        assert (turn.phase, turn.overlap) == (Phase.ANSWERED, "guess"), "its end is still due"
        owners(router, done("a"))
        assert turn.over
        assert not turn.failed


def test_a_slash_command_on_an_async_server_is_over_with_its_answer() -> None:
    router = router_for("async")
    turn = send(router, "/help", accept=False)
    router.apply(turn, Input.ANSWER)
    assert turn.over


def test_an_unknown_server_is_reckoned_with_as_blocking_until_it_has_accepted() -> None:
    router = router_for("auto")
    turn = send(router, accept=False)
    owners(router, done("m"))
    assert turn.phase is Phase.ENDED
    router.apply(turn, Input.ACCEPTED)
    assert turn.over

    turn = send(router, accept=False)
    router.apply(turn, Input.ACCEPTED)
    owners(router, done("n"))
    assert turn.over


# -- plan mode and texts that servers touch ---------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "stored", "plan_mode", "same"),
    [
        ("hi", "hi", False, True),
        ("  hi\r\nthere\t", "hi\nthere", False, True),
        ("\u00a0hi\u2028", "hi", False, True),
        ("half \ud83d", "half \ufffd", False, True),
        ("whole \U0001f600", "whole \U0001f600", False, True),
        ("hi", "hi there", False, False),
        ("hi", "hi\n\n<plan mode>", True, True),
        ("hi \n", "hi <plan mode>", True, True),
        ("hi", "ho <plan mode>", True, False),
        ("", "anything", True, False),
        ("", "", True, True),
        ("Hi", "hi", False, False),
    ],
)
def test_a_text_is_known_again(sent: str, stored: str, plan_mode: bool, same: bool) -> None:
    router = router_for("async")
    turn = send(router, sent, plan_mode=plan_mode)
    assert owners(router, asked("u", stored)) == [turn if same else None]
    assert turn.bound is same
