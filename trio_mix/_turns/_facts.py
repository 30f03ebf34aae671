"""What is known about one sent message, as the rules of its recovery ask for it."""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._decisions import Reading
from trio_mix._turns._signs_of_life import SignsOfLife
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase
from trio_mix.sse._reconnect import ReconnectSchedule

if TYPE_CHECKING:
    from typing import ClassVar, Literal, Self, TypeAlias

    from trio_mix._ticket import TicketState
    from trio_mix._turns._decisions import Decision
    from trio_mix._turns._limits import Limits
    from trio_mix._turns._turn import Turn
    from trio_mix._turns._wire_traits import WireTraits
    from trio_mix.events import Event
    from trio_mix.sse._reconnect import ReconnectPolicy

    Unsettled: TypeAlias = Literal["", "silent", "unreadable"]
    Cut: TypeAlias = Literal["", "lost", "cancelled"]
    CancelOutcome: TypeAlias = Literal["acknowledged", "impossible", "lost"]

_LOST_ANSWER: Final = (502, 504)
_SERVER_FAILED: Final = 500


class Concern(enum.Enum):
    """What is open about a message."""

    SESSION = "the POST is due, and the session may be at another turn"
    POST = "the POST is due or under way"
    BUSY = "the server refused the message because it was busy"
    RUNNING = "the server works on the message"
    CUT = "events or the POST's answer were lost, or the message was left"
    ANSWERED = "the HTTP answer has come, events are still due"
    ENDED = "the terminal event has come, the HTTP answer is still due"
    PROOF = "the terminal event has come, and may be another client's"
    CHECK = "the turn is over, its reply is to be completed or compared"


@attrs.frozen(kw_only=True)
class PostState:
    """What is known about the POST of a message."""

    due: float
    """When it is sent, where nothing else keeps it."""
    attempts: ReconnectSchedule
    """Counts the POSTs of which nothing was sent."""
    open: bool = False
    """Whether one is under way."""
    sent: bool = False
    """Whether any of the message may have reached the server."""
    again: bool = False
    """Whether the message was sent more than once."""
    timed_out: bool = False
    """Whether one timed out here, and may still arrive."""
    refusal: BaseException | None = None
    """What the server answered, in case the message did not run."""
    busy: Event | None = None
    """The error that said that the server is busy with another turn and did not run the message."""
    busy_weight: int | None = None
    """The weight of the last reading before that (`Reading.weight`); None: there was none."""
    failure: BaseException | None = None
    """Why the message cannot be sent, or was refused."""
    may_resend: bool = True
    """Whether the message may be sent (again) where it is not stored."""


@attrs.frozen(kw_only=True)
class Leaving:
    """What is known about how the sender leaves a message before its turn is over."""

    left: bool = False
    """Whether the sender has left."""
    cancel_at: float | None = None
    """When the server is asked to cancel the turn; None: no request is due."""
    acknowledged: bool = False
    """Whether the server has acknowledged the request to cancel the turn."""


@attrs.frozen(kw_only=True)
class Schedule:
    """What is due, and when, while one concern lasts."""

    concern: ClassVar[Concern]
    """What is open about the message."""

    at: float
    """When the next step is due."""
    pause: float = 0.0
    """Seconds before the next reading."""
    unjudged: bool = False
    """Whether a reading has come that is still to be judged."""

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        """Return the schedule of a concern that begins now."""
        return cls(at=now, pause=facts.limits.first_reading)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision | None]:
        """Return the schedule from now on, and what to do now.

        It is None where the stored messages have to show whose the terminal event was.
        """
        raise NotImplementedError

    def read_again(self, facts: Facts, now: float) -> Schedule:  # noqa: ARG002 - subclasses use it
        """Return the schedule after a reading that no rule fits: it is repeated later."""
        return attrs.evolve(self, at=now + self.pause, unjudged=False)


class Facts:
    """What is known about one message.

    Args:
      turn: its turn, which the router moves on.
      traits: what is known of the server.
      policy: how long unsent messages and busy servers are tried again, and at which intervals.
      limits: the time limits.
      now: the time; the stream is connected.

    Attributes:
      began: when its turn was registered.
      continued: whether the current connection goes on where the last one ended; None: unknown.
      reading_due: whether the stored messages have to be read before the POST.
      session_unknown: whether the session may be at another turn of which no event has come.
      others_at_work: whether the events that came since show that it is.
      unsettled: why the message was sent although the session may be at another turn, or empty.
      post: what is known about its POST.
      busy_attempts: counts how often the server was found busy.
      cut: why events may be missing: a connection or the POST's answer was lost, or the turn was
        cancelled, so that its end is due; empty: none are.
      was_cut: whether a connection was lost while the turn was under way.
      leaving: how the sender leaves it.
      reads_once: whether a reading of the stored messages that fails is not repeated once the turn
        is over.
      reading: the last reading of the stored messages.
      schedule: when what is due for the concern that is dealt with; None: none is.
      signs: when the turn, and the session, last showed life.
      now: the time of the last look.
    """

    def __init__(
        self,
        turn: Turn,
        traits: WireTraits,
        policy: ReconnectPolicy,
        limits: Limits,
        now: float,
    ) -> None:
        self.turn: Final = turn
        self.traits: Final = traits
        self.policy: Final = policy
        self.limits: Final = limits
        self.busy_attempts: Final = ReconnectSchedule(policy)
        self.continued: bool | None = None
        self.reading_due: bool = False
        self.session_unknown: bool = False
        self.others_at_work: bool = False
        self.unsettled: Unsettled = ""
        self.post: PostState = PostState(due=now, attempts=ReconnectSchedule(policy))
        self.cut: Cut = ""
        self.was_cut: bool = False
        self.leaving: Leaving = Leaving()
        self.reads_once: bool = False
        self.reading: Reading = Reading()
        self.schedule: Schedule | None = None
        self.signs: SignsOfLife = SignsOfLife.begin(now)
        self.began: Final = now
        self.now: float = now

    def posting_unsettled(self, *, readable: bool) -> None:
        """Note that the message is sent although the session may be at another turn."""
        self.unsettled = "silent" if readable else "unreadable"

    # -- facts that are reported --------------------------------------------------------

    def sending(self) -> None:
        """Note that the first byte of the POST may go out now."""
        if not self.signs.connected:
            self._cut_off()  # since the POST was decided
        self.post = attrs.evolve(self.post, sent=True)

    def not_sent(self, failure: BaseException, now: float) -> None:
        """Note that the POST failed before any of it was sent."""
        delay = self.post.attempts.lost(now)
        self.post = attrs.evolve(
            self.post,
            open=False,
            sent=False,
            due=now + (delay or 0.0),
            failure=failure if delay is None else None,
        )

    def accepted(self) -> None:
        """Note that the server has answered the POST with a success."""
        self.post = attrs.evolve(self.post, open=False)

    def answer_lost(self, *, timed_out: bool) -> None:
        """Note that the POST failed after some of it was sent."""
        self.post = attrs.evolve(self.post, open=False, timed_out=timed_out)
        if self.turn.phase is not Phase.RUNNING or self.turn.due.answer:
            self.cut = self.cut or "lost"

    def refused(self, status_code: int, rejection: BaseException) -> None:
        """Note that the POST was answered with an error (rule 1)."""
        self.post = attrs.evolve(self.post, open=False)
        turn = self.turn
        failed = turn.due.answer and status_code == _SERVER_FAILED
        if status_code in _LOST_ANSWER:
            self.cut = self.cut or "lost"
        elif failed and turn.failed:
            turn.due = attrs.evolve(turn.due, answer=False)  # it confirms the turn's failure
        elif failed or ((turn.events or self.post.again) and not turn.is_command):
            if turn.due.answer and not failed:  # what ended it, or will, may be another's turn
                turn.due = attrs.evolve(turn.due, answer=False, proof=True)
            self.post = attrs.evolve(self.post, refusal=rejection)
            self.cut = self.cut or "lost"
        else:
            self.post = attrs.evolve(self.post, failure=rejection)

    def post_raised(self, failure: BaseException) -> None:
        """Note that a hook, or a function that makes headers, raised."""
        self.post = attrs.evolve(self.post, open=False, failure=failure)

    def resumed(self, *, may_resend: bool) -> None:
        """Note that another process may have sent the message (rule 12).

        Args:
          may_resend: whether the message may be sent (again) where it is not stored.
        """
        self.post = attrs.evolve(self.post, sent=True, may_resend=may_resend)
        self.turn.resumed, self.cut = True, self.cut or "lost"

    def connection_lost(self, now: float) -> None:
        """Note that the stream's connection was lost."""
        self.signs = self.signs.after_loss(now)
        self.others_at_work = False
        if self.turn.phase not in (Phase.REGISTERED, Phase.OVER):
            self._cut_off()

    def connection_restored(self, now: float) -> None:
        """Note that the stream is connected again."""
        self.signs = self.signs.after_restoration(now)
        if self.turn.phase is Phase.REGISTERED and not self.continued:
            self.reading_due = self.session_unknown = True

    def _cut_off(self) -> None:
        """Note that the connection was lost while the turn was under way."""
        self.cut, self.was_cut = self.cut or "lost", True

    def count_from(self, now: float) -> None:
        """Count signs of life from now on."""
        self.signs = SignsOfLife.begin(
            now,
            connected=self.signs.connected,
            own=self.turn.events,
            heard=self.turn.heard,
        )

    # -- facts that follow --------------------------------------------------------------

    @property
    def seen_alone(self) -> bool:
        """Whether events have named every turn that may run beside this one, and there was none.

        They have not if another turn began before the stream, or while the connection was lost, or
        if no event but a stored message has named this one.
        """
        named = self.turn.bound and not self.turn.identity.by_text
        return named and not (self.turn.overlap or self.unsettled or self.was_cut)

    @property
    def concern(self) -> Concern:
        """What is open now."""
        phase = self.turn.phase
        if phase is Phase.OVER:
            return Concern.CHECK
        if phase is Phase.ENDED:
            proof = self.turn.due.proof and not (self.turn.due.answer or self.leaving.left)
            return Concern.PROOF if proof else Concern.ENDED
        if phase is Phase.ANSWERED:
            return Concern.ANSWERED
        if self.post.busy is not None:
            return Concern.BUSY
        if self.turn.resumed and self.cut:
            return Concern.CUT  # another process has sent it, or nobody has
        if phase is Phase.REGISTERED and self.reading_due:
            return Concern.SESSION
        if phase is not Phase.REGISTERED and self.cut:
            return Concern.CUT
        if phase is Phase.RUNNING and not self.post.open:
            return Concern.RUNNING
        # A blocking server answers the POST when the turn is over, and says nothing until then.
        if phase in (Phase.POSTED, Phase.RUNNING) and self.turn.due.answer and self.post.open:
            return Concern.RUNNING
        return Concern.POST

    @property
    def first_pause(self) -> float:
        """Seconds from a cut, or an answered cancel request, to the first reading."""
        limits = self.limits
        return limits.cancelled_end if self.cut == "cancelled" else limits.first_reading

    @property
    def ticket_state(self) -> TicketState | None:
        """What the ticket of a resumed message says of it; None for other messages."""
        ticket = self.turn.ticket
        return ticket.state if ticket is not None and self.turn.resumed else None

    @property
    def waits_for_session(self) -> bool:
        """Whether the message is not sent because the session is at another turn."""
        at_work = self.reading.at_work or self.others_at_work
        return self.concern is Concern.SESSION and self.session_unknown and at_work

    @property
    def session_patience(self) -> float:
        """Seconds of silence after which another turn of the session is not waited for.

        Where nothing can be read and no event has come: for as long as a reading may fail.
        """
        limits, reading = self.limits, self.reading
        if reading.verdict is not None or self.others_at_work:
            return limits.settle_timeout
        return 0.0 if reading.none_kept else min(limits.gap, limits.settle_timeout)

    @property
    def doubted_error(self) -> ev.ErrorEvent | ev.RateLimitEvent | None:
        """An error that was taken for another turn's, and may have been this turn's end."""
        doubt = self.turn.doubt
        return doubt if isinstance(doubt, ev.ErrorEvent | ev.RateLimitEvent) else None

    @property
    def doubt_pause(self) -> float:
        """Seconds from an end that may have been this turn's to the first reading.

        An earlier turn of this stream has ended, so that its rows show nothing any more: an error
        that may repeat that turn's needs no pause.
        """
        limits = self.limits
        if self.turn.doubts_repetition:
            return limits.first_reading
        return min(limits.arrival, limits.settle_timeout)

    @property
    def patience(self) -> float:
        """Seconds of silence after which the turn is over, by the last reading.

        Nothing distinguishes a dead turn from one that thinks. An unfinished turn on a good
        connection may be silent for several ``settle_timeout``: fewer where its rows look whole,
        one after an error that may have been its end, unless that may repeat an earlier turn's and
        the rows would show the end of this one; without limit while one of its tools is at work.
        """
        verdict, limits = self.reading.verdict, self.limits
        running = self.concern is Concern.RUNNING
        attached = running or self.post.open or self.signs.attached
        if verdict is None or verdict.outcome is not TurnOutcome.UNFINISHED or not attached:
            return limits.settle_timeout
        calls = () if verdict.reply is None else verdict.reply.tool_calls
        repetition = self.turn.doubts_repetition and not self.traits.streams_run
        if verdict.looks_whole:
            factor = limits.whole
        elif any(not call.finished for call in calls):
            factor = math.inf
        elif (
            running and self.doubted_error is not None and not (repetition and verdict.has_reasons)
        ):
            factor = 1
        else:
            factor = limits.unfinished
        return factor * limits.settle_timeout
