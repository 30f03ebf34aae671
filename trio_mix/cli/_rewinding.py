"""Rewinds and forks sessions: which of the stored messages are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix.cli._errors import CommandFailure
from trio_mix.errors import MixError, NoSuchOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Mix
    from trio_mix.models import BackendMessage, SessionData

_MISSING = (404, 405, 501)


def is_missing(error: MixError) -> bool:
    """Return whether an error says that the server does not have the operation."""
    from trio_mix.errors import ErrorResponse

    if isinstance(error, NoSuchOperation):
        return True
    return not isinstance(error, ErrorResponse) and error.status_code in _MISSING


async def rewind(mix: Mix, session_id: str, turns: int) -> str:
    """Delete the last messages of a session, each with the reply to it.

    Args:
      mix: the client.
      session_id: the session.
      turns: how many messages of the user.

    Returns:
      The text of the first message that was deleted.

    Raises:
      CommandFailure: the session has no more messages than that, or the server cannot rewind.
      TrioMixError: the server failed.
    """
    rows = await mix.messages.get_session(id=session_id)
    at = _start_of_turn(rows, turns)
    if at == 0:
        raise CommandFailure(
            "the first message of a session cannot be undone: begin a new session instead"
        )
    try:
        await mix.sessions.rewind_session(id=session_id, message_id=rows[at - 1].id)
    except MixError as error:
        if not is_missing(error):
            raise
        raise CommandFailure("this server cannot rewind a session (API before 0.6.9)") from error
    return rows[at].user_input


def _start_of_turn(rows: Sequence[BackendMessage], turns: int) -> int:
    starts = [at for at, row in enumerate(rows) if row.role == "user"]
    if not starts:
        raise CommandFailure("the session has no messages")
    return starts[-turns] if turns <= len(starts) else 0


async def fork(mix: Mix, session_id: str, messages: int | None, title: str | None) -> SessionData:
    """Create a session that begins with the messages of another.

    Args:
      mix: the client.
      session_id: the session to copy from.
      messages: how many of its stored messages to copy; None: all.
      title: the title; None: that of the session.

    Raises:
      CommandFailure: the session has no messages, or the server cannot fork.
      TrioMixError: the server failed.
    """
    if messages is None:
        messages = len(await mix.messages.get_session(id=session_id))
    if messages == 0:
        raise CommandFailure("the session has no messages to copy")
    if title is None:
        title = (await mix.sessions.get(id=session_id)).title
    try:
        return await mix.sessions.fork(id=session_id, message_index=messages - 1, title=title)
    except MixError as error:
        if not is_missing(error):
            raise
        raise CommandFailure(
            "this server cannot fork a session: the operation is in the API up to 0.6.9"
        ) from error
