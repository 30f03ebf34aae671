"""What is decided about a message where another client's turn may run, or may have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from tests.support.recovery_cases import Case, reading
from trio_mix._turns._decisions import (
    Cancel,
    Complete,
    Disown,
    Post,
    ReadStored,
    Wait,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input, Phase
from trio_mix.events import CompleteEvent, ErrorEvent

if TYPE_CHECKING:
    from trio_mix._turns._decisions import Decision


def ended(*, proof: bool = True) -> Case:
    """A message whose terminal event may be another client's."""
    case = Case()
    case.router.traits.proof = proof
    case.post()
    case.accept()
    case.event()
    case.turn.ended_by = CompleteEvent(id=None, done=True, content="x", message_id="a1")
    case.router.apply(case.turn, Input.TERMINAL)
    return case


def test_an_end_that_only_the_stored_messages_can_prove_is_looked_up() -> None:
    assert ended(proof=False).turn.over
    expected: dict[Literal["ours", "others"], Decision] = {"ours": Complete(), "others": Disown()}
    case = ended()
    for end, decision in expected.items():
        case = ended()
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.UNFINISHED), case.now)  # it is not stored yet
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.FINISHED, end=end), case.now)
        assert case.next() == decision
        assert case.now - 100 < 1
    case.router.disown(case.turn)
    case.router.apply(case.turn, Input.DISOWNED)
    assert case.turn.phase is Phase.RUNNING
    assert isinstance(case.reads(TurnOutcome.FINISHED), Complete), "its own end may be missed"


def test_an_end_that_was_taken_for_another_turns_is_this_ones_if_the_rows_show_it() -> None:
    for end, kind in (("ours", Complete), ("others", Wait)):
        case = Case()
        case.post()
        case.accept()
        case.turn.doubt = CompleteEvent(id=None, done=True, content="x", message_id="a1")
        case.router.bind(case.turn, "u1")
        assert isinstance(case.reads(TurnOutcome.UNFINISHED, end=end), kind)
        assert case.now - 100 <= 3


def test_answers_that_may_be_another_turns_are_waited_for_less_once_no_turn_runs() -> None:
    for at_work, seconds in ((True, 60), (False, 5)):
        case = Case()
        case.post()
        case.accept()
        case.event()
        case.turn.doubt = CompleteEvent(id=None, done=True, content="x", message_id="a1")
        decision = case.reads_until_end(TurnOutcome.FINISHED, mixed=True, at_work=at_work)
        assert isinstance(decision, Complete)
        assert decision.doubtful
        assert seconds <= case.now - 100 <= seconds + 2


def test_there_is_a_pause_between_two_readings_whatever_the_time_is() -> None:
    """The difference of two times may be a little less than what was waited for."""
    for milliseconds in range(0, 5000, 7):
        case = Case()
        case.now += milliseconds / 1000
        case.post()
        case.accept()
        case.event()
        case.turn.doubt = ErrorEvent(error="request cancelled by user")
        case.recovery.others(case.now, at_work=False)
        read: list[float] = []
        while isinstance(case.until(ReadStored | Complete), ReadStored):
            assert not read or case.now - read[-1] >= 0.2, read
            read.append(case.now)
            case.recovery.stored(reading(TurnOutcome.UNFINISHED), case.now)


def test_an_error_is_doubted_if_the_stored_messages_cannot_be_read_after_it() -> None:
    for outcome in (None, TurnOutcome.BROKEN_OFF):
        case = ended(proof=False)
        case.turn.ended_by = ErrorEvent(error="it broke")
        while isinstance(decision := case.until(ReadStored | Complete), ReadStored):
            case.recovery.stored(reading(outcome), case.now)
        assert decision == Complete(unproven=outcome is None)
        assert case.now - 100 <= 5


def test_a_post_that_is_accepted_late_proves_no_end() -> None:
    case = Case()
    case.router.traits.proof = True
    case.post()
    case.event()
    case.turn.ended_by = CompleteEvent(id=None, done=True, content="x", message_id="a1")
    case.router.apply(case.turn, Input.TERMINAL)
    case.accept()
    assert case.recovery.concern is Concern.PROOF


def test_an_end_that_nothing_proves_is_believed_with_a_mark() -> None:
    case = ended()
    case.until(ReadStored)
    case.recovery.stored(reading(None, none_kept=True), case.now)
    assert case.next() == Complete()
    case = ended()
    while isinstance(decision := case.until(ReadStored | Complete), ReadStored):
        case.recovery.stored(reading(None), case.now)
    assert decision == Complete(unproven=True)
    assert case.now - 100 == 5
    case = ended()
    case.recovery.leave(case.now)
    assert case.next() == Cancel(), "if the end is another client's, the message still runs"
    case.recovery.cancel_answered(case.now, "acknowledged")
    assert case.next() == Complete(), "nobody waits for the reply"


def test_an_end_that_may_be_another_turns_is_not_believed_while_the_answer_is_due() -> None:
    for post_open, decision in ((True, Disown()), (False, Complete(unproven=True))):
        case = Case(answers=True)
        case.post()
        case.turn.ended_by = CompleteEvent(id=None, done=True, content="x", message_id="a1")
        case.router.apply(case.turn, Input.TERMINAL)
        if not post_open:
            case.recovery.answer_lost(timed_out=False)
        case.until(ReadStored)
        case.recovery.stored(reading(TurnOutcome.UNFINISHED, end="either"), case.now)
        assert case.next() == decision


def unasked() -> Case:
    """A message on a session that may be at another turn."""
    case = Case()
    case.recovery.reading_due = case.recovery.session_unknown = True
    return case


def before(case: Case, **more: Any) -> Decision:
    """Let the stored messages say something before the POST; return what follows."""
    case.until(ReadStored)
    case.recovery.stored(reading(TurnOutcome.ABSENT, **more), case.now)
    return case.next()


def test_a_message_waits_while_another_turn_shows_life() -> None:
    case = unasked()
    assert before(case) == Post()
    case = unasked()
    for weight in range(500):  # its rows grow
        assert isinstance(before(case, at_work=True, weight=weight), Wait)
    assert case.now - 100 > 600
    readings = 0
    for _ in range(500):  # its events come: nothing is read
        case.now += 0.5
        case.recovery.others(case.now, at_work=True)
        while isinstance(decision := case.next(), ReadStored):
            readings += 1
            case.recovery.stored(reading(TurnOutcome.ABSENT, at_work=True, weight=499), case.now)
        assert isinstance(decision, Wait)
    assert readings <= 1
    case.recovery.others(case.now, at_work=False)
    ended = case.now
    assert before(case, weight=500) == Post()
    assert case.now - ended < 0.1, "its end is read at once"
    assert case.recovery.unsettled == ""


def test_a_message_is_sent_in_doubt_once_the_other_turn_was_silent() -> None:
    for age, seconds in ((None, 60), (0.0, 60), (50.0, 10), (60.0, 0), (9999.0, 0)):
        case = unasked()
        while not isinstance(decision := before(case, at_work=True, age=age), Post):
            assert isinstance(decision, Wait)
        assert seconds <= case.now - 100 <= seconds + 6, age
        assert case.recovery.unsettled == "silent"


def test_a_message_is_sent_in_doubt_where_the_stored_messages_cannot_be_read() -> None:
    for none_kept, at_work, seconds in (
        (True, False, 0),
        (False, False, 5),
        (True, True, 60),
        (False, True, 60),
    ):
        case = unasked()
        case.next()
        if at_work:
            case.recovery.others(case.now, at_work=True)
        while not isinstance(case.until(ReadStored | Post), Post):
            case.recovery.stored(reading(None, none_kept=none_kept), case.now)
        assert seconds <= case.now - 100 <= seconds + 6, (none_kept, at_work)
        assert case.recovery.unsettled == "unreadable"


def test_a_reconnect_that_does_not_go_on_is_a_reason_to_read_before_the_post() -> None:
    for continued, asked in ((True, False), (None, True), (False, True)):
        case = Case()
        assert case.next() == Post()
        case.recovery.not_sent(OSError(), case.now)
        case.lose()
        case.restore(continued=continued)
        decision = case.until(ReadStored | Post)
        assert isinstance(decision, ReadStored) == asked
