"""Find out from the stored messages whose a terminal event is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import events as ev
from trio_mix._turns._repeated_errors import is_cancelled
from trio_mix._turns._stored_ends import ABORTED
from trio_mix._turns._stored_turn import TurnOutcome, question_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._decisions import End
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix._turns._stored_turn import Verdict
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event


def end_of(
    rows: Sequence[StoredRow], turn: Turn, ended_by: Event | None, verdict: Verdict, *, alone: bool
) -> End:
    """Return whose a terminal event is; empty where the rows do not show it, or there is none.

    Args:
      rows: all stored rows.
      turn: the turn.
      ended_by: the event.
      verdict: what the rows show about it.
      alone: whether no other turn has begun since the turn before it.
    """
    if ended_by is None or verdict.outcome is TurnOutcome.UNKNOWN:
        return ""
    if isinstance(ended_by, ev.CompleteEvent):
        answer = ended_by.message_id or _only_answer(rows, ended_by.content or "")
        question = question_of(rows, answer)
        if alone and not verdict.contested and not ended_by.message_id:
            return "ours"
        if question is None:
            return ""
        if question != verdict.question:
            return "others"
        # If another turn was unfinished when ours was stored, the answer may be that turn's.
        return "either" if verdict.contested else "ours"
    # An error names nothing.
    broken = verdict.outcome is TurnOutcome.BROKEN_OFF
    # A blocking server answers the POST when the turn is over, and it has not.
    running = turn.due.events and verdict.outcome in (TurnOutcome.UNFINISHED, TurnOutcome.FINISHED)
    absent = verdict.outcome is TurnOutcome.ABSENT
    if absent and is_cancelled(ended_by):  # what was cancelled is stored
        return "others"
    if is_cancelled(ended_by) and not broken and _follows_cancelled(rows, turn, verdict):
        return ""  # the error of the turn before may be late; if ours was cancelled, a row follows
    if (alone and not verdict.contested and not running) or (broken and not verdict.mixed):
        return "ours"
    if absent:  # the server may have refused to run it
        return "either"
    return "either" if broken or not verdict.has_reasons else "others"


def _follows_cancelled(rows: Sequence[StoredRow], turn: Turn, verdict: Verdict) -> bool:
    """Return whether a turn of which nothing but its end came follows one that was cancelled."""
    at = next((i for i, row in enumerate(rows) if row.id == verdict.question), 0)
    return turn.events <= 1 and at > 0 and rows[at - 1].finish in ABORTED


def _only_answer(rows: Sequence[StoredRow], text: str) -> str | None:
    """Return the id of the only stored answer with a text; None if there is none, or several."""
    found = [row.id for row in rows if row.role == "assistant" and row.text.strip() == text.strip()]
    return found[0] if len(found) == 1 and text.strip() else None
