"""What the stored messages prove about a message that another process may have sent.

Its ticket contains a `Baseline`: which messages were stored before it was sent.

Rule 1  The ids in the ticket, of the user message or of the last answer, name the message.
Rule 2  Without ids, a row is the message only if it was stored after the baseline, has its text, is
        not known to be another message, and is the only such row.
Rule 3  If there are several such rows, or another message with an equal text may have been stored
        since the baseline, each of them may be another message: the outcome is unknown.
Rule 4  If the last row of the baseline is not stored any more (the session was rewound, or its
        history was rewritten), rows without a known id prove nothing.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from trio_mix._ticket import Baseline
from trio_mix._turns._stored_turn import TurnOutcome, Verdict, judge
from trio_mix._turns._turn import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from trio_mix._ticket import Ticket
    from trio_mix._turns._stored_rows import StoredRow

_MOST_IDS: Final = 20
_MOST_OF_IDS: Final = 2048
"""The number of ids in a baseline, and of their characters: the last ones are enough."""


def baseline_of(asked: Iterable[str], *, older: bool, last: str | None, equal: int) -> Baseline:
    """Return what a ticket notes of the rows that are stored before its message is sent.

    Args:
      asked: the ids of the user messages, oldest first.
      older: whether more user messages precede these.
      last: the id of the last row; None if there is none.
      equal: how many outstanding messages may still be stored and have an equal text.
    """
    asked = list(asked)
    known = asked[-_MOST_IDS:]
    while len(known) > 1 and sum(map(len, known)) > _MOST_OF_IDS:
        del known[0]
    older = older or len(known) < len(asked)
    return Baseline(known=tuple(known), older=older, last=last, equal=equal)


def digest_of(text: str) -> bytes:
    """Return a digest that is the same for all texts that a server may store as the same text."""
    return blake2b(plain(text).encode(), digest_size=16).digest()


def judge_since(
    rows: Sequence[StoredRow],
    ticket: Ticket,
    *,
    user_message_id: str | None,
    matches: Callable[[str], bool],
    others: Collection[str],
    equal: int,
) -> Verdict:
    """Return the outcome of a turn that another process may have begun.

    Args:
      rows: all stored rows of the session, oldest first.
      ticket: the ticket.
      user_message_id: the id of its user message, if it is known.
      matches: returns whether a stored text is that of the message.
      others: ids of the user messages that are known to be other messages.
      equal: how many messages with an equal text were sent since, whose ids are unknown.
    """
    name = user_message_id or ticket.user_message_id or _asked_before(rows, ticket.message_id)
    if name is None:
        candidates = _candidates(rows, ticket._baseline, matches, others)
        if candidates is None:
            return Verdict(outcome=TurnOutcome.UNKNOWN)
        if not candidates:
            return Verdict(outcome=TurnOutcome.ABSENT)
        if len(candidates) > 1 or ticket._baseline.equal or equal:
            return Verdict(outcome=TurnOutcome.UNKNOWN)
        name = candidates[0]
    return judge(rows, user_message_id=name, matches=matches, known=None, earlier=())


def _asked_before(rows: Sequence[StoredRow], answer: str | None) -> str | None:
    """Return the id of the user message that an answer belongs to, if the answer is stored."""
    asked = None
    for row in rows:
        asked = row.id if row.role == "user" else asked
        if row.id == answer and row.role != "user":
            return asked
    return None


def _candidates(
    rows: Sequence[StoredRow],
    baseline: Baseline,
    matches: Callable[[str], bool],
    others: Collection[str],
) -> list[str] | None:
    """Return the ids of the rows that may be the message; None if the rows prove nothing."""
    if baseline.last is not None and all(row.id != baseline.last for row in rows):
        return None
    first = 0
    if baseline.older:  # what precedes the last known row is older
        known = [i for i, row in enumerate(rows) if row.id in baseline.known]
        first = max(known, default=-1) + 1
    return [
        row.id
        for row in rows[first:]
        if row.role == "user"
        and row.id not in baseline.known
        and row.id not in others
        and matches(row.text)
    ]
