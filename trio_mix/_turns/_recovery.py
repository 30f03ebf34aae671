"""Decides what to do next about one sent message: facts in, one decision out.

The message's task reports each fact with its time, asks `Recovery.next` what to do, and does it.
Nothing here waits, reads a clock or performs I/O.

What is open about a message is its *concern* (`Concern`). While a concern lasts, the session's
stored messages are read from time to time, and the table in `trio_mix._turns._rules` says what each
reading means.

Rule 1  Without evidence from the stored messages, the POST is repeated only if no byte of it was
        sent. A refusal ends the message unless the message may have run: events of it came, it had
        been sent before, a proxy lost the answer (502, 504), or a blocking server failed (500).
        Then the stored messages decide.
Rule 2  A server that replays completes a cut turn itself. Nothing is read while such a turn showed
        life within half a ``settle_timeout``, and a moment is allowed until it is known whether the
        server replays.
Rule 3  A message counts as never arrived once it was absent for a while. It is not sent again while
        its POST is open, after an event of it, after a POST that timed out here (it may still
        arrive), or while the session is at another turn (the message may be queued behind it).
Rule 4  A cut turn without a sign of life (an event, growth of its rows) for ``settle_timeout`` is
        over, unless its POST is open or an event of it came live since the reconnect: then the
        limits of rule 6 apply. Time without a connection does not count.
Rule 5  Silence without a lost connection is normal for a turn. The stored messages are read after
        ``settle_timeout`` of it, and again at that interval; at once where the last event may have
        been this turn's end. A stored end is believed when a second reading confirms it. A turn
        that nothing identifies there ends as unknown after two ``settle_timeout``.
Rule 6  On a good connection an unfinished turn may be silent for several ``settle_timeout``, and
        without limit while one of its tools is at work (`Facts.patience`).
Rule 7  A message that a busy server did not run is sent again once the session is quiet and the
        message is not stored; at once where the server stores nothing that can be read. If it is
        stored, or that is unknown, another stream of the session may run it: it is followed. After
        the time that the reconnect policy allows, the server's error ends it.
Rule 8  A message that was left is followed until its turn is over, so that the next message can be
        sent. The server is asked to cancel, a moment later while the POST is open, until it has
        acknowledged that or cannot cancel.
Rule 9  Where a turn is over and a gap took text of it, or the events may be in part another
        client's, the stored messages are read, for at most `Limits.gap`. `MessageTask` completes
        or corrects the reply by what is found; the decision is only to end. A terminal event that
        names another client's message is not the turn's: it goes on.
Rule 10 Every wait ends, except for a turn whose tool is at work. A turn of which nothing can be
        known ends as unknown after five ``settle_timeout`` of silence; after ten while the session
        is at another turn. A POST that a server leaves open is bounded by its own timeout.
Rule 11 After the terminal event the HTTP answer is awaited for ``cleanup_timeout``; without it,
        the stored messages have to show whose the event was. After the HTTP answer, the events are
        awaited for as long as they keep coming, at most `Limits.late_events`.
Rule 12 A message that another process may have sent begins with rule 3, whatever its phase; its
        events are nobody's until a stored message is found that is this message. Where its ticket
        shows that it arrived, or has ended, it is never sent again.
Rule 13 The session may be at another turn: before the first message of a stream, and after a
        reconnect that does not go on where the last connection ended. The stored messages are read
        before the POST, which waits while that turn shows life (an event, growth of its rows). A
        turn that was silent for ``settle_timeout`` is not waited for: the message is sent and its
        reply marked. So it is where the stored messages cannot be read.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from trio_mix._turns._decisions import (
    Bind,
    Cancel,
    Complete,
    Decision,
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
from trio_mix._turns._facts import Concern, Facts
from trio_mix._turns._rules import RULES, Action, Rule
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase
from trio_mix.events import CompleteEvent
from trio_mix.sse._reconnect import ReconnectSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._turns._limits import Limits
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event
    from trio_mix.sse._reconnect import ReconnectPolicy

__all__ = ["Recovery"]

_LOST_ANSWER: Final = (502, 504)
_SERVER_FAILED: Final = 500


class Recovery(Facts):
    """Collects the facts about one message and decides what to do.

    Args:
      turn: the message's turn, which the router moves on.
      policy: how long unsent messages and busy servers are tried again, and at which intervals.
      limits: the time limits.
      now: the time; the stream is connected. Times are those of any steady clock, in seconds.
    """

    # Assigned below: pyright would take these for attributes without a declared type.
    posted: bool
    post_open: bool
    timed_out: bool
    cut: bool
    reading: Reading
    over_before: bool
    session_quiet: bool
    reading_due: bool
    session_unknown: bool
    others_at_work: bool

    def __init__(self, turn: Turn, policy: ReconnectPolicy, limits: Limits, now: float) -> None:
        super().__init__(turn, limits, now)
        self._policy = policy
        self._attempts: ReconnectSchedule = ReconnectSchedule(policy)
        self._busy_attempts: ReconnectSchedule | None = None
        self._failure: BaseException | None = None
        self._dealt_with: Concern | None = None
        self._fresh = False  # whether the last reading is still to be judged
        self._at = now  # when the next POST or reading is due
        self._until = math.inf  # when the concern has lasted long enough
        self._first_pause = limits.first_reading
        self._pause = 0.0  # before the next reading
        self._silence_due = 0.0  # the silence after which a running turn is asked about
        self._events_seen = 0  # of an answered turn
        self._cancel_at: float | None = None

    # -- facts: the POST ----------------------------------------------------------------

    def sending(self) -> None:
        """Note that the first byte of the POST may go out now."""
        self.posted = True

    def not_sent(self, failure: BaseException, now: float) -> None:
        """Note that the POST failed before any of it was sent."""
        self.post_open = self.posted = False
        delay = self._attempts.lost(now)
        if delay is None:
            self._failure = failure
        else:
            self._at = now + delay

    def accepted(self) -> None:
        """Note that the server has answered the POST with a success."""
        self.post_open = False

    def answer_lost(self, *, timed_out: bool) -> None:
        """Note that the POST failed after some of it was sent."""
        self.post_open = False
        self.timed_out = timed_out
        if self.turn.phase is not Phase.RUNNING or self.turn.answer_due:
            self.cut = True

    def refused(self, status_code: int, rejection: BaseException) -> None:
        """Note that the POST was answered with an error (rule 1)."""
        self.post_open = False
        turn = self.turn
        failed = turn.answer_due and status_code == _SERVER_FAILED
        if turn.ended_by is not None:
            return
        if status_code in _LOST_ANSWER:
            self.cut = True
        elif turn.events or self.posted_again or failed:
            self.refusal, self.cut = rejection, True
        else:
            self._failure = rejection

    def post_raised(self, failure: BaseException) -> None:
        """Note that a hook, or a function that makes headers, raised."""
        self.post_open = False
        self._failure = failure

    # -- facts: the ticket --------------------------------------------------------------

    def resumed(self, *, may_resend: bool) -> None:
        """Note that another process may have sent the message (rule 12).

        Args:
          may_resend: whether the message may be sent (again) where it is not stored.
        """
        self.turn.resumed = self.posted = self.cut = True
        self.may_resend = may_resend

    # -- facts: the stream and the sender -----------------------------------------------

    def busy(self, error: Event) -> None:
        """Note that the server is busy with another turn and did not run the message."""
        self.busy_error, self._dealt_with = error, None
        if self._busy_attempts is None:
            self._busy_attempts = ReconnectSchedule(self._policy)

    def connection_lost(self, now: float) -> None:
        """Note that the stream's connection was lost."""
        self.signs.connection_lost(now)
        self.others_at_work = False
        if self.turn.phase not in (Phase.REGISTERED, Phase.OVER):
            self.cut = self.was_cut = True

    def connection_restored(self, now: float) -> None:
        """Note that the stream is connected again."""
        self.signs.connection_restored(now)
        if self.turn.phase is Phase.REGISTERED and not self.continued:
            self.reading_due = self.session_unknown = True

    def others(self, now: float, *, at_work: bool) -> None:
        """Note an event of another turn of the session; ``at_work``: whether more will follow."""
        over = self.others_at_work and not at_work
        self.others_at_work = at_work
        if self.concern is Concern.SESSION:
            self.signs.note_others(now)
            self._at = now + (self.limits.first_reading if over else max(self._pause, 1.0))
        elif over and self.concern is Concern.BUSY and self._at < math.inf:
            self._at = min(self._at, now + self.limits.first_reading)

    def leave(self, now: float, *, cancel: bool = True) -> None:
        """Note that the sender leaves the message before its turn is over (rule 8).

        Args:
          now: the time.
          cancel: whether the server is asked to cancel the turn.
        """
        self.left = True
        if not cancel:
            return
        self._cancel_at = now
        if self.turn.phase is Phase.POSTED:
            # What has not arrived cannot be cancelled. A blocking server answers the POST only
            # when the turn is over, so only a moment is allowed for it.
            timeout = self.limits.cleanup_timeout
            self._cancel_at += min(0.5 if self.turn.answer_due else timeout, timeout / 2)

    def cancel_answered(self, now: float, *, acknowledged: bool) -> None:
        """Note the outcome of a cancel request."""
        self._cancel_at = None if acknowledged else now + self.limits.cancelled_end
        if not self.cut:
            self.cut, self._first_pause = True, self.limits.cancelled_end

    def stored(self, reading: Reading, now: float) -> None:
        """Note what the stored messages say; void where the concern has changed meanwhile."""
        if self.concern is self._dealt_with:
            self.reading, self._fresh = reading, True
            if self.concern is Concern.SESSION:
                self.signs.note_session(now, reading, active=self.others_at_work)
                return
            self._note_events(now)
            self.signs.note_reading(now, reading)

    # -- the decision -------------------------------------------------------------------

    def next(self, now: float) -> Decision:
        """Return what to do now. The caller does it, or waits for the next fact."""
        self.at(now)
        if self._failure is not None:
            return Refuse(self._failure)
        phase = self.turn.phase
        if self._cancel_at is not None and phase is not Phase.OVER:
            if phase is Phase.REGISTERED:
                return Withdraw()
            # Once the turn runs, the delay of `leave` is pointless; `cut` means a repetition.
            if now >= self._cancel_at or (phase is not Phase.POSTED and not self.cut):
                self._cancel_at = None
                return Cancel()
        concern = self.concern
        if concern is not self._dealt_with:
            self._begin(now)
        if concern is Concern.RUNNING or concern is Concern.CUT:
            self._note_events(now)
        decision = self._judge(now) if self._fresh else None
        if decision is None:
            decision = _NEXT[concern](self, now)
        if isinstance(decision, Wait) and self._cancel_at is not None and not self.turn.over:
            return Wait(min(decision.until, self._cancel_at))
        return decision

    def _note_events(self, now: float) -> None:
        self.at(now)
        # As of the previous look: an event that is new now came after that one.
        live = self.continued is False or self.signs.up_since_restored > self.limits.live
        self.signs.note_events(now, live=live)

    def _begin(self, now: float) -> None:
        """Start to deal with the concern."""
        limits = self.limits
        self._fresh = self.over_before = self.session_quiet = False
        concern = self.concern
        match concern:
            case Concern.SESSION:
                self.signs.begin(now)
                self._at, self._pause = now, limits.busy_pause
            case Concern.BUSY:
                self.signs.begin(now)
                self._retry_busy(now)
            case Concern.RUNNING:
                self.signs.begin(now)
                self._silence_due = limits.settle_timeout
                self._pause = min(limits.arrival, limits.settle_timeout)
                self._at = now + self._pause
            case Concern.CUT:
                self._at, self._pause = math.inf, self._first_pause  # from when it is connected
            case Concern.ANSWERED:
                self._until = now + limits.late_events
                self._at, self._events_seen = now + limits.quiet_events, self.turn.events
            case Concern.ENDED:
                self._until = now + limits.cleanup_timeout
            case Concern.PROOF | Concern.CHECK:
                self._at, self._until = now, now + limits.gap
                self._pause = limits.first_reading
            case Concern.POST:
                pass
        self._dealt_with = concern

    def _next_session(self, now: float) -> Decision:
        if not self.signs.connected:
            return Wait()
        return Wait(self._at) if now < self._at else ReadStored()

    def _next_post(self, now: float) -> Decision:
        if self.post_open or not self.signs.connected or self.turn.phase is not Phase.REGISTERED:
            return Wait()
        if now < self._at:
            return Wait(self._at)
        self.post_open = True
        self._attempts.begin(now)
        return Post()

    def _next_busy(self, now: float) -> Decision:
        if self.post_open and now >= self._at:
            self._retry_busy(now)  # not read yet, but it counts as an attempt
        if self._at == math.inf:
            return Complete(ended_by=self.busy_error)
        if now < self._at or not self.signs.connected:
            return Wait(self._at if now < self._at else math.inf)
        return ReadStored()

    def _next_running(self, now: float) -> Decision:
        if now < self._at:
            return Wait(self._at)
        limit, unheard = self.limits.settle_timeout, self.signs.unheard
        if self.turn.doubt is not None:
            self._silence_due = min(self._silence_due, unheard)
        if unheard >= self._silence_due:
            return ReadStored()
        self._silence_due, self.over_before = limit, False
        self._pause = limit - min(unheard, limit - self.limits.confirmation)
        self._at = now + self._pause
        return Wait(self._at)

    def _next_cut(self, now: float) -> Decision:
        limits, signs = self.limits, self.signs
        if not signs.connected:
            return Wait()
        if self._at == math.inf:
            signs.begin(now)
            self._at = now + self._pause
        if now < self._at:
            return Wait(self._at)
        slowest = min(limits.slowest_reading, limits.settle_timeout / 8)
        self._pause = min(self._pause * 2, slowest)
        self._at = now + self._pause
        if self.continued:
            postponed = signs.silence < limits.settle_timeout / 2
        else:
            replay_possible = signs.up_since_restored < limits.replay and signs.up < limits.live
            postponed = self.continued is None and replay_possible
        # Its events arrive again and can be attributed to it: read once per settle_timeout.
        known = signs.attached and (self.turn.bound or not self.ids)
        if postponed or (known and signs.since_reading(now) < limits.settle_timeout):
            return Wait(self._at)
        return ReadStored()

    def _next_answered(self, now: float) -> Decision:
        if now >= self._at and self.turn.events != self._events_seen:
            self._at = now + self.limits.quiet_events
            self._events_seen = self.turn.events
        due = min(self._at, self._until)
        if now < due:
            return Wait(due)
        return Complete(events_lost=not self.turn.text.startswith("/"))

    def _next_ended(self, now: float) -> Decision:
        if self.post_open and now < self._until:
            return Wait(self._until)
        turn, end = self.turn, self.turn.ended_by
        if turn.answer_due and isinstance(end, CompleteEvent) and end.message_id:
            # Without the answer, the event may have been another client's.
            turn.answer_due, turn.proof_due = False, True
            return self.next(now)
        return Complete()

    def _next_check(self, now: float) -> Decision:
        if now >= self._until:
            return Complete(unproven=self.concern is Concern.PROOF)
        return Wait(min(self._at, self._until)) if now < self._at else ReadStored(self._until)

    # -- readings -----------------------------------------------------------------------

    def _judge(self, now: float) -> Decision | None:
        """Return what the last reading means; None where no rule fits."""
        concern, found = self.concern, self._found_id()
        if found and (concern is Concern.RUNNING or self.turn.resumed):
            return Bind(found, lost=self.ids and not self.turn.resumed)
        if concern is Concern.BUSY:
            patience = self.limits.settle_timeout
            self.session_quiet = self.signs.session_is_quiet(now, self.reading, patience)
        for rule in RULES:
            if rule.fits(self):
                self._fresh = False
                return self._decision(rule, now)
        if found and concern is Concern.CUT:
            return Bind(found, lost=False)
        self._fresh = False
        self._read_again(now)
        return None

    def _found_id(self) -> str | None:
        """Return the id that names the turn among the stored messages, where it was unknown."""
        verdict = self.reading.verdict
        if verdict is None or self.turn.bound or verdict.outcome is TurnOutcome.ABSENT:
            return None
        return verdict.user_message_id

    def _read_again(self, now: float) -> None:
        limits = self.limits
        match self.concern:
            case Concern.SESSION:
                left = self.session_patience - self.signs.session_silence(now)
                self._at = now + min(self._pause, max(left, limits.busy_pause))
                self._pause = min(self._pause * 2, limits.slowest_reading)
            case Concern.BUSY:
                self._retry_busy(now)
            case Concern.RUNNING:
                over = self.reading.outcome in (TurnOutcome.FINISHED, TurnOutcome.BROKEN_OFF)
                self.over_before = over
                longer = max(self._pause, limits.confirmation) * 2
                self._pause = min(limits.confirmation if over else longer, limits.settle_timeout)
                self._at = now + self._pause
            case Concern.PROOF | Concern.CHECK:
                self._at = now + self._pause
                self._pause *= 2
            case _:
                self._at = now + self._pause

    def _retry_busy(self, now: float) -> None:
        assert self._busy_attempts is not None  # noqa: S101 - made by the fact
        self._busy_attempts.begin(now)
        delay = self._busy_attempts.lost(now)
        limits = self.limits
        pause = max(limits.busy_pause, min(delay or 0.0, limits.slowest_reading))
        self._at = math.inf if delay is None else now + pause

    def _decision(self, rule: Rule, now: float) -> Decision:
        """Return a rule's action as a decision."""
        verdict = self.reading.verdict
        reply = None if verdict is None else verdict.reply
        running = self.concern is Concern.RUNNING
        match rule.then:
            case Action.POST | Action.POST_IN_DOUBT:
                self.reading_due = False
                if rule.then is Action.POST_IN_DOUBT:
                    self.posting_unsettled(readable=verdict is not None)
                self._at = now
                return self._next_post(now)
            case Action.POST_AGAIN:
                self._post_again(now)
                return Restart()
            case Action.DISOWN:
                self.cut = True  # events of the message may be missed meanwhile
                return Disown()
            case Action.FOLLOW:
                self.busy_error, self.cut = None, True
                return Follow()
            case Action.REFUSE if self.refusal is not None:
                return Refuse(self.refusal)
            case Action.END_BY_ERROR:
                return Complete(ended_by=self.doubted_error)
            case Action.COMPLETE | Action.COMPLETE_IN_DOUBT:
                in_doubt = rule.then is Action.COMPLETE_IN_DOUBT
                return Complete(
                    reply=reply,
                    doubtful=in_doubt or (verdict is not None and verdict.mixed),
                    lost=_UNREPORTED if running else self._lost(),
                    events_lost=running,
                )
            case Action.GONE | Action.UNKNOWN:
                return Interrupt(
                    outcome="gone" if rule.then is Action.GONE else "unknown",
                    what=_NOT_REPORTED if running else self._what(),
                    why=rule.why or self._silence_text(rule.then),
                    reply=reply,
                    cause=self.doubted_error if running else None,
                )
            case _:
                return Complete()

    def _post_again(self, now: float) -> None:
        """Forget the attempt that did not run."""
        self.busy_error, self.refusal, self._dealt_with = None, None, None
        self.cut = self.timed_out = self.turn.resumed = False
        self.posted_again = True
        self._at = now
        self._attempts = ReconnectSchedule(self._policy)

    def _what(self) -> str:
        return "was resumed" if self.turn.resumed else f"was cut: {self._lost()}"

    def _lost(self) -> str:
        """Return why events, or the answer, may be missing."""
        if self.turn.overlap and not self.was_cut:
            return "another client's message ran before it"
        if self.was_cut or self.left:
            return "the connection was lost" if self.was_cut else "it was left"
        return f"the answer to its POST {'did not come in time' if self.timed_out else 'was lost'}"

    def _silence_text(self, action: Action) -> str:
        limit = f"(settle_timeout={self.limits.settle_timeout:g})"
        if self.concern is Concern.RUNNING and action is Action.UNKNOWN:
            text = f"for {self.signs.unheard:.0f} s there was no event of it {limit}"
        else:
            text = f"for {self.signs.silence:.3g} s there was no sign of it {limit}"
        if action is Action.UNKNOWN:
            return f"{text}, and the server's stored messages could not tell"
        return f"{text}, and its stored messages did not grow"


_NOT_REPORTED: Final = "was not reported on any more, though the connection was not lost"
_UNREPORTED: Final = "the stream did not report how a message went on"

_NEXT: Final[dict[Concern, Callable[[Recovery, float], Decision]]] = {
    Concern.SESSION: Recovery._next_session,
    Concern.POST: Recovery._next_post,
    Concern.BUSY: Recovery._next_busy,
    Concern.RUNNING: Recovery._next_running,
    Concern.CUT: Recovery._next_cut,
    Concern.ANSWERED: Recovery._next_answered,
    Concern.ENDED: Recovery._next_ended,
    Concern.PROOF: Recovery._next_check,
    Concern.CHECK: Recovery._next_check,
}
