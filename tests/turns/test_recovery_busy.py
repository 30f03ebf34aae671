"""What is decided about a message that a busy server did not run, by rule 7 of the recovery."""

from __future__ import annotations

from tests.support.recovery_cases import BUSY, Case, reading
from trio_mix._turns._decisions import (
    Complete,
    Follow,
    Interrupt,
    Post,
    ReadStored,
    Restart,
    Wait,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input


def refused_as_busy() -> Case:
    """Return a message that was sent once, to a stream that was busy with another one."""
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.accepted()
    case.recovery.busy(BUSY)
    return case


def test_a_busy_server_gets_the_message_again_once_the_session_is_quiet() -> None:
    case = refused_as_busy()
    assert isinstance(case.reads(TurnOutcome.ABSENT, at_work=True), Wait)
    assert isinstance(case.reads(TurnOutcome.ABSENT, ends_shown=True), Wait)
    assert case.reads(TurnOutcome.ABSENT, ends_shown=True) == Restart()
    assert case.until(Post) == Post()


def test_what_the_server_was_busy_with_may_be_this_message_that_is_stored_late() -> None:
    """Another stream of the session runs it, and would run the copy too."""
    case = refused_as_busy()
    began = case.now
    while not isinstance(case.next(), Restart):
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.ABSENT, ends_shown=True), case.now)
    assert 3 <= case.now - began <= 6


def test_a_turn_without_finish_reasons_runs_while_its_text_grows() -> None:
    """Its text looks like all of it. The stream that runs it would run the message twice."""
    case = refused_as_busy()
    for weight in range(20):
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.ABSENT, ends_shown=False, weight=weight), case.now)
        assert isinstance(case.next(), Wait)
    began = case.now
    while not isinstance(case.next(), Restart):
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.ABSENT, ends_shown=False, weight=19), case.now)
    assert case.now - began >= 1


def test_what_was_stored_before_a_busy_error_does_not_show_that_the_turn_has_ended() -> None:
    """Each further copy would be queued on the stream that runs the other turn, and run."""
    for over_known, most in ((False, 60), (True, 10)):
        case = Case()
        idle = reading(TurnOutcome.ABSENT, ends_shown=False, over_known=over_known)
        case.recovery.reading_due = case.recovery.session_unknown = True
        case.until(ReadStored)
        case.recovery.stored(idle, case.now)
        case.post()
        case.router.apply(case.turn, Input.RESEND)
        case.recovery.accepted()
        case.recovery.busy(BUSY)
        began = case.now
        while not isinstance(case.next(), Restart):
            case.until(ReadStored)
            case.recovery.stored(idle, case.now)
        assert most - 10 < case.now - began < most + 10


def test_a_busy_server_that_keeps_nothing_is_asked_by_sending_again() -> None:
    case = refused_as_busy()
    assert case.reads(None, none_kept=True) == Restart()


def test_a_busy_servers_error_ends_the_message_when_the_policy_gives_up() -> None:
    case = refused_as_busy()
    began = case.now
    weight = 0
    while isinstance(decision := case.until(ReadStored | Complete), ReadStored):
        weight += 1  # the other turn goes on and on
        growing = reading(TurnOutcome.ABSENT, at_work=True, weight=weight)
        case.recovery.stored(growing, case.now)
    assert decision == Complete(ended_by=BUSY)
    assert case.now - began >= 600


def test_a_message_is_not_sent_again_while_a_busy_session_goes_on_in_silence() -> None:
    """The stream that runs the other turn may have queued the message behind it."""
    for ends_shown, decision in ((True, Complete(ended_by=BUSY)), (False, Restart())):
        case = Case()
        case.post()
        case.router.apply(case.turn, Input.RESEND)
        case.recovery.accepted()
        case.recovery.busy(BUSY)
        silent = reading(TurnOutcome.ABSENT, at_work=True, ends_shown=ends_shown)
        while not isinstance(decided := case.until(ReadStored | Complete), Complete):
            case.recovery.stored(silent, case.now)
            if not isinstance(decided := case.next(), Wait):
                break
        assert decided == decision


def test_a_busy_message_whose_post_timed_out_is_followed() -> None:
    """The error may be about another client's message, and the POST may still arrive."""
    case = Case()
    case.post()
    case.recovery.answer_lost(timed_out=True)
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.busy(BUSY)
    assert case.reads(TurnOutcome.ABSENT) == Follow()


def test_a_busy_message_that_another_stream_runs_is_followed() -> None:
    case = refused_as_busy()
    assert case.reads(TurnOutcome.UNFINISHED) == Follow()
    case.router.apply(case.turn, Input.SENDING)
    case.router.apply(case.turn, Input.ACCEPTED)
    assert case.recovery.concern is Concern.CUT


def test_a_message_that_another_stream_may_run_still_is_never_called_gone() -> None:
    """That stream may be at work in silence, and may have queued every copy of it."""
    for copies, end, outcome in (
        (1, TurnOutcome.BROKEN_OFF, "gone"),
        (2, TurnOutcome.BROKEN_OFF, "unknown"),
        (1, TurnOutcome.UNFINISHED, "unknown"),
    ):
        case = Case()
        for copy in range(copies):
            case.post()
            case.router.apply(case.turn, Input.RESEND)
            case.recovery.accepted()
            case.recovery.busy(BUSY)
            if copy < copies - 1:
                assert isinstance(case.reads(TurnOutcome.ABSENT, at_work=True), Wait)
                assert isinstance(case.reads(TurnOutcome.ABSENT, ends_shown=True), Wait)
                assert case.reads(TurnOutcome.ABSENT, ends_shown=True) == Restart()
        assert case.reads(TurnOutcome.UNFINISHED) == Follow()
        case.router.apply(case.turn, Input.SENDING)
        case.router.apply(case.turn, Input.ACCEPTED)
        case.turn.elsewhere = "other"
        decision = case.reads_until_end(end)
        assert isinstance(decision, Interrupt)
        assert decision.outcome == outcome
