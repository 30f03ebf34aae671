"""The reader task: keeps a session's stream up and feeds the switchboard.

What it knows: the supervised source, the frames on it, what ``connected`` means, when to rotate.
What it must never know: who consumes events, how messages are sent, how a cut turn is settled.

Rule 1  It never raises: what is fatal is stored, and delivered to everybody who waits.
Rule 2  It never waits for a consumer; only connecting, reading and backing off take time.
Rule 3  A connection counts from ``connected`` on. Before it, an ``error`` event is the server's way
        to say that the session does not exist (fatal); silence is a lost connection.
Rule 4  An idle connection is replaced before servers cut it, between turns, with sends held back,
        and never while a second one is open.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Literal

import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._turns._idle_timeout import IdleTimeout
from trio_mix._turns._replay_filter import ReplayFilter
from trio_mix._wire._events import decode_event
from trio_mix.sse import StreamState
from trio_mix.sse._supervisor import Events, Lost, Opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.sse import ServerSentEvent
    from trio_mix.sse._supervisor import Supervisor

__all__ = ["Reader", "ReaderHost"]

_CONNECTED: Final = "connected"

_CREATE: Final = "Create the session first, or check its id"
_GONE: Final = (
    "The server does not know the session any more: it was deleted, or the server was restarted "
    "and keeps none. Open a new one."
)
"""The remedy where the session was there: on this very stream it was in use."""


class ReaderHost:
    """What the reader tells of; each method is called synchronously."""

    def stream_connected(self, *, first: bool) -> None:
        """Take in that the server has said ``connected``."""

    def stream_lost(self, reason: str, *, planned: bool) -> None:
        """Take in that the connection is gone."""

    def stream_failed(self, failure: Exception) -> None:
        """Take in that the stream is over for good."""

    def stream_events(self, events: Sequence[ev.Event]) -> None:
        """Take in the next batch of events; ``connected`` is always alone."""

    def may_rotate(self) -> bool:
        """Say whether no turn is under way."""
        return True

    def may_drop(self) -> bool:
        """Say whether no message would notice a rotation now: none was sent or is being sent."""
        return True

    def heartbeats_pause(self) -> bool:
        """Say whether the server sends no heartbeats just now."""
        return False


class Reader:
    """Runs one session's stream.

    Args:
      host: what is told of everything.
      source: the supervised source of frames.
      session_id: the session.
      url: the stream's URL, for errors.
      connect_timeout: seconds from a connect to ``connected``.
      idle_timeout: seconds of silence, "auto", or None.
      max_connection_age: seconds after which an idle connection is replaced; None: never.
      last_event_id: where to resume, or None.
    """

    def __init__(
        self,
        host: ReaderHost,
        source: Supervisor,
        *,
        session_id: str,
        url: str,
        connect_timeout: float,
        idle_timeout: float | Literal["auto"] | None,
        max_connection_age: float | None,
        last_event_id: str | None,
    ) -> None:
        self._host = host
        self._watch = IdleTimeout(idle_timeout)
        self.source = source
        self.source.last_event_id = last_event_id or ""
        self.source.on_bytes = self._bytes_came
        self.replay_filter = ReplayFilter(last_event_id or "")
        self.state = StreamState.CONNECTING
        self.events = 0
        self.rotations = 0
        self._session_id = session_id
        self._url = url
        self._connect_timeout = connect_timeout
        self._max_age = math.inf if max_connection_age is None else max_connection_age
        self._expires = math.inf
        self._deadline = math.inf
        self._connections = 0
        self._opened = False
        self._known = False
        self._stale = ""
        self._up = self._up_since = 0.0
        self._heard = 0.0
        self._heard_bytes = 0
        self._read_scope: trio.CancelScope | None = None

    async def run(self) -> None:
        """Read until cancelled, or until something fatal has been delivered (rule 1)."""
        try:
            while True:
                await self._step()
        except Exception as exc:  # noqa: BLE001 - what a hook or a headers function raised, too
            self.state = StreamState.CLOSED
            self._host.stream_failed(self._explained(exc))
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5.0):
                await self.source.aclose()

    @property
    def up_time(self) -> float:
        """For how many seconds there has been a connection, all in all."""
        up = self.state is StreamState.CONNECTED
        return self._up + (trio.current_time() - self._up_since if up else 0.0)

    def nudge(self) -> None:
        """Look at the deadlines anew: a turn has begun or is over.

        The read under way is not cancelled for it: on a caller's own client that would break it.
        """
        self._watch.interrupted()
        self._heard = trio.current_time()
        if self._read_scope is not None:
            self._read_scope.deadline = self._next_deadline()

    async def renew(self, reason: str) -> None:  # noqa: ASYNC910 - there may be nothing to drop; its callers go on to wait
        """Connect anew and resume nothing, so that what may still come for the past is not heard.

        Args:
          reason: why, for the statistics.
        """
        self.replay_filter.mark = self.source.last_event_id = ""
        if self._opened:
            await self._drop(reason, planned=True)
        else:
            self._stale = reason  # the one that is being made may have asked for the past
            await trio.lowlevel.checkpoint()

    async def _step(self) -> None:  # noqa: ASYNC910 - the source's next is one
        item: Opened | Events | Lost | None = None
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - the same
            self._read_scope = scope
            try:
                while item is None:
                    scope.deadline = self._next_deadline()
                    item = await self.source.next()
                    # A scope costs as much as a few events: one serves many reads.
                    if isinstance(item, Events) and not scope.cancel_called:
                        self._take(item.events)
                        item = None
            finally:
                self._read_scope = None
        if item is None:
            await self._on_deadline()
            return
        match item:
            case Opened() if self._stale:
                self._stale, reason = "", self._stale
                await self._drop(reason, planned=True)
            case Opened():
                self._opened = True
                self._connections += 1
                self._deadline = trio.current_time() + self._connect_timeout
                self.replay_filter.opened()
            case Events(events=events):
                self._take(events)
            case Lost(reason=reason, planned=planned):
                self._lost(reason, planned=planned)

    def _next_deadline(self) -> float:
        if self.source.has_more:
            return math.inf  # what has come is taken in before anything is given up
        if self.state is not StreamState.CONNECTED:
            return self._deadline
        expires = self._expires if self._host.may_rotate() else math.inf
        return min(expires, self._silent_until())

    def _bytes_came(self) -> None:
        """Put silence off for bytes that made no frame: a comment, half an event."""
        self._heard = trio.current_time()
        self._heard_bytes = self.source.bytes_received
        if self._read_scope is not None:
            self._read_scope.deadline = self._next_deadline()

    def _silent_until(self) -> float:
        idle = self._watch.timeout(pauses=self._host.heartbeats_pause())
        return math.inf if idle is None else self._heard + idle

    async def _on_deadline(self) -> None:  # noqa: ASYNC910 - the wait that has run out was one
        now = trio.current_time()
        if self.state is not StreamState.CONNECTED:
            if now >= self._deadline:
                await self._drop(f"no connected event within {self._connect_timeout:g} s")
        elif now >= self._expires and self._host.may_drop():
            # A sender may have passed just when the time was up. The read was cancelled already,
            # and on a caller's own client that has broken it, so it is not gone back to.
            self.rotations += 1
            await self._drop("replaced before the server cuts it", planned=True)
        elif now >= self._silent_until():
            # Bytes that made no frame (a comment, half an event) are a sign of life as well.
            received = self.source.bytes_received
            if received != self._heard_bytes:
                self._heard, self._heard_bytes = now, received
            else:
                self._watch.expired()
                await self._drop(f"nothing came for {now - self._heard:g} s")

    async def _drop(self, reason: str, *, planned: bool = False) -> None:
        self._lost(reason, planned=planned)
        await self.source.drop(reason, planned=planned)

    def _take(self, frames: list[ServerSentEvent]) -> None:
        """Decode the events of one read, and pass the new ones on in as few batches as possible."""
        self._heard = trio.current_time()
        self._heard_bytes = self.source.bytes_received
        at = 0
        while at < len(frames):
            size = self._batch_size(frames, at)
            batch = frames[at : at + size] if size < len(frames) else frames
            self.events += size
            at += size
            if not self._is_connected(batch[0]):
                self._pass_on(batch)

    def _batch_size(self, frames: list[ServerSentEvent], at: int) -> int:
        """Return how many events can be passed on together.

        One, if it is ``connected`` or what it shows decides about the next: before the stream is
        connected, and until it is known whether this connection's ids go on. Else all before the
        next ``connected``.
        """
        connected = self.state is StreamState.CONNECTED
        if not connected or self.replay_filter.continued is None or frames[at].event == _CONNECTED:
            return 1
        for end in range(at + 1, len(frames)):
            if frames[end].event == _CONNECTED:
                return end - at
        return len(frames) - at

    def _pass_on(self, frames: list[ServerSentEvent]) -> None:
        """Pass on those that are new of a batch without ``connected``."""
        if self.state is not StreamState.CONNECTED:
            self._check_error(decode_event(frames[0]))
        events = list(map(decode_event, self.replay_filter.admit(frames)))
        self.source.last_event_id = self.replay_filter.mark
        if self.state is StreamState.CONNECTED and ev.HeartbeatEvent in map(type, events):
            self._watch.beat(self._heard)
        if events:
            self._host.stream_events(events)

    def _check_error(self, event: ev.Event) -> None:
        """Raise if a server says instead of ``connected`` that it does not know the session."""
        if isinstance(event, ev.ErrorEvent):
            more, remedy = (" any more", _GONE) if self._known else ("", _CREATE + ".")
            raise errors.SessionNotFound(
                f"Session {self._session_id!r} cannot be streamed from {self._url}{more}: the "
                f"server says {event.error!r}. {remedy}",
                url=self._url,
                session_id=self._session_id,
            )

    def _is_connected(self, frame: ServerSentEvent) -> bool:
        """Return whether this is ``connected``; if so, take it in and pass it on."""
        event = decode_event(frame) if frame.event == _CONNECTED else None
        if not isinstance(event, ev.ConnectedEvent):
            return False
        self.replay_filter.connected(frame.id)
        if self.state is not StreamState.CONNECTED:
            self.state = StreamState.CONNECTED
            self._known = True
            self._up_since = trio.current_time()
            self._deadline = math.inf
            self._expires = trio.current_time() + self._max_age
            self._host.stream_connected(first=self._connections == 1)
        self._host.stream_events([event])
        return True

    def _lost(self, reason: str, *, planned: bool) -> None:
        if self.state is StreamState.CONNECTED or not planned:
            self._watch.interrupted()
        self._expires = self._deadline = math.inf
        self._opened = False
        if self.state is StreamState.CONNECTED:
            self._up = self.up_time
            self.state = StreamState.RECONNECTING
            self._host.stream_lost(reason, planned=planned)

    def _explained(self, failure: Exception) -> Exception:
        """Say in a session's words what the source says in HTTP's."""
        if isinstance(failure, errors.MixError) and failure.status_code == 404:
            more, remedy = (
                (" any more", _GONE) if self._known else ("", _CREATE + " and server_url.")
            )
            found = errors.SessionNotFound(
                f"Session {self._session_id!r} does not exist{more}: {self._url} was answered "
                f"HTTP 404. {remedy}",
                url=self._url,
                session_id=self._session_id,
            )
            found.__cause__ = failure
            return found
        return failure
