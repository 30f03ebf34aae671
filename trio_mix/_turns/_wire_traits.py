"""How the generations of servers differ where turns are concerned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix._turns._event_ids import EventIds
    from trio_mix.events import Event

__all__ = ["TERMINAL", "WireTraits"]

TERMINAL: Final = frozenset((ev.CompleteEvent, ev.ErrorEvent, ev.RateLimitEvent))
"""The classes of events that can end a turn."""


@attrs.define
class WireTraits:
    """How this server's generation differs where turns are concerned."""

    ids: bool | None = None
    """Whether events have message ids; None until the first event shows it."""
    rate_limit_ends: bool | None = False
    """Whether ``rate_limit_error`` is a turn's last event (pipeline servers). None: unknown; then
    it is the last one if events have no ids."""
    answers: bool | None = False
    """Whether the POST is answered with the finished reply (blocking servers); None: unknown."""
    turn_ids: bool = False
    """Whether a relay adds the ids of turns (rule 9 of the router)."""
    proof: bool = False
    """Whether only the stored messages show whose a ``complete`` is (pipeline servers)."""

    @property
    def streams_run(self) -> bool:
        """Whether each stream runs the messages that are sent while it is open (pipeline servers).

        As long as no event has come, an async server may be taken for one.
        """
        return self.answers is False and not self.ids

    def update(self, known: WireTraits) -> None:
        """Take over what the client knows of the server; what events have shown is kept."""
        self.ids = self.ids or known.ids
        self.rate_limit_ends, self.answers = known.rate_limit_ends, known.answers
        self.turn_ids, self.proof = known.turn_ids, known.proof

    def learn(self, event: Event, ids: EventIds) -> None:
        """Note that this server's events have message ids, if an event shows it."""
        if self.ids is None:
            named = bool(ids[0]) and not isinstance(event, ev.CompleteEvent)
            if named or ids[2] is not None or isinstance(event, ev.UserMessageCreatedEvent):
                self.ids = True

    def ends(self, event: Event, ids: EventIds) -> bool:
        """Return whether an event ends its turn; a sub-agent's never does."""
        if type(event) not in TERMINAL or ids[2] is not None:
            return False
        if isinstance(event, ev.CompleteEvent):
            return event.done
        if isinstance(event, ev.RateLimitEvent):
            ends = self.rate_limit_ends
            return not self.ids if ends is None else ends
        return True
