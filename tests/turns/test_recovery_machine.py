"""The decisions about a message, for any order of facts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.recovery_cases import BUSY, Case, reading
from trio_mix._turns._decisions import (
    Bind,
    Cancel,
    Complete,
    Disown,
    Follow,
    Interrupt,
    Post,
    ReadStored,
    Refuse,
    Restart,
    Wait,
    Withdraw,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._rules import RULES, Action
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input, Phase
from trio_mix.events import CompleteEvent

if TYPE_CHECKING:
    from trio_mix._turns._decisions import Decision
    from trio_mix._turns._facts import CancelOutcome


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

    @precondition(lambda self: not self.over and not self.case.recovery.leaving.left)
    @rule()
    def leave(self) -> None:
        self.case.recovery.leave(self.case.now)
        self.look()

    @precondition(lambda self: not self.over and isinstance(self.decision, Cancel))
    @rule(outcome=st.sampled_from(["acknowledged", "impossible", "lost"]))
    def cancel(self, outcome: CancelOutcome) -> None:
        self.decision = None
        self.case.recovery.cancel_answered(self.case.now, outcome)
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
                    self.cancel("acknowledged")
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
