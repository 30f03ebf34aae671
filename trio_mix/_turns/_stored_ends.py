"""Which turns among the stored messages of a session have ended.

A row with a finish reason shows whether its turn goes on. Some servers store no finish reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._stored_rows import StoredRow

CONTINUES: Final = frozenset({"", "tool_use", "tool_calls", "unknown"})
ABORTED: Final = frozenset({"canceled", "cancelled", "error", "aborted"})


def ends_a_turn(answer: StoredRow) -> bool:
    """Return whether a row ends a turn: by its finish reason, else by text without tool calls."""
    if answer.role != "assistant":
        return False
    if answer.finish:
        return answer.finish not in CONTINUES
    return bool(answer.text) and not answer.tool_calls


def _is_an_end(row: StoredRow, *, reasons: bool) -> bool:
    """Return whether a row ends a turn; without a finish reason, only if no other row has one."""
    return ends_a_turn(row) and bool(row.finish or not reasons)


def at_work(rows: Sequence[StoredRow]) -> bool:
    """Return whether the last stored turn, of any client, may still be running."""
    at = next((i for i in reversed(range(len(rows))) if rows[i].role == "user"), None)
    if at is None:
        return False
    mine = rows[at + 1 :]
    if lacks_finish_reasons(rows, at):
        return not looks_whole(mine)
    answers = [row for row in mine if row.role == "assistant"]
    # Where turns overlap, the answers of several follow the last question.
    ended = sum(map(ends_a_turn, answers))
    return (
        not answers
        or ended <= open_at_end(rows[:at])
        or any(map(is_open, answers))
        or not answers[-1].finish
        or answers[-1].finish in CONTINUES
    )


def may_run(rows: Sequence[StoredRow]) -> set[str]:
    """Return the questions whose turns may still be running."""
    asked, found = "", set[str]()
    if shows_ends(rows):  # without finish reasons, a turn is over when another question follows
        for row in rows:
            if row.role == "user":
                asked = row.id
                found.add(asked)
            elif ends_a_turn(row):
                found.discard(asked)
    last = next((row.id for row in reversed(rows) if row.role == "user"), "")
    return found | {last} if at_work(rows) else found - {last}


def shows_ends(rows: Sequence[StoredRow]) -> bool:
    """Return whether the rows have the finish reasons that show that a turn has ended."""
    at = next((i for i in reversed(range(len(rows))) if rows[i].role == "user"), len(rows))
    return not lacks_finish_reasons(rows, at)


def has_unended(rows: Sequence[StoredRow], question: str | None) -> bool:
    """Return whether a turn before a question has no end there, whatever the order of its rows."""
    at = next((i for i, row in enumerate(rows) if row.id == question), len(rows))
    answers = [row for row in rows[:at] if row.role == "assistant"]
    reasons = any(row.finish for row in rows)
    ended = sum(_is_an_end(row, reasons=reasons) for row in answers)
    return sum(row.role == "user" for row in rows[:at]) > ended


def broken_off_since(rows: Sequence[StoredRow], then: float | None) -> bool:
    """Return whether a turn was broken off at or after a time, as far as the times are known."""
    broken = [row for row in rows if row.role == "assistant" and row.finish in ABORTED]
    return any(then is None or row.changed is None or row.changed >= then for row in broken)


def last_unended(rows: Sequence[StoredRow]) -> float | None:
    """Return when the newest turn without an end changed; None if there is none, or no time.

    An end is that of the last turn before it that has none: nothing shows it where turns overlap.
    """
    unended: list[float | None] = []
    reasons = any(row.finish for row in rows)
    for row in rows:
        if row.role == "user":
            unended.append(row.changed)
        elif unended and _is_an_end(row, reasons=reasons):
            unended.pop()
        elif unended:
            unended[-1] = row.changed
    return max((changed for changed in unended if changed is not None), default=None)


def open_at_end(rows: Sequence[StoredRow]) -> int:
    """Return how many of the last turns in some rows have no end there.

    Turns before an answer that is the last one to its question, and ends a turn, do not count.
    """
    count = ends = 0
    answered = False
    for row in reversed(rows):
        if row.role == "assistant":
            ended = ends_a_turn(row)
            if ended and not answered:
                break
            ends += ended
            answered = True
        elif row.role == "user":
            count += 1
            answered = False
    return max(count - ends, min(count, 1))


def is_open(answer: StoredRow) -> bool:
    """Return whether an answer that is not necessarily the last one is still being written."""
    return not answer.finish and not (
        answer.tool_calls and all(call.finished for call in answer.tool_calls)
    )


def lacks_finish_reasons(rows: Sequence[StoredRow], at: int) -> bool:
    """Return whether the server stores no finish reasons: neither questions nor answers have any.

    Questions have one as well, so that turns that were broken off do not hide it. An answer without
    one shows something only before the last question, at ``at``: it is over.
    """
    if any(row.finish for row in rows):
        return False
    return all(row.finish is None for row in rows) or any(
        row.role == "assistant" for row in rows[:at]
    )


def looks_whole(mine: Sequence[StoredRow]) -> bool:
    """Return whether the rows of a turn may be all of its rows (rule 4)."""
    if not mine or mine[-1].role != "assistant" or not mine[-1].text:
        return False
    if mine[-1].tool_calls and not mine[-1].joined:
        return False
    return all(call.finished for row in mine for call in row.tool_calls)


def nothing_open(answers: Sequence[StoredRow]) -> bool:
    """Return whether a turn may end with these answers: it did something, and finished it."""
    calls = [call for row in answers for call in row.tool_calls]
    done = any(row.text for row in answers) or bool(calls)
    return done and all(call.finished for call in calls)
