"""`HubStatistics`: the counters of a relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection

    from trio_mix.relay._log import Log
    from trio_mix.relay._session import RelaySession


@attrs.frozen(kw_only=True)
class HubStatistics:
    """Counters of the relay's sessions; those that end in ``_total`` only grow."""

    sessions: int = 0
    """Sessions that are open."""
    sessions_owned: int = 0
    """Those that this relay owns; it follows the others."""
    sessions_connected: int = 0
    """Those whose upstream stream is connected."""
    turns_running: int = 0
    turns_queued: int = 0
    events_total: int = 0
    """Events that were stored."""
    event_bytes_total: int = 0
    commits_total: int = 0
    """Transactions of the log."""
    log_failures_total: int = 0
    events_deleted_total: int = 0
    """Events that the retention has deleted."""
    takeovers_total: int = 0
    """Sessions that were taken over from a relay that did not release them."""
    events_lost_total: int = 0
    """Events that consumers may have seen and the log has lost, at least."""
    stream_losses_total: int = 0
    """Losses of upstream streams, of the sessions that are open."""
    turns_repaired_total: int = 0
    """Turns that were completed from stored messages, of the sessions that are open."""


def statistics_of(
    sessions: Collection[RelaySession], log: Log, *, takeovers: int, lost_events: int
) -> HubStatistics:
    """Return the counters of a hub.

    Args:
      sessions: the sessions that are open.
      log: the log.
      takeovers: how often sessions that are closed were taken over.
      lost_events: how many events of sessions that are closed were lost.
    """
    owners = [session.role.owner for session in sessions if session.role.owner is not None]
    logged = log.statistics()
    return HubStatistics(
        sessions=len(sessions),
        sessions_owned=len(owners),
        sessions_connected=sum(owner.upstream.session is not None for owner in owners),
        turns_running=sum(owner.queue.current is not None for owner in owners),
        turns_queued=sum(len(owner.queue.waiting) for owner in owners),
        events_total=logged.events,
        event_bytes_total=logged.bytes,
        commits_total=logged.commits,
        log_failures_total=logged.failures,
        events_deleted_total=logged.deleted,
        takeovers_total=takeovers + sum(session.takeovers for session in sessions),
        events_lost_total=lost_events + sum(session.lost for session in sessions),
        stream_losses_total=sum(owner.upstream.losses for owner in owners),
        turns_repaired_total=sum(owner.events.repaired for owner in owners),
    )
