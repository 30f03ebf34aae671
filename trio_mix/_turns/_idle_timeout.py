"""Decide how long a stream may be silent before its connection counts as lost.

Rule 1  A number given by the user is that number; None means never.
Rule 2  "auto" means never until two heartbeats in a row have shown the server's interval: a guess
        would end healthy streams of servers with a longer one.
Rule 3  The longest interval seen counts; it decreases slowly, so that one stall has no lasting
        effect. An interval that ended a connection is forgotten: it may have been a burst's.
Rule 4  Comments show an interval, too, but only if they are regular: two intervals in a row differ
        by less than half of the longer one. Comments less than a second apart are one. If a server
        sends heartbeats and comments, the longer interval counts, because either may stop.
Rule 5  While a pipeline server runs a turn it sends no heartbeats: "auto" is off, and an interval
        with a turn does not count.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

_BEATS: Final = 2.5
_LEAST: Final = 1.0
_DECAY: Final = 0.1
_ONE_COMMENT: Final = 1.0
_REGULAR: Final = 0.5


@attrs.define
class _Cadence:
    """The interval of one kind of signs of life."""

    last: float | None = None
    interval: float | None = None

    def beat(self, now: float) -> None:
        if self.last is not None and now > self.last:
            interval = now - self.last
            slowest = interval if self.interval is None else max(self.interval, interval)
            self.interval = slowest - (slowest - interval) * _DECAY
        self.last = now


class IdleTimeout:
    """The time limit for each read of the socket."""

    def __init__(self, setting: float | Literal["auto"] | None) -> None:
        self._setting: float | Literal["auto"] | None = setting
        self._beats = _Cadence()
        self._comments = _Cadence()
        self._first_interval: float | None = None  # of comments, until a second one confirms it

    def beat(self, now: float) -> None:
        """Record a heartbeat."""
        self._beats.beat(now)

    def comment(self, now: float) -> None:
        """Record a comment (rule 4)."""
        last = self._comments.last
        if last is not None and self._comments.interval is None:
            interval = now - last
            if interval < _ONE_COMMENT:
                return
            first, self._first_interval = self._first_interval, interval
            if first is None or abs(interval - first) >= _REGULAR * max(interval, first):
                self._comments.last = now
                return
        if last is None or now - last >= _ONE_COMMENT:
            self._comments.beat(now)

    def expired(self) -> None:
        """Record that the silence was too long: the interval is learnt again."""
        self._beats, self._comments = _Cadence(), _Cadence()
        self._first_interval = None

    def interrupted(self) -> None:
        """Record a loss or a turn: the current interval does not count."""
        self._beats.last = self._comments.last = None

    def timeout(self, *, pauses: bool) -> float | None:
        """Return the seconds that silence may last, or None for no limit.

        Args:
          pauses: whether the server sends no heartbeats now.
        """
        if self._setting != "auto":
            return self._setting
        longest = max(self._beats.interval or 0.0, self._comments.interval or 0.0)
        if pauses or not longest:
            return None
        return max(longest * _BEATS, _LEAST)
