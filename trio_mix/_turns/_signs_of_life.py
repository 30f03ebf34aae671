"""When a turn last showed life.

Silence counts only the time with a connection, for events cannot come without one. What is read
from the stored messages does not depend on it: absence, and the age of a reading, count all time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from trio_mix._turns._stored_turn import TurnOutcome

if TYPE_CHECKING:
    from trio_mix._turns._decisions import Reading
    from trio_mix._turns._turn import Turn

__all__ = ["SignsOfLife"]


class SignsOfLife:
    """Compares what is known of a turn from one look to the next.

    Args:
      turn: the turn.
      now: the time; the stream is connected.

    Attributes:
      connected: whether there is a connection now.
      attached: whether an event of the turn has come on this connection that was no replay.
    """

    def __init__(self, turn: Turn, now: float) -> None:
        self.connected: bool = True
        self._turn = turn
        self.begin(now)

    def begin(self, now: float) -> None:
        """Count everything from now on."""
        # The time with a connection, and when that was.
        self._clock, self._clock_at = 0.0, now
        self._restored = self._last_sign = self._last_heard = 0.0
        self._events, self._heard = self._turn.events, self._turn.heard
        self._growth = 0
        self._absent_since: float | None = None
        self._read_at = -math.inf
        self.attached: bool = False
        self._weight = self._session_weight = -1
        self._others_at = now
        self._idle_before = False

    def connection_lost(self, now: float) -> None:
        """Stop the clock."""
        self._advance(now)
        self.connected = False

    def connection_restored(self, now: float) -> None:
        """Start the clock again."""
        self._advance(now)
        self.connected = True
        self.attached = False
        self._restored = self._clock

    def note_events(self, now: float, *, live: bool) -> None:
        """Look at the turn's events.

        Args:
          now: the time.
          live: whether an event that has come cannot be a replay.
        """
        self._advance(now)
        turn = self._turn
        if turn.heard != self._heard:
            self._heard, self._last_heard = turn.heard, self._clock
        if turn.events != self._events:
            self._events, self._last_sign = turn.events, self._clock
            self.attached = live

    def note_reading(self, now: float, reading: Reading) -> None:
        """Look at a reading of the stored messages."""
        verdict = reading.verdict
        if verdict is None:
            return
        self._read_at = now
        if verdict.growth > self._growth:
            self._growth, self._last_sign = verdict.growth, self._clock
        if self._turn.resumed and reading.weight != self._session_weight:
            # Another turn, behind which the message may be queued, goes on or has ended.
            self._session_weight, self._last_sign = reading.weight, self._clock
        if verdict.outcome is not TurnOutcome.ABSENT or reading.at_work:
            self._absent_since = None  # a busy session may have the message in its queue
        elif self._absent_since is None:
            self._absent_since = now

    def note_others(self, now: float) -> None:
        """Note an event of another turn of the session."""
        self._others_at = now

    def note_session(self, now: float, reading: Reading, *, active: bool) -> None:
        """Look at a reading of the stored messages before the message is sent.

        Args:
          now: the time.
          reading: the reading; at the first one, the age of the newest row counts.
          active: whether an event has shown that another turn is at work.
        """
        if reading.verdict is not None and reading.weight != self._weight:
            first, self._weight = self._weight == -1 and not active, reading.weight
            self._others_at = now - (reading.age or 0.0) if first else now

    def session_silence(self, now: float) -> float:
        """Return the seconds since another turn's last event, or the last growth of the rows."""
        return now - self._others_at

    def session_is_quiet(self, now: float, reading: Reading, patience: float) -> bool:
        """Return whether the session was idle in two readings, or did not grow for a while."""
        if reading.weight != self._weight:
            self._weight, self._others_at = reading.weight, now
        idle = not reading.at_work
        twice, self._idle_before = idle and self._idle_before, idle
        return twice or now - self._others_at >= patience

    @property
    def silence(self) -> float:
        """Seconds since the last event, or growth of the turn's rows."""
        return self._clock - self._last_sign

    @property
    def unheard(self) -> float:
        """Seconds since the last event that was, or may have been, the turn's."""
        return self._clock - self._last_heard

    @property
    def up(self) -> float:
        """Seconds with a connection since `begin`."""
        return self._clock

    @property
    def up_since_restored(self) -> float:
        """Seconds since the connection was restored, or since `begin`."""
        return self._clock - self._restored

    def since_reading(self, now: float) -> float:
        """Return the seconds since the stored messages were read."""
        return now - self._read_at

    def absent(self, now: float) -> float:
        """Return the seconds for which the turn has been absent from the stored messages."""
        return 0.0 if self._absent_since is None else now - self._absent_since

    def _advance(self, now: float) -> None:
        if self.connected:
            self._clock += now - self._clock_at
        self._clock_at = now
