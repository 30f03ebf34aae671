"""Route the events of servers whose events have message ids (rules 3, 4 and 6 of the router)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._repeated_errors import is_cancelled
from trio_mix._turns._turn import Owner, Phase
from trio_mix._turns._wire_traits import begins_call, ids_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix._turns._late_deltas import LateDeltas
    from trio_mix._turns._owners import Owners
    from trio_mix._turns._turn import Turn
    from trio_mix._turns._wire_traits import EventIds, WireTraits
    from trio_mix.events import Event

# What is returned for an event that is not the turn's, or not yet; compared by identity.
NOBODY: Final[Sequence[Event]] = []
HELD: Final[Sequence[Event]] = []

_POSTED: Final = Phase.POSTED
_MOST_GUESSED: Final = 4096
"""Ids that were given to turns of ours by a guess, and are remembered."""


class RoutingByIds:
    """Finds the owner of an event by its ids, and by the turns that run where they are new.

    Args:
      traits: how this server's events show turns.
      owners: the owners of the ids so far.
      late: recognizes late deltas.
    """

    __slots__ = ("_guessed", "_late", "_owners", "_traits", "names_users", "sure")

    def __init__(self, traits: WireTraits, owners: Owners, late: LateDeltas) -> None:
        self._traits = traits
        self._owners = owners
        self._late = late
        self._guessed: dict[str, None] = {}
        self.names_users = False
        """Whether an event has named a user message, also one of an earlier turn."""
        self.sure = False
        """Whether the ids of the last event named its turn, without any guess."""

    def route(
        self, event: Event, ids: EventIds, turn: Turn | None, *, ends: bool
    ) -> Sequence[Event]:
        """Return the events that are the turn's, now that one more has come.

        Args:
          event: the event.
          ids: its ids.
          turn: the turn of ours whose events are expected.
          ends: whether the event ends its turn.
        """
        message, call, parent = ids
        named = parent
        if parent is not None:
            owner = self._owners.of_call(parent)
        else:
            named, owner = message, self._owners.of_message(message)
            if owner is None and call:
                named, owner = call, self._owners.of_call(call)
                if owner is not None and owner.over and (message or begins_call(event)):
                    owner = None  # the id of an old call, used again
        self.sure = owner is not None and named not in self._guessed
        if owner is None:
            if isinstance(event, ev.UserMessageCreatedEvent) and parent is None:
                self.sure = True
                return self._user_message(event, ids, turn)
            idle = not self._owners.others and (turn is None or not turn.bound)
            if idle and not any(ids) and self._late.take(type(event)):
                return NOBODY
            nameless = turn is not None and bool(turn.overlap) and not any(ids)
            self.sure = not (nameless or self._owners.others_may_run)
            owner = self._owner_by_guess(event, ids, turn)
            if owner is None and turn is not None:
                return self._hold(event, turn, ends=ends)
            owner = owner or Owner()
        if (
            ends
            and turn is not None
            and owner is not turn.owner
            and (owner.guessed or not (turn.bound or owner.started_at))
        ):
            turn.doubt = event  # it may have been ours: the stored messages show it
        self._owners.note(event, ids, owner, ends=ends)
        if turn is None or owner is not turn.owner:
            return NOBODY
        if not self.sure:
            self._guessed |= dict.fromkeys(each for each in ids if each)
            while len(self._guessed) > _MOST_GUESSED:
                del self._guessed[next(iter(self._guessed))]
        return (event,)

    def _user_message(
        self, event: ev.UserMessageCreatedEvent, ids: EventIds, turn: Turn | None
    ) -> Sequence[Event]:
        if self._owners.ours is not None and self._owners.ours.bound:
            ours = self._owners.ours
            ours.twin = ours.twin or ours.matches(event.content)
        if turn is None or turn.bound or not turn.matches(event.content):
            self._owners.note(event, ids, self._owners.begin(Owner()), ends=False)
            return NOBODY
        self._give_away(turn)
        turn.identity = attrs.evolve(turn.identity, user_message_id=event.message_id)
        self._owners.note(event, ids, self._owners.begin(turn.owner), ends=False)
        return (event,)

    def _owner_by_guess(self, event: Event, ids: EventIds, turn: Turn | None) -> Owner | None:
        """Return the owner of an event whose ids are new, or that has none; None: not known."""
        owners = self._owners
        error = isinstance(event, ev.ErrorEvent) and ids[2] is None
        if isinstance(event, ev.CompleteEvent) and not self._owners.answers_named:
            ids = (None, *ids[1:])  # a new id shows nothing: that of each end is new
        if turn is not None and turn.bound:
            last = owners.heard_last
            if last is not None and last is not turn.owner and last.over and not any(ids):
                # The stored rows showed its end before its events came.
                turn.doubt = event if error else turn.doubt
                return last
            if not (owners.others or (error and owners.unended)):
                if error and turn.unheard:
                    turn.overlap = "guess"  # it may be that of a turn that began meanwhile
                return turn.owner
            guess = owners.is_guess(event, ids, turn.owner)
            owner = owners.likeliest(ids, turn.owner)
            if guess:
                turn.overlap = "guess"
                for each in (turn.owner, owner):
                    if each is not None:
                        each.guessed = True
            if error and owner is turn.owner and not (turn.cancelling and is_cancelled(event)):
                turn.doubt = event  # an error names nothing: the stored messages decide
                return Owner()
            return owner
        if turn is not None and not owners.others:
            if error and not turn.held:
                last = owners.heard_last
                # A turn is named before it can be cancelled: one that was not named here ends late.
                early = is_cancelled(event) and (turn.unheard or not self.names_users)
                if last is turn.owner or (last is None and (turn.cancelling or not early)):
                    return turn.owner
                turn.doubt = event  # a turn that began before this one was posted ends late
                return last or Owner()
            return Owner() if self.names_users and not turn.unheard else None
        return owners.likeliest(ids, None)

    def _hold(self, event: Event, turn: Turn, *, ends: bool) -> Sequence[Event]:
        """Hold back what may be the rest of another client's turn, until a terminal event shows it.

        Without that a server that never names user messages could not be understood.
        """
        turn.held.add(event)
        if not ends:
            return HELD
        if turn.phase is _POSTED or turn.held.began_earlier():
            self._give_away(turn)
            turn.doubt = event
            return NOBODY
        released = turn.held.take()
        self._note_all(released, turn.owner)
        return released

    def _give_away(self, turn: Turn) -> None:
        """Take the held events for the rest of a turn that began before ours."""
        self._note_all(turn.held.take(), self._owners.begin(Owner()))

    def _note_all(self, events: Iterable[Event], owner: Owner) -> None:
        for event in events:
            ids = ids_of(event)
            self._owners.note(event, ids, owner, ends=self._traits.ends(event, ids))
