"""What can be seen of a supervised stream from outside: its state, and its figures."""

from __future__ import annotations

import enum

import attrs

from trio_mix._public import public

__all__ = ["EventSourceStatistics", "StreamState"]


@public("trio_mix.sse")
class StreamState(enum.StrEnum):
    """Where a supervised stream stands."""

    CONNECTING = "connecting"
    """The first connection is being made."""
    CONNECTED = "connected"
    """The server has answered, and events may come."""
    RECONNECTING = "reconnecting"
    """A connection was lost; the next one is waited for or being made."""
    CLOSED = "closed"
    """It is over for good: closed here, or by an error that is not retried."""


@public("trio_mix.sse")
@attrs.frozen(kw_only=True)
class EventSourceStatistics:
    """The figures of one supervised stream, at one moment.

    Times are those of `trio.current_time`, so that they compare with one another and with it.
    """

    state: StreamState
    """Where the stream stands."""
    connects: int
    """How many connections were made."""
    reconnects: int
    """How many of them were not the first."""
    attempts: int
    """How many connects were tried, those that failed included."""
    losses: int
    """How many connections were lost or dropped."""
    last_loss: str | None
    """Why the last connection was lost, or the last connect failed; `None`: never."""
    last_loss_time: float | None
    """When that was."""
    next_attempt_time: float | None
    """When the next connect is due, while one is waited for."""
    connected_since: float | None
    """When the connection of now was made; `None` if there is none."""
    events: int
    """How many events were decoded."""
    bytes: int
    """How many bytes of event streams came, keep-alive comments included."""
    last_event_id: str
    """The id that a reconnect would send as ``Last-Event-ID``, or ``""``."""
    server_retry: float | None
    """What the server's last ``retry`` field said, in seconds."""
