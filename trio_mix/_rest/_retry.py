"""Trying an operation again: when, how often, and when never.

What it knows: the retry settings, the statuses, ``Retry-After``.
What it must never know: HTTP, or what the operation does.

Rules:

1. An operation that is not safe to repeat is tried again only when no byte of it has left
   (`TransportError.sent` is false), never on a status: the server may have run it.
2. A safe one is tried again on the statuses of the settings, and when no answer came.
3. The pauses grow by the factor up to the ceiling, each shortened by chance to between half and
   all of itself, so that clients that failed together do not come back together.
4. ``Retry-After`` takes the pause's place, capped by the ceiling, and chance only lengthens it.
5. When the next try would begin after ``max_elapsed_time``, the last failure is raised at once.
6. What a hook forbids is not tried again, whatever exception it chose to say so.
7. A server that cannot be reached twice on end is told of, once, as a warning on the ``trio_mix``
   logger: to go on for minutes without a word looks like a program that hangs.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from trio_mix._http import RETRY_CODES, matches, parse_retry_after
from trio_mix._terminal_text import get_logger
from trio_mix.errors import MixError, ResponseValidationError, TransportError

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from trio_mix._rest._options import RetryConfig
    from trio_mix.errors import RequestInfo

__all__ = ["RetryPlan", "Vetoed", "renewed"]

T = TypeVar("T")

_RETRY_AFTER_JITTER: Final = 0.5
_SILENT_TRIES: Final = 2

_log: Final = get_logger("trio_mix")


class Vetoed(Exception):
    """Carries what a ``before_request`` hook raised past whoever tries again (rule 6)."""

    def __init__(self, veto: Exception) -> None:
        super().__init__()
        self.veto = veto


@attrs.frozen(eq=False, repr=False)
class RetryPlan:
    """Whether and how one operation is tried again."""

    config: RetryConfig
    """The pauses, and whether there are any."""
    safe: bool
    """Whether the operation may be repeated after it has reached the server."""
    rng: random.Random = attrs.field(repr=False)
    """Where the jitter comes from."""
    codes: tuple[str, ...] = RETRY_CODES
    """The statuses to try again on."""

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call the function until it succeeds, fails for good, or the time is up.

        Cancellation ends it at once, in a try or in a pause.

        Raises:
          MixError: the last answer, if it was an error.
          TransportError: the last failure to get an answer, with the number of tries.

        What a hook forbids it with is raised as it is.
        """
        try:
            return await self._run(attempt)
        except Vetoed as vetoed:
            veto = vetoed.veto
        raise veto  # out here, where no other exception becomes its context

    async def _run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        began = trio.current_time()
        tries = 0
        while True:
            tries += 1
            try:
                return await attempt()
            except (MixError, TransportError) as error:
                failure = error
                pause = self._pause(error, tries)
                if pause is None or self._too_late(trio.current_time() - began + pause):
                    if isinstance(error, TransportError) and tries > 1:
                        raise renewed(error, error.request, tries) from error.__cause__
                    raise
            if tries == _SILENT_TRIES and isinstance(failure, TransportError):
                self._tell(failure)
            await trio.sleep(pause)

    def _tell(self, failure: TransportError) -> None:
        limit = self.config.backoff.max_elapsed_time
        for_how_long = "without a limit" if limit is None else f"for up to {limit:g} s"
        _log.warning(
            "%s Trying again, %s; retries=RetryConfig(...) says for how long.",
            renewed(failure, failure.request, _SILENT_TRIES),
            for_how_long,
        )

    def _pause(self, failure: MixError | TransportError, tries: int) -> float | None:
        """Return the seconds to wait before the next try, ``None`` for no next try."""
        if self.config.strategy == "none":
            return None
        if isinstance(failure, TransportError):
            may = self.safe or not failure.sent
            if not may or not self.config.retry_connection_errors or _is_certificate(failure):
                return None
            return self._backoff(tries)
        if not self.safe or isinstance(failure, ResponseValidationError):
            return None
        if not matches(failure.status_code, self.codes):
            return None
        asked = parse_retry_after(failure.headers.get("retry-after"), now=time.time())
        if asked is None:
            return self._backoff(tries)
        capped = min(asked, self.config.backoff.max_interval)
        return capped + self.rng.uniform(0, min(_RETRY_AFTER_JITTER, capped))

    def _backoff(self, tries: int) -> float:
        backoff = self.config.backoff
        try:
            pause = backoff.initial_interval * backoff.exponent ** (tries - 1)
        except OverflowError:
            pause = backoff.max_interval
        return min(pause, backoff.max_interval) * self.rng.uniform(0.5, 1.0)

    def _too_late(self, elapsed: float) -> bool:
        limit = self.config.backoff.max_elapsed_time
        return limit is not None and elapsed > limit


def renewed(error: TransportError, request: RequestInfo, attempts: int = 1) -> TransportError:
    """Return the same failure, telling of another request or number of tries."""
    reason = getattr(error, "reason", str(error))
    return type(error)(reason, request=request, attempts=attempts, sent=error.sent)


def _is_certificate(failure: BaseException) -> bool:
    """Say whether the server's certificate was refused, which no try will change."""
    cause: BaseException | None = failure
    for _ in range(10):
        if cause is None:
            return False
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
