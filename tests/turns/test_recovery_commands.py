"""What is decided about a command, which servers run without storing it."""

from __future__ import annotations

from tests.support.recovery_cases import BUSY, Case
from trio_mix._turns._decisions import Complete, Interrupt, Post, Refuse
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input

COMMANDS = ("!make deploy", "/clear", " /clear")


def _is_unknown(decision: object) -> bool:
    if not isinstance(decision, Interrupt):
        return False
    return decision.outcome == "unknown" and "command" in decision.why


def test_a_command_that_is_not_stored_is_never_sent_again() -> None:
    for text in COMMANDS:
        cut, answer_lost, resumed = (Case(text=text) for _ in range(3))
        cut.post()
        cut.accept()
        cut.lose()
        cut.restore()
        answer_lost.post()
        answer_lost.recovery.answer_lost(timed_out=False)
        resumed.recovery.resumed(may_resend=True)
        for case in (cut, answer_lost, resumed):
            assert _is_unknown(case.reads_until_end(TurnOutcome.ABSENT)), text


def test_a_command_of_which_nothing_was_sent_is_sent_again() -> None:
    for text in COMMANDS:
        case = Case(text=text)
        case.post()
        case.router.apply(case.turn, Input.RESEND)
        case.recovery.not_sent(OSError("refused"), case.now)
        assert case.until(Post) == Post()


def test_a_refused_command_is_rejected_unless_the_server_failed_while_it_may_have_run() -> None:
    rejection = ValueError("rejected")
    for text in COMMANDS:
        beside = Case(text=text)
        beside.post()
        beside.event()  # of another turn
        beside.recovery.refused(400, rejection)
        assert beside.next() == Refuse(rejection)
        for status, answers in ((502, False), (504, False), (500, True)):
            case = Case(text=text, answers=answers)
            case.post()
            case.recovery.refused(status, rejection)
            assert _is_unknown(case.reads_until_end(TurnOutcome.ABSENT)), (text, status)


def test_a_command_that_a_busy_server_refused_ends_with_its_error() -> None:
    """Another stream of the session may have queued the command, and nothing would show it."""
    for text in COMMANDS:
        case = Case(text=text)
        case.post()
        case.router.apply(case.turn, Input.RESEND)
        case.recovery.accepted()
        case.recovery.busy(BUSY)
        assert case.next() == Complete(ended_by=BUSY)
