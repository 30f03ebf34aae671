"""Find a turn among the stored messages of its session, and decide whether, and how, it has ended.

Rule 1  A turn is identified by the id of its user message. Without an id, it is identified by its
        text among the rows that were not stored before it was sent, after the rows of this
        stream's earlier turns are set aside, by the ids of their answers if their ends named
        them. The same text may have been sent before, so the text alone proves nothing. If it is
        unknown whether an earlier turn is stored, its row may be taken for this turn's row: the
        outcome is unknown.
Rule 2  If there is no such row among all rows, or among the new ones, the turn was not stored.
Rule 3  A turn is finished if the finish reason of its last row says so. If rows have no finish
        reasons, a turn is over when a later user message follows: it is finished if its last row
        looks complete, and broken off if not, unless turns may overlap. A turn that only looks
        complete is not finished: rows grow while it runs.
Rule 4  A row looks complete if it has text, and no tool call that needs a further row. A turn may
        also end with a tool call; without finish reasons, nothing shows whether it did.
Rule 5  Answers follow their question, but if two turns ran at once, they follow both questions. If
        another turn had not finished when the question was stored, and more than one answer
        follows, it is unknown which answer belongs to which question. A turn is over once as many
        turns have ended as were asked for; until then, an end may be that of the other turn.
Rule 6  If several rows may be the turn, because another client has sent the same text, the turn is
        the row whose answer its terminal event names, or else the last one, with a doubt.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from trio_mix import events as ev
from trio_mix._turns._repeated_errors import is_cancelled
from trio_mix._turns._stored_ends import (
    ABORTED,
    CONTINUES,
    at_work,
    ends_a_turn,
    has_unended,
    is_open,
    lacks_finish_reasons,
    looks_whole,
    nothing_open,
    open_at_end,
)
from trio_mix._turns._stored_rows import reply_of, weight_of
from trio_mix._turns._turn import same_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from typing import Literal, TypeAlias

    from trio_mix._turns._stored_rows import StoredReply, StoredRow
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event

    End: TypeAlias = Literal["", "ours", "others", "either"]
    """Whose a terminal event is; empty where the rows do not show it yet, either where they will
    not show it."""


class TurnOutcome(enum.Enum):
    """The outcome of a turn."""

    FINISHED = "finished"
    BROKEN_OFF = "broken off"
    UNFINISHED = "unfinished"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class Verdict:
    """What the rows show about one turn."""

    outcome: TurnOutcome
    reply: StoredReply | None = None
    """The stored part of the reply, finished or not."""
    user_message_id: str | None = None
    question: str | None = None
    """The id of the row with its question."""
    looks_whole: bool = False
    """Whether an unfinished turn may be finished: it has text, and no tool call is open."""
    has_reasons: bool = True
    """Whether this server stores finish reasons."""
    nothing_open: bool = False
    """Whether the turn may be over as it stands: there are no finish reasons, which would show its
    end, and all tool calls are finished."""
    growth: int = 0
    """A number that grows when more of the turn is stored."""
    followed: bool = False
    """Whether another question was stored later."""
    ended_beside: bool = False
    """Whether a turn has ended that can be this one or one that ran beside it."""
    contested: bool = False
    """Whether another turn was unfinished when the question was stored."""
    mixed: bool = False
    """Whether some of the answers may belong to another turn (rules 5 and 6)."""
    several: bool = False
    """Whether another message with the same text may be this one (rule 6)."""
    either: bool = False
    """Whether turns that overlap have all ended, in different ways, and each may be this one."""


@attrs.frozen(kw_only=True)
class PriorTurn:
    """A finished turn of this stream whose stored id is unknown."""

    text: str
    plan_mode: bool = False
    certain: bool = True
    """Whether it is known to be stored; a refused or failed message may not be."""
    message_id: str | None = None
    """The id of its last answer, if its end named it."""

    def matches(self, stored: str) -> bool:
        """Return whether a stored text is that of the turn."""
        return same_text(self.text, stored, plan_mode=self.plan_mode)


def judge(
    rows: Sequence[StoredRow],
    *,
    user_message_id: str | None,
    matches: Callable[[str], bool],
    known: Collection[str] | None,
    earlier: Iterable[PriorTurn],
    older: bool = False,
    settled: str | None = None,
    others: Collection[str] = (),
    others_asked: Collection[str] = (),
    ended_by: str | None = None,
    by_text: bool = False,
    unended: bool = False,
    overlaps: bool = False,
    over: Callable[[Sequence[StoredRow]], bool] = lambda _: False,
) -> Verdict:
    """Return the outcome of a turn.

    Args:
      rows: all stored rows of the session, oldest first.
      user_message_id: the id of the turn's user message, if the server sent it.
      matches: returns whether a stored text is that of the turn.
      known: ids of the user messages that were stored before the turn; None if they are unknown.
      earlier: this stream's turns since ``known`` was read, in order.
      older: whether more rows were stored before the first one in ``known``.
      settled: the id of the last row that was stored when no turn was running: empty if there was
        none, None if it is unknown.
      others: ids of answers that are known to be those of other questions.
      others_asked: ids of user messages that are known to be those of other turns.
      ended_by: the id of the answer that the turn's terminal event names, if it names one.
      by_text: whether ``user_message_id`` is that of a row that was found by its text.
      unended: whether an earlier turn may still be running, whatever was stored after it.
      overlaps: whether this server runs several turns of a session at once.
      over: returns whether the last turn in some rows is known to be over, whatever they show.
    """
    not_ours = None if known is None else {*known, *others_asked}
    earlier = list(earlier)
    found = _find(rows, user_message_id, matches, known, earlier, older, not_ours)
    if isinstance(found, TurnOutcome):
        return Verdict(outcome=found)
    named = question_of(rows, ended_by)
    at = next((i for i in found if rows[i].id == named), found[-1])
    if by_text and known is not None:
        alike = _find(rows, None, matches, known, earlier, older, not_ours)
        found = found if isinstance(alike, TurnOutcome) else alike
    several = len(found) > 1 and rows[at].id != named
    following = list(rows[at + 1 :])
    later = next((i for i, row in enumerate(following) if row.role == "user"), None)
    mine = [row for row in following[:later] if row.id not in others]
    asked = None if rows[at].id.endswith(" user") else rows[at].id
    answers = [row for row in mine if row.role == "assistant"]
    finish = answers[-1].finish if answers else None
    has_reasons = not lacks_finish_reasons(rows, at)
    whole = looks_whole(mine)
    before = rows[:at]
    if overlaps or has_reasons:
        open_before = _open_turns(before, "" if unended and settled is None else settled)
    else:
        open_before = int(_last_is_open(before, settled) and not over(before))
    if unended and not open_before and has_unended(rows, rows[at].id):
        open_before = 1
    contested = open_before > 0
    others_known = settled is not None or unended
    outcome = TurnOutcome.UNFINISHED
    overlap = None
    if finish and finish not in (*CONTINUES, *ABORTED):
        outcome = TurnOutcome.FINISHED
    elif later is not None and not has_reasons:
        broken = TurnOutcome.UNFINISHED if overlaps else TurnOutcome.BROKEN_OFF
        outcome = TurnOutcome.FINISHED if whole else broken
    elif finish in ABORTED and not contested:
        outcome = TurnOutcome.BROKEN_OFF
        overlap = _overlap(answers, 2)  # a turn ends only once
    elif (contested or later is not None) and (overlap := _overlap(rows[at:], open_before)):
        outcome = overlap[0]
    return Verdict(
        outcome=outcome,
        reply=reply_of(mine, recovered=True, user_message_id=asked),
        user_message_id=asked,
        question=rows[at].id,
        ended_beside=(contested and any(map(ends_a_turn, answers)))
        or (later is not None and any(map(ends_a_turn, following[later:]))),
        looks_whole=whole and not has_reasons,
        has_reasons=has_reasons,
        nothing_open=not has_reasons and nothing_open(answers),
        growth=weight_of(mine) + 1,
        followed=later is not None,
        contested=contested,
        mixed=several
        or overlap is not None
        or (has_reasons and any(map(is_open, answers[:-1])))
        or (contested and bool(answers) and (others_known or _are_several(answers))),
        several=several,
        either=overlap is not None and overlap[1],
    )


def _overlap(rows: Sequence[StoredRow], open_before: int) -> tuple[TurnOutcome, bool] | None:
    """Return how a turn ended that others overlap, and whether each way is possible (rule 5).

    None as long as not all of these turns have ended.

    Args:
      rows: the rows from its question on.
      open_before: how many turns were unfinished when the question was stored.
    """
    asked = sum(row.role == "user" for row in rows) + open_before
    ends = [row.finish for row in rows if row.finish and ends_a_turn(row)]
    if len(ends) < asked:
        return None
    broken = {finish in ABORTED for finish in ends}
    if broken == {False}:
        return TurnOutcome.FINISHED, False
    return TurnOutcome.BROKEN_OFF, len(broken) > 1


def _open_turns(rows: Sequence[StoredRow], settled: str | None) -> int:
    """Return how many turns after the settled rows, or of the last ones, are unfinished."""
    if settled is None:
        return max(1, open_at_end(rows)) if at_work(rows) else 0
    begin = next((i for i, row in enumerate(rows, 1) if row.id == settled), 0)
    asked = sum(row.role == "user" for row in rows[begin:])
    return max(0, asked - sum(map(ends_a_turn, rows[begin:])))


def _last_is_open(rows: Sequence[StoredRow], settled: str | None) -> bool:
    """Return whether the last turn, if it follows the settled rows, may still be running.

    Without finish reasons, and where turns do not overlap, the turns before it are over.
    """
    begin = next((i for i, row in enumerate(rows, 1) if row.id == settled), 0)
    asked = max((i for i, row in enumerate(rows) if row.role == "user"), default=-1)
    return asked >= begin and at_work(rows) and not any(map(ends_a_turn, rows[asked + 1 :]))


def _are_several(answers: Sequence[StoredRow]) -> bool:
    return sum(map(ends_a_turn, answers)) > 1 or sum(bool(row.text) for row in answers) > 1


def question_of(rows: Sequence[StoredRow], message_id: str | None) -> str | None:
    """Return the id of the row with the question that a stored message follows; None: unknown."""
    at = next((i for i, row in enumerate(rows) if row.id == message_id), 0)
    return next((row.id for row in reversed(rows[:at]) if row.role == "user"), None)


def _find(
    rows: Sequence[StoredRow],
    user_message_id: str | None,
    matches: Callable[[str], bool],
    known: Collection[str] | None,
    earlier: Iterable[PriorTurn],
    older: bool,
    not_ours: Collection[str] | None,
) -> list[int] | TurnOutcome:
    """Return which rows may be the turn's question, of which the last one is the most likely."""
    asked = [i for i, row in enumerate(rows) if row.role == "user"]
    if user_message_id is not None:
        named = [i for i in asked if rows[i].id == user_message_id]
        return named[:1] or TurnOutcome.UNKNOWN
    if known is None:
        return (
            TurnOutcome.UNKNOWN if any(matches(rows[i].text) for i in asked) else TurnOutcome.ABSENT
        )
    first = next((i for i in asked if rows[i].id in known), -1) if older else -1
    new = [i for i in asked if i > first and rows[i].id not in (not_ours or known)]
    doubtful = 0
    earlier = list(earlier)
    ids = {row.id for row in rows}
    by_id = any(turn.message_id in ids for turn in earlier)
    for turn in earlier:
        if turn.message_id and by_id:
            # If its rows are missing, the server has deleted the oldest ones of the session.
            if turn.message_id in ids:
                new = [i for i in new if rows[i].id != question_of(rows, turn.message_id)]
            continue
        if turn.message_id or not turn.certain:
            doubtful += matches(turn.text)
            continue
        own = (i for i in new if turn.matches(rows[i].text))
        found = next(own, None)
        if found is not None:
            new.remove(found)
    candidates = [i for i in new if matches(rows[i].text)]
    if len(candidates) > doubtful:
        return candidates[doubtful:]
    return TurnOutcome.UNKNOWN if candidates else TurnOutcome.ABSENT


def end_of(
    rows: Sequence[StoredRow],
    turn: Turn,
    ended_by: Event | None,
    verdict: Verdict,
    *,
    alone: bool,
    others_stored: bool,
    is_own: Callable[[StoredRow], bool],
) -> End:
    """Return whose a terminal event is; empty where the rows do not show it, or there is none.

    Args:
      rows: all stored rows.
      turn: the turn.
      ended_by: the event.
      verdict: what the rows show about it.
      alone: whether no other turn has begun since the turn before it.
      others_stored: whether the session has recent messages that this stream has not sent.
      is_own: returns whether a stored question is one of this stream's.
    """
    if ended_by is None or verdict.outcome is TurnOutcome.UNKNOWN:
        return ""
    if isinstance(ended_by, ev.CompleteEvent):
        answer = ended_by.message_id or _only_answer(rows, ended_by.content or "")
        question = question_of(rows, answer)
        if alone and not verdict.contested and not ended_by.message_id:
            # On a slow connection it may be late, and that of another client's turn.
            late = any(row.id == question and not is_own(row) for row in rows)
            return "either" if late and question != verdict.question else "ours"
        if question is None:
            # No stored message has its id, but the last one of the turn has its text.
            same = alone and not verdict.contested and _has_text(verdict.reply, ended_by.content)
            return "ours" if same else ""
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
    proven = broken and not verdict.mixed and turn.overlap != "guess"
    if (alone and not verdict.contested and not running) or proven:
        unfinished = verdict.outcome is TurnOutcome.UNFINISHED and verdict.has_reasons
        return "" if unfinished and others_stored else "ours"
    if absent:  # the server may have refused to run it
        return "either"
    return "either" if broken or not verdict.has_reasons else "others"


def _follows_cancelled(rows: Sequence[StoredRow], turn: Turn, verdict: Verdict) -> bool:
    """Return whether a turn of which nothing but its end came follows one that was cancelled."""
    at = next((i for i, row in enumerate(rows) if row.id == verdict.question), 0)
    return turn.events <= 1 and at > 0 and rows[at - 1].finish in ABORTED


def _has_text(reply: StoredReply | None, text: str | None) -> bool:
    """Return whether the last message of a stored reply has a text; not if the text is empty."""
    text = (text or "").strip()
    return reply is not None and bool(text) and "".join(reply.texts[-1:]).strip() == text


def _only_answer(rows: Sequence[StoredRow], text: str) -> str | None:
    """Return the id of the only stored answer with a text; None if there is none, or several."""
    found = [row.id for row in rows if row.role == "assistant" and row.text.strip() == text.strip()]
    return found[0] if len(found) == 1 and text.strip() else None
