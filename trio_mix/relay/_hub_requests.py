"""`HubRequests`: what other relays of the log ask of this one's sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.errors import TrioMixError
from trio_mix.relay._errors import LogError, OwnerUnreachable, SessionOwned, TurnUnknown
from trio_mix.relay._follower import answer_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_mix.models import NotificationAnswer
    from trio_mix.relay._decisions import Decisions
    from trio_mix.relay._session import RelaySession

_logger = get_logger("trio_mix.relay")


class HubRequests:
    """Carries out the requests of other relays.

    Args:
      sessions: the open sessions.
      decisions: the answers to permission requests and notifications.
      claim: opens a session, or all that have turns which are not over, if no other relay owns it.
      nursery: where that is done.
    """

    def __init__(
        self,
        sessions: Mapping[str, RelaySession],
        decisions: Decisions,
        claim: Callable[[str | None], Awaitable[None]],
        nursery: trio.Nursery,
    ) -> None:
        self._sessions = sessions
        self._decisions = decisions
        self._claim = claim
        self._nursery = nursery

    def turn_accepted(self, session_id: str, turn_id: str) -> None:
        """Queue a turn that another relay has accepted for a session that this one owns."""
        del turn_id  # it is read with all others that are new
        session = self._sessions.get(session_id)
        if session is not None:
            self._nursery.start_soon(self._adopt, session)

    async def answer(self, session_id: str, request: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out a request that concerns a session of this relay."""
        session = self._sessions.get(session_id)
        if session is None or session.role.owner is None:
            await trio.lowlevel.checkpoint()
            raise OwnerUnreachable(f"The relay does not own session {session_id!r} any more.")
        owner, fields = session.role.owner, cast("Mapping[str, Any]", request)
        match fields.get("what"):
            case "cancel":
                if await owner.cancel_turn(str(fields.get("turn"))) is None:
                    raise TurnUnknown("The turn is over.")
                return {}
            case "cancel_running":
                return answer_fields(await owner.cancel_running())
            case "cancel_waiting":
                return {"count": await owner.cancel_waiting()}
            case "decide":
                answer = await self._decisions.decide(
                    str(fields.get("id")),
                    grant=fields.get("grant") is True,
                    subject=str(fields.get("subject")),
                    nursery=self._nursery,
                )
                return answer_fields(answer)
            case "respond":
                value = fields.get("value")
                answer = await self._decisions.respond(
                    str(fields.get("id")),
                    cast("NotificationAnswer", str(fields.get("response"))),
                    None if value is None else str(value),
                    nursery=self._nursery,
                )
                return answer_fields(answer)
            case _:
                await trio.lowlevel.checkpoint()
                raise OwnerUnreachable("The relay that owns the session is of another version.")

    def session_of(self, request_id: str) -> str | None:
        """Return the session of a permission request or notification, if it is open here."""
        return self._decisions.session_of(request_id)

    def unowned(self, session_id: str | None) -> None:
        """Open a session that has turns and no owner; None: all such sessions."""
        self._nursery.start_soon(self._claim_quietly, session_id)

    def resumed(self) -> None:
        """Look for what other relays may have reported meanwhile."""
        for session in list(self._sessions.values()):
            self._nursery.start_soon(self._adopt, session)
        self.unowned(None)

    async def _adopt(self, session: RelaySession) -> None:
        try:
            await session.role.turns_accepted()
        except TrioMixError as exc:  # its next owner reads all turns
            await trio.lowlevel.checkpoint()
            _logger.debug("Session %r: %s", session.session_id, exc)

    async def _claim_quietly(self, session_id: str | None) -> None:
        try:
            await self._claim(session_id)
        except SessionOwned:
            await trio.lowlevel.checkpoint()
        except LogError as exc:
            await trio.lowlevel.checkpoint()
            _logger.debug("Sessions with turns are not opened: %s", exc)
        except TrioMixError as exc:
            await trio.lowlevel.checkpoint()
            _logger.warning("A session with turns is not opened: %s", exc)
