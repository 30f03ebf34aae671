"""Every time limit of a message."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Limits:
    """Every time limit of a message; in seconds unless said."""

    settle_timeout: float = 60.0
    """Silence after which a cut turn is over, and the stored messages are read for any turn."""
    cleanup_timeout: float = 5.0
    """For the HTTP answer after the terminal event, and for the cancel request on leaving."""
    arrival: float = 3.0
    """How long a message must be absent before it counts as never arrived."""
    replay: float = 1.0
    """Connection time until the first reading, while it is unknown whether the server replays."""
    live: float = 2.0
    """Connection time after which an event is not a replay."""
    first_reading: float = 0.05
    """Before the first reading after a cut, and the first reading for a gap."""
    slowest_reading: float = 5.0
    """The longest pause between two readings after a cut."""
    confirmation: float = 1.0
    """Between the two readings that must agree that a turn is over."""
    cancelled_end: float = 5.0
    """For the end of a cancelled turn before the stored messages are read."""
    gap: float = 5.0
    """For all readings of what a gap took, and for all readings before a POST that fail."""
    late_events: float = 5.0
    """For all events after the HTTP answer."""
    quiet_events: float = 0.5
    """After the HTTP answer: a pause after which no more events are expected."""
    busy_pause: float = 0.25
    """The shortest pause before another attempt at a busy server, and between two readings while
    the session is at another turn."""
    whole: float = 5
    """Settle timeouts of silence for an unfinished turn whose rows look like all of it."""
    unfinished: float = 10
    """Settle timeouts of silence for any other unfinished turn."""
    queued: float = 10
    """Settle timeouts of absence while the session is at another turn."""
    unreadable: float = 5
    """Settle timeouts of silence after which an accepted turn ends, whatever cannot be known."""
    unheard: float = 2
    """Settle timeouts of absence otherwise; one where the last event may have been its end."""
