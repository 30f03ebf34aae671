"""`Hub`: opens and closes the relay's sessions, and decides what concerns no single one."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Self

import trio

from trio_mix import errors
from trio_mix._lifetime import OwnedNursery
from trio_mix.relay._announcements import Announcements
from trio_mix.relay._decisions import Decisions
from trio_mix.relay._errors import SessionOwned, TurnUnknown
from trio_mix.relay._feed import SessionFeed
from trio_mix.relay._follower import answer_of, ask_owner
from trio_mix.relay._hub_requests import HubRequests
from trio_mix.relay._hub_statistics import HubStatistics, statistics_of
from trio_mix.relay._server_watch import ServerWatch
from trio_mix.relay._session import RelaySession

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from types import TracebackType

    from trio_mix._mix import Mix
    from trio_mix.models import NotificationAnswer
    from trio_mix.relay._generation import Generation
    from trio_mix.relay._log import Log
    from trio_mix.relay._records import Answer, SessionActivity, TurnRecord
    from trio_mix.relay._settings import HubSettings


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
        self._mix = mix
        self._log = log
        self._settings = settings
        self._now = wall_clock
        self._tasks = OwnedNursery("Hub")
        self._entered = False
        self._sessions: dict[str, RelaySession] = {}
        self._feeds: dict[RelaySession, SessionFeed] = {}
        self._opening: dict[str, trio.Lock] = {}
        self._decisions = Decisions(mix, self._sessions)
        self._server = ServerWatch(mix, log, self._server_replaced)
        self._draining = False
        self._releasing = trio.Lock()
        self._takeovers = self._lost_events = 0
        self._log_open = False

    # -- life ---------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the log, and resume the turns that are not over.

        Raises:
          LogError: the log cannot be used.
        """
        if self._entered:
            await trio.lowlevel.checkpoint()
            raise errors.UsageError("A Hub can be entered once: make a new one.")
        self._entered = True
        await self._log.__aenter__()  # before our nursery: it may have one, which is closed last
        self._log_open = True
        try:
            nursery = await self._tasks.open()
            await self._server.recall()
            nursery.start_soon(self._server.run)
            if self._log.peers is not None:
                self._log.peers.serve(
                    HubRequests(self._sessions, self._decisions, self._claim, nursery)
                )
            await self._resume_turns()
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
        if self._log.peers is not None:
            self._log.peers.serve(None)
        try:
            await self._tasks.close("the relay is being closed", exc)
        finally:
            if self._log_open:
                self._log_open = False
                await self._log.__aexit__(exc_type, exc, traceback)

    async def drain(self, timeout: float) -> None:
        """Accept no more messages, wait for the running turns, and close all sessions.

        The sessions are closed one by one: other relays of the log take them over.

        Args:
          timeout: seconds after which the sessions are closed in any case. Their turns are resumed
            by the next relay.
        """
        self._draining = True
        for session in self._sessions.values():
            session.role.drain()
        with trio.move_on_after(timeout):  # noqa: ASYNC912 - nothing may be running
            async with trio.open_nursery() as nursery:
                for session in list(self._sessions.values()):
                    nursery.start_soon(self._drain_session, session)
        for session in list(self._sessions.values()):
            session.stop("drained")
            await session.ended.wait()
        await trio.lowlevel.checkpoint()

    async def _drain_session(self, session: RelaySession) -> None:
        """Wait for the running turn of a session that this relay owns, and close the session."""
        owner = session.role.owner
        while owner is not None and session.role.owner is owner and owner.queue.current is not None:
            await owner.queue.current.over.wait()
            await trio.lowlevel.checkpoint()
        if self._log.peers is not None:
            async with self._releasing:
                session.stop("drained")
                await session.ended.wait()
        await trio.lowlevel.checkpoint()

    def stop(self, reason: str) -> None:
        """Close all sessions, without waiting for their turns."""
        for session in list(self._sessions.values()):
            session.stop(reason)

    # -- the server ---------------------------------------------------------------------------

    @property
    def generation(self) -> Generation | None:
        """The server's generation; None while the server was never reached."""
        return self._server.generation

    @property
    def upstream_reachable(self) -> bool:
        """Whether the server was reached the last time."""
        return self._server.reachable

    @property
    def ready(self) -> bool:
        """Whether messages are accepted and stored."""
        owners = [session.role.owner for session in self._sessions.values()]
        failing = any(owner is not None and owner.appender.failing for owner in owners)
        peers = self._log.peers
        usable = self._log_open and (peers is None or peers.connected)
        return usable and self._server.generation is not None and not (self._draining or failing)

    async def wait_ready(self) -> None:
        """Wait until the server's generation is known."""
        await self._server.wait_known()

    async def _server_replaced(self) -> None:
        """Open the sessions again, as streams of the new server."""
        self.stop("the server was replaced by another version")
        await self._resume_turns()

    # -- sessions -----------------------------------------------------------------------------

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncIterator[SessionFeed]:
        """Return a context manager for a session, which stays open while it is used.

        Raises:
          SessionUnknown: neither the server nor the log knows the session.
          UpstreamUnavailable: the log does not know it, and the server cannot be reached.
          LogError: the session could not be acquired.
        """
        session = await self._session(session_id)
        session.consumers += 1
        try:
            yield self._feeds[session]
        finally:
            session.consumers -= 1
            session.touch()

    async def _session(self, session_id: str, *, claim: bool = False) -> RelaySession:
        """Return an open session.

        Args:
          session_id: the session.
          claim: open it only if no other relay owns it; else raise `SessionOwned`.
        """
        lock = self._opening.setdefault(session_id, trio.Lock())
        try:
            async with lock:
                session = self._sessions.get(session_id)
                if session is not None and session.closed is None and not session.stopping:
                    return session
                if session is not None:
                    await session.ended.wait()
                if await self._log.extent(session_id) is None:
                    await self._server.verify(session_id)
                return await self._open(session_id, claim=claim)
        finally:
            if not lock.locked():  # else it was passed to the task that waited for it
                self._opening.pop(session_id, None)

    async def _open(self, session_id: str, *, claim: bool) -> RelaySession:
        nursery = self._open_nursery()
        session = RelaySession(
            session_id,
            self._mix,
            self._log,
            self._settings,
            generation=self._server.generation or "",
            draining=self._draining,
            announce=self.announcements.report,
            on_loss=self._server.lost,
            wall_clock=self._now,
        )
        await nursery.start(partial(session.run, claim=claim))
        self._sessions[session_id] = session
        self._feeds[session] = SessionFeed(session, self._log)
        nursery.start_soon(self._close_idle, session)
        return session

    async def _claim(self, session_id: str | None) -> None:
        """Open a session, or all with turns that are not over, if no other relay owns it."""
        if self._draining:
            await trio.lowlevel.checkpoint()
        elif session_id is None:
            await self._resume_turns()
        else:
            await self._session(session_id, claim=True)

    async def _resume_turns(self) -> None:
        """Open the sessions with turns that are not over, if no other relay owns them.

        Raises:
          LogError: the log cannot be read.
        """
        for session_id in await self._log.outbox.sessions():
            with suppress(SessionOwned):
                await self._session(session_id, claim=True)

    async def _close_idle(self, session: RelaySession) -> None:  # noqa: ASYNC910 - its own task, which waits
        """Close a session that nothing uses, and end with it."""
        while not session.ended.is_set():
            due = session.idle_since + self._settings.idle_close
            if not session.busy and trio.current_time() >= due:
                session.stop("idle")
            with trio.move_on_at(max(due, trio.current_time() + self._settings.idle_close / 10)):
                await session.ended.wait()
        if self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
        self._feeds.pop(session, None)
        self._takeovers += session.takeovers
        self._lost_events += session.lost

    # -- turns and permissions ----------------------------------------------------------------

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return a turn, or None if there is none with that id.

        Raises:
          LogError: the log cannot be read.
        """
        for session in self._sessions.values():
            active = (
                None if session.role.owner is None else session.role.owner.queue.turns.get(turn_id)
            )
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
            cancelled = await self._sessions[record.session_id].role.cancel_turn(turn_id)
            if cancelled is not None:
                return cancelled
        return await self._log.outbox.turn(turn_id) or record

    async def session_of_request(self, request_id: str) -> str | None:
        """Return the session of a permission request or a notification, or None if it is unknown.

        Also of one that is answered already. If no session of this relay has it, the other relays
        of the log are asked.
        """
        await trio.lowlevel.checkpoint()
        session_id = self._decisions.session_of(request_id)
        if session_id is None and self._log.peers is not None:
            return await self._log.peers.find(request_id)
        return session_id

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
          OwnerUnreachable: another relay owns the session, and does not answer.

        A checkpoint. If it is cancelled, the answer is sent nevertheless.
        """
        fields = {"id": permission_id, "grant": grant, "subject": subject}
        answer = await self._ask_owner(permission_id, "decide", fields)
        if answer is not None:
            return answer
        return await self._decisions.decide(
            permission_id, grant=grant, subject=subject, nursery=self._open_nursery()
        )

    async def respond(
        self, notification_id: str, response: NotificationAnswer, value: str | None
    ) -> Answer:
        """Answer a notification, as `decide` a permission request: the first answer counts.

        Args:
          notification_id: the notification.
          response: the kind of answer.
          value: the text, or the choice.
        """
        fields = {"id": notification_id, "response": response, "value": value}
        answer = await self._ask_owner(notification_id, "respond", fields)
        if answer is not None:
            return answer
        return await self._decisions.respond(
            notification_id, response, value, nursery=self._open_nursery()
        )

    async def _ask_owner(
        self, request_id: str, what: str, fields: Mapping[str, object]
    ) -> Answer | None:
        """Ask the relay that owns the session of a request; None: this one is to answer it."""
        await trio.lowlevel.checkpoint()
        peers = self._log.peers
        session_id = None if peers is None else await self.session_of_request(request_id)
        if peers is None or session_id is None:
            return None
        session = self._sessions.get(session_id)
        if session is not None and session.role.owner is not None:
            return None
        return answer_of(await ask_owner(peers, session_id, what, **fields))

    def _open_nursery(self) -> trio.Nursery:
        nursery = self._tasks.nursery
        if nursery is None:
            raise errors.UsageError("The hub is not open: use it as `async with hub`.")
        return nursery

    def activity(self) -> list[SessionActivity]:
        """Return what the open sessions are doing."""
        return [each.activity() for each in self._sessions.values() if each.closed is None]

    def statistics(self) -> HubStatistics:
        """Return the counters."""
        sessions = list(self._sessions.values())
        return statistics_of(
            sessions, self._log, takeovers=self._takeovers, lost_events=self._lost_events
        )
