"""Read the model rounds of a turn from the stored messages of its session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._stored_turn import rows_of
from trio_mix._turns._turn import same_text
from trio_mix.relay._outbox import Round

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._mix import Mix
    from trio_mix._turns._stored_turn import StoredRow
    from trio_mix.relay._records import Outcome, SendRequest

__all__ = ["stored_rounds"]

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
    rows = await _rows(mix, session_id)
    if rows is None:
        return []
    asked = [number for number, row in enumerate(rows) if row.role == "user"]
    if outcome.user_message_id is not None:
        asked = [number for number in asked if rows[number].id == outcome.user_message_id]
    else:
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
    whole = "".join(each.text for each in rounds)
    agrees = whole == outcome.text if outcome.kind == "complete" else bool(rounds)
    return rounds if agrees else []


async def _rows(mix: Mix, session_id: str) -> list[StoredRow] | None:
    try:
        exported = await mix.sessions.export_session(id=session_id, options=_OPTIONS)
        return rows_of(exported.messages)
    except errors.MixError:
        pass  # an older server has the other operation
    except errors.TransportError:
        return None
    try:
        return rows_of(await mix.messages.get_session(id=session_id, options=_OPTIONS))
    except (errors.MixError, errors.TransportError):
        return None
