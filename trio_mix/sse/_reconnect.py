"""Decide when to connect again: a pure schedule, fed with times and outcomes, returning delays.

What it knows: how long connections lived, what failed, what the server asked for.
What it must never know: how to sleep or connect, or what time it is.

The rules it keeps (the tests cite the numbers):

1. A connection that lived for ``stable_after`` and is lost is made again almost at once, with a
   small jitter so that thousands of clients of one server do not come back in step. Only such a
   connection ends a series of failures; one that merely opened does not.
2. Otherwise the delay is drawn evenly between zero and a bound that grows by ``exponent`` with
   each failure, from ``initial_interval`` up to the ceiling ("full jitter").
3. The ceiling is ``max_interval``; a server's ``retry`` lowers it (``"ceiling"``), is the least
   delay instead (``"obey"``, itself held to ``max_interval``), or means nothing (``"ignore"``).
4. ``Retry-After`` is obeyed, held to ``max_interval``, plus a jitter.
5. The budget ``max_elapsed_time`` counts from the loss, or from the first connect: no attempt
   starts after it. ``None`` is for ever, 0 never tries again.
6. A planned drop is no failure: the next connect is made at once, and nothing grows.
"""

from __future__ import annotations

import math
import random
from typing import Final, Literal, Protocol, TypeAlias, final, get_args

import attrs

from trio_mix._public import public
from trio_mix.errors import ConfigurationError

__all__ = ["ReconnectPolicy", "ReconnectSchedule", "ServerRetry"]

# What rounding leaves of a budget: a sleep this short may not move a clock at all, and a clock that
# only moves in sleeps, as a test's does, would never reach the end.
_NOTHING = 1e-6

# One for all streams, each of which would take 3 KB more with its own. The system's, so that no two
# processes that were forked draw the same delays.
_jitter: Final = random.SystemRandom()

ServerRetry: TypeAlias = Literal["ceiling", "obey", "ignore"]


class Uniform(Protocol):
    """The one thing that is asked of a random number generator."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between the two."""
        ...


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@public("trio_mix.sse")
@final
@attrs.frozen
class ReconnectPolicy:
    """Say how a lost stream is connected again, and for how long it is tried.

    Raises:
      ConfigurationError: an argument that makes no sense, named with its value.
    """

    initial_interval: float = 0.5
    """Seconds; the delay after a first failure is drawn between zero and this."""
    max_interval: float = 60.0
    """Seconds; no delay is longer (but for the jitter on top of a ``Retry-After``)."""
    exponent: float = 1.5
    """The factor by which the bound of the delay grows with each failure."""
    max_elapsed_time: float | None = 600.0
    """Seconds since the loss after which it is given up; `None` for never, 0 for at once."""
    stable_after: float = 5.0
    """Seconds a connection must have lived for its loss to start afresh. With 0 each one does
    that opened at all, which fits servers that end the response after each event."""
    server_retry: ServerRetry = "ceiling"
    """What the stream's ``retry`` field means: ``"ceiling"``, the longest delay, but never
    shorter than ``initial_interval``; ``"obey"``, the shortest; ``"ignore"``, nothing."""

    def __attrs_post_init__(self) -> None:
        for name in ("initial_interval", "max_interval"):
            value = getattr(self, name)
            if not _is_number(value) or value <= 0:
                raise self._wrong(name, "a time in seconds, a finite number, more than 0")
        if not _is_number(self.stable_after) or self.stable_after < 0:
            raise self._wrong("stable_after", "a time in seconds, a finite number, 0 or more")
        if self.max_elapsed_time is not None and (
            not _is_number(self.max_elapsed_time) or self.max_elapsed_time < 0
        ):
            raise self._wrong(
                "max_elapsed_time", "a time in seconds, 0 or more, or None for no limit"
            )
        if not _is_number(self.exponent) or self.exponent < 1:
            raise self._wrong("exponent", "the factor by which delays grow, 1 or more")
        if self.server_retry not in get_args(ServerRetry):
            raise self._wrong("server_retry", "one of 'ceiling', 'obey' and 'ignore'")

    def _wrong(self, name: str, rule: str) -> ConfigurationError:
        return ConfigurationError(
            f"ReconnectPolicy({name}={getattr(self, name)!r}) cannot work: {name} is {rule}"
        )

    def schedule(self, *, rng: Uniform | None = None) -> ReconnectSchedule:
        """Make a schedule for one stream.

        Args:
          rng: the source of jitter, a `random.Random` for instance; tests pass a seeded one.
        """
        return ReconnectSchedule(self, rng=rng)


@public("trio_mix.sse")
@final
class ReconnectSchedule:
    """Compute the delays before the connects of one stream, one after the other.

    Feed it with what happens, and with the time at which it happened, of any steady clock:
    `begin` once, then `opened` and `lost` in turn, or `lost` alone when a connect failed.

    Attributes:
      policy: the policy it follows.
      server_retry: the last ``retry`` of the server in seconds; set it as it comes.
      failures: how many losses in a row no stable connection has made good for.
      attempts: how many connects were tried since the loss.
    """

    __slots__ = (
        "_opened_at",
        "_rng",
        "_since",
        "attempts",
        "failures",
        "policy",
        "server_retry",
    )

    def __init__(self, policy: ReconnectPolicy, *, rng: Uniform | None = None) -> None:
        self.policy: ReconnectPolicy = policy
        self.server_retry: float | None = None
        self.failures: int = 0
        self.attempts: int = 0
        self._rng: Uniform = rng if rng is not None else _jitter
        self._since: float | None = None
        self._opened_at: float | None = None

    def begin(self, now: float) -> None:
        """Note that the next connect starts now; what counts is the first one of a series."""
        self.attempts += 1
        if self._since is None:
            self._since = now

    def opened(self, now: float) -> None:
        """Note that the server has answered, and the stream runs."""
        self._opened_at = now

    def planned(self, now: float) -> None:
        """Note that the connection was dropped on purpose: the next one is made at once."""
        if self._was_stable(now):
            self.failures = 0
        self._opened_at = None
        if not self.failures:
            self.attempts = 0
            self._since = None

    def lost(self, now: float, *, retry_after: float | None = None) -> float | None:
        """Note that a connect failed, or that the connection was lost.

        Args:
          now: the time of it.
          retry_after: the seconds that a refusing server asked for in ``Retry-After``.

        Returns:
          The seconds to wait before the next connect, or `None` to give up.
        """
        stable = self._opened_at is not None and now - self._opened_at >= self.policy.stable_after
        self._opened_at = None
        if stable:
            self.failures = 0
            self.attempts = 0
            self._since = now
        else:
            self.failures += 1
            if self._since is None:
                self._since = now
        if retry_after is None:
            delay = self._delay()
        else:
            delay = min(max(retry_after, 0.0), self.policy.max_interval)
            delay += self._rng.uniform(0.0, self.policy.initial_interval)
        remaining = self.remaining(now)
        if remaining is None:
            return delay
        if remaining <= _NOTHING or (retry_after is not None and delay > remaining):
            return None
        return min(delay, remaining)

    def elapsed(self, now: float) -> float:
        """Return the seconds since the loss, or since the first connect."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    def remaining(self, now: float) -> float | None:
        """Return the seconds in which a connect may still start, `None` for no limit."""
        limit = self.policy.max_elapsed_time
        return None if limit is None else limit - self.elapsed(now)

    def _was_stable(self, now: float) -> bool:
        return self._opened_at is not None and now - self._opened_at >= self.policy.stable_after

    def _delay(self) -> float:
        policy = self.policy
        low, ceiling = 0.0, policy.max_interval
        if self.server_retry is not None:
            if policy.server_retry == "ceiling":
                ceiling = min(ceiling, max(self.server_retry, policy.initial_interval))
            elif policy.server_retry == "obey":
                low = min(ceiling, self.server_retry)
        if self.failures:
            # As logarithms: exponent**failures overflows in a stream that is tried for ever.
            grown = math.log(policy.initial_interval)
            grown += (self.failures - 1) * math.log(policy.exponent)
            high = math.exp(grown) if grown < math.log(ceiling) else ceiling
        else:
            high = policy.initial_interval / 4
        high = min(ceiling, max(high, low * 1.1))
        return min(high, self._rng.uniform(low, high))
