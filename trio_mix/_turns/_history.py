"""Remember which stored messages of a session precede this stream's next turn.

Rule 1  The history is read before a stream's first message; if that fails, before the next one.
        It is read again after a turn that may or may not be stored, after many turns, and after a
        reconnect that does not go on where the last connection ended.
Rule 2  A message that was sent and may still be running (its outcome is unknown) stays in doubt.
Rule 3  A stream may be open for months: only the last of its own turns, of those in doubt, and of
        the stored rows are remembered. A row before a remembered one is old too.
Rule 4  A message that another process may have sent is judged by the baseline of its ticket. This
        stream's other turns are not it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._turns._baseline import baseline_of, digest_of, judge_since
from trio_mix._turns._stored_ends import at_work, shows_ends
from trio_mix._turns._stored_turn import PriorTurn, TurnOutcome, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trio_mix._ticket import Baseline
    from trio_mix._turns._facts import Facts
    from trio_mix._turns._limits import Limits
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix._turns._turn import Turn

_MOST_OWN: Final = 200
_MOST_TEXT: Final = 1_000_000
"""The number of this stream's turns, and of their characters, after which rows are read again."""
_MOST_DOUBTFUL: Final = 50
_MOST_OVER: Final = 50
_MOST_KNOWN: Final = 1000


@attrs.frozen
class _Own:
    """A turn of this stream that is over."""

    prior: PriorTurn
    may_come: bool
    """Whether it may still run and be stored later."""


@attrs.frozen
class LastTurn:
    """What a stream that was closed knew of its last turns."""

    end_outstanding: bool = False
    """Whether the last one was cancelled and had not ended yet."""
    over: tuple[bytes, ...] = ()
    """`History.last_over`."""
    own: tuple[bytes, ...] = ()
    """`History.own_over`."""
    ran_elsewhere: bool = False
    """`History.ran_elsewhere`."""


class History:
    """The messages that were stored before this stream's turns, and the texts of these turns.

    Attributes:
      due: whether the rows have to be read again (rule 1).
      session_unknown: whether the session may be at another client's turn of which the stream has
        not received the beginning.
      silent_turn_until: until when another turn that was at work, and not waited for because it was
        silent, may still go on.
      unended_until: the same, also if one such turn has ended, or the rows could not be read.
      outlived_until: the same of one that was silent while a turn of this stream ran.
      end_unknown: whether nothing shows that the last turn that was stored before has ended: there
        are no finish reasons, and it is not one of this stream's, or ended by an error that may be
        another turn's.
      last_over: the digest of the text of the last turn of this client, on any of its streams, if
        that turn has ended or the server has acknowledged that it is cancelled. If the last one is
        a command, which may or may not be stored, that of the last message too.
      own_over: the digests of the texts of the last turns of this client, on any of its streams,
        that have ended.
      ran_elsewhere: whether the last turn of this client was run by another client's stream, which
        queues what is sent while it runs.
      at_work: whether the last stored turn may still be running.
      known: the ids of the last user messages that were stored before, oldest first; None until
        they have been read.
    """

    def __init__(self) -> None:
        self.due: bool = True
        self.session_unknown: bool = True
        self.silent_turn_until: float = 0.0
        self.unended_until: float = 0.0
        self.outlived_until: float = 0.0
        self.end_unknown: bool = False
        self.last_over: tuple[bytes, ...] = ()
        self.own_over: tuple[bytes, ...] = ()
        self.ran_elsewhere: bool = False
        self.at_work: bool = False
        self.known: dict[str, None] | None = None
        self._own: list[_Own] = []
        self._older = False
        self._last: str | None = None
        self._newest: str | None = None
        """The last row of the last reading, unless its rows did not continue those before."""
        self._settled: str | None = None
        self._over: str | None = None
        """The last question that was stored when the rows were read, if its turn is over."""
        self._end_doubtful = False
        """Whether the end of the last turn of this stream may be another turn's."""
        self._named: dict[str, str | None] = {}
        """The user messages of this stream's turns, each with the id of its ticket."""
        self._unnamed: list[tuple[bytes, str | None]] = []
        """The digests of the texts of its other turns, each with the id of its ticket."""

    @property
    def earlier(self) -> list[PriorTurn]:
        """The stream's turns since the rows were read, in order."""
        return [own.prior for own in self._own]

    def posting(self, facts: Facts, now: float) -> None:
        """Note that a message is sent, and the other turn that it did not wait for, if any.

        That turn may go on beside later messages too.
        """
        self.session_unknown = False
        until = now + facts.limits.unfinished * facts.limits.settle_timeout
        if (unended := facts.reading.unended) is not None:
            # Another stream, or process, did not wait for it, and later turns have ended since.
            self.silent_turn_until = max(self.silent_turn_until, until - unended)
            self.unended_until = max(self.unended_until, until - unended)
        if facts.unsettled:
            self.unended_until = until
        if facts.unsettled == "silent":
            self.silent_turn_until = until
        elif now < self.silent_turn_until:
            facts.posting_unsettled(readable=True)

    def may_go_on(self, limits: Limits, now: float) -> None:
        """Note that another turn was silent while one of this stream's ran, and has not ended."""
        until = now + limits.unfinished * limits.settle_timeout
        self.outlived_until = until
        self.unended_until = max(self.unended_until, until)

    def created(self) -> None:
        """Note that the session is new: nothing is stored, and nobody else has used it."""
        self.read([])
        self.session_unknown = False

    def interrupted(self) -> None:
        """Note that events of other clients' turns may have been missed."""
        self.due = self.session_unknown = True

    def read(self, rows: Sequence[StoredRow]) -> None:
        """Remember the rows that are stored now as those that precede the next turn."""
        self.due = False
        self._over = _last_question(rows) if self._last_is_over(rows) else None
        self.at_work = self.still_at_work(rows)
        own_over = self._over is not None or not self._last_may_be_foreign(rows)
        self.end_unknown = not shows_ends(rows) and (self._end_doubtful or not own_over)
        asked = [row.id for row in rows if row.role == "user"]
        self.known = dict.fromkeys(asked[-_MOST_KNOWN:])
        self._older = len(asked) > _MOST_KNOWN
        self._last = self._newest = rows[-1].id if rows else None
        if not self.at_work:
            self._settled = self._last or ""
        self._own = [own for own in self._own if own.may_come][-_MOST_DOUBTFUL:]

    def still_at_work(self, rows: Sequence[StoredRow]) -> bool:
        """Return whether the last stored turn may still be running, and is not known to be over.

        Args:
          rows: all stored rows of the session.
        """
        return at_work(rows) and not self.over_known(rows)

    def over_known(self, rows: Sequence[StoredRow]) -> bool:
        """Return whether the last stored turn is known to be over, whatever its rows show."""
        return self._over is not None and self._over == _last_question(rows)

    def over_everywhere(self, rows: Sequence[StoredRow]) -> bool:
        """Return whether that is known, and no other client's stream may still run that turn."""
        return self.over_known(rows) and not self.ran_elsewhere

    def _last_is_over(self, rows: Sequence[StoredRow]) -> bool:
        """Return whether the last stored turn is this client's own, which has ended.

        Without finish reasons, the rows of a turn that was broken off do not show that.
        """
        asked = next((row for row in reversed(rows) if row.role == "user"), None)
        if asked is None or shows_ends(rows) or digest_of(asked.text) not in self.last_over:
            return False
        return self.known is None or not self._last_may_be_foreign(rows)

    def _last_may_be_foreign(self, rows: Sequence[StoredRow]) -> bool:
        """Return whether the last stored question may be another client's."""
        known = self.known or {}
        asked = [row for row in rows if row.role == "user"]
        if not asked:
            return False
        if asked[-1].id in self._named:
            return self._end_doubtful
        if asked[-1].id in known:
            return self.end_unknown
        new = sum(row.text == asked[-1].text for row in asked if row.id not in known)
        return new > sum(own.prior.matches(asked[-1].text) for own in self._own)

    def judge(
        self,
        rows: Sequence[StoredRow],
        turn: Turn,
        others: Collection[str] = (),
        *,
        others_asked: Collection[str] = (),
        unended: bool = False,
        overlaps: bool = False,
    ) -> Verdict:
        """Return what the rows show about a turn.

        Args:
          rows: all stored rows of the session.
          turn: the turn.
          others: answers that are not its own.
          others_asked: user messages that are not its own.
          unended: whether an earlier turn may still be running.
          overlaps: whether this server runs several turns of a session at once.
        """
        if turn.resumed and turn.ticket is not None:
            ticket = turn.ticket
            digest = digest_of(turn.text)
            return judge_since(
                rows,
                ticket,
                user_message_id=turn.user_message_id,
                matches=turn.matches,
                others={each for each, owner in self._named.items() if owner != ticket.ticket_id},
                equal=sum(
                    other == digest and owner != ticket.ticket_id for other, owner in self._unnamed
                ),
            )
        verdict = judge(
            rows,
            user_message_id=turn.user_message_id,
            matches=turn.matches,
            known=self.known,
            earlier=self.earlier,
            older=self._older,
            settled=self._settled,
            others=others,
            others_asked=others_asked,
            ended_by=getattr(turn.ended_by, "message_id", None),
            by_text=turn.identity.by_text,
            unended=unended,
            overlaps=overlaps,
            over=self._last_is_over,
        )
        goes_on = self._newest is None or any(row.id == self._newest for row in rows)
        if goes_on and rows:
            self._newest = rows[-1].id
        if verdict.outcome is TurnOutcome.ABSENT and not goes_on:
            return Verdict(outcome=TurnOutcome.UNKNOWN)  # rewound, or another session of this id
        return verdict

    def is_alone(self, rows: Sequence[StoredRow], question: str | None) -> bool:
        """Return whether no other turn ran when the rows were read, and none was stored since.

        Args:
          rows: all stored rows of the session.
          question: the id of the user message that is being judged, if it is stored.
        """
        if self.known is None or self.at_work:
            return False
        asked = [row.id for row in rows if row.role == "user"]
        first = next((i for i, each in enumerate(asked) if each in self.known), -1)
        new = [
            each
            for i, each in enumerate(asked)
            if each not in self.known and each != question and (i > first or not self._older)
        ]
        return len(new) <= len(self._own)

    def others(self, rows: Sequence[StoredRow], question: str | None) -> list[StoredRow]:
        """Return the rows of other clients' turns that were stored since the rows were read.

        Args:
          rows: all stored rows of the session.
          question: the id of this stream's user message that is being judged, if it is stored.
        """
        if self.known is None:
            return []
        found: list[StoredRow] = []
        asked: str | None = None
        new = not self._older
        for row in rows:
            asked = row.id if row.role == "user" else asked
            new = new or asked in self.known
            if new and asked is not None and asked not in self.known and asked != question:
                found.append(row)
        return found

    def is_own(self, question: StoredRow) -> bool:
        """Return whether a stored question is that of one of this stream's turns.

        Or of a turn of this client that an earlier stream has seen end.
        """
        own = {*self.last_over, *self.own_over, *(each for each, _ in self._unnamed)}
        return question.id in self._named or digest_of(question.text) in own

    def over(self, turn: Turn, *, known: bool, doubtful: bool = False) -> None:
        """Note a turn that was sent, and is over for its message.

        Args:
          turn: the turn.
          known: whether it is known that it does not run any more.
          doubtful: whether the error that ended it may be another turn's.
        """
        self.ran_elsewhere = turn.elsewhere == "other"
        own = (digest_of(turn.text),) if known else ()
        if not doubtful:
            self.own_over = (*self.own_over, *own)[-_MOST_OVER:]
        if turn.is_command:
            self.last_over = (*self.last_over[:1], *own)
            doubtful = doubtful or self._end_doubtful
        else:
            self.last_over = own
        self._end_doubtful = doubtful
        self.end_unknown = self.end_unknown or doubtful

    def count(self, turn: Turn, *, answered: bool, outcome_open: bool) -> None:
        """Remember a turn of this stream that is over: its row is not that of the next turn.

        Args:
          turn: the turn.
          answered: whether one of its assistant messages has an id.
          outcome_open: whether it may still be running.
        """
        ticket_id = None if turn.ticket is None else turn.ticket.ticket_id
        if turn.user_message_id is None:
            self._unnamed.append((digest_of(turn.text), ticket_id))
            del self._unnamed[:-_MOST_KNOWN]
        else:
            self._named[turn.user_message_id] = ticket_id
            if len(self._named) > _MOST_KNOWN:
                del self._named[next(iter(self._named))]
        if turn.user_message_id is not None and self.known is not None:
            self.known[turn.user_message_id] = None
            while len(self.known) > _MOST_KNOWN:
                del self.known[next(iter(self.known))]
                self._older = True
                self.due = self.due or bool(self._own)  # their rows may be forgotten
            return
        if turn.resumed and not outcome_open:
            self.due = True  # it was not sent here: its row is among those that were read
            return
        # A refused or failed message, or a command, may or may not be stored.
        certain = answered and not turn.is_command
        prior = PriorTurn(
            text=turn.text,
            plan_mode=turn.plan_mode,
            certain=certain,
            message_id=getattr(turn.ended_by, "message_id", None),
        )
        self._own.append(_Own(prior, may_come=outcome_open and not certain))
        text = sum(len(own.prior.text) for own in self._own)
        self.due = self.due or not certain or len(self._own) > _MOST_OWN or text > _MOST_TEXT
        while len(self._own) > 2 * _MOST_OWN or (text > 2 * _MOST_TEXT and len(self._own) > 1):
            text -= len(self._own.pop(0).prior.text)  # no rows were read for long

    def baseline(self, text: str) -> Baseline | None:
        """Return what a ticket notes before its message is sent; None if nothing is known."""
        if self.known is None:
            return None
        equal = sum(own.prior.matches(text) for own in self._own)
        return baseline_of(self.known, older=self._older, last=self._last, equal=equal)

    def in_doubt(self, text: str) -> int:
        """Return how many turns that are over may still be stored later with a text."""
        return sum(own.may_come and own.prior.matches(text) for own in self._own)


def _last_question(rows: Sequence[StoredRow]) -> str | None:
    return next((row.id for row in reversed(rows) if row.role == "user"), None)
