"""Retrying an operation: when, how often, and when never.

Rules:

1. An operation that is not safe to repeat is retried only if no byte of it was sent
   (`TransportError.sent` is false), never after a status: the server may have run it.
2. A safe one is retried after the statuses of the settings, and if no response came. The default
   statuses have one definition, in `_http/_retry_statuses.py`.
3. The pauses grow by the factor up to the maximum. Jitter shortens each to between half and all of
   itself, so that clients that failed together do not come back together.
4. ``Retry-After`` replaces the pause, up to the maximum, and jitter only lengthens it.
5. If the next try would begin after ``max_elapsed_time``, the last failure is raised at once.
6. A call that a hook vetoed is not retried, whatever exception the hook raised.
7. After two tries in a row that did not reach the server, one warning is logged on the logger
   ``trio_mix``: a program that retries silently for minutes seems to hang.
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

T = TypeVar("T")

_RETRY_AFTER_JITTER: Final = 0.5
_TRIES_BEFORE_WARNING: Final = 2

_log: Final = get_logger("trio_mix")


class Vetoed(Exception):
    """Carries the exception of a ``before_request`` hook past the retries (rule 6)."""

    def __init__(self, veto: Exception) -> None:
        super().__init__()
        self.veto = veto


@attrs.frozen(eq=False, repr=False)
class RetryPlan:
    """Whether and how one operation is retried."""

    config: RetryConfig
    """The strategy and the pauses."""
    safe: bool
    """Whether the operation may be repeated after it has reached the server."""
    rng: random.Random = attrs.field(repr=False)
    """The source of the jitter."""
    codes: tuple[str, ...] = RETRY_CODES
    """The statuses after which to retry."""

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call the function until it succeeds, fails for good, or the time is up.

        Cancellation ends it at once, in a try or in a pause.

        Raises:
          MixError: the last response, if it was an error.
          TransportError: the last failure to get a response, with the number of tries.

        The exception of a hook that vetoed the call is raised unchanged.
        """
        began = trio.current_time()
        tries = 0
        veto: Exception | None = None
        while veto is None:
            tries += 1
            try:
                return await attempt()
            except Vetoed as vetoed:
                veto = vetoed.veto
                continue
            except (MixError, TransportError) as error:
                failure = error
                pause = self._pause(error, tries)
                if pause is None or self._too_late(trio.current_time() - began + pause):
                    if isinstance(error, TransportError) and tries > 1:
                        raise renewed(error, error.request, tries) from error.__cause__
                    raise
            if tries == _TRIES_BEFORE_WARNING and isinstance(failure, TransportError):
                self._warn(failure)
            await trio.sleep(pause)
        raise veto  # here, so that no other exception becomes its context

    def _warn(self, failure: TransportError) -> None:
        limit = self.config.backoff.max_elapsed_time
        for_how_long = "without a limit" if limit is None else f"for up to {limit:g} s"
        _log.warning(
            "%s Retrying %s; retries=RetryConfig(...) sets how long.",
            renewed(failure, failure.request, _TRIES_BEFORE_WARNING),
            for_how_long,
        )

    def _pause(self, failure: MixError | TransportError, tries: int) -> float | None:
        """Return the seconds until the next try, ``None`` if there is none."""
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
    """Return the same failure with another request or number of tries in its text."""
    reason = getattr(error, "reason", str(error))
    return type(error)(
        reason, request=request, attempts=attempts, sent=error.sent, proxy=error.proxy
    )


def _is_certificate(failure: BaseException) -> bool:
    """Return whether the server's certificate was refused, which no retry will change."""
    cause: BaseException | None = failure
    for _ in range(10):
        if cause is None:
            return False
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
