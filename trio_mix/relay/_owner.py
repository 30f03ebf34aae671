"""`SessionOwner`: owns one session, while this relay has its lease.

Rule 1  Everything that happens in the session is appended by one `Appender`, in order.
Rule 2  An owner whose append is refused ends at once: another one owns the session.
Rule 3  Closing the owner never cancels a turn on the server: the next owner resumes it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.relay._appender import Appender
from trio_mix.relay._bridge import WireStyle
from trio_mix.relay._errors import Fenced, LogError, UpstreamUnavailable
from trio_mix.relay._holes import Holes
from trio_mix.relay._outbox import Draft, with_turn_id
from trio_mix.relay._records import Answer, Audience
from trio_mix.relay._sender import Closing, TurnSender
from trio_mix.relay._turn_events import SessionEvents
from trio_mix.relay._turn_queue import TurnQueue, new_turn_id, turn_draft
from trio_mix.relay._upstream import UpstreamStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix._mix import Mix
    from trio_mix.relay._cursor import Ring
    from trio_mix.relay._log import Lease, Log
    from trio_mix.relay._records import TurnRecord
    from trio_mix.relay._settings import HubSettings
    from trio_mix.relay._turn_progress import OpenRequest

SESSION_GONE: Final = "session not found"
"""Why a session is closed that the server does not know any more."""
LEASE_LOST: Final = "lease lost"
"""Why a session is closed that another owner has acquired."""
_ADOPT_PAUSE: Final = 0.2

_logger = get_logger("trio_mix.relay")


class SessionOwner:
    """Owns one session. Made and run by the session.

    Args:
      session_id: the session.
      mix: the client of the server.
      log: the log.
      lease: the lease of the session.
      settings: the settings.
      ring: receives the events that are stored.
      listeners: called when the ring has new events.
      generation: the server's generation; empty: not known.
      announce: is passed what the stream reports about sessions.
      on_loss: called when the upstream stream was lost.
      on_used: called when something has happened in the session.
      wall_clock: returns the time in seconds since 1970.

    Attributes:
      appender, events, upstream, queue, holes, sender: its parts.
    """

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        log: Log,
        lease: Lease,
        settings: HubSettings,
        *,
        ring: Ring,
        listeners: Mapping[object, Callable[[], None]],
        generation: str,
        announce: Callable[[str, str, str], None],
        on_loss: Callable[[], None],
        on_used: Callable[[], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self.session_id: str = session_id
        self._mix = mix
        self._lease = lease
        self._ring = ring
        self._settings = settings
        self._on_loss = on_loss
        self._stop = trio.Event()
        self._reason: str | None = None
        self._accepted = trio.Event()
        self.appender: Appender = Appender(
            lease, ring, listeners, interval=settings.append_interval
        )
        pipeline, newest = generation.startswith("pipeline"), generation in ("async", "")
        self.events: SessionEvents = SessionEvents(
            new_turn_id,
            rate_limit_ends=pipeline,
            style=WireStyle(ids=newest, tool_use=newest, deltas=generation != "pipeline-oldest"),
        )
        self.upstream: UpstreamStream = UpstreamStream(
            session_id,
            mix,
            self.events,
            self.appender,
            settle_timeout=settings.settle_timeout,
            announce=announce,
            on_events=on_used,
        )
        self.queue: TurnQueue = TurnQueue(
            session_id, log, settings, self.appender, wall_clock=wall_clock
        )
        self.holes: Holes = Holes(
            session_id, mix, self.queue, self.events, self.appender, self.upstream
        )
        self.sender: TurnSender = TurnSender(
            session_id,
            mix,
            log,
            lease,
            self.queue,
            self.events,
            self.appender,
            self.upstream,
            self.holes,
            wall_clock=wall_clock,
        )
        self.sender.on_idle = on_used
        self.upstream.on_hole = self._hole

    async def run(self, ready: Callable[[], None], stop: trio.Event) -> str | None:
        """Own the session until it is to be closed, or another owner has taken it over.

        Args:
          ready: called when messages can be sent.
          stop: ends this.

        Returns:
          Why the session has ended; None if `stop` was set.

        Raises:
          LogError: its turns could not be read.
        """
        try:
            await self.queue.adopt()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._append)
                nursery.start_soon(self._watch_lease)
                nursery.start_soon(self._read)
                nursery.start_soon(self.sender.run)
                nursery.start_soon(self.holes.run)
                nursery.start_soon(self._adopt, nursery)
                nursery.start_soon(self._stop_when, stop)
                ready()
                await self._stop.wait()
                nursery.cancel_scope.cancel(reason=self._reason or "closed")
        finally:
            self.queue.close()
        return self._reason

    def _end(self, reason: str | None) -> None:
        if not self._stop.is_set():
            self._reason = reason
            self._stop.set()

    async def _stop_when(self, stop: trio.Event) -> None:
        await stop.wait()
        self._end(None)

    @property
    def turn_start(self) -> int:
        """The position before the running, or else the last turn; the newest one if none began."""
        return min(self.events.last_start or self._ring.newest, self._ring.newest)

    @property
    def busy(self) -> bool:
        """Whether the session must stay open, apart from its consumers."""
        return bool(self.queue.turns or self.turn_running)

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        turn = self.events.own or self.events.foreign
        return None if turn is None else turn.turn_id

    @property
    def queued(self) -> int:
        """The number of messages that are queued."""
        return len(self.queue.waiting)

    @property
    def requests(self) -> Mapping[str, OpenRequest]:
        """The permission requests that are open."""
        return self.events.requests

    def asked(self, request_id: str) -> bool:
        """Return whether a permission request or notification is one of the session."""
        return request_id in self.events.asked

    # -- turns --------------------------------------------------------------------------------

    async def cancel_turn(self, turn_id: str) -> TurnRecord | None:
        """Cancel a turn, and return it; None if it is over."""
        turn = self.queue.turns.get(turn_id)
        if turn is None:
            await trio.lowlevel.checkpoint()
            return None
        await self.sender.cancel(turn)
        return turn.record

    async def cancel_running(self) -> Answer:
        """Cancel the turn that is running; see `SessionFeed.cancel_running`."""
        turn = self.queue.current
        fields = {"status": "cancelled", "sessionId": self.session_id}
        if turn is not None:
            await self.sender.cancel(turn)
            return _json_answer(fields)
        try:
            await self._mix.messages.cancel_processing(id=self.session_id)
        except errors.MixError as exc:
            content_type = exc.headers.get("content-type", "text/plain")
            return Answer(status=exc.status_code, content_type=content_type, body=exc.body.encode())  # noqa: ASYNC910 - the request was a checkpoint
        except errors.TransportError as exc:
            raise UpstreamUnavailable(f"The turn was not cancelled: {exc}") from exc
        return _json_answer(fields)

    async def cancel_waiting(self) -> int:
        """Cancel the messages that are queued, and return their number."""
        await trio.lowlevel.checkpoint()
        waiting = [turn for turn in self.queue.waiting if turn.record.ticket is None]
        for turn in waiting:
            await self.sender.cancel(turn)
        return len(waiting)

    def turns_accepted(self) -> None:
        """Queue what other relays have accepted for the session."""
        self._accepted.set()

    def settled_permission(self, permission_id: str, *, granted: bool, subject: str) -> None:
        """Report that a permission request of the session was answered."""
        request = self.events.requests.pop(permission_id, None)
        fields: dict[str, object] = {
            "permissionId": permission_id,
            "granted": granted,
            "by": subject,
        }
        data = json.dumps(fields, separators=(",", ":"))
        if request is not None:
            data = with_turn_id(data, request.turn_id)
        self.appender.add([Draft("permission_settled", data, Audience.RELAY)])

    def _hole(self) -> None:
        self.holes.note()
        self._on_loss()

    async def _append(self) -> None:  # noqa: ASYNC910 - its own task, which waits
        try:
            await self.appender.run()
        except Fenced as exc:
            _logger.warning("%s This relay does not write the session any more.", exc)
            self._end(LEASE_LOST)

    async def _watch_lease(self) -> None:
        await self._lease.wait_lost()
        self._end(LEASE_LOST)

    async def _read(self) -> None:  # noqa: ASYNC910 - its own task, which waits
        try:
            await self.upstream.run()
        except errors.SessionNotFound:
            with suppress(Closing):
                await self.sender.end_all()
            self._end(SESSION_GONE)

    async def _adopt(self, nursery: trio.Nursery) -> None:
        """Queue the turns that other relays have accepted, until cancelled."""
        while True:
            await self._accepted.wait()
            self._accepted = trio.Event()
            try:
                idle = not self.queue.turns
                adopted = await self.queue.adopt()
                self.appender.add([turn_draft(turn.record) for turn in adopted])
                if idle and adopted:  # its sender waits for the server's answer
                    nursery.start_soon(self.queue.wait_answer, adopted[0])
            except LogError as exc:
                _logger.debug("Turns of session %r are not read: %s", self.session_id, exc)
                await trio.sleep(_ADOPT_PAUSE)
                self._accepted.set()


def _json_answer(fields: object) -> Answer:
    return Answer(status=200, content_type="application/json", body=json.dumps(fields).encode())
