"""`Hub`: opens and closes the relay's sessions, and decides what concerns no single one."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self, cast, get_args

import attrs
import trio

from trio_mix import errors
from trio_mix._lifetime import OwnedNursery
from trio_mix._terminal_text import get_logger
from trio_mix.relay._announcements import Announcements
from trio_mix.relay._decisions import Decisions
from trio_mix.relay._errors import (
    LogError,
    SessionUnknown,
    TurnUnknown,
    UpstreamUnavailable,
)
from trio_mix.relay._feed import SessionFeed
from trio_mix.relay._generation import Generation, find_generation
from trio_mix.relay._owner import SessionOwner
from trio_mix.relay._settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

    from trio_mix._mix import Mix
    from trio_mix.relay._log import Log
    from trio_mix.relay._records import Answer, SessionActivity, TurnRecord

__all__ = ["Announcements", "Hub", "HubSettings", "HubStatistics", "SessionFeed"]

_GENERATION: Final = "generation"
_PROBE_PAUSE: Final = 1.0
_LONGEST_PROBE_PAUSE: Final = 15.0

_logger = get_logger("trio_mix.relay")


@attrs.frozen(kw_only=True)
class HubStatistics:
    """Counters of the relay's sessions; those that end in ``_total`` only grow."""

    sessions: int = 0
    """Sessions that are open."""
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
    stream_losses_total: int = 0
    """Losses of upstream streams, of the sessions that are open."""
    turns_repaired_total: int = 0
    """Turns that were completed from stored messages, of the sessions that are open."""


class Hub:
    """The sessions of one relay. Use it as an async context manager.

    Args:
      mix: the client of the server.
      log: the log, which the hub opens and closes.
      settings: the settings.
      wall_clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        mix: Mix,
        log: Log,
        settings: HubSettings,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.announcements: Announcements = Announcements()
        self.upstream_reachable: bool = False
        self._mix = mix
        self._log = log
        self._settings = settings
        self._now = wall_clock
        self._tasks = OwnedNursery("A hub can be entered only once.")
        self._owners: dict[str, SessionOwner] = {}
        self._feeds: dict[SessionOwner, SessionFeed] = {}
        self._opening: dict[str, trio.Lock] = {}
        self._decisions = Decisions(mix, self._owners)
        self._generation: Generation | None = None
        self._known = trio.Event()
        self._lost = trio.Event()
        self._draining = False
        self._log_open = False

    # -- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the log, and resume the turns that are not over.

        Raises:
          LogError: the log cannot be used.
        """
        nursery = await self._tasks.open()
        try:
            await self._log.__aenter__()
            self._log_open = True
            self._set_generation(await self._log.recall(_GENERATION))
            nursery.start_soon(self._probe)
            for session_id in await self._log.outbox.sessions():
                await self._owner(session_id)
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all sessions and the log. No turn is cancelled on the server."""
        try:
            await self._tasks.close("the relay is being closed", exc)
        finally:
            if self._log_open:
                self._log_open = False
                await self._log.__aexit__(exc_type, exc, traceback)

    async def drain(self, timeout: float) -> None:
        """Accept no more messages, wait for the running turns, and close all sessions.

        Args:
          timeout: seconds after which the sessions are closed in any case. Their turns are resumed
            by the next relay.
        """
        self._draining = True
        owners = list(self._owners.values())
        for owner in owners:
            owner.queue.draining = True
        with trio.move_on_after(timeout):  # noqa: ASYNC912 - nothing may be running
            for owner in owners:
                while owner.queue.current is not None and owner.closed is None:
                    await owner.queue.current.over.wait()
                    await trio.lowlevel.checkpoint()
        self.stop("drained")
        for owner in owners:
            await owner.ended.wait()
        await trio.lowlevel.checkpoint()

    def stop(self, reason: str) -> None:
        """Close all sessions, without waiting for their turns."""
        for owner in list(self._owners.values()):
            owner.stop(reason)

    # -- the server ---------------------------------------------------------------------------

    @property
    def generation(self) -> Generation | None:
        """The server's generation; None while the server was never reached."""
        return self._generation

    @property
    def ready(self) -> bool:
        """Whether messages are accepted and stored."""
        failing = any(owner.appender.failing for owner in self._owners.values())
        return self._log_open and self._generation is not None and not (self._draining or failing)

    async def wait_ready(self) -> None:
        """Wait until the server's generation is known."""
        await self._known.wait()

    def _set_generation(self, found: str | None) -> None:
        if found in get_args(Generation):
            self._generation = cast("Generation", found)
            self._known.set()

    async def _probe(self) -> None:
        """Find out the server's generation: at the start, and after each loss of a stream."""
        pause = _PROBE_PAUSE
        while True:
            try:
                await self._note_generation(await find_generation(self._mix))
                pause = _PROBE_PAUSE
                self._lost = trio.Event()
                await trio.sleep(_PROBE_PAUSE)
                await self._lost.wait()
            except errors.TransportError as exc:
                self.upstream_reachable = False
                _logger.debug("The server cannot be reached: %s", exc)
            except LogError as exc:
                _logger.error("The server's generation is not stored: %s", exc)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PROBE_PAUSE)

    async def _note_generation(self, found: Generation) -> None:
        """Remember the server's generation; if it has changed, open the sessions again."""
        self.upstream_reachable = True
        before = self._generation
        if found == before:
            return  # noqa: ASYNC910 - internal; remembering waits
        await self._log.remember(_GENERATION, found)
        self._set_generation(found)
        if before is not None:
            _logger.warning("The server was of generation %r and is %r now.", before, found)
            self.stop("the server was replaced by another version")
            for session_id in await self._log.outbox.sessions():
                await self._owner(session_id)

    def _stream_lost(self) -> None:
        self._lost.set()

    # -- sessions -----------------------------------------------------------------------------

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncIterator[SessionFeed]:
        """Return a context manager for a session, which stays open while it is used.

        Raises:
          SessionUnknown: neither the server nor the log knows the session.
          UpstreamUnavailable: the log does not know it, and the server cannot be reached.
          LogError: the session could not be acquired.
        """
        owner = await self._owner(session_id)
        owner.consumers += 1
        try:
            yield self._feeds[owner]
        finally:
            owner.consumers -= 1
            owner.touch()

    async def _owner(self, session_id: str) -> SessionOwner:
        lock = self._opening.setdefault(session_id, trio.Lock())
        try:
            async with lock:
                owner = self._owners.get(session_id)
                if owner is not None and owner.closed is None and not owner.stopping:
                    return owner
                if owner is not None:
                    await owner.ended.wait()
                if await self._log.extent(session_id) is None:
                    await self._verify(session_id)
                return await self._open(session_id)
        finally:
            if not lock.locked():  # else it was passed to the task that waited for it
                self._opening.pop(session_id, None)

    async def _open(self, session_id: str) -> SessionOwner:
        nursery = self._tasks.nursery
        if nursery is None:
            raise errors.UsageError("The hub is not open: use it as `async with hub`.")
        owner = SessionOwner(
            session_id,
            self._mix,
            self._log,
            self._settings,
            generation=self._generation or "",
            draining=self._draining,
            announce=self.announcements.report,
            on_loss=self._stream_lost,
            wall_clock=self._now,
        )
        await nursery.start(owner.run)
        self._owners[session_id] = owner
        self._feeds[owner] = SessionFeed(owner, self._mix, self._log)
        nursery.start_soon(self._close_idle, owner)
        return owner

    async def _close_idle(self, owner: SessionOwner) -> None:  # noqa: ASYNC910 - its own task, which waits
        """Close a session that nothing uses, and end with it."""
        while not owner.ended.is_set():
            due = owner.idle_since + self._settings.idle_close
            if not owner.busy and trio.current_time() >= due:
                owner.stop("idle")
            with trio.move_on_at(max(due, trio.current_time() + self._settings.idle_close / 10)):
                await owner.ended.wait()
        if self._owners.get(owner.session_id) is owner:
            del self._owners[owner.session_id]
        self._feeds.pop(owner, None)

    async def _verify(self, session_id: str) -> None:
        """Raise if the server does not know a session."""
        try:
            async with self._mix.open_stream(session_id):
                self.upstream_reachable = True
        except errors.SessionNotFound as exc:
            raise SessionUnknown(f"There is no session {session_id!r}. Check the id.") from exc
        except errors.StreamAlreadyOpen:
            return  # noqa: ASYNC910 - another open stream proves it
        except (errors.TransportError, errors.MixError, errors.StreamError) as exc:
            raise UpstreamUnavailable(
                f"Session {session_id!r} is not known here, and the server cannot be asked: {exc}"
            ) from exc

    # -- turns and permissions ----------------------------------------------------------------

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return a turn, or None if there is none with that id.

        Raises:
          LogError: the log cannot be read.
        """
        for owner in self._owners.values():
            active = owner.queue.turns.get(turn_id)
            if active is not None:
                await trio.lowlevel.checkpoint()
                return active.record
        return await self._log.outbox.turn(turn_id)

    async def cancel(self, turn_id: str) -> TurnRecord:
        """Cancel a turn that is queued or running; one that is over stays as it is.

        Returns:
          The turn. One that is running ends with the server's next events.

        Raises:
          TurnUnknown: there is no such turn.
        """
        record = await self._log.outbox.turn(turn_id)
        if record is None:
            raise TurnUnknown(f"There is no turn {turn_id!r}. Check the id.")
        if record.state.over:
            return record
        async with self.session(record.session_id):
            owner = self._owners[record.session_id]
            active = owner.queue.turns.get(turn_id)
            if active is not None:
                await owner.sender.cancel(active)
                return active.record
        return await self._log.outbox.turn(turn_id) or record

    def session_of_request(self, request_id: str) -> str | None:
        """Return the session of a permission request or a notification, or None if it is unknown.

        Also of one that is answered already.
        """
        return self._decisions.session_of(request_id)

    async def decide(self, permission_id: str, *, grant: bool, subject: str) -> Answer:
        """Answer a permission request: the first answer counts.

        Args:
          permission_id: the request.
          grant: whether it is granted.
          subject: who decides.

        Returns:
          The server's answer. An equal repetition gets the same one.

        Raises:
          AlreadyDecided: the opposite was answered before.
          UpstreamUnavailable: the server cannot be reached.

        A checkpoint. If it is cancelled, the answer is sent nevertheless.
        """
        nursery = self._tasks.nursery
        assert nursery is not None  # noqa: S101 - a hub is open
        return await self._decisions.decide(
            permission_id, grant=grant, subject=subject, nursery=nursery
        )

    def activity(self) -> list[SessionActivity]:
        """Return what the open sessions are doing."""
        return [owner.activity() for owner in self._owners.values() if owner.closed is None]

    def statistics(self) -> HubStatistics:
        """Return the counters."""
        owners = list(self._owners.values())
        log = self._log.statistics()
        return HubStatistics(
            sessions=len(owners),
            sessions_connected=sum(owner.upstream.session is not None for owner in owners),
            turns_running=sum(owner.queue.current is not None for owner in owners),
            turns_queued=sum(len(owner.queue.waiting) for owner in owners),
            events_total=log.events,
            event_bytes_total=log.bytes,
            commits_total=log.commits,
            log_failures_total=log.failures,
            events_deleted_total=log.deleted,
            stream_losses_total=sum(owner.upstream.losses for owner in owners),
            turns_repaired_total=sum(owner.events.repaired for owner in owners),
        )
