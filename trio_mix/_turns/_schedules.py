"""When the next step about a message is due, by what is open about it (`Concern`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

import attrs

from trio_mix._turns._decisions import Complete, Post, ReadStored, Wait
from trio_mix._turns._facts import Concern
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase
from trio_mix.events import CompleteEvent
from trio_mix.sse._reconnect import ReconnectSchedule

if TYPE_CHECKING:
    from trio_mix._turns._decisions import Decision
    from trio_mix._turns._facts import Facts
    from trio_mix.sse._reconnect import ReconnectPolicy

__all__ = ["SCHEDULES", "BusySchedule", "PostSchedule", "Schedule", "SessionSchedule"]


class Schedule:
    """What is due, and when, while one concern lasts.

    Args:
      facts: what is known about the message.
      now: the time.

    Attributes:
      concern: what is open about the message.
      at: when the next step is due.
    """

    concern: ClassVar[Concern]

    def __init__(self, facts: Facts, now: float) -> None:
        self._facts = facts
        self.at: float = now
        self._pause = facts.limits.first_reading  # before the next reading

    def next(self, now: float) -> Decision | None:
        """Return what to do now; None once another concern has taken this one's place."""
        raise NotImplementedError

    def read_again(self, now: float) -> None:
        """Note a reading that no rule fits: it is repeated later."""
        self.at = now + self._pause


class SessionSchedule(Schedule):
    """Reads the stored messages before the POST, until the session is not at another turn."""

    concern = Concern.SESSION

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        facts.count_from(now)
        self._pause = facts.limits.busy_pause

    def next(self, now: float) -> Decision:
        if not self._facts.signs.connected:
            return Wait()
        return Wait(self.at) if now < self.at else ReadStored()

    def read_again(self, now: float) -> None:
        limits = self._facts.limits
        left = self._facts.session_patience - self._facts.signs.session_silence(now)
        self.at = now + min(self._pause, max(left, limits.busy_pause))
        self._pause = min(self._pause * 2, limits.slowest_reading)

    def note_others(self, now: float, *, over: bool) -> None:
        """Note an event of the other turn; ``over``: its end."""
        self._facts.signs = self._facts.signs.after_others(now)
        self.at = now + (self._facts.limits.first_reading if over else max(self._pause, 1.0))


class PostSchedule(Schedule):
    """Sends the message, again for as long as the policy allows while none of it was sent."""

    concern = Concern.POST

    def __init__(self, facts: Facts, now: float, policy: ReconnectPolicy) -> None:
        super().__init__(facts, now)
        self._attempts: ReconnectSchedule = ReconnectSchedule(policy)

    def next(self, now: float) -> Decision:
        facts = self._facts
        if facts.post.open or not facts.signs.connected or facts.turn.phase is not Phase.REGISTERED:
            return Wait()
        if now < self.at:
            return Wait(self.at)
        facts.post = attrs.evolve(facts.post, open=True)
        self._attempts.begin(now)
        return Post()

    def not_sent(self, now: float) -> bool:
        """Note that none of the message was sent; return whether it is tried again."""
        delay = self._attempts.lost(now)
        if delay is not None:
            self.at = now + delay
        return delay is not None


class BusySchedule(Schedule):
    """Reads the stored messages until the session is quiet, for as long as the policy allows.

    Args:
      facts: what is known about the message.
      now: the time.
      attempts: the attempts so far, also those before the message was last sent.
    """

    concern = Concern.BUSY

    def __init__(self, facts: Facts, now: float, attempts: ReconnectSchedule) -> None:
        super().__init__(facts, now)
        facts.count_from(now)
        self._attempts = attempts
        self.read_again(now)

    def next(self, now: float) -> Decision:
        facts = self._facts
        if facts.post.open and now >= self.at:
            self.read_again(now)  # not read yet, but it counts as an attempt
        if self.at == math.inf:
            return Complete(ended_by=facts.busy_error)
        if now < self.at or not facts.signs.connected:
            return Wait(self.at if now < self.at else math.inf)
        return ReadStored()

    def read_again(self, now: float) -> None:
        self._attempts.begin(now)
        delay = self._attempts.lost(now)
        limits = self._facts.limits
        pause = max(limits.busy_pause, min(delay or 0.0, limits.slowest_reading))
        self.at = math.inf if delay is None else now + pause

    def note_others_over(self, now: float) -> None:
        """Note the end of another turn."""
        if self.at < math.inf:
            self.at = min(self.at, now + self._facts.limits.first_reading)


class _RunningSchedule(Schedule):
    """Reads the stored messages after silence, and again to confirm that the turn is over."""

    concern = Concern.RUNNING

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        facts.count_from(now)
        limits = facts.limits
        self._silence_due = limits.settle_timeout  # the silence after which a reading is due
        self._pause = min(limits.arrival, limits.settle_timeout)
        self.at = now + self._pause

    def next(self, now: float) -> Decision:
        facts = self._facts
        if now < self.at:
            return Wait(self.at)
        limit, unheard = facts.limits.settle_timeout, facts.signs.unheard(now)
        if facts.turn.doubt is not None:
            self._silence_due = min(self._silence_due, unheard)
        if unheard >= self._silence_due:
            return ReadStored()
        self._silence_due, facts.over_before = limit, False
        self._pause = limit - min(unheard, limit - facts.limits.confirmation)
        self.at = now + self._pause
        return Wait(self.at)

    def read_again(self, now: float) -> None:
        limits = self._facts.limits
        over = self._facts.reading.outcome in (TurnOutcome.FINISHED, TurnOutcome.BROKEN_OFF)
        self._facts.over_before = over
        longer = max(self._pause, limits.confirmation) * 2
        self._pause = min(limits.confirmation if over else longer, limits.settle_timeout)
        self.at = now + self._pause


class _CutSchedule(Schedule):
    """Reads the stored messages at growing intervals, unless the server may replay the rest."""

    concern = Concern.CUT

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        self.at, self._pause = math.inf, facts.first_pause  # from when it is connected

    def next(self, now: float) -> Decision:
        facts, limits, signs = self._facts, self._facts.limits, self._facts.signs
        if not signs.connected:
            return Wait()
        if self.at == math.inf:
            facts.count_from(now)
            signs = facts.signs
            self.at = now + self._pause
        if now < self.at:
            return Wait(self.at)
        slowest = min(limits.slowest_reading, limits.settle_timeout / 8)
        self._pause = min(self._pause * 2, slowest)
        self.at = now + self._pause
        if facts.continued:
            postponed = signs.silence(now) < limits.settle_timeout / 2
        else:
            replay_possible = (
                signs.up_since_restored(now) < limits.replay and signs.up(now) < limits.live
            )
            postponed = facts.continued is None and replay_possible
        # Its events arrive again and can be attributed to it: read once per settle_timeout.
        known = signs.attached and (facts.turn.bound or not facts.ids)
        if postponed or (known and signs.since_reading(now) < limits.settle_timeout):
            return Wait(self.at)
        return ReadStored()


class _AnsweredSchedule(Schedule):
    """Waits for events after the HTTP answer, for as long as they keep coming."""

    concern = Concern.ANSWERED

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        self._until = now + facts.limits.late_events
        self.at, self._events_seen = now + facts.limits.quiet_events, facts.turn.events

    def next(self, now: float) -> Decision:
        turn = self._facts.turn
        if now >= self.at and turn.events != self._events_seen:
            self.at = now + self._facts.limits.quiet_events
            self._events_seen = turn.events
        due = min(self.at, self._until)
        if now < due:
            return Wait(due)
        return Complete(events_lost=not turn.text.startswith("/"))


class _EndedSchedule(Schedule):
    """Waits for the HTTP answer after the terminal event."""

    concern = Concern.ENDED

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        self.at = now + facts.limits.cleanup_timeout

    def next(self, now: float) -> Decision | None:
        if self._facts.post.open and now < self.at:
            return Wait(self.at)
        turn, end = self._facts.turn, self._facts.turn.ended_by
        named = isinstance(end, CompleteEvent) and bool(end.message_id)
        if turn.answer_due and (named or turn.failed):
            # Without the answer, the event may have been another client's.
            turn.answer_due, turn.proof_due = False, True
            return None
        return Complete()


class _CheckSchedule(Schedule):
    """Reads the stored messages of a turn that is over, for a limited time."""

    concern = Concern.CHECK

    def __init__(self, facts: Facts, now: float) -> None:
        super().__init__(facts, now)
        self._until = now + facts.limits.gap

    def next(self, now: float) -> Decision:
        if now >= self._until:
            return Complete(unproven=self.concern is Concern.PROOF)
        return Wait(min(self.at, self._until)) if now < self.at else ReadStored(self._until)

    def read_again(self, now: float) -> None:
        super().read_again(now)
        self._pause *= 2


class _ProofSchedule(_CheckSchedule):
    """Reads the stored messages to find whose the terminal event was."""

    concern = Concern.PROOF


SCHEDULES: Final[dict[Concern, type[Schedule]]] = {
    each.concern: each
    for each in (
        SessionSchedule,
        _RunningSchedule,
        _CutSchedule,
        _AnsweredSchedule,
        _EndedSchedule,
        _CheckSchedule,
        _ProofSchedule,
    )
}
"""The class that is made for a concern that begins, where it needs no more than the facts."""
