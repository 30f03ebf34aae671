"""The state and the counters of a session stream, as a snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix.sse import ConnectionStatistics

if TYPE_CHECKING:
    from trio_mix._session._controller import StreamController
    from trio_mix.sse import StreamState


@attrs.frozen(kw_only=True)
class SessionStreamStatistics(ConnectionStatistics):
    """A snapshot of a session stream's state and counters, for logs and health checks."""

    reconnects: int
    """The number of connections opened after a loss or a rotation."""
    rotations: int
    """The number of connections that were replaced before the server would have closed them."""
    events: int
    """The number of decoded events."""
    duplicates: int
    """The number of events that were dropped because the server had replayed them."""
    bytes: int
    """The number of bytes read from all connections."""
    last_event_id: str | None
    """The event id from which a reconnect would resume, or None."""
    messages: int
    """The number of messages sent."""
    senders_waiting: int
    """The number of tasks that wait to send."""
    turn_running: bool
    """Whether a turn of this stream is running on the server."""
    session_at_work: bool
    """Whether a message waits, unsent, because the session is at another turn: one of another
    client, or of an earlier process."""
    subscribers: int
    """The number of open subscriptions."""


def statistics_of(controller: StreamController, state: StreamState) -> SessionStreamStatistics:
    """Return a snapshot of a stream, whose state is known to its owner."""
    source = controller.reader.source.statistics()
    return SessionStreamStatistics(
        state=state,
        connects=source.connects,
        reconnects=max(0, source.connects - 1),
        rotations=controller.reader.rotations,
        losses=controller.losses,
        last_loss=controller.last_loss,
        last_loss_time=controller.last_loss_time,
        events=controller.reader.events,
        duplicates=controller.reader.replay_filter.duplicates,
        bytes=source.bytes,
        last_event_id=controller.reader.replay_filter.mark or None,
        messages=controller.messages_sent,
        senders_waiting=controller.send_queue.waiting,
        turn_running=controller.dispatcher.current is not None,
        session_at_work=controller.session_at_work,
        subscribers=controller.dispatcher.subscribers,
    )
