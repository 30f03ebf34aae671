"""Read the model rounds of a turn from the stored messages of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._stored_rows import rows_of
from trio_mix._turns._turn import same_text
from trio_mix.relay._bridge import Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._mix import Mix
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix.relay._records import Outcome, SendRequest

_PAUSES: Final = (0.2, 1.0, 0.0)
"""Seconds after each attempt to read them, in case the connection was lost again."""
_OPTIONS: Final = RequestOptions(timeout=10.0, retries=RetryConfig(strategy="none"))


async def stored_rounds(
    mix: Mix, session_id: str, request: SendRequest, outcome: Outcome
) -> Sequence[Round]:
    """Return the rounds of a turn; empty if they cannot be read or do not agree with its reply.

    Args:
      mix: the client of the server.
      session_id: the session.
      request: the turn's message.
      outcome: its outcome.
    """
    rounds: Sequence[Round] = []
    for pause in _PAUSES:
        rounds = await running_rounds(mix, session_id, request, outcome.user_message_id)
        if rounds:
            break
        await trio.sleep(pause)
    whole = "".join(each.text for each in rounds)
    agrees = outcome.kind != "complete" or whole == outcome.text
    if outcome.incomplete and rounds:
        agrees = rounds[-1].text == outcome.final_text and whole.endswith(outcome.text)
    return rounds if agrees else []  # noqa: ASYNC910 - the request was a checkpoint


async def running_rounds(
    mix: Mix, session_id: str, request: SendRequest | None, user_message_id: str | None
) -> Sequence[Round]:
    """Return the rounds that are stored of a turn so far; empty if they cannot be read.

    Args:
      mix: the client of the server.
      session_id: the session.
      request: the turn's message; None: that of the last turn of the session.
      user_message_id: the id of the stored user message, if it is known.
    """
    rows = await _rows(mix, session_id)
    if rows is None:
        return []
    asked = [number for number, row in enumerate(rows) if row.role == "user"]
    if user_message_id is not None:
        asked = [number for number in asked if rows[number].id == user_message_id]
    elif request is not None:
        asked = [
            number
            for number in asked
            if same_text(request.text, rows[number].text, plan_mode=request.plan_mode)
        ]
    if not asked:
        return []
    rounds: list[Round] = []
    for row in rows[asked[-1] + 1 :]:
        if row.role == "user":
            break
        if row.role == "assistant":
            rounds.append(Round(message_id=row.id, text=row.text, calls=row.tool_calls))
    return rounds


async def _rows(mix: Mix, session_id: str) -> list[StoredRow] | None:
    try:
        exported = await mix.sessions.export_session(id=session_id, options=_OPTIONS)
        return rows_of(exported.messages)
    except errors.MixError:
        pass  # an older server has the other operation
    except errors.TransportError:
        return None  # noqa: ASYNC910 - the request was a checkpoint
    try:
        return rows_of(await mix.messages.get_session(id=session_id, options=_OPTIONS))
    except (errors.MixError, errors.TransportError):
        return None  # noqa: ASYNC910 - the request was a checkpoint
