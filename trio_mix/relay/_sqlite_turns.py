"""The retention of turns in the SQLite log: their messages and replies are bounded in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix.relay._records import SendRequest, outcome_from_text, outcome_to_text

if TYPE_CHECKING:
    import sqlite3

    from trio_mix.relay._records import TurnRecord

_SIZE: Final = "length(request) + length(coalesce(ticket, '')) + length(coalesce(outcome, ''))"
_SUM: Final = f"SELECT coalesce(sum({_SIZE}), 0) FROM turn"  # noqa: S608 - constant
_DELETE: Final = (
    "DELETE FROM turn WHERE number IN"  # noqa: S608 - constant
    " (SELECT number FROM turn WHERE ended_at < ? ORDER BY ended_at LIMIT ?)"
    f" RETURNING CASE WHEN request = ? THEN 0 ELSE {_SIZE} END"
)
_OLDEST: Final = (
    f"SELECT number, ended_at, request != ?, {_SIZE}, outcome FROM turn"  # noqa: S608 - constant
    " WHERE ended_at IS NOT NULL AND (ended_at, number) > (?, ?)"
    " ORDER BY ended_at, number LIMIT ?"
)
_STRIPPED: Final = SendRequest(text="").to_json()
"""The request of a turn whose message is not stored any more."""
_STRIPPED_AT_ONCE: Final = 100


def size_of(turn: TurnRecord) -> int:
    """Return how many bytes of a turn are counted once it is over; 0 before."""
    if turn.ended_at is None:
        return 0
    outcome = outcome_to_text(turn.outcome) or ""
    return len(turn.request.to_json()) + len(turn.ticket or "") + len(outcome)


def size_of_ended(connection: sqlite3.Connection) -> int:
    """Return the size of all turns that are over."""
    [size] = connection.execute(
        f"{_SUM} WHERE ended_at IS NOT NULL AND request != ?", (_STRIPPED,)
    ).fetchone()
    return int(size)


def delete_turns(connection: sqlite3.Connection, before: float, count: int) -> tuple[int, int]:
    """Delete the oldest turns that were over before a time; return their number and their size."""
    rows = connection.execute(
        _DELETE,
        (before, count, _STRIPPED),
    ).fetchall()
    return len(rows), sum(size for [size] in rows)


def strip_turns(
    connection: sqlite3.Connection, after: tuple[float, int], bytes_over: int
) -> tuple[tuple[float, int], int] | None:
    """Delete the messages and replies of the oldest turns that are over, in a transaction.

    Args:
      connection: the connection.
      after: where the last call has stopped.
      bytes_over: how many bytes are to be deleted.

    Returns:
      Where to go on, and how many bytes were deleted; None: there are no more turns.
    """
    connection.execute("BEGIN IMMEDIATE")
    rows = connection.execute(
        _OLDEST,
        (_STRIPPED, *after, _STRIPPED_AT_ONCE),
    )
    deleted, found = 0, False
    for number, ended_at, whole, size, text in rows:
        found, after = True, (ended_at, number)
        if whole:
            outcome = outcome_from_text(text)
            if outcome is not None:
                bare = attrs.evolve(outcome, text="", final_text="", reasoning="", tool_calls=())
                text = outcome_to_text(attrs.evolve(bare, kept=False))  # noqa: PLW2901
            connection.execute(
                "UPDATE turn SET request = ?, ticket = NULL, outcome = ? WHERE number = ?",
                (_STRIPPED, text, number),
            )
            deleted += size
        if deleted >= bytes_over:
            break
    connection.execute("COMMIT")
    return (after, deleted) if found else None
