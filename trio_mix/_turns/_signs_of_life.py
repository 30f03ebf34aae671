"""When a turn, and its session, last showed life.

Silence counts only the time with a connection, for events cannot come without one: the times of the
events move on by each time without one. What is read from the stored messages does not depend on
it: absence, and the age of a reading, count all time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from trio_mix._turns._stored_turn import TurnOutcome

if TYPE_CHECKING:
    from trio_mix._turns._decisions import Reading


@attrs.frozen(kw_only=True)
class SignsOfLife:
    """When a turn, and its session, last showed life; each change returns another value.

    Times are in seconds, those of one steady clock.
    """

    began: float
    """Everything counts from then on; later by the time without a connection, as the next three."""
    restored: float
    """When the connection was last restored, or ``began``."""
    last_sign: float
    """When an event was last the turn's own, or more was stored of it."""
    last_heard: float
    """When an event last was, or may have been, the turn's own."""
    lost_at: float | None = None
    """When the connection was lost; None: there is one."""
    own: int = 0
    """How many events were the turn's own at the last look."""
    heard: int = 0
    """How many events may have been its own by then."""
    attached: bool = False
    """Whether an event of the turn has come on this connection that was no replay."""
    growth: int = 0
    """How much was stored of the turn at the last reading."""
    absent_since: float | None = None
    """Since when the turn has been absent from the stored messages; None: it was not."""
    read_at: float = -math.inf
    """When the stored messages were last read."""
    weight: int = -1
    """The weight of the last reading (`Reading.weight`); -1: there was none."""
    idle_readings: int = 0
    """In how many equal readings in a row the session was idle, while the server was busy."""
    idle_since: float = math.inf
    """When the first of them was made."""
    others_worked: bool = False
    """Whether a reading while the server was busy showed another turn at work, or new rows."""
    others_at: float
    """When another turn of the session last showed life."""

    @classmethod
    def begin(
        cls, now: float, *, connected: bool = True, own: int = 0, heard: int = 0
    ) -> SignsOfLife:
        """Return the signs of a turn of which only what comes from now on counts.

        Args:
          now: the time.
          connected: whether there is a connection.
          own: how many events have been the turn's own so far.
          heard: how many events have been, or may have been, its own so far.
        """
        return cls(
            began=now,
            restored=now,
            last_sign=now,
            last_heard=now,
            lost_at=None if connected else now,
            own=own,
            heard=heard,
            others_at=now,
        )

    # -- changes ------------------------------------------------------------------------

    def after_loss(self, now: float) -> SignsOfLife:
        """Return the signs once the connection is lost."""
        return attrs.evolve(self, lost_at=now) if self.connected else self

    def after_restoration(self, now: float) -> SignsOfLife:
        """Return the signs once there is a connection again."""
        away = 0.0 if self.lost_at is None else now - self.lost_at
        return attrs.evolve(
            self,
            began=self.began + away,
            restored=now,
            last_sign=self.last_sign + away,
            last_heard=self.last_heard + away,
            lost_at=None,
            attached=False,
        )

    def after_events(self, now: float, *, own: int, heard: int, live: bool) -> SignsOfLife:
        """Return the signs after a look at the turn's events.

        Args:
          now: the time.
          own: how many events have been the turn's own so far.
          heard: how many events have been, or may have been, its own so far.
          live: whether an event that has come cannot be a replay.
        """
        signs, counted = self, self._counted(now)
        if heard != self.heard:
            signs = attrs.evolve(signs, heard=heard, last_heard=counted)
        if own != self.own:
            signs = attrs.evolve(signs, own=own, last_sign=counted, attached=live)
        return signs

    def after_reading(self, now: float, reading: Reading, *, queued: bool) -> SignsOfLife:
        """Return the signs after a reading of the stored messages.

        Args:
          now: the time.
          reading: the reading.
          queued: whether the message may be queued behind another turn, whose growth counts too.
        """
        verdict = reading.verdict
        if verdict is None:
            return self
        grown = verdict.growth > self.growth or (queued and reading.weight != self.weight)
        absent = verdict.outcome is TurnOutcome.ABSENT and not reading.at_work
        absent_since = now if self.absent_since is None else self.absent_since
        return attrs.evolve(
            self,
            read_at=now,
            growth=max(verdict.growth, self.growth),
            weight=reading.weight,
            last_sign=self._counted(now) if grown else self.last_sign,
            # A busy session may have the message in its queue.
            absent_since=absent_since if absent else None,
        )

    def after_others(self, now: float) -> SignsOfLife:
        """Return the signs after an event of another turn of the session."""
        return attrs.evolve(self, others_at=now)

    def after_reading_before(self, now: float, reading: Reading, *, active: bool) -> SignsOfLife:
        """Return the signs after a reading before the message is sent.

        Args:
          now: the time.
          reading: the reading; at the first one, the age of the newest row counts.
          active: whether an event has shown that another turn is at work.
        """
        if reading.verdict is None or reading.weight == self.weight:
            return self
        age = (reading.age or 0.0) if self.weight == -1 and not active else 0.0
        return attrs.evolve(self, weight=reading.weight, others_at=now - age)

    def after_reading_while_busy(self, now: float, reading: Reading) -> SignsOfLife:
        """Return the signs after a reading while the server was busy with another turn."""
        grown = reading.weight != self.weight
        signs = attrs.evolve(self, idle_readings=0) if grown or reading.at_work else self
        return attrs.evolve(
            signs,
            weight=reading.weight,
            others_at=now if grown else self.others_at,
            others_worked=self.others_worked or reading.at_work or (grown and self.weight >= 0),
            idle_readings=0 if reading.at_work else signs.idle_readings + 1,
            idle_since=self.idle_since if signs.idle_readings else now,
        )

    # -- what they show -----------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self.lost_at is None

    def silence(self, now: float) -> float:
        """Return the seconds since the last event, or growth of the turn's rows."""
        return self._counted(now) - self.last_sign

    def unheard(self, now: float) -> float:
        """Return the seconds since the last event that was, or may have been, the turn's."""
        return self._counted(now) - self.last_heard

    def up(self, now: float) -> float:
        """Return the seconds with a connection since `begin`."""
        return self._counted(now) - self.began

    def up_since_restored(self, now: float) -> float:
        """Return the seconds since the connection was restored, or since `begin`."""
        return self._counted(now) - self.restored

    def since_reading(self, now: float) -> float:
        """Return the seconds since the stored messages were read."""
        return now - self.read_at

    def absent(self, now: float) -> float:
        """Return the seconds for which the turn has been absent from the stored messages."""
        return 0.0 if self.absent_since is None else now - self.absent_since

    def session_silence(self, now: float) -> float:
        """Return the seconds since another turn's last event, or the last growth of the rows."""
        return now - self.others_at

    def session_is_quiet(
        self, now: float, patience: float, *, goes_on: bool, confirmation: float
    ) -> bool:
        """Return whether the session was idle in two equal readings, or did not grow for a while.

        Args:
          now: the time.
          patience: the seconds without growth.
          goes_on: whether the rows show that a turn has not ended, so that its silence is no end.
          confirmation: the seconds for which it must have been idle.
        """
        silent = self.session_silence(now) >= patience and not goes_on
        idle = self.idle_readings > 1 and now - self.idle_since >= confirmation
        return idle or silent

    def _counted(self, now: float) -> float:
        """Return the time up to which silence counts."""
        return now if self.lost_at is None else self.lost_at
