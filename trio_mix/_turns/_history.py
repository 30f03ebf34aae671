"""Which stored messages of a session were there before a turn of ours.

Rule 1  The history is read before a stream's first message; where that fails, before the next one.
        It is read again after a turn that may or may not be stored, and once many turns are to be
        counted.
Rule 2  A message that was sent and may still run (its outcome is unknown) stays in doubt.
Rule 3  A stream may live for months: of its own turns, of those in doubt, and of the stored rows
        only the last few are remembered. A row before a remembered one is old too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._turns._stored_turn import PriorTurn, judge

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._stored_turn import StoredRow, Verdict
    from trio_mix._turns._turn import Turn

__all__ = ["History"]

_MOST_OWN: Final = 200
_MOST_TEXT: Final = 1_000_000
"""Own turns, and characters of them, that may be counted before the rows are read again."""
_MOST_DOUBTFUL: Final = 50
_MOST_KNOWN: Final = 1000


@attrs.frozen
class _Own:
    """A turn of ours that is over."""

    prior: PriorTurn
    may_come: bool
    """Whether it may still run, and be stored, later."""


class History:
    """The messages that were stored before this stream's turns, and those turns' own texts.

    Attributes:
      due: whether the rows should be read again (rule 1).
      known: the ids of the last user messages that were there before, oldest first; None until
        they were read.
    """

    def __init__(self) -> None:
        self.due = True
        self.known: dict[str, None] | None = None
        self._own: list[_Own] = []
        self._older = False

    @property
    def earlier(self) -> list[PriorTurn]:
        """Our own turns since the rows were read, in order."""
        return [own.prior for own in self._own]

    def read(self, rows: Sequence[StoredRow]) -> None:
        """Take the rows that are stored now for those that were there before the next turn."""
        self.due = False
        asked = [row.id for row in rows if row.role == "user"]
        self.known = dict.fromkeys(asked[-_MOST_KNOWN:])
        self._older = len(asked) > _MOST_KNOWN
        self._own = [own for own in self._own if own.may_come][-_MOST_DOUBTFUL:]

    def judge(self, rows: Sequence[StoredRow], turn: Turn) -> Verdict:
        """Return what the rows say of a turn."""
        return judge(
            rows,
            user_message_id=turn.user_message_id,
            matches=turn.matches,
            known=self.known,
            earlier=self.earlier,
            older=self._older,
        )

    def count(self, turn: Turn, *, answered: bool, outcome_open: bool) -> None:
        """Count a turn of our own that is over: its row is not the next one's.

        Args:
          turn: the turn.
          answered: whether an assistant message of it has an id.
          outcome_open: whether it may still run.
        """
        if turn.user_message_id is not None and self.known is not None:
            self.known[turn.user_message_id] = None
            while len(self.known) > _MOST_KNOWN:
                del self.known[next(iter(self.known))]
                self._older = True
                self.due = self.due or bool(self._own)  # theirs may be among the forgotten ones
            return
        # A refused message, a failed one, a command: each may be stored or not.
        certain = answered and not turn.text.startswith(("/", "!"))
        prior = PriorTurn(text=turn.text, plan_mode=turn.plan_mode, certain=certain)
        self._own.append(_Own(prior, may_come=outcome_open and not certain))
        text = sum(len(own.prior.text) for own in self._own)
        self.due = self.due or not certain or len(self._own) > _MOST_OWN or text > _MOST_TEXT
        while len(self._own) > 2 * _MOST_OWN or (text > 2 * _MOST_TEXT and len(self._own) > 1):
            text -= len(self._own.pop(0).prior.text)  # the rows could not be read for long
