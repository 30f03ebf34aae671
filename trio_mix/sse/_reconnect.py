"""Decide when to connect again: a pure schedule of delays, without clock or I/O.

The rules (tests cite the numbers):

1. If a connection that was open for ``stable_after`` is lost, the next attempt follows almost at
   once, after a small jitter, so that the clients of one server do not all return at the same
   moment. Only such a connection ends a series of failures.
2. Otherwise the delay is random between zero and a bound, which grows by ``exponent`` with each
   failure from ``initial_interval`` up to the ceiling ("full jitter").
3. The ceiling is ``max_interval``. A server's ``retry`` lowers it (``"ceiling"``), is the shortest
   delay instead (``"obey"``, limited to ``max_interval``), or is ignored (``"ignore"``).
4. ``Retry-After`` is obeyed, limited to ``max_interval``, plus a jitter.
5. ``max_elapsed_time`` counts from the loss, or from the first attempt. Once it is over, no attempt
   starts after the third. ``None`` means no limit, 0 means no further attempt. The time that the
   machine or the process was asleep does not count.
6. A planned drop is not a failure: the next attempt follows at once, and no delay grows.
"""

from __future__ import annotations

import math
import random
from typing import Final, Literal, Protocol, TypeAlias, final, get_args

import attrs

from trio_mix._public import public
from trio_mix.errors import ConfigurationError, ReconnectFailed
from trio_mix.errors._base import beginning

# What rounding may leave of the time limit. So short a sleep may not advance a clock at all, and a
# clock that advances only in sleeps, as in tests, would never reach the limit.
_ROUNDING = 1e-6

_LEAST_ATTEMPTS = 3

# Shared by all streams: a generator takes 3 KB. SystemRandom, so that forked processes do not draw
# the same delays.
_jitter: Final = random.SystemRandom()

ServerRetry: TypeAlias = Literal["ceiling", "obey", "ignore"]


class Uniform(Protocol):
    """The part of a random number generator that is used."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between ``a`` and ``b``."""
        ...


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@public("trio_mix.sse")
@final
@attrs.frozen
class ReconnectPolicy:
    """How a lost stream is connected again, and for how long.

    Raises:
      ConfigurationError: an argument is invalid; the text has its name and value.
    """

    initial_interval: float = 0.5
    """Seconds; the delay after the first failure is random between zero and this."""
    max_interval: float = 60.0
    """Seconds; no delay is longer (except for the jitter added to a ``Retry-After``)."""
    exponent: float = 1.5
    """The factor by which the bound of the delay grows with each failure."""
    max_elapsed_time: float | None = 600.0
    """Seconds since the loss after which the stream fails, but not before three attempts; `None`
    for never, 0 for at once. Time in which the machine or the process was asleep does not count."""
    stable_after: float = 5.0
    """How long a connection must have been open for its loss to begin a new series of attempts,
    in seconds. 0 means any connection that was opened, which suits servers that end the response
    after each event."""
    server_retry: ServerRetry = "ceiling"
    """How the stream's ``retry`` field is used: ``"ceiling"``, as the longest delay, but not less
    than ``initial_interval``; ``"obey"``, as the shortest delay; ``"ignore"``, not at all."""

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
            raise self._wrong("exponent", "a number, 1 or more")
        if self.server_retry not in get_args(ServerRetry):
            raise self._wrong("server_retry", "one of 'ceiling', 'obey' and 'ignore'")

    def _wrong(self, name: str, rule: str) -> ConfigurationError:
        return ConfigurationError(
            f"ReconnectPolicy({name}={getattr(self, name)!r}) is invalid: {name} must be {rule}"
        )


@public("trio_mix.sse")
@final
class ReconnectSchedule:
    """Compute the delays before the connection attempts of one stream.

    Each call takes the time of the event it reports, on any monotonic clock. Call `begin` before
    each attempt, then `opened` and later `lost`, or only `lost` if the attempt failed.

    Args:
      policy: the policy to follow.
      rng: the source of jitter, for instance a seeded `random.Random` in tests.

    Attributes:
      policy: the policy.
      server_retry: the server's last ``retry`` in seconds; set it when it is received.
      failures: the number of failures and losses since the last stable connection.
      attempts: the number of attempts since the loss.
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
        """Note that an attempt starts; ``max_elapsed_time`` counts from the first of a series."""
        self.attempts += 1
        if self._since is None:
            self._since = now

    def asleep(self, seconds: float) -> None:
        """Note that a wait took longer than asked, because nothing ran (rule 5)."""
        if self._since is not None:
            self._since += seconds

    def opened(self, now: float) -> None:
        """Note that the stream is open."""
        self._opened_at = now

    def planned(self, now: float) -> None:
        """Note that the connection was dropped on purpose: the next attempt may start at once."""
        if self._was_stable(now):
            self.failures = 0
        self._opened_at = None
        if not self.failures:
            self.attempts = 0
            self._since = None

    def lost(self, now: float, *, retry_after: float | None = None) -> float | None:
        """Note that an attempt failed, or that the connection was lost.

        Args:
          now: the time of the failure.
          retry_after: the seconds that the server asked for in ``Retry-After``.

        Returns:
          The seconds to wait before the next attempt, or `None` to give up.
        """
        stable = self._was_stable(now)
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
        if remaining is None or (self.attempts < _LEAST_ATTEMPTS and self.policy.max_elapsed_time):
            return delay
        if remaining <= _ROUNDING or (retry_after is not None and delay > remaining):
            return None
        return min(delay, remaining)

    def elapsed(self, now: float) -> float:
        """Return the seconds since the loss, or since the first attempt."""
        return 0.0 if self._since is None else max(0.0, now - self._since)

    def remaining(self, now: float) -> float | None:
        """Return the seconds within which an attempt may still start, `None` for no limit."""
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
            # As logarithms: exponent**failures would overflow after many failures.
            grown = math.log(policy.initial_interval)
            grown += (self.failures - 1) * math.log(policy.exponent)
            high = math.exp(grown) if grown < math.log(ceiling) else ceiling
        else:
            high = policy.initial_interval / 4
        high = min(ceiling, max(high, low * 1.1))
        return min(high, self._rng.uniform(low, high))


def reconnect_failed(
    schedule: ReconnectSchedule, now: float, url: str, session_id: str, reason: str, *, lost: bool
) -> ReconnectFailed:
    """Return the error for a stream that the schedule has given up.

    Args:
      schedule: the schedule.
      now: the time.
      url: the stream's URL, without password.
      session_id: the session.
      reason: why the last attempt, or the connection, failed.
      lost: whether the stream was open before.
    """
    elapsed, attempts = schedule.elapsed(now), schedule.attempts
    what = "was lost and could not be reopened" if lost else "could not be opened"
    return ReconnectFailed(
        f"The event stream {url} {what} within"
        f" max_elapsed_time={schedule.policy.max_elapsed_time:g} s ({attempts} connection attempts"
        f" in {elapsed:.1f} s); the last failure was: {beginning(reason)}. Check the server, or"
        " allow more time in ReconnectPolicy.",
        url=url,
        session_id=session_id,
        attempts=attempts,
        elapsed=elapsed,
    )
