"""What is said of a connection that is lost, and of a stream that is over.

What it knows: the words, and which failure they are of.
What it must never know: when a stream is lost or over, and what is done then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix.errors import (
    ConnectionFailed,
    ReconnectFailed,
    RequestTimeout,
    StreamClosed,
    TransportError,
)

if TYPE_CHECKING:
    from trio_mix.sse._reconnect import ReconnectSchedule

__all__ = ["closed", "given_up", "reason_of", "why_lost"]


def why_lost(error: TransportError | None, timeout: float | None) -> str:
    """Return why a connection is lost, in words.

    Args:
      error: what reading failed with; None: it came to its end.
      timeout: the seconds that reading might take.
    """
    if error is None:
        return "the server ended the response"
    if isinstance(error, RequestTimeout) and timeout is not None:
        return f"idle: no byte came for {timeout:g} s"
    return reason_of(error)


def reason_of(error: TransportError) -> str:
    """Return why there was no answer, in words."""
    if isinstance(error, (ConnectionFailed, RequestTimeout)):
        return error.reason
    return str(error)


def given_up(
    url: str, session_id: str, reason: str, schedule: ReconnectSchedule, now: float, *, had: bool
) -> ReconnectFailed:
    """Return the error of a stream that was not to be had in the policy's time.

    Args:
      url: the stream's, without password.
      session_id: the session.
      reason: why the last connect, or the connection, failed.
      schedule: what has given up.
      now: when, in Trio's time.
      had: whether the stream was up before.
    """
    elapsed, attempts = schedule.elapsed(now), schedule.attempts
    what = "lost, and not had again" if had else "not to be had"
    return ReconnectFailed(
        f"The event stream {url} was {what} within"
        f" max_elapsed_time={schedule.policy.max_elapsed_time:g} s ({attempts} connects"
        f" in {elapsed:.1f} s); the last failure was: {reason}. Check the server, or allow"
        " more time in ReconnectPolicy.",
        url=url,
        session_id=session_id,
        attempts=attempts,
        elapsed=elapsed,
    )


def closed(url: str, session_id: str) -> StreamClosed:
    """Return the error of reading on after the end."""
    return StreamClosed(
        f"The event stream {url} is closed: open it again to read on.",
        url=url,
        session_id=session_id,
    )
