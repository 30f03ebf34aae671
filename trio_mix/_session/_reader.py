"""The reader task: keeps a session's stream connected and passes on its events in batches.

Rule 1  It never raises: a fatal error is stored, and raised in everything that waits on the stream.
Rule 2  It never waits for a consumer that takes nothing. It yields to consumers that are behind and
        take events, so that one that only iterates gets all of them.
Rule 3  A connection counts from ``connected`` on. Before it, an ``error`` event means that the
        session does not exist (fatal); silence is a lost connection.
Rule 4  An idle connection is replaced before servers cut it, between turns, while sends are paused,
        and never while a second one is open.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal

import trio

from trio_mix import events as ev
from trio_mix._turns._idle_timeout import IdleTimeout
from trio_mix._turns._replay_filter import ReplayFilter
from trio_mix._wire._events import decode_event
from trio_mix.sse import StreamState
from trio_mix.sse._connect import sent_id
from trio_mix.sse._supervisor import Events, Lost, Opened

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._refusals import SessionRefusals
    from trio_mix._session._send_queue import SendQueue
    from trio_mix.sse import ServerSentEvent
    from trio_mix.sse._supervisor import Supervisor

_CONNECTED: Final = "connected"
_name_of: Final = attrgetter("event")

_IDLE_ROUNDS: Final = 8


class ReaderHost:
    """Receives what the reader reports; each method is called synchronously."""

    def stream_opened(self, headers: Mapping[str, str]) -> None:
        """Note the headers of the response that opens the stream, names in lower case."""

    def stream_connected(self) -> None:
        """Note that the server has sent ``connected``."""

    def cursor_refused(self) -> None:
        """Note that the first connection does not resume where it was asked to."""

    def stream_lost(self, reason: str, *, planned: bool) -> None:
        """Note that the connection is lost."""

    def stream_failed(self, failure: Exception) -> None:
        """Note that the stream has ended."""

    def stream_events(self, events: Sequence[ev.Event], frames: Sequence[ServerSentEvent]) -> None:
        """Take the next batch of events, with the frame of each; ``connected`` is always alone."""

    def may_drop(self) -> bool:
        """Return whether no message was or is being sent that a rotation would affect."""
        return True

    def heartbeats_pause(self) -> bool:
        """Return whether the server may send no heartbeats while it runs a message."""
        return False


class Reader:
    """Runs one session's stream.

    Args:
      host: receives everything that is reported.
      source: the supervised connection.
      dispatcher: has the buffers of the consumers.
      send_queue: is held while a message is being sent or its turn is running.
      refusals: the rules for refused connections.
      connect_timeout: seconds from a connect to ``connected``.
      idle_timeout: seconds of silence, "auto", or None.
      max_connection_age: seconds after which an idle connection is replaced; None: never.
      last_event_id: the id to resume after, or None.
    """

    def __init__(
        self,
        host: ReaderHost,
        source: Supervisor,
        dispatcher: EventDispatcher,
        send_queue: SendQueue,
        *,
        refusals: SessionRefusals,
        connect_timeout: float,
        idle_timeout: float | Literal["auto"] | None,
        max_connection_age: float | None,
        last_event_id: str | None,
    ) -> None:
        self._host = host
        self._dispatcher = dispatcher
        self._send_queue = send_queue
        self._idle = IdleTimeout(idle_timeout)
        self.source = source
        self.source.last_event_id = last_event_id or ""
        self.source.on_bytes = self._bytes_read
        self.replay_filter: ReplayFilter = ReplayFilter(last_event_id or "")
        self.state: StreamState = StreamState.CONNECTING
        self.events: int = 0
        self.rotations: int = 0
        self._refusals = refusals
        self._connect_timeout = connect_timeout
        self._max_age = math.inf if max_connection_age is None else max_connection_age
        self._expires = math.inf
        self._deadline = math.inf
        self._opened = False
        self._stale = ""
        self._refused_cursor = False
        self._up = self._up_since = 0.0
        self._last_read = 0.0
        self._last_read_bytes = 0
        self._passing_on = False
        self._passed_on: trio.Event | None = None  # made by the first task that waits for it
        self._ended = False
        self._scope: trio.CancelScope | None = None

    async def run(self) -> None:
        """Read until `end`, or until a fatal error has been reported (rule 1).

        It is shielded from any other cancellation: while a caller that was cancelled leaves, the
        last events of its message, which may be permission requests, must be received.
        """
        item: Opened | Events | Lost | None = None
        try:
            while not self._ended:
                item = await self._read(item)
        except Exception as exc:  # noqa: BLE001 - also of a hook or of a headers function
            self.state = StreamState.CLOSED
            self._host.stream_failed(self._refusals.explained(exc, self.source.url))
        finally:
            self._opened = False
            self._wake_waiting()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
                await self.source.aclose()

    def end(self, reason: str) -> None:
        """End the task; the connection is then closed."""
        self._ended = True
        if self._scope is not None:
            self._scope.cancel(reason=reason)

    @property
    def up_time(self) -> float:
        """How long the stream has been connected, over all connections, in seconds."""
        up = self.state is StreamState.CONNECTED
        return self._up + (trio.current_time() - self._up_since if up else 0.0)

    def nudge(self) -> None:
        """Compute the deadline again, as a turn has begun or is over.

        The current read is not cancelled for that: with a caller's own client this would break
        the connection.
        """
        self._idle.interrupted()
        self._last_read = trio.current_time()
        if self._scope is not None:
            self._scope.deadline = self._next_deadline()

    async def renew(self, reason: str) -> None:  # noqa: ASYNC910 - there may be nothing to drop; its callers go on to wait
        """Connect again without resuming, so that no past events arrive.

        Args:
          reason: the reason, for the statistics.
        """
        self.replay_filter.mark = self.source.last_event_id = ""
        if self._opened:
            await self._drop(reason, planned=True)
        else:
            self._stale = reason  # the current attempt may have asked for past events
            await trio.lowlevel.checkpoint()

    async def reconnect(self, reason: str) -> None:
        """Connect again at once: drop the connection, or end the wait before the next attempt."""
        if self._opened:
            await self._drop(reason, planned=True)
        else:
            self.source.hurry()
            await trio.lowlevel.checkpoint()

    async def wait_passed_on(self) -> None:  # noqa: ASYNC910 - usually nothing is to be awaited
        """Wait until all events that were read have been passed on.

        So events of an earlier turn cannot be taken for those of a message that is sent now.
        """
        while self._opened and (self._passing_on or self.source.has_more):
            if self._passed_on is None:
                self._passed_on = trio.Event()
            await self._passed_on.wait()

    def _wake_waiting(self) -> None:
        passed_on, self._passed_on = self._passed_on, None
        if passed_on is not None:
            passed_on.set()

    async def _read(self, item: Opened | Events | Lost | None) -> Opened | Events | Lost | None:  # noqa: ASYNC910 - the source's next is one
        """Read until a deadline has passed, or `end` is called.

        One scope serves all these reads, for it costs as much as a few events.

        Args:
          item: what the last call returned, which is handled first.

        Returns:
          What has arrived at the same time.
        """
        with trio.CancelScope(shield=True) as scope:
            self._scope = scope
            while True:
                if isinstance(item, Events):
                    await self._take(item)
                elif item is not None:
                    await self._connection_changed(item)
                else:
                    await self._on_deadline()
                item = None  # not kept until the next read is complete
                scope.deadline = self._next_deadline()
                item = await self.source.next()
                if scope.cancel_called:
                    return item
                scope.deadline = math.inf  # it was that of the read
        return None

    async def _connection_changed(self, item: Opened | Lost) -> None:  # noqa: ASYNC910 - a read precedes
        match item:
            case Opened() if self._stale:
                self._stale, reason = "", self._stale
                await self._drop(reason, planned=True)
            case Opened(headers=headers):
                self._opened = True
                self._deadline = trio.current_time() + self._connect_timeout
                if self.replay_filter.mark and not self.source.last_event_id:
                    self.replay_filter.mark = ""  # the server has refused to resume after it
                    self._refused_cursor = not self._refusals.connected
                self.replay_filter.opened(sent_id(headers))
                self._host.stream_opened(headers)
            case Lost(reason=reason, planned=planned):
                self._lost(reason, planned=planned)

    def _next_deadline(self) -> float:
        if self.source.has_more or self._passing_on:
            return math.inf  # what was read is passed on before anything is given up
        if self.state is not StreamState.CONNECTED:
            return self._deadline
        expires = math.inf if self._send_queue.held else self._expires
        return min(expires, self._silent_until())

    def _bytes_read(self) -> None:
        """Note bytes that completed neither event nor comment: they end a silence too."""
        self._last_read = trio.current_time()
        self._last_read_bytes = self.source.bytes_received
        if self._scope is not None:
            self._scope.deadline = self._next_deadline()
        if not self.source.has_more:
            self._wake_waiting()

    def _silent_until(self) -> float:
        pauses = self._send_queue.held and self._host.heartbeats_pause()
        idle = self._idle.timeout(pauses=pauses)
        return math.inf if idle is None else self._last_read + idle

    async def _on_deadline(self) -> None:  # noqa: ASYNC910 - the wait that has run out was one
        now = trio.current_time()
        if self.state is not StreamState.CONNECTED:
            if now >= self._deadline:
                await self._drop(f"no connected event within {self._connect_timeout:g} s")
        elif now >= self._expires and self._host.may_drop():
            # Even if a sender has just acquired the queue, the cancelled read is not resumed: on a
            # caller's own client it is broken.
            self.rotations += 1
            await self._drop("replaced before the server cuts it", planned=True)
        elif now >= self._silent_until():
            received = self.source.bytes_received
            if received != self._last_read_bytes:
                self._last_read, self._last_read_bytes = now, received
            else:
                self._idle.expired()
                await self._drop(f"nothing came for {now - self._last_read:g} s")

    async def _drop(self, reason: str, *, planned: bool = False) -> None:
        self._lost(reason, planned=planned)
        await self.source.drop(reason, planned=planned)

    async def _take(self, item: Events) -> None:  # noqa: ASYNC910 - a read precedes
        """Pass on the events of one read, batch by batch, and let consumers run between (rule 2).

        What is left is dropped if another task drops the connection meanwhile.
        """
        self._last_read = trio.current_time()
        self._last_read_bytes = self.source.bytes_received
        if item.comments:
            self._idle.comment(self._last_read)
        frames, at = item.events, 0
        self._passing_on = True
        try:
            while at < len(frames) and self._opened:
                size = self._batch_size(frames, at)
                self._pass_on(frames[at : at + size])
                at += size
                if at < len(frames) or self.source.has_more:
                    await trio.lowlevel.checkpoint()
                await self._wait_for_consumers()
        finally:
            self._passing_on = False
            self._last_read = trio.current_time()  # nothing was read meanwhile: no silence
            if not self.source.has_more:
                self._wake_waiting()

    async def _wait_for_consumers(self) -> None:  # noqa: ASYNC910 - not if no consumer is behind
        """Yield while consumers that are behind take events.

        Trio runs tasks in any order, and a consumer may have work to do for each event: the
        consumers are marked as idle only after some rounds in which no event was taken.
        """
        behind = self._dispatcher.behind()
        backlog, idle_rounds = sum(map(len, behind)), 0
        while backlog and idle_rounds < _IDLE_ROUNDS:
            await trio.lowlevel.checkpoint()
            behind = self._dispatcher.behind()
            before, backlog = backlog, sum(map(len, behind))
            idle_rounds = 0 if backlog < before else idle_rounds + 1
        if backlog:
            for buffer in behind:
                buffer.idle = True

    def _batch_size(self, frames: list[ServerSentEvent], at: int) -> int:
        """Return how many events can be passed on together.

        One, if it is ``connected`` or what it shows decides about the next: before the stream is
        connected, and until it is known whether this connection's ids go on. Else all before the
        next ``connected``, but no more than the consumers can buffer.
        """
        connected = self.state is StreamState.CONNECTED
        if not connected or self.replay_filter.continued is None or frames[at].event == _CONNECTED:
            return 1
        last = min(len(frames), at + self._dispatcher.batch_limit)
        names = list(map(_name_of, frames[at:last]))
        return names.index(_CONNECTED) if _CONNECTED in names else last - at

    def _pass_on(self, frames: list[ServerSentEvent]) -> None:
        """Pass on the new events of a batch; ``connected`` is always alone."""
        self.events += len(frames)
        if frames[0].event == _CONNECTED and self._is_connected(frames[0]):
            return
        if self.state is not StreamState.CONNECTED:
            event = decode_event(frames[0])
            if isinstance(event, ev.ErrorEvent):  # in place of ``connected``
                raise self._refusals.refused(event, self.source.url)
        if self.source.id_cleared:
            self.replay_filter.id_cleared()
        admitted = self.replay_filter.admit(frames)
        events = list(map(decode_event, admitted))
        self.source.last_event_id = self.replay_filter.mark
        if self.state is StreamState.CONNECTED and ev.HeartbeatEvent in map(type, events):
            self._idle.beat(self._last_read)
        if events:
            self._host.stream_events(events, admitted)

    def _is_connected(self, frame: ServerSentEvent) -> bool:
        """Return whether this really is ``connected``; if so, pass it on."""
        event = decode_event(frame)
        if not isinstance(event, ev.ConnectedEvent):
            return False
        self.replay_filter.connected(frame.id)
        self.source.last_event_id = self.replay_filter.mark
        if self.state is not StreamState.CONNECTED:
            self.state = StreamState.CONNECTED
            self._refusals.connected = True
            self._up_since = trio.current_time()
            self._deadline = math.inf
            self._expires = trio.current_time() + self._max_age
            self._host.stream_connected()
        self._host.stream_events([event], [frame])
        if self._refused_cursor:  # reported later, so that the first subscriber receives it
            self._refused_cursor = False
            self._host.cursor_refused()
        return True

    def _lost(self, reason: str, *, planned: bool) -> None:
        if self.state is StreamState.CONNECTED or not planned:
            self._idle.interrupted()
        self._expires = self._deadline = math.inf
        self._opened = False
        self._wake_waiting()
        if self.state is StreamState.CONNECTED:
            self._up = self.up_time
            self.state = StreamState.RECONNECTING
            self._host.stream_lost(reason, planned=planned)
