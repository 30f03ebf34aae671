"""`SessionRole`: whether a relay owns a session or follows its owner, and what is asked of either.

Rule 1  While the role changes, a request waits for the next one. A request that an ended role has
        refused is repeated with the next role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix.relay._errors import Draining, OwnerUnreachable
from trio_mix.relay._follower import SessionFollower
from trio_mix.relay._owner import SessionOwner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix.relay._records import Answer, SendRequest, Sent, TurnRecord
    from trio_mix.relay._turn_progress import OpenRequest

_ROLE_TIMEOUT: Final = 5.0
_REACH_TIMEOUT: Final = 2.0


class SessionRole:
    """The role of one relay in one session.

    Args:
      session_id: the session.
      stop: set when the session is to be closed.
      draining: whether no messages are accepted or sent.
      shared: whether other relays use the log: a turn may end elsewhere.
    """

    def __init__(self, session_id: str, stop: trio.Event, *, draining: bool, shared: bool) -> None:
        self._session_id = session_id
        self._stop = stop
        self._draining = draining
        self._shared = shared
        self._role: SessionOwner | SessionFollower | None = None
        self._changed = trio.Event()

    def set(self, role: SessionOwner | SessionFollower | None) -> None:
        """Change the role; None: the relay has none at the moment."""
        self._role = role
        self._pass_draining()
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def drain(self) -> None:
        """Accept and send no more messages, in this role and later ones."""
        self._draining = True
        self._pass_draining()

    def _pass_draining(self) -> None:
        match self._role:
            case SessionOwner() as owner:
                owner.queue.draining = self._draining
            case SessionFollower() as follower:
                follower.draining = self._draining
            case None:
                pass

    # -- what is known ------------------------------------------------------------------------

    @property
    def owner(self) -> SessionOwner | None:
        """The owner, if the session is owned by this relay."""
        return self._role if isinstance(self._role, SessionOwner) else None

    @property
    def busy(self) -> bool:
        """Whether the session must stay open."""
        return self._role is not None and self._role.busy

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        return None if self._role is None else self._role.turn_running

    @property
    def turn_start(self) -> int | None:
        """The position before the running, or else the last turn; None without a role."""
        return None if self._role is None else self._role.turn_start

    @property
    def queued(self) -> int:
        """The number of messages that are queued."""
        return 0 if self._role is None else self._role.queued

    @property
    def requests(self) -> Mapping[str, OpenRequest]:
        """The permission requests that are open."""
        return {} if self._role is None else self._role.requests

    def asked(self, request_id: str) -> bool:
        """Return whether a permission request or notification is one of the session."""
        return self._role is not None and self._role.asked(request_id)

    # -- what is asked ------------------------------------------------------------------------

    async def reach(self, position: int) -> None:
        """Wait for the events up to a position that another relay has passed on, for some time."""
        if isinstance(self._role, SessionFollower):
            await self._role.reach(position, _REACH_TIMEOUT)
        else:
            await trio.lowlevel.checkpoint()

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        """Accept a message; see `SessionFeed.send`."""
        while True:
            role = await self._now()
            queue = role.queue if isinstance(role, SessionOwner) else role
            try:
                return await queue.send(request, body=body, key=key, subject=subject)
            except Draining:
                if not await self._has_ended(role):
                    raise

    async def wait_turn(self, turn_id: str) -> TurnRecord:
        """Wait for the end of a turn, and return it; see `SessionFeed.wait_turn`."""
        while True:
            role = await self._now()
            queue = role.queue if isinstance(role, SessionOwner) else role
            try:
                record = await queue.wait_turn(turn_id)
            except Draining:
                if not await self._has_ended(role):
                    raise
                continue
            if record is not None and (record.state.over or not self._shared):
                return record
            await self._has_ended(role)  # another relay runs the turn

    async def cancel_turn(self, turn_id: str) -> TurnRecord | None:
        """Cancel a turn that is not over."""
        return await (await self._now()).cancel_turn(turn_id)

    async def cancel_running(self) -> Answer:
        """Cancel the turn that is running; see `SessionFeed.cancel_running`."""
        return await (await self._now()).cancel_running()

    async def cancel_waiting(self) -> int:
        """Cancel the messages that are queued; see `SessionFeed.cancel_waiting`."""
        return await (await self._now()).cancel_waiting()

    async def turns_accepted(self) -> None:
        """Queue what other relays have accepted for the session, if this relay owns it."""
        role = await self._now()
        if isinstance(role, SessionOwner):
            role.turns_accepted()

    async def _now(self) -> SessionOwner | SessionFollower:
        """Return the role; wait for it while it changes.

        Raises:
          Draining: the session is closed.
          OwnerUnreachable: no relay owns the session for too long.
        """
        with trio.move_on_after(_ROLE_TIMEOUT):  # noqa: ASYNC912 - there may be a role
            while self._role is None and not self._stop.is_set():
                await self._changed.wait()
        if self._role is not None:
            return self._role  # noqa: ASYNC910 - the callers wait
        if self._stop.is_set():
            raise Draining("The relay is shutting down. Send the message again.")
        raise OwnerUnreachable(f"No relay owns session {self._session_id!r} now. Try again.")

    async def _has_ended(self, role: SessionOwner | SessionFollower) -> bool:
        """Return whether a role ends soon: a request can be repeated with the next one."""
        await trio.lowlevel.checkpoint()
        if self._draining or self._stop.is_set():
            return False
        with trio.move_on_after(_ROLE_TIMEOUT):  # noqa: ASYNC912 - it may have changed
            while self._role is role:
                await self._changed.wait()
        return self._role is not role
