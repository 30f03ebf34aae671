"""A tunnel's inner life in figures.

What it knows: what is counted. What it must never know: who counts it.
"""

from __future__ import annotations

import attrs

from trio_mix.sse import StreamState  # noqa: TC001 - for typing.get_type_hints

__all__ = ["TunnelStatistics"]


@attrs.frozen(kw_only=True)
class TunnelStatistics:
    """A snapshot of a tunnel's inner life, for logs and health checks."""

    state: StreamState
    """What the tunnel is doing."""
    connects: int
    """Connections made to the server, the first included."""
    attempts: int
    """Connects tried."""
    losses: int
    """Connections to the server that were lost, or were not to be had."""
    last_loss: str | None
    """Why the last one was lost, or None."""
    last_loss_time: float | None
    """When that was, by `trio.current_time`, or None."""
    commands: int
    """Commands that came from the server."""
    answers: int
    """Answers that went back, errors included."""
    errors: int
    """Those of them that were errors, the browser's or the tunnel's."""
    pending: int
    """Commands that wait for their answers now."""
    timeouts: int
    """Commands that the browser did not answer in time."""
    too_large: int
    """Answers that were over the limit and became errors."""
    garbage: int
    """Messages, from either side, that made no sense and could not be answered."""
    dropped: int
    """Answers of the browser's that nobody waited for any more: late, or the server was gone."""
    events: int
    """Events of the browser's. They stay here: the tunnel carries answers, and logs."""
