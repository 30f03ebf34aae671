"""`SessionOwner`: owns one session, from acquiring its lease to releasing it.

Rule 1  Everything that happens in the session is appended by one `Appender`, in order.
Rule 2  An owner whose append is refused stops at once: another one owns the session.
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
from trio_mix.relay._cursor import Ring
from trio_mix.relay._errors import Fenced
from trio_mix.relay._holes import Holes
from trio_mix.relay._outbox import Draft, with_turn_id
from trio_mix.relay._records import Audience, SessionActivity
from trio_mix.relay._sender import Closing, TurnSender
from trio_mix.relay._turn_events import SessionEvents
from trio_mix.relay._turn_queue import TurnQueue, new_turn_id
from trio_mix.relay._upstream import UpstreamStream

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._mix import Mix
    from trio_mix.relay._log import Lease, Log
    from trio_mix.relay._settings import HubSettings

__all__ = ["SESSION_GONE", "SessionOwner"]

SESSION_GONE: Final = "session not found"
"""Why a session is closed that the server does not know any more."""

_logger = get_logger("trio_mix.relay")


class SessionOwner:
    """Owns one session. Made and run by the hub.

    Args:
      session_id: the session.
      mix: the client of the server.
      log: the log.
      settings: the settings.
      generation: the server's generation; empty: not known.
      draining: whether no messages are accepted or sent.
      announce: is passed what the stream reports about sessions.
      on_loss: called when the upstream stream was lost.
      wall_clock: returns the time in seconds since 1970.

    Attributes:
      closed: why the session is closed; None while it is open.
      consumers: the number of its consumers.
      idle_since: when it was used last, on Trio's clock.
      listeners: called when the ring has new events, and when the session is closed.
      ended: the lease is released.
      ring, appender, events, upstream, queue, holes, sender: its parts, once `run` has the lease.
    """

    ring: Ring
    appender: Appender
    events: SessionEvents
    upstream: UpstreamStream
    queue: TurnQueue
    holes: Holes
    sender: TurnSender

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        log: Log,
        settings: HubSettings,
        *,
        generation: str,
        draining: bool,
        announce: Callable[[str, str, str], None],
        on_loss: Callable[[], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self.session_id: str = session_id
        self.closed: str | None = None
        self.consumers: int = 0
        self.idle_since: float = trio.current_time()
        self.listeners: dict[object, Callable[[], None]] = {}
        self.ended: trio.Event = trio.Event()
        self._mix = mix
        self._log = log
        self._settings = settings
        self._generation = generation
        self._draining = draining
        self._announce = announce
        self._on_loss = on_loss
        self._now = wall_clock
        self._stop = trio.Event()
        self._reason = "closed"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the session until `stop` is called, or another owner has taken it over.

        Raises:
          LogError: the session could not be acquired.
        """
        lease = await self._log.acquire(self.session_id)
        try:
            self._assemble(lease)
            for record in await self._log.outbox.pending(self.session_id):
                self.queue.enqueue(record)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._append)
                nursery.start_soon(self._follow)
                nursery.start_soon(self.sender.run)
                nursery.start_soon(self.holes.run)
                task_status.started()
                await self._stop.wait()
                nursery.cancel_scope.cancel(reason=self._reason)
        finally:
            self.closed = self._reason
            self.queue.close()
            for listener in list(self.listeners.values()):
                listener()
            await lease.release()
            self.ended.set()

    def _assemble(self, lease: Lease) -> None:
        settings, pipeline = self._settings, self._generation.startswith("pipeline")
        self.ring = Ring(
            lease.newest, size=settings.ring, max_bytes=settings.ring_bytes, pipeline=pipeline
        )
        self.appender = Appender(lease, self.ring, self.listeners)
        newest = self._generation in ("async", "")
        self.events = SessionEvents(
            new_turn_id,
            rate_limit_ends=pipeline,
            style=WireStyle(
                ids=newest, tool_use=newest, deltas=self._generation != "pipeline-oldest"
            ),
        )
        self.upstream = UpstreamStream(
            self.session_id,
            self._mix,
            self.events,
            self.appender,
            settle_timeout=settings.settle_timeout,
            announce=self._announce,
            on_events=self.touch,
        )
        self.queue = TurnQueue(
            self.session_id, self._log, settings, self.appender, wall_clock=self._now
        )
        self.queue.draining = self._draining
        self.holes = Holes(
            self.session_id, self._mix, self.queue, self.events, self.appender, self.upstream
        )
        self.sender = TurnSender(
            self.session_id,
            self._mix,
            self._log,
            lease,
            self.queue,
            self.events,
            self.appender,
            self.upstream,
            self.holes,
            wall_clock=self._now,
        )
        self.sender.on_idle = self.touch
        self.upstream.on_hole = self._hole

    def stop(self, reason: str) -> None:
        """Close the owner; its turns are resumed by the next one (rule 3)."""
        if not self._stop.is_set():
            self._reason = reason
            self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the owner is being closed."""
        return self._stop.is_set()

    @property
    def turn_start(self) -> int:
        """The position before the running, or else the last turn; the newest one if none began."""
        return min(self.events.last_start or self.ring.newest, self.ring.newest)

    @property
    def busy(self) -> bool:
        """Whether the session must stay open."""
        return bool(self.consumers or self.queue.turns or self.turn_running)

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        turn = self.events.own or self.events.foreign
        return None if turn is None else turn.turn_id

    def activity(self) -> SessionActivity:
        """Return what the session is doing."""
        return SessionActivity(
            session_id=self.session_id,
            turn=self.turn_running,
            queued=len(self.queue.waiting),
            requests=len(self.events.requests),
        )

    def touch(self) -> None:
        """Note that the session was used."""
        self.idle_since = trio.current_time()

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
            self.stop("lease lost")

    async def _follow(self) -> None:  # noqa: ASYNC910 - its own task, which waits
        try:
            await self.upstream.run()
        except errors.SessionNotFound:
            with suppress(Closing):
                await self.sender.end_all()
            self.stop(SESSION_GONE)
