"""Resume messages from their tickets, and save what becomes known about them.

Rule 1  A ticket is saved as "posting" before the first byte of the POST. If saving it fails, the
        message is not sent.
Rule 2  What becomes known later is saved too. If that fails, or takes too long, a warning is
        logged: the stored messages show it again.
Rule 3  A ticket that was never marked was never sent if it is always saved, or if this client has
        prepared it and has not resumed it yet. The stored messages decide about all others.
Rule 4  One ticket is resumed once at a time in a process.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
import trio

from trio_mix import errors
from trio_mix._session._send_api import MessageRequest
from trio_mix._session._warnings import warn_not_saved
from trio_mix._ticket import LONGEST_ID, Ticket
from trio_mix._turns._baseline import digest_of
from trio_mix._usage import call

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._session._message_state import MessageState
    from trio_mix._ticket import TicketState
    from trio_mix._turns._history import History
    from trio_mix._turns._recovery import Recovery

SaveTicket: TypeAlias = "Callable[[Ticket], object | Awaitable[object]]"
"""Stores a ticket durably, in place of an earlier one with the same id."""

_PREPARED_REMEMBERED: Final = 10_000


class PreparedTickets:
    """The tickets that a client has prepared and not resumed yet."""

    def __init__(self) -> None:
        self._tickets: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        """Their sessions, and the digests of their texts."""

    def add(self, ticket: Ticket) -> None:
        """Note a ticket that no byte was sent of."""
        self._tickets[ticket.ticket_id] = (ticket.session_id, digest_of(ticket.text))
        while len(self._tickets) > _PREPARED_REMEMBERED:
            self._tickets.popitem(last=False)

    def take(self, ticket: Ticket) -> bool:
        """Return whether the client has prepared a ticket and not resumed it; it is resumed now."""
        return self._tickets.pop(ticket.ticket_id, None) is not None

    def count(self, session_id: str, text: str) -> int:
        """Return how many tickets of a session have a text."""
        return list(self._tickets.values()).count((session_id, digest_of(text)))


_RESUMED: Final[set[str]] = set()
"""The ids of the tickets that this process resumes now."""


class Resumption:
    """The ticket of a message that is resumed, from then on until the message is left.

    Args:
      ticket: the ticket.
      save: saves it; None if nothing does.
      prepared: the tickets that its client has prepared.
      resend: whether the message may be sent again if it is not stored.

    Attributes:
      ticket: the newest state of the ticket.
    """

    def __init__(
        self,
        ticket: Ticket,
        save: SaveTicket | None,
        prepared: PreparedTickets,
        *,
        resend: bool,
    ) -> None:
        self.ticket: Ticket = ticket
        self._prepared = prepared
        self._save = save
        self._resend = resend
        self._in_doubt = True
        self._renew_baseline = False
        self._saving = trio.Lock()
        self._save_failed = False

    @property
    def request(self) -> MessageRequest:
        """The message."""
        ticket = self.ticket
        return MessageRequest(
            text=ticket.text,
            plan_mode=ticket.plan_mode,
            thinking_level=ticket.thinking_level,
            max_steps=ticket.max_steps,
            media=ticket.media,
            apps=ticket.apps,
            key=ticket.ticket_id,
        )

    def begin(self) -> None:
        """Note that the ticket is resumed now (rules 3 and 4).

        Raises:
          UsageError: it is being resumed already.
        """
        ticket = self.ticket
        if ticket.ticket_id in _RESUMED:
            raise errors.UsageError(
                f"A ticket of session {ticket.session_id!r} is being resumed already in this "
                "process. Wait until that message is over; a message can be iterated once."
            )
        _RESUMED.add(ticket.ticket_id)
        fresh = self._prepared.take(ticket)
        self._in_doubt = ticket.state != "prepared" or not (fresh or self._save is not None)
        self._renew_baseline = not self._in_doubt and (not fresh or ticket._baseline.equal > 0)

    def expect_fresh(self, history: History) -> None:
        """Have the stored messages read again, if they may have changed since `prepare`."""
        history.due = history.due or self._renew_baseline

    def end(self) -> None:
        """Note that the ticket can be resumed again."""
        _RESUMED.discard(self.ticket.ticket_id)
        if self.ticket.state == "prepared" and not self._in_doubt:
            self._prepared.add(self.ticket)

    def apply(self, recovery: Recovery) -> None:
        """Note in the recovery of a message what the ticket says of it."""
        ticket = self.ticket
        if self._in_doubt:
            arrived = ticket.state not in ("prepared", "posting")
            recovery.resumed(may_resend=self._resend and not arrived)

    async def before_post(self, history: History) -> None:
        """Save that the message may be sent from now on (rule 1). Raises what saving raises."""
        if self.ticket.state != "prepared":
            return  # noqa: ASYNC910 - the request that follows is a checkpoint
        ticket = attrs.evolve(self.ticket, state="posting")
        if self._renew_baseline and (baseline := history.baseline(ticket.text)) is not None:
            renewed = attrs.evolve(ticket, baseline=baseline)
            ticket = ticket if renewed._too_large else renewed
        async with self._saving:
            if self._save is not None:
                await call(self._save, ticket)
            self.ticket = ticket

    async def update(self, state: MessageState) -> None:  # noqa: ASYNC910 - awaits the save, if there is one
        """Save what has become known since, within ``cleanup_timeout`` (rule 2)."""
        if self.ticket.state == "prepared" and self.ticket == self._newest(state):
            return  # noqa: ASYNC910 - the caller has checkpoints; `before_post` may be saving
        try:
            with trio.fail_after(state.recovery.limits.cleanup_timeout):
                async with self._saving:
                    ticket = self._newest(state)
                    if ticket != self.ticket:
                        self.ticket = ticket
                        if self._save is not None:
                            await call(self._save, ticket)
        except Exception as exc:  # noqa: BLE001 - whatever the program's function raises
            if not self._save_failed:
                warn_not_saved(self.ticket.session_id, exc)
            self._save_failed = True

    def _newest(self, state: MessageState) -> Ticket:
        turn, now = state.turn, self.ticket.state
        user_message_id = _short(turn.user_message_id) or self.ticket.user_message_id
        message_id = self.ticket.message_id
        if state.over.is_set():
            now = _ended(state, now)
            if now == "finished":
                message_id = _short(state.builder.message_id) or message_id
        elif now in ("prepared", "posting") and (turn.events or turn.bound):
            now = "running"
        return attrs.evolve(
            self.ticket, state=now, user_message_id=user_message_id, message_id=message_id
        )


def _short(name: str | None) -> str | None:
    """Return an id of the server, unless it is too long for a ticket."""
    return name if name is not None and len(json.dumps(name)) <= LONGEST_ID else None


def _ended(state: MessageState, before: TicketState) -> TicketState:
    """Return the state of a ticket whose message is over for this process."""
    match state.failure:
        case None if state.turn.ended_by is not None or not state.recovery.leaving.left:
            return "finished"
        case errors.AgentError() | errors.MessageRejected():
            return "failed"
        case errors.MessageInterrupted(outcome="gone"):
            return "failed"
        case _ if before == "posting" and not state.recovery.post.sent:
            return "prepared"
        case _ if before == "posting" and (state.turn.events or state.turn.bound):
            return "running"
        case _:
            return before
