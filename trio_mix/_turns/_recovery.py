"""Decides what to do next about one sent message: facts in, one decision out.

The message's task reports each fact with its time, asks `Recovery.next` what to do, and does it.
Nothing here waits, reads a clock or performs I/O.

What is open about a message is its *concern* (`Concern`). While a concern lasts, the session's
stored messages are read from time to time: when is in `trio_mix._turns._schedules`, and the table
in `trio_mix._turns._rules` says what each reading means. `Limits` has the time limits, of which the
most important is ``settle_timeout``, 60 seconds.

The words of the rules:

*turn*, *rows*
    What the server does for the message, and the stored messages that belong to it.
*sign of life*
    An event of the turn, or growth of its rows. Heartbeats are none: they show that the connection
    works, not that the turn does. The time without a connection does not count as silence.
*blocking server*
    It answers the POST with the reply, when the turn is over.
*gone*, *unknown*
    How a message ends without a reply: the stored messages show that its turn does not run any
    more, or they do not show even that. Both raise `MessageInterrupted`.
*marked*
    The reply is ``incomplete`` and its ``doubts`` say why.
*ticket*
    What a program has saved about a message, so that another process can go on with it.

In short:

The connection is lost
    Replayed or live events go on with the message (rule 2). Until then the stored messages decide.
    A finished turn completes it at once. A turn that goes on is followed, and is gone after
    ``settle_timeout`` without a sign of life (rule 4); where rows without finish reasons look like
    all of it, they complete it, marked. A message that is absent, of which no event has come and
    which cannot be on its way, is sent again, once (rule 3). If nothing can be read, it ends as
    unknown after ``settle_timeout`` (the server keeps no messages) or five of them (rule 10). While
    there is no connection nothing is decided: the stream's reconnect policy ends the stream, and
    with it the message.
Nobody answers
    A POST of which nothing was sent is repeated, and fails after the time that the reconnect policy
    allows (rule 1). If its answer is lost, the message is treated as if the connection had been
    lost. If the message was accepted and its events stay away, with or without heartbeats, the
    stored messages are read after ``settle_timeout``: a finished turn completes it once a second
    reading agrees; one that goes on is waited for, without limit while a tool is at work; one that
    was silent for ten ``settle_timeout`` is gone; and if nothing identifies it there, it ends as
    unknown (rules 5, 6, 10).
The server is busy
    The message is sent again once the session is quiet. If it turns out to be stored, it is
    followed. After the time that the reconnect policy allows, in all its attempts together, it
    fails with the server's error (rule 7).
The sender leaves it early
    If it is not on its way (not sent yet, or refused by a busy server), it is withdrawn. Else the
    server is asked to cancel the turn, and the turn is followed until it is over (rule 8).

Rule 1  Without evidence from the stored messages, the POST is repeated only if no byte of it was
        sent. A refusal ends the message unless the message may have run: events of it came, it had
        been sent before, a proxy lost the answer (502, 504), or a blocking server failed (500).
        Then the stored messages decide, also whose an end was, which only a 500 confirms.
Rule 2  If the server replays, the replayed events complete a cut turn. Nothing is read if the turn
        showed life within half a ``settle_timeout``, and `Limits.replay` is allowed until it is
        known whether the server replays.
Rule 3  A message counts as never arrived once it was absent for `Limits.arrival`. It is not sent
        again while its POST is open, after an event of it, after a POST that timed out here (it may
        still arrive), or while the session runs another turn (the message may be queued behind it).
        A message that was sent twice and is absent has an unknown outcome, and so has a command:
        servers run commands without storing them. A command is never sent again.
Rule 4  A cut turn without a sign of life for ``settle_timeout`` is over, unless its POST is open or
        an event of it came live since the reconnect: then the limits of rule 6 apply. A cancelled
        turn is treated as a cut one, for its end is due.
Rule 5  Silence without a lost connection is normal for a turn. The stored messages are read after
        ``settle_timeout`` of it, and again at that interval; at once where the last event may have
        been this turn's end. A stored end is believed when a second reading confirms it. A turn
        that nothing identifies there ends as unknown after two ``settle_timeout``.
Rule 6  On a good connection an unfinished turn may be silent for ten ``settle_timeout``, for five
        where its rows look whole, for one after an error that may have been its end, unless that
        may repeat an earlier turn's and its rows would show its end, and without limit while one of
        its tools is at work (`Facts.patience`).
Rule 7  A message that a busy server did not run is sent again once the session is quiet and the
        message is not stored; at once where the server stores nothing that can be read. A session
        whose finish reasons show an unfinished turn is not quiet, however silent that turn is:
        another stream that runs it may have queued the message. If the message is stored, if that
        is unknown, or if a POST of it timed out here, another stream of the session may run it: it
        is followed. After the time that the reconnect policy allows, the server's error ends it.
        It ends a command at once: the other stream may have queued it, and nothing is stored.
Rule 8  A message that its sender has left is followed until its turn is over, so that the next
        message can be sent. The server is asked to cancel the turn: at once if the turn runs, else
        a moment later, for what has not arrived cannot be cancelled. A request that was lost is
        repeated until the turn is over; one that the server answers is not.
Rule 9  Once a turn is over, the stored messages are read, for at most `Limits.gap`, if a gap took
        text of it or some of its events may be another client's. `MessageTask` completes or
        corrects the reply by what is found; if the rows still show an unfinished turn, the reply is
        marked. A ``complete`` that names another client's message does not end the turn. An error
        names no message: it does not end the turn if the rows show that the turn goes on; if the
        rows cannot show whose it was, the end is marked.
Rule 10 Every wait for a turn ends, except while one of its tools is at work. A turn of which
        nothing can be known ends as unknown after five ``settle_timeout`` of silence; after ten
        while the session runs another turn. A POST that a server leaves open is bounded by its own
        timeout.
Rule 11 After the terminal event the HTTP answer is awaited for ``cleanup_timeout``. Without it, the
        stored messages have to show whose the event was; if they cannot, the end is marked. After
        the HTTP answer, the events are awaited for as long as they keep coming, at most
        `Limits.late_events`.
Rule 12 A message that another process may have sent begins with rule 3, whatever its phase. No
        event is attributed to it until a stored message is found that is this message. If its
        ticket shows that it arrived, or has ended, it is never sent again.
Rule 13 The session may be running another turn: before the first message of a stream, and after a
        reconnect that does not continue where the last connection ended. The stored messages are
        read before the POST, which waits while that turn shows life (an event, growth of its rows).
        A turn that was silent for ``settle_timeout`` is not waited for: the message is sent and its
        reply marked. The same applies where the stored messages cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

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
    Refuse,
    Restart,
    Wait,
    Withdraw,
)
from trio_mix._turns._facts import Concern, Facts, Leaving, PostState, Schedule
from trio_mix._turns._interruption import lost_text, silence_text, what_text
from trio_mix._turns._rules import RULES, Action, Rule
from trio_mix._turns._schedules import (
    COUNTING,
    SCHEDULES,
    BusySchedule,
    RunningSchedule,
    SessionSchedule,
)
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase
from trio_mix.sse._reconnect import ReconnectSchedule

if TYPE_CHECKING:
    from trio_mix._turns._facts import CancelOutcome, Cut
    from trio_mix._turns._signs_of_life import SignsOfLife
    from trio_mix.events import Event


class Recovery(Facts):
    """Collects the facts about one message and decides what to do.

    Args:
      turn: the message's turn, which the router moves on.
      traits: what is known of the server.
      policy: how long unsent messages and busy servers are tried again, and at which intervals.
      limits: the time limits.
      now: the time. Times are those of any steady clock, in seconds. The stream has to be
        connected when a message begins.
    """

    # Assigned in methods below: without a declaration, pyright would not know their types.
    now: float
    post: PostState
    cut: Cut
    reading: Reading
    schedule: Schedule | None
    signs: SignsOfLife
    reading_due: bool
    others_at_work: bool
    leaving: Leaving

    # -- facts: the stream and the sender -----------------------------------------------

    def busy(self, error: Event) -> None:
        """Note that the server is busy with another turn and did not run the message."""
        weight = None if self.reading.verdict is None else self.reading.weight
        self.post, self.schedule = attrs.evolve(self.post, busy=error, busy_weight=weight), None

    def others(self, now: float, *, at_work: bool) -> None:
        """Note an event of another turn of the session; ``at_work``: whether more will follow."""
        over = self.others_at_work and not at_work
        self.others_at_work = at_work
        if isinstance(self.schedule, SessionSchedule):
            self.signs = self.signs.after_others(now)
            self.schedule = self.schedule.after_others(self, now, over=over)
        elif isinstance(self.schedule, BusySchedule) and over:
            self.schedule = self.schedule.after_others_end(self, now)
        elif isinstance(self.schedule, RunningSchedule):
            self.schedule = self.schedule.after_others(self, now)

    def leave(self, now: float, *, cancel: bool = True) -> None:
        """Note that the sender leaves the message before its turn is over (rule 8).

        Args:
          now: the time.
          cancel: whether the server is asked to cancel the turn.
        """
        delay = 0.0
        if self.turn.phase is Phase.POSTED:
            # What has not arrived cannot be cancelled. A blocking server answers the POST only
            # when the turn is over, so only a moment is allowed for it.
            timeout = self.limits.cleanup_timeout
            delay = min(0.5 if self.turn.due.answer else timeout, timeout / 2)
        cancel_at = now + delay if cancel else self.leaving.cancel_at
        self.leaving = attrs.evolve(self.leaving, left=True, cancel_at=cancel_at)

    def cancel_answered(self, now: float, outcome: CancelOutcome) -> None:
        """Note the outcome of a cancel request."""
        again = now + self.limits.cancelled_end if outcome == "lost" else None
        acknowledged = outcome == "acknowledged"
        self.leaving = attrs.evolve(self.leaving, cancel_at=again, acknowledged=acknowledged)
        self.cut = self.cut or "cancelled"

    def stored(self, reading: Reading, now: float) -> None:
        """Note what the stored messages say; void where the concern has changed meanwhile."""
        if self.schedule is not None and self.concern is self.schedule.concern:
            self.schedule = attrs.evolve(self.schedule, unjudged=True)
            session = self.concern is Concern.SESSION
            if not (session and self.reading.at_work and reading.outcome is None):
                self.reading = reading  # one that failed does not end the wait for another turn
            if session:
                active = self.others_at_work
                self.signs = self.signs.after_reading_before(now, reading, active=active)
                return
            self._look(now)
            if self.concern is Concern.BUSY:
                self.signs = self.signs.after_reading_while_busy(now, reading)
            else:
                queued = self.turn.resumed
                self.signs = self.signs.after_reading(now, reading, queued=queued)

    # -- the decision -------------------------------------------------------------------

    def next(self, now: float) -> Decision:
        """Return what to do now. The caller does it, or waits for the next fact."""
        self._look(now)
        if self.post.failure is not None:
            return Refuse(self.post.failure)
        phase, cancel_at = self.turn.phase, self.leaving.cancel_at
        if cancel_at is not None and phase is not Phase.OVER:
            if phase is Phase.REGISTERED:
                return Withdraw()
            # Once the turn runs, the delay of `leave` is pointless. If the turn is cut, it may not
            # run, and a request that was lost is repeated only when it is due.
            if now >= cancel_at or (phase is not Phase.POSTED and not self.cut):
                self.leaving = attrs.evolve(self.leaving, cancel_at=None)
                return Cancel()
        decision = self._due(now)
        if isinstance(decision, Post):
            self.post.attempts.begin(now)
            self.post = attrs.evolve(self.post, open=True)
        if isinstance(decision, Wait) and cancel_at is not None and not self.turn.over:
            return Wait(min(decision.until, cancel_at))
        return decision

    def _look(self, now: float) -> None:
        """Look at the time and the turn's events."""
        signs, own, heard = self.signs, self.turn.events, self.turn.heard
        if own != signs.own or heard != signs.heard:
            # As of the previous look: an event that is new now came after that one.
            up = signs.up_since_restored(self.now)
            live = self.continued is False or up > self.limits.live
            self.signs = signs.after_events(now, own=own, heard=heard, live=live)
        self.now = now

    def _due(self, now: float) -> Decision:
        """Return what is due for the concern."""
        concern, schedule = self.concern, self.schedule
        if schedule is None or schedule.concern is not concern:
            if concern is Concern.CUT and not self.signs.connected:
                return Wait()
            if concern in COUNTING:
                self.count_from(now)
            self.schedule = schedule = SCHEDULES[concern].begin(self, now)
        elif schedule.unjudged:
            decision = self._judge(schedule, now)
            if decision is not None:
                return decision
            schedule = schedule.read_again(self, now)
        self.schedule, decision = schedule.next(self, now)
        if decision is None:
            self.turn.due = attrs.evolve(self.turn.due, answer=False, proof=True)
            return self._due(now)
        return decision

    # -- readings -----------------------------------------------------------------------

    def _judge(self, schedule: Schedule, now: float) -> Decision | None:
        """Return what the last reading means; None where no rule fits."""
        concern, found = self.concern, self._found_id()
        if found and (concern is Concern.RUNNING or self.turn.resumed):
            return Bind(found, lost=bool(self.traits.ids) and not self.turn.resumed)
        for rule in RULES:
            if rule.fits(self):
                self.schedule = attrs.evolve(schedule, unjudged=False)
                return self._decision(rule, now)
        return Bind(found, lost=False) if found and concern is Concern.CUT else None

    def _found_id(self) -> str | None:
        """Return the id that names the turn among the stored messages, where it was unknown."""
        verdict = self.reading.verdict
        if verdict is None or verdict.outcome is TurnOutcome.ABSENT or verdict.several:
            return None
        return None if self.turn.bound else verdict.user_message_id

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
                self.post = attrs.evolve(self.post, due=now)
                return self._due(now)
            case Action.POST_AGAIN:
                self._post_again(now)
                return Restart()
            case Action.DISOWN:
                self.cut = self.cut or "lost"  # events of the message may be missed meanwhile
                self.turn.due = attrs.evolve(self.turn.due, answer=self.post.open)
                return Disown()
            case Action.FOLLOW:
                self.post = attrs.evolve(self.post, busy=None)
                self.cut = self.cut or "lost"
                return Follow()
            case Action.REFUSE if self.post.refusal is not None:
                return Refuse(self.post.refusal)
            case Action.END_IN_DOUBT:
                return Complete(unproven=True)
            case Action.END_BY_ERROR:
                texts = [getattr(each, "error", "") for each in self.turn.repetitions]
                # Its own is sent twice, and one that came once is more likely the earlier turn's.
                unclear = len(set(texts)) > 1 or (self.turn.errors_unseen and len(texts) == 1)
                unclear = unclear and self.turn.doubts_repetition
                return Complete(ended_by=self.doubted_error, unproven=unclear)
            case Action.COMPLETE | Action.COMPLETE_IN_DOUBT:
                in_doubt = rule.then is Action.COMPLETE_IN_DOUBT
                return Complete(
                    reply=reply,
                    doubtful=in_doubt or (verdict is not None and verdict.mixed),
                    lost=lost_text(self),
                    events_lost=running,
                )
            case Action.GONE | Action.UNKNOWN:
                return Interrupt(
                    outcome="gone" if rule.then is Action.GONE else "unknown",
                    what=what_text(self),
                    why=rule.why or silence_text(self, rule.then),
                    reply=reply,
                    # Events of a message that is not stored are another message's.
                    mixed=verdict is not None
                    and (
                        verdict.mixed
                        or (verdict.reply is None and self.turn.events > 0)
                        or (self.turn.due.events and not self.reading.alone)
                    ),
                    cause=self.doubted_error if running else None,
                )
            case _:
                return Complete()

    def _post_again(self, now: float) -> None:
        """Forget the attempt that did not run."""
        self.post = attrs.evolve(
            self.post,
            due=now,
            attempts=ReconnectSchedule(self.policy),
            again=True,
            timed_out=False,
            refusal=None,
            busy=None,
        )
        self.cut, self.turn.resumed, self.schedule = "", False, None
