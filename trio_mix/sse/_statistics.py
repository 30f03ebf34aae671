"""The state and the statistics of an event stream."""

from __future__ import annotations

import enum

import attrs

from trio_mix._public import public


@public("trio_mix.sse")
class StreamState(enum.StrEnum):
    """The state of an event stream."""

    CONNECTING = "connecting"
    """The first connection is being made."""
    CONNECTED = "connected"
    """A connection is open, and events may arrive."""
    RECONNECTING = "reconnecting"
    """The connection was lost; the next attempt is due later, or in progress."""
    CLOSED = "closed"
    """The stream has ended: it was closed, or an error occurred that is not retried."""


@public("trio_mix.sse")
@attrs.frozen(kw_only=True)
class ConnectionStatistics:
    """The part that the statistics of all supervised connections have in common.

    Times are those of `trio.current_time`.
    """

    state: StreamState
    """The current state."""
    connects: int
    """The number of connections that were opened, including the first."""
    losses: int
    """The number of connections that were lost or dropped."""
    last_loss: str | None
    """Why the last connection was lost, or the last attempt failed; `None` if neither occurred."""
    last_loss_time: float | None
    """The time of ``last_loss``."""


@public("trio_mix.sse")
@attrs.frozen(kw_only=True)
class EventSourceStatistics(ConnectionStatistics):
    """The statistics of one event stream, as of one moment."""

    reconnects: int
    """The number of connections after the first."""
    attempts: int
    """The number of connection attempts, including failed ones."""
    next_attempt_time: float | None
    """When the next attempt is due; `None` if none is scheduled."""
    connected_since: float | None
    """When the current connection was opened; `None` if there is none."""
    events: int
    """The number of events that were decoded."""
    bytes: int
    """The number of bytes received, including comments."""
    last_event_id: str
    """The id that the next attempt would send as ``Last-Event-ID``, or ``""``."""
    server_retry: float | None
    """The server's last ``retry`` field, in seconds; `None` if there was none."""
