"""When the next step about a message is due, by what is open about it (`Concern`).

A schedule is a value: its methods return the schedule from then on. Only the attempts to send the
message to a busy server are counted in the facts, since they go on counting in later schedules.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._turns._decisions import Complete, Post, ReadStored, Wait
from trio_mix._turns._facts import Concern, Schedule
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase

if TYPE_CHECKING:
    from typing import Self

    from trio_mix._turns._decisions import Decision
    from trio_mix._turns._facts import Facts
    from trio_mix.events import Event


@attrs.frozen(kw_only=True)
class SessionSchedule(Schedule):
    """Reads the stored messages before the POST, until the session is not at another turn."""

    concern = Concern.SESSION

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        return cls(at=now, pause=facts.limits.busy_pause)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        if not facts.signs.connected:
            return self, Wait()
        return self, Wait(self.at) if now < self.at else ReadStored()

    def read_again(self, facts: Facts, now: float) -> Schedule:
        limits = facts.limits
        left = facts.session_patience - facts.signs.session_silence(now)
        return attrs.evolve(
            self,
            at=now + min(self.pause, max(left, limits.busy_pause)),
            pause=min(self.pause * 2, limits.slowest_reading),
            unjudged=False,
        )

    def after_others(self, facts: Facts, now: float, *, over: bool) -> Schedule:
        """Return the schedule after an event of the other turn; ``over``: its end."""
        pause = facts.limits.first_reading if over else max(self.pause, 1.0)
        return attrs.evolve(self, at=now + pause)


@attrs.frozen(kw_only=True)
class _PostSchedule(Schedule):
    """Sends the message, again for as long as the policy allows while none of it was sent."""

    concern = Concern.POST

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        post, registered = facts.post, facts.turn.phase is Phase.REGISTERED
        if post.open or not facts.signs.connected or not registered:
            return self, Wait()
        return self, Wait(post.due) if now < post.due else Post()


@attrs.frozen(kw_only=True)
class BusySchedule(Schedule):
    """Reads the stored messages until the session is quiet, for as long as the policy allows.

    The attempts count also those before the message was last sent.
    """

    concern = Concern.BUSY

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        if facts.turn.is_command:  # the stream of the other turn may have queued it
            return cls(at=math.inf)
        return cls(at=now).read_again(facts, now)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        schedule = self
        if facts.post.open and now >= self.at:
            schedule = self.read_again(facts, now)  # not read yet, but it counts as an attempt
        if schedule.at == math.inf:
            return schedule, Complete(ended_by=facts.post.busy)
        if now < schedule.at or not facts.signs.connected:
            return schedule, Wait(schedule.at if now < schedule.at else math.inf)
        return schedule, ReadStored()

    def read_again(self, facts: Facts, now: float) -> Self:
        facts.busy_attempts.begin(now)
        delay = facts.busy_attempts.lost(now)
        limits = facts.limits
        pause = max(limits.busy_pause, min(delay or 0.0, limits.slowest_reading))
        return attrs.evolve(self, at=math.inf if delay is None else now + pause, unjudged=False)

    def after_others_end(self, facts: Facts, now: float) -> Schedule:
        """Return the schedule after the end of another turn."""
        soon = now + facts.limits.first_reading
        return self if self.at == math.inf else attrs.evolve(self, at=min(self.at, soon))


@attrs.frozen(kw_only=True)
class RunningSchedule(Schedule):
    """Reads the stored messages after silence, and again to confirm that the turn is over."""

    concern = Concern.RUNNING

    silence_due: float
    """The silence after which a reading is due."""
    over_before: bool = False
    """Whether the last judged reading said that the turn is over."""
    doubt: Event | None = None
    """The last end that was taken for another turn's and for which a reading is due, or done."""

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        pause = facts.doubt_pause
        return cls(at=now + pause, pause=pause, silence_due=facts.limits.settle_timeout)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        if now < self.at:
            return self, Wait(self.at)
        limit, unheard = facts.limits.settle_timeout, facts.signs.unheard(now)
        due = self.silence_due
        if facts.turn.doubt is not None:
            due = min(due, unheard)
        if unheard >= due:
            return attrs.evolve(self, silence_due=due), ReadStored()
        pause = limit - min(unheard, limit - facts.limits.confirmation)
        at = now + pause
        schedule = attrs.evolve(self, at=at, pause=pause, silence_due=limit, over_before=False)
        return schedule, Wait(at)

    def read_again(self, facts: Facts, now: float) -> Schedule:
        limits = facts.limits
        over = facts.reading.outcome in (TurnOutcome.FINISHED, TurnOutcome.BROKEN_OFF)
        longer = max(self.pause, limits.confirmation) * 2
        pause = min(limits.confirmation if over else longer, limits.settle_timeout)
        left = facts.patience - facts.signs.silence(now)
        if left > 0:  # a reading is due when patience ends
            pause = min(pause, max(left, limits.busy_pause))
        return attrs.evolve(self, at=now + pause, pause=pause, over_before=over, unjudged=False)

    def after_others(self, facts: Facts, now: float) -> Schedule:
        """Return the schedule after an event of another turn, which may be this one's end."""
        doubt = facts.turn.doubt
        if doubt is None or doubt is self.doubt:
            return self
        pause = facts.doubt_pause
        return attrs.evolve(self, at=min(self.at, now + pause), pause=pause, doubt=doubt)


@attrs.frozen(kw_only=True)
class _CutSchedule(Schedule):
    """Reads the stored messages at growing intervals, unless the server may replay the rest.

    It begins once there is a connection.
    """

    concern = Concern.CUT

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        return cls(at=now + facts.first_pause, pause=facts.first_pause)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        limits, signs = facts.limits, facts.signs
        if not signs.connected:
            return self, Wait()
        if now < self.at:
            return self, Wait(self.at)
        pause = min(self.pause * 2, limits.slowest_reading, limits.settle_timeout / 8)
        schedule = attrs.evolve(self, at=now + pause, pause=pause)
        if facts.continued:
            postponed = signs.silence(now) < limits.settle_timeout / 2
        else:
            replay_possible = (
                signs.up_since_restored(now) < limits.replay and signs.up(now) < limits.live
            )
            postponed = facts.continued is None and replay_possible
        # Its events arrive again and can be attributed to it: read once per settle_timeout.
        known = signs.attached and (facts.turn.bound or not facts.traits.ids)
        if postponed or (known and signs.since_reading(now) < limits.settle_timeout):
            return schedule, Wait(schedule.at)
        return schedule, ReadStored()


@attrs.frozen(kw_only=True)
class _AnsweredSchedule(Schedule):
    """Waits for events after the HTTP answer, for as long as they keep coming."""

    concern = Concern.ANSWERED

    until: float
    """When it stops to wait."""
    seen: int
    """How many events had come at the last look."""

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        limits, events = facts.limits, facts.turn.events
        return cls(at=now + limits.quiet_events, until=now + limits.late_events, seen=events)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        turn, schedule = facts.turn, self
        if now >= self.at and turn.events != self.seen:
            quiet = now + facts.limits.quiet_events
            schedule = attrs.evolve(self, at=quiet, seen=turn.events)
        due = min(schedule.at, self.until)
        if now < due:
            return schedule, Wait(due)
        return schedule, Complete(events_lost=not turn.text.startswith("/"))


@attrs.frozen(kw_only=True)
class _EndedSchedule(Schedule):
    """Waits for the HTTP answer after the terminal event."""

    concern = Concern.ENDED

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        return cls(at=now + facts.limits.cleanup_timeout)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision | None]:
        if facts.post.open and now < self.at:
            return self, Wait(self.at)
        # A refusal that came before an error confirms, as one after it does, that the turn failed.
        refused = facts.turn.failed and facts.post.refusal is not None
        if facts.turn.due.answer and not (facts.turn.ended_as_command or refused):
            return self, None  # without the answer, the event may have been another client's
        return self, Complete()


@attrs.frozen(kw_only=True)
class _CheckSchedule(Schedule):
    """Reads the stored messages of a turn that is over, for a limited time."""

    concern = Concern.CHECK

    until: float
    """When it stops to read."""
    goes_on: bool | None = None
    """Whether the rows showed last that the turn goes on: its end was another turn's, or is not
    stored. None: they were not read."""

    @classmethod
    def begin(cls, facts: Facts, now: float) -> Self:
        limits = facts.limits
        return cls(at=now, pause=limits.first_reading, until=now + limits.gap)

    def next(self, facts: Facts, now: float) -> tuple[Schedule, Decision]:
        if now >= self.until:
            proof = self.concern is Concern.PROOF
            unproven = proof or (self.goes_on is None and facts.turn.failed)
            return self, Complete(doubtful=bool(self.goes_on) and not proof, unproven=unproven)
        return self, Wait(min(self.at, self.until)) if now < self.at else ReadStored(self.until)

    def read_again(self, facts: Facts, now: float) -> Schedule:
        outcome = facts.reading.outcome
        goes_on = self.goes_on if outcome is None else outcome is TurnOutcome.UNFINISHED
        at = now + self.pause
        return attrs.evolve(self, at=at, pause=self.pause * 2, goes_on=goes_on, unjudged=False)


@attrs.frozen(kw_only=True)
class _ProofSchedule(_CheckSchedule):
    """Reads the stored messages to find whose the terminal event was."""

    concern = Concern.PROOF


SCHEDULES: Final[dict[Concern, type[Schedule]]] = {
    each.concern: each
    for each in (
        SessionSchedule,
        _PostSchedule,
        BusySchedule,
        RunningSchedule,
        _CutSchedule,
        _AnsweredSchedule,
        _EndedSchedule,
        _CheckSchedule,
        _ProofSchedule,
    )
}
"""The class of the schedule of each concern."""

COUNTING: Final = frozenset((Concern.SESSION, Concern.BUSY, Concern.RUNNING, Concern.CUT))
"""The concerns that count signs of life from their beginning."""
