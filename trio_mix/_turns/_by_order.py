"""Route the events of servers whose events have no ids (rules 2, 5 and 10 of the router)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mix import events as ev
from trio_mix._turns._by_ids import NOBODY
from trio_mix._turns._late_deltas import MOST_LATE, TEXT
from trio_mix._turns._owners import SHOWING_A_TURN
from trio_mix._turns._repeated_errors import is_busy
from trio_mix._turns._turn import Owner
from trio_mix._turns._wire_traits import begins_call

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._late_deltas import LateDeltas
    from trio_mix._turns._owners import Owners
    from trio_mix._turns._turn import Turn
    from trio_mix._turns._wire_traits import EventIds
    from trio_mix.events import Event

BUSY: Final[Sequence[Event]] = []
"""What is returned for an event with which the server said that it has dropped the message, being
busy; compared by identity."""
ASKED: Final[Sequence[Event]] = []
"""What is returned for a permission request that is the turn's if the stored messages show it;
compared by identity."""


class RoutingByOrder:
    """Finds the owner of an event by its order: it is the running turn's, unless an id differs.

    Args:
      owners: the owners of the ids so far.
      late: recognizes late deltas.
    """

    __slots__ = ("_late", "_owners", "others_at_work", "others_seen", "sure")

    def __init__(self, owners: Owners, late: LateDeltas) -> None:
        self._owners = owners
        self._late = late
        self.others_seen: bool = False
        """Whether an event, or another stream, has shown that another client uses the session."""
        self.others_at_work: bool = False
        """Whether the events of this connection show another client's turn without its end."""
        self.sure = False
        """Whether the last event, if it is our turn's, shows that our turn has not ended before."""

    def route(
        self, event: Event, ids: EventIds, turn: Turn | None, *, ends: bool
    ) -> Sequence[Event]:
        """Return the event if it is the turn's, `NOBODY` if not, `BUSY` or `ASKED`.

        Args:
          event: the event.
          ids: its ids.
          turn: the turn of ours whose events are expected.
          ends: whether the event ends its turn.
        """
        if turn is not None and turn.elsewhere and isinstance(event, ev.PermissionEvent):
            return ASKED  # each stream receives it, whichever runs the turn
        if turn is None or turn.elsewhere:
            self._owners.own_unknown(ids, Owner(over=True))
            return NOBODY
        if turn.behind and not is_busy(event):
            self._owners.own_unknown(ids, Owner(over=True))
            if ends:
                turn.behind = False
                turn.doubt = event if isinstance(event, ev.CompleteEvent) else None
            return NOBODY
        if self._is_left_over(event, ids, turn):
            if ends and turn.events:
                turn.overlap = "guess"  # what came before this end may be of the turn that it ends
                turn.of_older = turn.events
            return NOBODY
        if isinstance(event, ev.PermissionEvent) and self.others_seen and not turn.events:
            turn.held.add(event)  # each stream receives it: it does not show that this one runs it
            return NOBODY
        if is_busy(event):
            # A turn with events runs already: the conflict concerns another stream of the session.
            return NOBODY if turn.events > turn.of_older else BUSY
        message, call, parent = ids
        if parent is None:
            self._owners.own_message(message, turn.owner)
        if call:
            self._owners.own_call(call, turn.owner)
        # A `complete` can overtake the last deltas of its own message.
        overtaken = type(event) in TEXT and turn.events < MOST_LATE
        self.sure = not (overtaken and turn.doubted_end is not None)
        held = turn.held.take()
        return (event,) if ends or not held else (*held, event)

    def note_others(self, kind: type[Event], *, nameless: bool, ends: bool) -> None:
        """Note an event that is nobody's.

        Args:
          kind: its class.
          nameless: whether it has no ids, and no turn of ours was under way.
          ends: whether it ends a turn.
        """
        shown = nameless and kind in SHOWING_A_TURN and not self._late.take(kind)
        self.others_seen = self.others_seen or shown or (nameless and kind is ev.PermissionEvent)
        self.others_at_work = not ends and (self.others_at_work or shown)
        ours = self._owners.ours
        if shown and ours is not None and ours.failed:
            ours.overlap = "guess"  # another turn begins, or ours goes on

    def _is_left_over(self, event: Event, ids: EventIds, turn: Turn) -> bool:
        """Return whether an id shows that an earlier turn still emits it."""
        message, call, parent = ids
        owners, known = self._owners, (None, turn.owner)
        named = owners.of_message(message) if parent is None else owners.of_call(parent)
        reused = bool(call) and owners.of_call(call) not in known
        if call and owners.was_expected(call):
            turn.overlap = "guess"  # the call of another turn comes late, or its id is used again
        return named not in known or (reused and not begins_call(event))
