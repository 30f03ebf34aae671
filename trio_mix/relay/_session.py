"""`RelaySession`: one session that is open in this relay, which owns it or follows its owner.

Rule 1  The relay owns the session if the log grants it the lease, else it follows the owner. When
        the owner is gone, it acquires the session; when its own lease is lost, it follows. Its
        consumers do not notice: the ring stays.
Rule 2  A log that one relay uses has no other owners: a session whose lease is lost is closed.
Rule 3  Events that consumers have seen and the log has lost are reported, and their ids are not
        used again.
Rule 4  An unexpected exception closes the session, and is logged; its next consumer opens it again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._cursor import Ring
from trio_mix.relay._errors import LogError, SessionOwned
from trio_mix.relay._follower import SessionFollower
from trio_mix.relay._ids import before_first, epoch_of, sequence_of
from trio_mix.relay._outbox import Draft
from trio_mix.relay._owner import LEASE_LOST, SessionOwner
from trio_mix.relay._records import Audience, SessionActivity
from trio_mix.relay._session_role import SessionRole

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._mix import Mix
    from trio_mix.relay._log import Lease, Log
    from trio_mix.relay._settings import HubSettings

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0

_logger = get_logger("trio_mix.relay")


class RelaySession:
    """One open session. Made and run by the hub.

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
      role: whether the relay owns or follows the session.
      closed: why the session is closed; None while it is open.
      consumers: the number of its consumers.
      idle_since: when it was used last, on Trio's clock.
      listeners: called when the ring has new events, and when the session is closed.
      ended: the session is closed, and its lease released.
      takeovers: how often it was taken over from a relay that did not release it.
      lost: the number of events that consumers have seen and the log has lost, at least.
    """

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
        self.takeovers: int = 0
        self.lost: int = 0
        self._mix = mix
        self._log = log
        self._settings = settings
        self._generation = generation
        self._announce = announce
        self._on_loss = on_loss
        self._now = wall_clock
        self._stop = trio.Event()
        self.role: SessionRole = SessionRole(
            session_id, self._stop, draining=draining, shared=log.peers is not None
        )
        self._reason = "closed"
        self._ring: Ring | None = None

    # -- life ---------------------------------------------------------------------------------

    async def run(  # noqa: ASYNC910 - it waits for `stop`
        self, *, claim: bool = False, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the session open until `stop` is called.

        Args:
          claim: whether the session is to be opened only if this relay can own it.
          task_status: is started when the session can be used.

        Raises:
          SessionOwned: another relay owns the session, and it was to be claimed.
          LogError: the session could not be acquired or followed.
        """
        pause, started = _FIRST_PAUSE, False

        def ready() -> None:
            nonlocal started, pause
            pause = _FIRST_PAUSE
            if not started:
                started = True
                task_status.started()

        try:
            while not self._stop.is_set():
                try:
                    await self._take_role(ready, claim=claim and not started)
                except LogError as exc:
                    if not started:
                        raise
                    _logger.debug("Session %r cannot be acquired: %s", self.session_id, exc)
                    with trio.move_on_after(pause):
                        await self._stop.wait()
                    pause = min(2 * pause, _LONGEST_PAUSE)
                except Exception:
                    if not started:
                        raise
                    _logger.exception(
                        "Session %r is closed: the relay has failed.", self.session_id
                    )
                    self.stop("the session has failed")  # rule 4
        finally:
            self.closed = self._reason
            self.role.set(None)
            for listener in list(self.listeners.values()):
                listener()
            self.ended.set()

    async def _take_role(self, ready: Callable[[], None], *, claim: bool) -> None:
        """Own or follow the session, until that ends (rule 1)."""
        seen = 0 if self._ring is None else self._ring.newest
        lease: Lease | None
        try:
            lease = await self._log.acquire(self.session_id, seen=seen)
        except SessionOwned as owned:
            if claim:
                raise
            lease = await self._follow(owned.owner, ready)
        if lease is not None:
            await self._own(lease, ready)

    async def _own(self, lease: Lease, ready: Callable[[], None]) -> None:
        """Own the session until it is closed, or until the lease is lost."""
        try:
            lost = None
            if self._ring is None:
                self._ring = self._new_ring(lease.newest)
            else:
                await self._read_on()
                lost = self._lost_events(lease)
            owner = SessionOwner(
                self.session_id,
                self._mix,
                self._log,
                lease,
                self._settings,
                ring=self._ring,
                listeners=self.listeners,
                generation=self._generation,
                announce=self._announce,
                on_loss=self._on_loss,
                on_used=self.touch,
                wall_clock=self._now,
            )
            self.takeovers += lease.takeover
            if lost is not None:
                owner.appender.add([lost])

            def usable() -> None:
                self.role.set(owner)
                ready()

            reason = await owner.run(usable, self._stop)
            if reason is not None and (reason != LEASE_LOST or self._log.peers is None):
                self.stop(reason)  # rule 2
        finally:
            self.role.set(None)
            await lease.release()

    async def _follow(self, owner: str, ready: Callable[[], None]) -> Lease | None:
        """Follow the session until it can be acquired, or is closed; return the lease."""
        peers = self._log.peers
        assert peers is not None  # noqa: S101 - a log without other relays has no other owners
        if self._ring is None:
            extent = await self._log.extent(self.session_id)
            self._ring = self._new_ring(0 if extent is None else extent.newest)
        follower = SessionFollower(
            self.session_id,
            owner,
            self._log,
            peers,
            self._settings,
            self._ring,
            self.listeners,
            wall_clock=self._now,
        )
        await follower.begin()
        lease: Lease | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower.run)
                self.role.set(follower)
                ready()
                nursery.start_soon(self._stopped, follower)
                while lease is None and not self._stop.is_set():
                    await follower.wait_released()
                    lease = await self._try_acquire(follower)
                nursery.cancel_scope.cancel(reason="the session is not followed any more")
        finally:
            self.role.set(None)
        return lease

    async def _stopped(self, follower: SessionFollower) -> None:
        await self._stop.wait()
        follower.released()

    async def _try_acquire(self, follower: SessionFollower) -> Lease | None:
        if self._stop.is_set():
            await trio.lowlevel.checkpoint()
            return None
        try:
            return await self._log.acquire(self.session_id, seen=self.ring.newest)
        except SessionOwned as owned:
            await trio.lowlevel.checkpoint()
            follower.owner = owned.owner
        except LogError as exc:
            _logger.debug("Session %r cannot be acquired: %s", self.session_id, exc)
            await trio.sleep(_FIRST_PAUSE)
            follower.released()
        return None

    def _new_ring(self, newest: int) -> Ring:
        settings = self._settings
        return Ring(
            newest,
            size=settings.ring,
            max_bytes=settings.ring_bytes,
            pipeline=self._generation.startswith("pipeline"),
        )

    async def _read_on(self) -> None:
        """Read the events after the newest one of the ring."""
        while events := await self._log.read(self.session_id, self.ring.newest):
            self.ring.append(events)
            for listener in list(self.listeners.values()):
                listener()

    def _lost_events(self, lease: Lease) -> Draft | None:
        """Return the event that reports what the log has lost, if it has (rule 3)."""
        newest = self.ring.newest
        empty = lease.newest == before_first(lease.epoch) and sequence_of(newest) > 0
        if lease.newest >= newest and not empty:
            return None
        known = epoch_of(newest) == epoch_of(lease.newest)
        missed = newest - lease.newest if known else None
        self.lost += 1 if missed is None else missed
        _logger.error(
            "The log has lost %s events of session %r that consumers may have seen: a server"
            " without them has become the primary, or its data were deleted.",
            "an unknown number of" if missed is None else missed,
            self.session_id,
        )
        reason = "the log has lost events"
        return Draft("gap", json.dumps({"missed": missed, "reason": reason}), Audience.RELAY)

    def stop(self, reason: str) -> None:
        """Close the session; its turns are resumed by the next owner."""
        if not self._stop.is_set():
            self._reason = reason
            self._stop.set()

    # -- what it is ---------------------------------------------------------------------------

    @property
    def ring(self) -> Ring:
        """Its newest events, once `run` has started."""
        assert self._ring is not None  # noqa: S101 - see above
        return self._ring

    @property
    def stopping(self) -> bool:
        """Whether the session is being closed."""
        return self._stop.is_set()

    @property
    def busy(self) -> bool:
        """Whether the session must stay open."""
        return bool(self.consumers) or self.role.busy

    def activity(self) -> SessionActivity:
        """Return what the session is doing."""
        return SessionActivity(
            session_id=self.session_id,
            turn=self.role.turn_running,
            queued=self.role.queued,
            requests=len(self.role.requests),
        )

    def touch(self) -> None:
        """Note that the session was used."""
        self.idle_since = trio.current_time()
