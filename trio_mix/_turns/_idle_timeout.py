"""Decide how long a stream may be silent before its connection counts as lost.

Rule 1  A number given by the user is that number; None means never.
Rule 2  "auto" means never until two heartbeats in a row have shown the server's interval: a guess
        would end healthy streams of servers with a longer one.
Rule 3  The longest interval seen counts; it decreases slowly, so that one stall has no lasting
        effect. An interval that ended a connection is forgotten: it may have been a burst's.
Rule 4  While a pipeline server runs a turn it sends no heartbeats: "auto" is off, and an interval
        with a turn does not count.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["IdleTimeout"]

_BEATS: Final = 2.5
_LEAST: Final = 1.0
_DECAY: Final = 0.1


class IdleTimeout:
    """The time limit for each read of the socket."""

    def __init__(self, setting: float | Literal["auto"] | None) -> None:
        self._setting: float | Literal["auto"] | None = setting
        self._last_beat: float | None = None
        self._interval: float | None = None

    def beat(self, now: float) -> None:
        """Record a heartbeat."""
        if self._last_beat is not None and now > self._last_beat:
            interval = now - self._last_beat
            slowest = interval if self._interval is None else max(self._interval, interval)
            self._interval = slowest - (slowest - interval) * _DECAY
        self._last_beat = now

    def expired(self) -> None:
        """Record that the silence was too long: the interval is learnt again."""
        self._interval = self._last_beat = None

    def interrupted(self) -> None:
        """Record a loss or a turn: the current interval does not count."""
        self._last_beat = None

    def timeout(self, *, pauses: bool) -> float | None:
        """Return the seconds that silence may last, or None for no limit.

        Args:
          pauses: whether the server sends no heartbeats now.
        """
        if self._setting != "auto":
            return self._setting
        if self._interval is None or pauses:
            return None
        return max(self._interval * _BEATS, _LEAST)
