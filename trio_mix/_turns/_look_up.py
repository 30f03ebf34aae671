"""Decides what the stored messages show about a ticket, without following its message.

Rule 1  A stored message is finished, failed or running as its rows show.
Rule 2  If rows have no finish reasons, a message whose rows look whole is finished, with a doubt,
        once they have not grown for ``Limits.arrival``.
Rule 3  A message that is not stored is absent once it was absent for ``Limits.arrival`` with the
        session idle, and nothing shows that it has arrived. Otherwise the outcome is unknown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import is_command

if TYPE_CHECKING:
    from trio_mix._ticket import Ticket
    from trio_mix._turns._decisions import Reading
    from trio_mix._turns._limits import Limits
    from trio_mix._turns._stored_rows import StoredReply

Found: TypeAlias = Literal["finished", "failed", "running", "absent", "unknown"]
"""What stored messages show about a message."""

_STATES: dict[TurnOutcome, Found] = {
    TurnOutcome.FINISHED: "finished",
    TurnOutcome.BROKEN_OFF: "failed",
    TurnOutcome.UNFINISHED: "running",
}


@attrs.frozen(kw_only=True)
class LookedUp:
    """The outcome of a ticket's message."""

    state: Found
    reply: StoredReply | None = None
    """What is stored of the reply."""
    doubtful: bool = False
    """Whether the reply may be incomplete."""


class LookUp:
    """Collects readings of the stored messages until they show an outcome.

    Args:
      ticket: the ticket.
      limits: the time limits.
      now: the time.
    """

    def __init__(self, ticket: Ticket, limits: Limits, now: float) -> None:
        self._ticket = ticket
        self._patience = min(limits.arrival, limits.settle_timeout / 2)
        self._began = self._changed = now
        self._growth = -1

    def stored(self, reading: Reading, now: float) -> LookedUp | None:
        """Return the outcome; None if it takes another reading to know it."""
        verdict = reading.verdict
        ended = self._ticket.state if self._ticket.state in ("finished", "failed") else None
        if verdict is None:
            # The server has no messages that can be read: only the ticket is left.
            return LookedUp(state=ended or "unknown")
        state, reply = _STATES.get(verdict.outcome), verdict.reply
        doubtful = verdict.mixed
        if verdict.growth != self._growth or reading.at_work:
            self._growth, self._changed = verdict.growth, now
        if state == "running":
            if ended is not None:
                return LookedUp(state=ended, reply=reply, doubtful=not verdict.looks_whole)
            if not verdict.looks_whole:
                return LookedUp(state="running", reply=reply)
            if now - self._changed < self._patience:
                return None
            state, doubtful = "finished", True
        if state is not None:
            return LookedUp(state=state, reply=reply, doubtful=doubtful)
        if ended is not None:
            return LookedUp(state=ended)
        if now - self._changed >= self._patience:
            absent = verdict.outcome is TurnOutcome.ABSENT and not self._has_arrived
            return LookedUp(state="absent" if absent else "unknown")
        return LookedUp(state="unknown") if now - self._began >= 2 * self._patience else None

    @property
    def _has_arrived(self) -> bool:
        ticket = self._ticket
        maybe_a_command = is_command(ticket.text) and ticket.state != "prepared"
        return ticket.state == "running" or maybe_a_command
