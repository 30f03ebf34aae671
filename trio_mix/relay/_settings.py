"""The settings of the relay's sessions."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class HubSettings:
    """The settings of the relay's sessions; durations are in seconds."""

    queue_max: int = 100
    """The number of messages that can be queued for a session."""
    ring: int = 2000
    """The number of events of a session that are kept in memory."""
    ring_bytes: int = 8 * 2**20
    """Their size in bytes."""
    idle_close: float = 300.0
    """How long a session stays open without consumers and turns."""
    answer_wait: float = 2.0
    """How long the server's answer to a message is awaited, if no other is queued."""
    append_interval: float = 0.0
    """Seconds from one append of a session to the next, while events arrive."""
    settle_timeout: float = 60.0
    """`open_stream(settle_timeout=...)` of the upstream streams."""
