"""The turns that were sent past the relay, and the copies of events while several turns run.

Rule 1  Such a turn begins with its ``user_message_created``, or with the first event that belongs
        to no other turn. Its later events are recognized by their ids; without ids, and if several
        run, an event belongs to the one that has no assistant message yet, else to the newest one.
Rule 2  Servers that run several turns of a session at once send each event once for each of them.
        How often they send ``user_message_created`` shows how many those are; one that is not known
        here counts, too. An equal event that follows at once is such a copy, until fewer are sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import events as ev
from trio_mix._turns._wire_traits import ids_of
from trio_mix.relay._turn_progress import TurnEvents

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

_MOST_AT_ONCE = 100


class ForeignTurns:
    """The turns that were sent past the relay and are not over.

    Args:
      new_turn_id: returns an id for a turn.

    Attributes:
      turns: the turns, the oldest first.
    """

    def __init__(self, new_turn_id: Callable[[], str]) -> None:
        self.turns: list[TurnEvents] = []
        self._new_turn_id = new_turn_id
        self._last = ("", "")
        self._times = 1
        self._copies_due = 0

    @property
    def newest(self) -> TurnEvents | None:
        """The turn that began last, or None."""
        return self.turns[-1] if self.turns else None

    def begin(self, position: int) -> TurnEvents:
        """Add a turn whose first event follows a position."""
        turn = TurnEvents(self._new_turn_id(), own=False, start=position)
        self.turns.append(turn)
        del self.turns[:-_MOST_AT_ONCE]
        return turn

    def end(self, turn: TurnEvents) -> None:
        """Remove a turn that is over."""
        self.turns.remove(turn)
        self.ended()

    def ended(self) -> None:
        """Note that a turn has ended: events are sent once less (rule 2)."""
        self._times = max(1, self._times - 1)

    def hole(self) -> None:
        """Note that events may be missing: what comes now is no copy of what came before."""
        self._last, self._copies_due = ("", ""), 0
        for turn in self.turns:
            turn.hole()

    def owner(self, event: Event) -> TurnEvents | None:
        """Return the turn that an id in an event names, or None."""
        return next((turn for turn in self.turns if turn.owns(event)), None)

    def find(self, event: Event) -> TurnEvents | None:
        """Return the turn of an event that is no other turn's; None: it begins one (rule 1)."""
        found = self.owner(event)
        if found is not None or _begins_turn(event):
            return found
        if ids_of(event)[0] is not None:
            silent = (turn for turn in self.turns if not turn.answering)
            return next(silent, self.newest)
        return self.newest

    def is_copy(self, frame: ServerSentEvent, event: Event, own: TurnEvents | None) -> bool:
        """Return whether an event was sent again because several turns run (rule 2).

        Args:
          frame: the event as it was sent.
          event: the event.
          own: the turn that the relay has sent and that is not over, or None.
        """
        key = frame.event, frame.data
        if key == self._last and self._copies_due:
            self._copies_due -= 1
            return True
        known = [*self.turns, own] if own is not None else self.turns
        if _begins_turn(event) and any(turn.owns(event) for turn in known):
            self._times += 1
            return True
        self._times = max(1, self._times - self._copies_due)  # the previous event came less often
        if _begins_turn(event):
            self._times = 1
        self._last, self._copies_due = key, self._times - 1
        return False


def _begins_turn(event: Event) -> bool:
    return isinstance(event, ev.UserMessageCreatedEvent) and ids_of(event)[2] is None
