"""A message, its `Recovery` and a clock that is moved by hand, for the tests of its decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from trio_mix._turns._decisions import (
    Complete,
    Interrupt,
    Post,
    Reading,
    ReadStored,
    Refuse,
    Wait,
    Withdraw,
)
from trio_mix._turns._limits import Limits
from trio_mix._turns._recovery import Recovery
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._stored_rows import StoredReply
from trio_mix._turns._stored_turn import TurnOutcome, Verdict
from trio_mix._turns._turn import Input
from trio_mix._turns._wire_traits import WireTraits
from trio_mix.events import ErrorEvent
from trio_mix.sse import ReconnectPolicy

if TYPE_CHECKING:
    from types import UnionType

    from trio_mix._turns._decisions import Decision


__all__ = ["BUSY", "ENDINGS", "REPLY", "Case", "cut", "reading"]

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
        traits = self.router.traits
        self.recovery = Recovery(self.turn, traits, policy, Limits(), self.now)

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
    ends_shown: bool = False,
    whole: bool = False,
    over: bool = False,
    mixed: bool = False,
    none_kept: bool = False,
    over_known: bool = False,
    weight: int = 1,
    age: float | None = None,
    end: Literal["", "ours", "others", "either"] = "",
) -> Reading:
    verdict = None
    if outcome is not None:
        reply = None if outcome is TurnOutcome.ABSENT else REPLY
        verdict = Verdict(
            outcome=outcome,
            reply=reply,
            looks_whole=whole,
            nothing_open=whole or over,
            growth=1,
            mixed=mixed,
        )
    return Reading(
        verdict=verdict,
        at_work=at_work,
        ends_shown=ends_shown,
        none_kept=none_kept,
        over_known=over_known,
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
