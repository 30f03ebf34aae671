"""Make tickets, and look up what a server's stored messages show about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

import attrs
import trio

from trio_mix import errors
from trio_mix._reply import Reply  # noqa: TC001 - for typing.get_type_hints
from trio_mix._ticket import Baseline, Ticket
from trio_mix._turns._baseline import baseline_of, digest_of
from trio_mix._turns._decisions import Reading
from trio_mix._turns._look_up import Found, LookUp
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_ends import at_work
from trio_mix._turns._turn import Turn

if TYPE_CHECKING:
    from trio_mix._session._controller import StreamController
    from trio_mix._session._send_api import MessageRequest
    from trio_mix._turns._look_up import LookedUp

_POLL: Final = 0.5
"""Seconds between two readings of `look_up`."""


@attrs.frozen(kw_only=True)
class TicketOutcome:
    """What a server's stored messages show about a ticket, returned by `SessionStream.look_up`."""

    state: Found
    """``"finished"``, ``"failed"`` (it ended without a reply, or was cancelled), ``"running"`` (it
    is stored and has no end: the server works on it, or has died), ``"absent"`` (it never arrived)
    or ``"unknown"``."""
    reply: Reply | None = None
    """The reply, or what is stored of it so far; None if nothing is."""


async def prepare(controller: StreamController, request: MessageRequest, *, shell: bool) -> Ticket:
    """Return a ticket for a message, with a baseline of the messages that are stored now.

    Raises:
      MixError, TransportError: the stored messages cannot be read at the moment.
      ConfigurationError: the options take more than 8 KiB.
    """
    equal = _outstanding(controller, request.text)
    rows = await controller.stored.rows()
    baseline = Baseline()
    if rows is not None:
        equal = max(equal, _outstanding(controller, request.text))
        baseline = baseline_of(
            [row.id for row in rows if row.role == "user"],
            older=False,
            last=rows[-1].id if rows else None,
            equal=equal,
        )
    ticket = Ticket(
        session_id=controller.session_id,
        text=request.text,
        ticket_id=uuid4().hex,
        recoverable=rows is not None,
        plan_mode=request.plan_mode,
        thinking_level=request.thinking_level,
        max_steps=request.max_steps,
        media=tuple(request.media),
        apps=tuple(request.apps),
        allow_shell=shell,
        baseline=baseline,
    )
    if ticket._too_large:
        raise errors.ConfigurationError(
            "prepare(...): the ticket is larger than 8 KiB beside its text, because of `media`, "
            "`apps` or the ids of the session: pass fewer names."
        )
    controller.prepared.add(ticket)
    return ticket


def _outstanding(controller: StreamController, text: str) -> int:
    """Return how many other messages with an equal text may be stored from now on."""
    digest = digest_of(text)
    queued = sum(digest_of(each.text) == digest for each in controller.requests)
    prepared = controller.prepared.count(controller.session_id, text)
    return queued + prepared + controller.stored.history.in_doubt(text)


async def ticket_of_running(controller: StreamController) -> Ticket:
    """Return a ticket for the turn that runs now, of any client.

    Raises:
      UsageError: none does, or it is this stream's.
      MixError, TransportError: the stored messages cannot be read at the moment.
    """
    session_id = controller.session_id
    if controller.requests:
        await trio.lowlevel.checkpoint()
        raise errors.UsageError(
            f"attach(): this stream is sending a message to session {session_id}. Iterate that "
            "message, or call subscribe() for all events."
        )
    rows = await controller.stored.rows()
    asked = [row for row in rows or () if row.role == "user"]
    if rows is None or not at_work(rows) or not asked:
        what = "stores no messages that can be read" if rows is None else "works on no message"
        raise errors.UsageError(
            f"attach(): the server {what} of session {session_id}. Send a message, or call "
            "subscribe() for the events of later ones."
        )
    return Ticket(
        session_id=session_id,
        text=asked[-1].text,
        state="running",
        ticket_id=uuid4().hex,
        user_message_id=asked[-1].id,
    )


async def look_up(controller: StreamController, ticket: Ticket) -> TicketOutcome:
    """Return what the stored messages show about a ticket, after some seconds if need be.

    Raises:
      MixError, TransportError: the stored messages cannot be read at the moment.
    """
    turn = Turn(text=ticket.text, plan_mode=ticket.plan_mode, ticket=ticket, resumed=True)
    search = LookUp(ticket, controller.settings.limits, trio.current_time())
    while True:
        rows = await controller.stored.rows()
        reading = Reading(none_kept=True)
        if rows is not None:
            reading = controller.stored.reading(rows, turn, controller.router)
        found = search.stored(reading, trio.current_time())
        if found is not None:
            return TicketOutcome(state=found.state, reply=_reply(found))
        await trio.sleep(_POLL)


def _reply(found: LookedUp) -> Reply | None:
    if found.reply is None:
        return None
    builder = ReplyBuilder()
    builder.take_stored(found.reply)
    builder.doubtful = found.doubtful
    return builder.build()


def check_session(ticket: Ticket, session_id: str, method: str) -> None:
    """Raise `UsageError` if a ticket is that of another session than the stream's."""
    if ticket.session_id != session_id:
        raise errors.UsageError(
            f"{method}(ticket): the ticket is that of session {ticket.session_id!r}, and this "
            f"is the stream of session {session_id!r}. Open the stream of its session."
        )
