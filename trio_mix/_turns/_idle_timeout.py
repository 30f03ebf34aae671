"""How long a stream may be silent before it is taken for dead.

What it knows: when heartbeats came, and when silence is normal. What it must never know: sockets,
the clock (times are handed in), what is done about a dead stream.

Rule 1  A number given by the user is that number; None is never.
Rule 2  "auto" is never until two heartbeats in a row have shown the server's cadence: a guess
        would kill healthy streams of servers with another one.
Rule 3  The slowest cadence seen counts; it wears off slowly, so that one stall is not for ever. A
        cadence that took a stream for dead is forgotten: it may have been a burst's.
Rule 4  While a pipeline server runs a turn it sends no heartbeats: "auto" rests, and an interval
        that saw a turn does not count for the cadence.
"""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["IdleTimeout"]

_BEATS: Final = 2.5
_LEAST: Final = 1.0
_WEAR: Final = 0.1


class IdleTimeout:
    """Answers, before each read of the socket, how long it may take."""

    def __init__(self, setting: float | Literal["auto"] | None) -> None:
        self._setting: float | Literal["auto"] | None = setting
        self._last_beat: float | None = None
        self._cadence: float | None = None

    def beat(self, now: float) -> None:
        """Take in a heartbeat."""
        if self._last_beat is not None and now > self._last_beat:
            interval = now - self._last_beat
            slowest = interval if self._cadence is None else max(self._cadence, interval)
            self._cadence = slowest - (slowest - interval) * _WEAR
        self._last_beat = now

    def expired(self) -> None:
        """Take in that the silence was too long: the cadence is learnt anew."""
        self._cadence = self._last_beat = None

    def interrupted(self) -> None:
        """Take in what makes the next interval meaningless: a loss, or a turn."""
        self._last_beat = None

    def timeout(self, *, pauses: bool) -> float | None:
        """Return the seconds that silence may last, or None for ever.

        Args:
          pauses: whether the server is known to send no heartbeats just now.
        """
        if self._setting != "auto":
            return self._setting
        if self._cadence is None or pauses:
            return None
        return max(self._cadence * _BEATS, _LEAST)
