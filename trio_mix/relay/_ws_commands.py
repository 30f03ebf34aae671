"""Carry out the commands of a WebSocket that are answered: messages, cancels, decisions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import RelayError, SessionUnknown, TurnUnknown
from trio_mix.relay._problem import Problem
from trio_mix.relay._sends import parse_send
from trio_mix.relay._ws_messages import (
    Cancel,
    Decide,
    Respond,
    Send,
    accepted_message,
    refused_message,
)

if TYPE_CHECKING:
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._records import Answer

Carried: TypeAlias = Send | Cancel | Decide | Respond
"""A command that is answered."""

_log = get_logger("trio_mix.relay")


async def carry_out(command: Carried, hub: Hub, grant: Grant) -> bytes:
    """Carry out a command, and return its answer.

    Args:
      command: the command.
      hub: the sessions.
      grant: what the client may do.
    """
    await trio.lowlevel.checkpoint()
    try:
        match command:
            case Send():
                return await _send(command, hub, grant)
            case Cancel():
                return await _cancel(command, hub, grant)
            case Decide():
                return await _decide(command, hub, grant)
            case Respond():
                return await _respond(command, hub, grant)
    except RelayError as error:
        return refused_message(command.key, error.status, str(error), error.retry_after)
    except Problem as problem:
        return refused_message(command.key, problem.status, problem.message)
    except Exception:  # noqa: BLE001 - one command never ends the others
        _log.exception("a command of a WebSocket failed")
        return refused_message(command.key, 500, "the relay failed; its log has the details")


async def _send(command: Send, hub: Hub, grant: Grant) -> bytes:
    grant.check("send", command.session_id)
    if hub.generation is None:
        raise Problem(503, "the relay has not reached the Mix server yet")
    send = parse_send(bytes(command.body), "rest", hub.generation)
    if send is None:
        raise Problem(400, "the body is no message for the server of this relay: check its fields")
    async with hub.session(command.session_id) as feed:
        sent = await feed.send(
            send.request, body=send.canonical, key=command.key, subject=grant.subject
        )
    if sent.answer is not None:
        return refused_message(command.key, sent.answer.status, _text(sent.answer))
    return accepted_message(command, sent.turn, repeated=sent.repeated)


async def _cancel(command: Cancel, hub: Hub, grant: Grant) -> bytes:
    turn = await hub.turn(command.turn_id)
    if turn is None or not grant.covers(turn.session_id):
        raise TurnUnknown(f"There is no turn {command.turn_id!r}. Check the id.")
    grant.check("cancel", turn.session_id)
    await hub.cancel(command.turn_id)
    return accepted_message(command)


async def _decide(command: Decide, hub: Hub, grant: Grant) -> bytes:
    grant.check("decide", command.session_id)
    await _check_request(command.permission_id, command.session_id, hub, grant)
    answer = await hub.decide(command.permission_id, grant=command.grant, subject=grant.subject)
    if answer.status >= 300:
        return refused_message(command.key, answer.status, _text(answer))
    return accepted_message(command)


async def _respond(command: Respond, hub: Hub, grant: Grant) -> bytes:
    grant.check("decide", command.session_id)
    await _check_request(command.notification_id, command.session_id, hub, grant)
    answer = await hub.respond(command.notification_id, command.response, command.value)
    if answer.status >= 300:
        return refused_message(command.key, answer.status, _text(answer))
    return accepted_message(command)


async def _check_request(request_id: str, session_id: str, hub: Hub, grant: Grant) -> None:
    """Check that a permission request or notification is one of a session.

    Raises:
      SessionUnknown: it is not.
    """
    found = await hub.session_of_request(request_id)
    if found != session_id and (found or grant.sessions is not None):
        raise SessionUnknown(f"Session {session_id!r} has no such request or notification.")


def _text(answer: Answer) -> str:
    """Return the message of the server's error."""
    text = answer.body.decode("utf-8", "replace")
    try:
        message = json.loads(text)["error"]["message"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return text
    return message if isinstance(message, str) else text
