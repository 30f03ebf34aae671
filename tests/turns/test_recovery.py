"""What is decided about a message, by the rules of `trio_mix._turns._recovery`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.recovery_cases import REPLY, Case, cut, reading
from trio_mix._turns._decisions import (
    Cancel,
    Complete,
    Disown,
    Interrupt,
    Post,
    ReadStored,
    Refuse,
    Restart,
    Wait,
    Withdraw,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input
from trio_mix.events import CompleteEvent, ErrorEvent

if TYPE_CHECKING:
    from trio_mix._turns._facts import CancelOutcome


def test_a_post_of_which_nothing_was_sent_is_repeated_until_the_policy_gives_up() -> None:
    case, failure = Case(), OSError("refused")
    posts = 0
    while True:
        decision = case.until(Post | Refuse)
        if isinstance(decision, Refuse):
            break
        posts += 1
        case.recovery.not_sent(failure, case.now)
    assert decision == Refuse(failure)
    assert posts > 5
    assert case.now - 100 >= 600
    assert not case.recovery.post.sent


def test_a_refusal_ends_the_message_unless_it_may_have_run() -> None:
    rejection = ValueError("rejected")
    case = Case()
    case.post()
    case.recovery.refused(400, rejection)
    assert case.next() == Refuse(rejection)
    for status, answers, events in (
        (502, False, 0),
        (504, False, 0),
        (500, True, 0),
        (400, False, 1),
    ):
        case = Case(answers=answers)
        case.post()
        for _ in range(events):
            case.event()
        case.recovery.refused(status, rejection)
        assert case.recovery.concern is Concern.CUT, status
        assert isinstance(case.reads(TurnOutcome.FINISHED), Complete), status


def test_a_refused_message_that_never_arrived_is_rejected_with_the_servers_answer() -> None:
    case, rejection = Case(answers=True), ValueError("rejected")
    case.post()
    case.recovery.refused(500, rejection)
    assert case.reads_until_end(TurnOutcome.ABSENT) == Refuse(rejection)


def test_a_cut_turn_is_completed_from_the_stored_messages() -> None:
    decision = cut().reads(TurnOutcome.FINISHED)
    assert isinstance(decision, Complete)
    assert (decision.reply, decision.doubtful) == (REPLY, False)
    assert decision.lost


def test_a_message_that_is_sent_without_a_connection_has_lost_its_events() -> None:
    case = Case()
    assert case.next() == Post()
    case.lose()
    case.recovery.sending()
    case.router.apply(case.turn, Input.SENDING)
    case.accept()
    case.restore()
    assert isinstance(case.reads(TurnOutcome.FINISHED), Complete)
    assert case.now - 100 < 1


def test_nothing_is_read_while_a_server_that_replays_shows_life() -> None:
    case = cut(continued=True)
    for _ in range(20):
        case.event()
        decision = case.next()
        assert isinstance(decision, Wait)
        case.now = min(decision.until, case.now + 20)
    case.until(ReadStored)


def test_a_message_that_never_arrived_is_sent_again_once() -> None:
    case = Case()
    case.post()
    case.recovery.answer_lost(timed_out=False)
    began = case.now
    assert case.reads_until_end(TurnOutcome.ABSENT) == Restart()
    assert 3 <= case.now - began <= 10
    case.router.apply(case.turn, Input.RESEND)
    case.post()
    case.recovery.answer_lost(timed_out=False)
    decision = case.reads_until_end(TurnOutcome.ABSENT)
    assert isinstance(decision, Interrupt)
    assert (decision.outcome, "sent again" in decision.why) == ("unknown", True)


def test_a_message_that_may_still_arrive_is_never_sent_again() -> None:
    timed_out, with_events, post_open = Case(), Case(), Case()
    timed_out.post()
    timed_out.recovery.answer_lost(timed_out=True)
    with_events.post()
    with_events.accept()
    with_events.event()
    with_events.lose()
    with_events.restore()
    for case in (timed_out, with_events):
        decision = case.reads_until_end(TurnOutcome.ABSENT)
        assert isinstance(decision, Interrupt)
        assert decision.outcome == "unknown"
    post_open.post()
    post_open.lose()
    post_open.restore()
    decision = post_open.reads_until_end(TurnOutcome.ABSENT)
    assert isinstance(decision, Interrupt)
    assert decision.outcome == "unknown"


def test_a_message_that_may_be_queued_behind_another_turn_is_not_sent_again() -> None:
    case = Case()
    case.post()
    case.recovery.answer_lost(timed_out=False)
    began = case.now
    decision = case.reads_until_end(TurnOutcome.ABSENT, at_work=True)
    assert isinstance(decision, Interrupt)
    assert decision.outcome == "unknown"
    assert 60 <= case.now - began <= 70


def test_a_cut_turn_without_a_sign_of_life_is_interrupted() -> None:
    for outcome, result in (
        (TurnOutcome.UNFINISHED, "gone"),
        (TurnOutcome.UNKNOWN, "unknown"),
    ):
        case = cut()
        began = case.now
        decision = case.reads_until_end(outcome)
        assert isinstance(decision, Interrupt)
        assert decision.outcome == result
        assert 60 <= case.now - began <= 70
        assert "settle_timeout=60" in decision.why


def test_a_cut_turn_whose_rows_cannot_be_read_for_a_while_is_not_given_up_at_once() -> None:
    case = cut()
    began = case.now
    while case.now - began < 200:
        assert isinstance(case.reads(None), Wait)
    decision = case.reads_until_end(TurnOutcome.FINISHED)
    assert isinstance(decision, Complete)
    case = cut()
    began = case.now
    decision = case.reads_until_end(None)
    assert isinstance(decision, Interrupt)
    assert decision.outcome == "unknown"
    assert 300 <= case.now - began <= 310
    decision = cut().reads_until_end(None, none_kept=True)
    assert isinstance(decision, Interrupt)


def test_rows_that_look_whole_complete_a_silent_turn_in_doubt() -> None:
    for outcome in (TurnOutcome.UNFINISHED, TurnOutcome.BROKEN_OFF):
        for looks in ({"whole": True}, {"over": True}):
            decision = cut().reads_until_end(outcome, **looks)
            assert isinstance(decision, Complete), (outcome, looks)
            assert decision.doubtful


def test_a_silent_turn_is_asked_about_after_the_settle_timeout_and_ends_when_confirmed() -> None:
    case = Case()
    case.post()
    case.accept()
    began = case.now
    assert isinstance(case.reads(TurnOutcome.FINISHED), Wait)
    assert case.now - began >= 60
    first = case.now
    assert isinstance(case.reads(TurnOutcome.FINISHED), Complete)
    assert case.now - first <= 2


def test_an_end_that_was_taken_for_another_turns_is_asked_about_at_once() -> None:
    case = Case()
    case.post()
    case.accept()
    case.turn.doubt = ErrorEvent(id="", error="it broke")
    began = case.now
    assert isinstance(case.reads(TurnOutcome.BROKEN_OFF), Wait)
    decision = case.reads(TurnOutcome.BROKEN_OFF)
    assert decision == Complete(ended_by=case.turn.doubt)
    assert case.now - began <= 5


def test_such_an_end_is_asked_about_at_once_however_long_the_next_reading_is_away() -> None:
    ends = (
        ErrorEvent(id="", error="it broke"),
        CompleteEvent(id=None, done=True, content="x", message_id="a"),
    )
    for end in ends:
        case = Case()
        case.post()
        case.accept()
        case.event()
        while not isinstance(decision := case.next(), Wait) or decision.until - case.now < 10:
            case.now += 1
        began = case.now
        case.turn.doubt = end
        case.recovery.others(case.now, at_work=True)
        assert isinstance(case.reads(TurnOutcome.UNFINISHED), Wait)
        assert case.now - began <= 5
        case.recovery.others(case.now, at_work=True)  # no other end: one reading is enough
        decision = case.next()
        assert isinstance(decision, Wait)
        assert decision.until - case.now >= 5


def test_a_turn_beside_an_error_that_was_taken_for_another_turns_ends_when_its_patience_does() -> (
    None
):
    case = Case()
    case.post()
    case.accept()
    case.event()
    case.now += 33
    case.turn.doubt = ErrorEvent(id="", error="request cancelled by user")
    case.recovery.others(case.now, at_work=False)
    began = case.now
    decision = case.reads_until_end(TurnOutcome.UNFINISHED)
    assert decision == Complete(ended_by=case.turn.doubt)
    assert case.now - began <= 70, "a minute after the first reading, which shows growth"


def test_a_thinking_turn_is_given_ten_times_as_long() -> None:
    case = Case()
    case.post()
    case.accept()
    case.event()
    began = case.now
    decision = case.reads_until_end(TurnOutcome.UNFINISHED)
    assert isinstance(decision, Interrupt)
    assert decision.outcome == "gone"
    assert 600 <= case.now - began <= 700


def test_every_wait_ends_where_nothing_can_be_known() -> None:
    bound = Case()
    bound.post()
    bound.accept()
    bound.router.bind(bound.turn, "u1")
    blocking = Case(answers=True)
    blocking.post()
    blocking_and_cut = Case(answers=True)
    blocking_and_cut.post()
    blocking_and_cut.lose()
    blocking_and_cut.restore()
    for case in (bound, blocking, blocking_and_cut):
        for outcome in (TurnOutcome.UNKNOWN, None):
            began = case.now
            decision = case.reads_until_end(outcome)
            assert isinstance(decision, Interrupt)
            assert decision.outcome == "unknown"
            assert case.now - began <= 5 * 60 + 120


def test_a_message_left_before_it_was_sent_is_withdrawn() -> None:
    case = Case()
    assert case.next() == Post()
    case.recovery.leave(case.now)
    assert case.next() == Withdraw()


def test_a_message_that_is_left_is_cancelled_until_the_server_acknowledges_it() -> None:
    case = Case()
    case.post()
    case.accept()
    case.recovery.leave(case.now)
    outcomes: list[CancelOutcome] = ["lost", "lost", "lost", "acknowledged"]
    for outcome in outcomes:
        while not isinstance(case.until(Cancel | ReadStored), Cancel):
            case.recovery.stored(reading(TurnOutcome.UNFINISHED), case.now)
        case.recovery.cancel_answered(case.now, outcome)
    assert isinstance(case.reads(TurnOutcome.FINISHED), Complete)


def test_a_blocking_servers_answer_is_not_waited_for_on_leaving() -> None:
    case = Case(answers=True)
    case.post()
    case.recovery.leave(case.now)
    began = case.now
    case.until(Cancel)
    assert case.now - began <= 0.5


def test_the_answer_of_a_command_that_ended_is_waited_for_for_a_while() -> None:
    case = Case(answers=True, text="/help")
    case.post()
    case.router.apply(case.turn, Input.TERMINAL)
    began = case.now
    assert case.until(Complete) == Complete()
    assert case.now - began == 5
    case = Case(answers=True, text="/help")
    case.post()
    case.router.apply(case.turn, Input.TERMINAL)
    case.recovery.answer_lost(timed_out=False)
    assert case.next() == Complete()


def test_late_events_of_an_answered_turn_are_waited_for_while_they_come() -> None:
    case = Case(answers=True)
    case.post()
    case.recovery.accepted()
    case.router.apply(case.turn, Input.ANSWER)
    began = case.now
    for _ in range(4):
        decision = case.next()
        assert isinstance(decision, Wait)
        case.event()
        case.now = decision.until
    assert case.until(Complete) == Complete(events_lost=True)
    assert 1.5 <= case.now - began <= 5


def test_what_a_gap_took_is_read_before_the_message_ends() -> None:
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.TERMINAL)
    began = case.now
    assert isinstance(case.reads(TurnOutcome.UNFINISHED), Wait)
    assert case.reads(TurnOutcome.FINISHED) == Complete()
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.TERMINAL)
    while isinstance(case.until(ReadStored | Complete), ReadStored):
        case.recovery.stored(reading(None), case.now)
    assert case.now - began == 5, "the wait has an end"


def test_an_end_after_a_gap_is_doubted_if_the_stored_messages_show_that_the_turn_goes_on() -> None:
    for outcome, doubtful in ((TurnOutcome.UNFINISHED, True), (None, False)):
        case, found = cut(), outcome
        case.event()
        case.router.apply(case.turn, Input.TERMINAL)
        while isinstance(decision := case.until(ReadStored | Complete), ReadStored):
            case.recovery.stored(reading(found), case.now)
            found = None  # a reading that fails shows nothing new
        assert decision == Complete(doubtful=doubtful)


def test_a_refusal_confirms_an_error_that_comes_after_it_too() -> None:
    for refused_first in (False, True):
        case = Case(answers=True)
        case.post()
        case.event()
        if refused_first:
            case.recovery.refused(500, ValueError())
        case.turn.ended_by = ErrorEvent(id="", error="overloaded")
        case.router.apply(case.turn, Input.TERMINAL)
        if not refused_first:
            case.recovery.refused(500, ValueError())
        assert case.next() == Complete(), "what ended it is not looked up"


def test_an_error_beside_a_refusal_that_is_no_failure_may_be_another_clients() -> None:
    def refused(*, first: bool) -> Case:
        case = Case(answers=True)
        case.post()
        case.event()
        if first:
            case.recovery.refused(503, rejection)
        case.turn.ended_by = ErrorEvent(id="", error="overloaded")
        case.router.apply(case.turn, Input.TERMINAL)
        if not first:
            case.recovery.refused(503, rejection)
        return case

    rejection = ValueError("the proxy says no")
    for first in (False, True):
        assert refused(first=first).reads(TurnOutcome.ABSENT, end="ours") == Complete()
        case = refused(first=first)
        assert case.reads(TurnOutcome.ABSENT, end="either") == Disown()
        case.router.disown(case.turn)
        case.router.apply(case.turn, Input.DISOWNED)
        assert case.reads_until_end(TurnOutcome.ABSENT) == Refuse(rejection)
