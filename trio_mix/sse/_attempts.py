"""Attempts to connect, one after the other, as the policy says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, final

import trio

from trio_mix._http import is_transient, parse_retry_after
from trio_mix.errors import MixError, ProtocolError, RequestTimeout, TransportError, TrioMixError
from trio_mix.sse._reconnect import ReconnectSchedule, reconnect_failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._http import ResponseStream
    from trio_mix.errors import ReconnectFailed
    from trio_mix.sse._connect import Connect, StreamRequest
    from trio_mix.sse._reconnect import ReconnectPolicy, Uniform

_ASLEEP = 5.0
"""A wait that takes so many seconds longer than asked: the machine or the process was asleep."""

Verdict: TypeAlias = "TrioMixError | Literal['later', 'at once', 'without id']"
"""The error that ends the stream, or when the next attempt is made: when the policy says, at once,
or at once and without the id to resume after."""


class Refusals:
    """The rules of the standard: all refusals are final, except for statuses that may pass."""

    def opened(self) -> None:
        """Note that an attempt was answered with an event stream."""

    async def judge(self, error: TrioMixError, *, resuming: bool) -> Verdict:  # noqa: ARG002
        """Return what follows.

        Args:
          error: a `MixError` for the status, or a `ProtocolError` for another kind of response.
          resuming: whether the request had an id to resume after.
        """
        await trio.lowlevel.checkpoint()
        passes = isinstance(error, MixError) and is_transient(error.status_code)
        return "later" if passes else error


@final
class Attempts:
    """The connection attempts of one stream.

    Args:
      request: the request that each attempt sends.
      url: the URL without user name and password, for errors.
      policy: when to try again.
      connect: makes one attempt.
      refusals: decides what follows when an attempt is answered, but not with an event stream.
      on_wait: called before the wait for an attempt, with the seconds, the attempt's number since
        the loss (from 1), and the reason of the loss or of the last failure.
      rng: the source of jitter.
      wall_clock: returns the current time, from which a ``Retry-After`` date is subtracted.

    Attributes:
      schedule: when to try again.
      refusals: as the argument.
      due: when the next attempt is made; None: at once.
      number: how many attempts were made.
      opened: how many of them were answered with an event stream.
      resuming: whether the attempts send the last event id.
      last_failure: the error of the last failed attempt, or of the last loss.
      last_loss: why the last attempt failed, or the connection was lost.
      last_loss_time: when.
    """

    # fmt: off
    __slots__ = (
        "_announced", "_connect", "_on_wait", "_request", "_url", "_waiting", "_wall_clock", "due",
        "last_failure", "last_loss", "last_loss_time", "number", "opened", "refusals", "resuming",
        "schedule",
    )
    # fmt: on

    def __init__(
        self,
        request: StreamRequest,
        url: str,
        policy: ReconnectPolicy,
        *,
        connect: Connect,
        refusals: Refusals,
        on_wait: Callable[[float, int, str], None] | None,
        rng: Uniform | None,
        wall_clock: Callable[[], float],
    ) -> None:
        self.schedule = ReconnectSchedule(policy, rng=rng)
        self.refusals = refusals
        self.due: float | None = None
        self.number = self.opened = 0
        self.resuming = True
        self.last_failure: Exception | None = None
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self._request = request
        self._url = url
        self._connect = connect
        self._on_wait = on_wait
        self._wall_clock = wall_clock
        self._announced: float | None = None  # the value of `due` that on_wait was called for
        self._waiting: trio.CancelScope | None = None

    async def open(self, last_event_id: Callable[[], str]) -> ResponseStream:
        """Try until an attempt is answered with an event stream, which the caller closes.

        It may be cancelled at any time and called again: a wait is continued.

        Args:
          last_event_id: returns the id to resume after, or ``""``.

        Raises:
          ReconnectFailed: the policy's time ran out; the last failure is its cause.
          TrioMixError: what `Refusals.judge` returned, or what another attempt cannot change.
        """
        while True:
            await self._wait()
            began = trio.current_time()
            self.schedule.begin(began)
            self.number += 1
            failure: ReconnectFailed | None = None
            try:
                stream = await self._connect(
                    self._request, lambda: last_event_id() if self.resuming else ""
                )
            except (MixError, ProtocolError) as error:
                resuming = self.resuming and bool(last_event_id())
                failure = await self._refused(error, resuming=resuming)
            except TransportError as error:
                if self._request.connect_timeout is not None:
                    self._check_asleep(began + self._request.connect_timeout)
                failure = self.failed(reason_of(error), error)
            else:
                self.opened += 1
                self.schedule.opened(trio.current_time())
                self.refusals.opened()
                return stream
            if failure is not None:
                raise failure

    def failed(
        self, reason: str, cause: Exception | None, *, retry_after: float | None = None
    ) -> ReconnectFailed | None:
        """Note a failed attempt or a loss; return the error if the policy gives up."""
        now = trio.current_time()
        self.last_failure = cause
        self.last_loss, self.last_loss_time = reason, now
        delay = self.schedule.lost(now, retry_after=retry_after)
        if delay is not None:
            self.due = now + delay
            return None
        self.due = None
        failure = reconnect_failed(
            self.schedule, now, self._url, self._request.session_id, reason, lost=self.opened > 0
        )
        failure.__cause__ = cause
        return failure

    def planned(self, reason: str) -> None:
        """Note that the connection was dropped on purpose."""
        now = trio.current_time()
        self.schedule.planned(now)
        self.due = None
        self.last_loss, self.last_loss_time = reason, now

    def hurry(self) -> None:
        """Make the next attempt at once, if it is still waited for."""
        self.due = None
        if self._waiting is not None:
            self._waiting.cancel(reason="the next attempt is made at once")

    async def _wait(self) -> None:
        if self.due is None:
            await trio.lowlevel.checkpoint()
            return
        due = self.due
        if self._on_wait is not None and due != self._announced:  # else a wait is continued
            self._announced = due
            delay = max(0.0, due - trio.current_time())
            self._on_wait(delay, self.schedule.attempts + 1, self.last_loss or "")
        with trio.CancelScope() as scope:
            self._waiting = scope
            try:
                await trio.sleep_until(due)
            finally:
                self._waiting = None
        self.due = None
        self._check_asleep(due)

    def _check_asleep(self, due: float) -> None:
        """Take a wait that ended long after its end was due for time asleep."""
        late = trio.current_time() - due
        if late > _ASLEEP:
            self.schedule.asleep(late)

    async def _refused(
        self, error: MixError | ProtocolError, *, resuming: bool
    ) -> ReconnectFailed | None:
        """Prepare the next attempt, or raise the error that ends the stream."""
        verdict = await self.refusals.judge(error, resuming=resuming)
        if isinstance(verdict, TrioMixError):
            if verdict is error:
                raise error
            raise verdict from error
        if verdict == "without id":
            self.resuming = False
        if verdict != "later":
            return None
        if isinstance(error, ProtocolError):
            return self.failed(str(error), error)
        asked = parse_retry_after(error.headers.get("retry-after"), now=self._wall_clock())
        return self.failed(f"HTTP {error.status_code}", error, retry_after=asked)


def why_lost(error: TransportError | None, timeout: float | None) -> str:
    """Return why a connection was lost: the last read's error, or the end of the response."""
    if error is None:
        return "the server ended the response"
    if isinstance(error, RequestTimeout) and timeout is not None:
        return f"idle: no byte arrived for {timeout:g} s"
    return reason_of(error)


def reason_of(error: TransportError) -> str:
    """Return why an attempt failed."""
    reason = getattr(error, "reason", None) or str(error)
    return f"{reason}, through the proxy {error.proxy}" if error.proxy else reason
