"""The statistics of a tunnel."""

from __future__ import annotations

import attrs

from trio_mix.sse import ConnectionStatistics


@attrs.frozen(kw_only=True)
class TunnelStatistics(ConnectionStatistics):
    """A snapshot of a tunnel's state and counters, for logs and health checks.

    Its connections are those to the server.
    """

    attempts: int
    """Connects attempted."""
    commands: int
    """Commands received from the server."""
    answers: int
    """Answers sent to the server, including errors."""
    errors: int
    """Answers that were errors, of the browser or of the tunnel."""
    pending: int
    """Commands that are not answered yet."""
    timeouts: int
    """Commands that the browser did not answer in time."""
    too_large: int
    """Answers that exceeded the limit and were replaced by errors."""
    garbage: int
    """Invalid messages, from either side, that could not be answered."""
    dropped: int
    """Answers of the browser that came too late or after the server's connection was lost."""
    denied: int
    """Commands that the policy or ``on_command`` denied."""
    refused: int
    """Connections of the browser that the filtering proxy refused, those of other tunnels of the
    same browser included."""
    events: int
    """Events of the browser. They are not sent to the server."""
