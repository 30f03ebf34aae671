"""What is decided about a message, by the rules of `trio_mix._turns._recovery`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trio_mix._turns._decisions import (
    Bind,
    Cancel,
    Complete,
    Disown,
    Follow,
    Interrupt,
    Post,
    Reading,
    ReadStored,
    Refuse,
    Restart,
    Wait,
    Withdraw,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._limits import Limits
from trio_mix._turns._recovery import Recovery
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._rules import RULES, Action
from trio_mix._turns._stored_rows import StoredReply
from trio_mix._turns._stored_turn import TurnOutcome, Verdict
from trio_mix._turns._turn import Input, Phase
from trio_mix._turns._wire_traits import WireTraits
from trio_mix.events import CompleteEvent, ErrorEvent
from trio_mix.sse import ReconnectPolicy

if TYPE_CHECKING:
    from types import UnionType

    from trio_mix._turns._decisions import Decision

BUSY = ErrorEvent(id="", error="session is currently processing another request")
ENDINGS = (Complete, Interrupt, Refuse, Withdraw)
REPLY = StoredReply(texts=("stored",), message_id="a1", user_message_id="u1", recovered=True)


class Case:
    """A message, its recovery, and a clock that is moved by hand."""

    def __init__(self, *, answers: bool = False, text: str = "hello") -> None:
        self.router = TurnRouter(WireTraits(ids=True, answers=answers))
        self.turn = self.router.register(text)
        self.now = 100.0
        policy = ReconnectPolicy(max_elapsed_time=600)
        self.recovery = Recovery(self.turn, policy, Limits(), self.now)
        self.recovery.ids = True

    def next(self) -> Decision:
        return self.recovery.next(self.now)

    def post(self) -> None:
        assert self.next() == Post()
        self.recovery.sending()
        self.router.apply(self.turn, Input.SENDING)

    def accept(self) -> None:
        self.recovery.accepted()
        self.router.apply(self.turn, Input.ACCEPTED)

    def event(self) -> None:
        self.turn.events += 1
        self.router.apply(self.turn, Input.EVENT)

    def lose(self) -> None:
        self.recovery.connection_lost(self.now)

    def restore(self, *, continued: bool | None = False) -> None:
        self.recovery.continued = continued
        self.recovery.connection_restored(self.now)

    def until(self, kind: type[Decision] | UnionType, within: float = 10_000) -> Decision:
        """Move the clock until a decision of a kind comes."""
        end = self.now + within
        while True:
            decision = self.next()
            if isinstance(decision, kind):
                return decision
            assert isinstance(decision, Wait), decision
            assert self.now < decision.until <= end, f"{kind} did not come"
            self.now = decision.until

    def reads(self, outcome: TurnOutcome | None, **more: Any) -> Decision:
        """Let the stored messages say something once they are read; return what follows."""
        self.until(ReadStored)
        self.recovery.stored(reading(outcome, **more), self.now)
        return self.next()

    def reads_until_end(self, outcome: TurnOutcome | None, **more: bool) -> Decision:
        """The same, as often as it is asked, until something other than waiting follows."""
        while True:
            decision = self.reads(outcome, **more)
            if not isinstance(decision, Wait):
                return decision


def reading(
    outcome: TurnOutcome | None,
    *,
    at_work: bool = False,
    whole: bool = False,
    over: bool = False,
    none_kept: bool = False,
    weight: int = 1,
    age: float | None = None,
    end: Literal["", "ours", "others"] = "",
) -> Reading:
    verdict = None
    if outcome is not None:
        reply = None if outcome is TurnOutcome.ABSENT else REPLY
        verdict = Verdict(
            outcome=outcome, reply=reply, looks_whole=whole, nothing_open=whole or over, growth=1
        )
    return Reading(
        verdict=verdict,
        at_work=at_work,
        none_kept=none_kept,
        weight=weight,
        age=age,
        end=end,
    )


def cut(*, continued: bool | None = False, answers: bool = False) -> Case:
    """A message that was accepted, and whose connection was lost and restored."""
    case = Case(answers=answers)
    case.post()
    case.accept()
    case.event()
    case.lose()
    assert case.next() == Wait(), "time without a connection is not counted"
    case.now += 30
    case.restore(continued=continued)
    return case


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


def test_a_busy_server_gets_the_message_again_once_the_session_is_quiet() -> None:
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.accepted()
    case.recovery.busy(BUSY)
    assert isinstance(case.reads(TurnOutcome.ABSENT, at_work=True), Wait)
    assert isinstance(case.reads(TurnOutcome.ABSENT), Wait)
    assert case.reads(TurnOutcome.ABSENT) == Restart()
    assert case.until(Post) == Post()


def test_a_busy_server_that_keeps_nothing_is_asked_by_sending_again() -> None:
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.accepted()
    case.recovery.busy(BUSY)
    assert case.reads(None, none_kept=True) == Restart()


def test_a_busy_servers_error_ends_the_message_when_the_policy_gives_up() -> None:
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.accepted()
    case.recovery.busy(BUSY)
    began = case.now
    weight = 0
    while isinstance(decision := case.until(ReadStored | Complete), ReadStored):
        weight += 1  # the other turn goes on and on
        growing = reading(TurnOutcome.ABSENT, at_work=True, weight=weight)
        case.recovery.stored(growing, case.now)
    assert decision == Complete(ended_by=BUSY)
    assert case.now - began >= 600


def test_a_busy_message_that_another_stream_runs_is_followed() -> None:
    case = Case()
    case.post()
    case.router.apply(case.turn, Input.RESEND)
    case.recovery.accepted()
    case.recovery.busy(BUSY)
    assert case.reads(TurnOutcome.UNFINISHED) == Follow()
    case.router.apply(case.turn, Input.SENDING)
    case.router.apply(case.turn, Input.ACCEPTED)
    assert case.recovery.concern is Concern.CUT


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
    for acknowledged in (False, False, False, True):
        while not isinstance(case.until(Cancel | ReadStored), Cancel):
            case.recovery.stored(reading(TurnOutcome.UNFINISHED), case.now)
        case.recovery.cancel_answered(case.now, acknowledged=acknowledged)
    assert isinstance(case.reads(TurnOutcome.FINISHED), Complete)


def test_a_blocking_servers_answer_is_not_waited_for_on_leaving() -> None:
    case = Case(answers=True)
    case.post()
    case.recovery.leave(case.now)
    began = case.now
    case.until(Cancel)
    assert case.now - began <= 0.5


def test_the_answer_of_a_turn_that_ended_is_waited_for_for_a_while() -> None:
    case = Case(answers=True)
    case.post()
    case.router.apply(case.turn, Input.TERMINAL)
    began = case.now
    assert case.until(Complete) == Complete()
    assert case.now - began == 5
    case = Case(answers=True)
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
    case.recovery.cancel_answered(case.now, acknowledged=True)
    assert case.next() == Complete(), "nobody waits for the reply"


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


def test_every_rule_decides_something_and_none_hides_another() -> None:
    for number, each in enumerate(RULES):
        for earlier in RULES[:number]:
            hides = set(earlier.when) <= set(each.when) and each.stored <= earlier.stored
            assert earlier.concern is not each.concern or not hides, (earlier, each)
    assert {each.then for each in RULES} == set(Action)


class AnyMessage(RuleBasedStateMachine):
    """A message on a stream and a server that do whatever they like."""

    def __init__(self) -> None:
        super().__init__()
        self.case = Case()
        self.case.recovery.reading_due = self.case.recovery.session_unknown = True
        self.case.router.traits.proof = True
        self.connected = True
        self.over = False
        self.ran = False  # whether anything showed that it runs, or ran, on the server
        self.decision: Decision | None = None
        self.look()

    def look(self) -> None:
        """Do what is decided, as the message's task does."""
        case, turn = self.case, self.case.turn
        for _ in range(20):
            self.decision = case.next()
            match self.decision:
                case Wait() | ReadStored() | Post() | Cancel():
                    break
                case Bind(user_message_id):
                    case.router.bind(turn, user_message_id)
                case Restart():
                    assert not self.ran, "it was sent again although it ran"
                    case.router.apply(turn, Input.RESEND)
                case Follow():
                    case.router.apply(turn, Input.SENDING)
                    case.router.apply(turn, Input.ACCEPTED)
                case Disown():
                    case.router.disown(turn)
                    case.router.apply(turn, Input.DISOWNED)
                case Complete() | Interrupt() | Refuse() | Withdraw():
                    self.over = True
                    break
        else:
            raise AssertionError(f"it goes round in a circle: {self.decision}")
        if isinstance(self.decision, Post):
            assert not self.ran, "it was sent again although it ran"

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        if not self.over:
            self.case.now += seconds
            self.look()

    @precondition(lambda self: not self.over and self.connected)
    @rule()
    def connection_lost(self) -> None:
        self.connected = False
        self.case.lose()
        self.look()

    @precondition(lambda self: not self.over and not self.connected)
    @rule(continued=st.sampled_from([True, False, None]))
    def connection_restored(self, continued: bool | None) -> None:
        self.connected = True
        self.case.restore(continued=continued)
        self.look()

    @precondition(lambda self: not self.over and isinstance(self.decision, Post))
    @rule(how=st.sampled_from(["not sent", "accepted", "lost", "timed out", "refused", "proxy"]))
    def post(self, how: str) -> None:
        case, recovery = self.case, self.case.recovery
        self.decision = None
        if how == "not sent":
            recovery.not_sent(OSError(), case.now)
        else:
            recovery.sending()
            case.router.apply(case.turn, Input.SENDING)
        match how:
            case "accepted":
                case.accept()
            case "lost" | "timed out":
                recovery.answer_lost(timed_out=how == "timed out")
            case "refused" | "proxy":
                recovery.refused(400 if how == "refused" else 502, ValueError())
        self.look()

    @precondition(lambda self: self.case.turn.phase is Phase.REGISTERED and not self.over)
    @rule(at_work=st.booleans())
    def event_of_another_turn(self, at_work: bool) -> None:
        self.case.recovery.others(self.case.now, at_work=at_work and self.connected)
        self.look()

    @precondition(
        lambda self: self.case.turn.phase in (Phase.POSTED, Phase.RUNNING) and not self.over
    )
    @rule()
    def event(self) -> None:
        self.ran = True
        self.case.event()
        self.look()

    @precondition(
        lambda self: self.case.turn.phase in (Phase.POSTED, Phase.RUNNING) and not self.over
    )
    @rule()
    def terminal_event(self) -> None:
        self.case.turn.ended_by = CompleteEvent(id=None, done=True, message_id="a1")
        self.case.turn.events += 1
        self.ran = True
        self.case.router.apply(self.case.turn, Input.TERMINAL)
        self.look()

    @precondition(lambda self: self.case.turn.phase is Phase.POSTED and not self.over)
    @rule()
    def server_is_busy(self) -> None:
        if not self.case.turn.events and self.case.router.apply(self.case.turn, Input.RESEND):
            self.case.recovery.accepted()
            self.case.recovery.busy(BUSY)
            self.look()

    @precondition(lambda self: not self.over and isinstance(self.decision, ReadStored))
    @rule(
        outcome=st.sampled_from([*TurnOutcome, None]),
        at_work=st.booleans(),
        whole=st.booleans(),
        none_kept=st.booleans(),
        end=st.sampled_from(["", "ours", "others"]),
        age=st.sampled_from([None, 0.0, 1000.0]),
    )
    def read(
        self,
        outcome: TurnOutcome | None,
        at_work: bool,
        whole: bool,
        none_kept: bool,
        end: Literal["", "ours", "others"],
        age: float | None,
    ) -> None:
        self.decision = None
        if none_kept:
            outcome = None
        elif self.ran and outcome is TurnOutcome.ABSENT:
            outcome = TurnOutcome.UNKNOWN
        if self.case.recovery.concern is not Concern.SESSION:
            self.ran = self.ran or outcome not in (TurnOutcome.ABSENT, TurnOutcome.UNKNOWN, None)
        result = reading(
            outcome, at_work=at_work, whole=whole, none_kept=none_kept, end=end, age=age
        )
        self.case.recovery.stored(result, self.case.now)
        self.look()

    @precondition(lambda self: not self.over and not self.case.recovery.left)
    @rule()
    def leave(self) -> None:
        self.case.recovery.leave(self.case.now)
        self.look()

    @precondition(lambda self: not self.over and isinstance(self.decision, Cancel))
    @rule(acknowledged=st.booleans())
    def cancel(self, acknowledged: bool) -> None:
        self.decision = None
        self.case.recovery.cancel_answered(self.case.now, acknowledged=acknowledged)
        self.look()

    @invariant()
    def it_never_waits_for_the_past(self) -> None:
        if isinstance(self.decision, Wait):
            assert self.decision.until > self.case.now

    def teardown(self) -> None:
        """Whatever has happened, a quiet server and a good connection end the message."""
        if not self.connected:
            self.connection_restored(continued=False)
        for _ in range(2000):
            if self.over:
                return
            match self.decision:
                case Post():
                    self.post("refused")
                case Cancel():
                    self.cancel(acknowledged=True)
                case ReadStored():
                    self.decision = None
                    outcome = TurnOutcome.FINISHED if self.ran else TurnOutcome.ABSENT
                    self.case.recovery.stored(reading(outcome), self.case.now)
                    self.look()
                case Wait(until) if until < math.inf:
                    self.case.now = until
                    self.look()
                case _:
                    if self.case.recovery.post.open:
                        self.case.recovery.answer_lost(timed_out=False)
                    else:
                        assert self.case.turn.phase is not Phase.RUNNING, self.decision
                    self.look()
        raise AssertionError(f"it never ends: {self.decision}")


TestAnyMessage = AnyMessage.TestCase
TestAnyMessage.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
