"""Recognize the deltas of a turn that come after its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix.events import Event

MOST_LATE: Final = 4
"""The most deltas that come after the end of their turn."""
TEXT: Final = frozenset((ev.ContentEvent, ev.ThinkingEvent))


class LateDeltas:
    """Counts the deltas that name no message and come while no turn is known to run.

    The first ones after an end are those of the turn that has ended.
    """

    __slots__ = ("_left", "came")

    def __init__(self) -> None:
        self._left = 0
        self.came: bool = False
        """Whether the last event was such a delta."""

    def ended(self, *, failed: bool) -> None:
        """Note that a turn has ended: its last deltas may come late if it did not fail."""
        self._left = 0 if failed else MOST_LATE

    def missed(self) -> None:
        """Note that a turn may have begun unseen."""
        self._left = 0

    def take(self, kind: type[Event]) -> bool:
        """Return whether an event of a class, while no turn is known to run, is such a delta."""
        self.came = kind in TEXT and self._left > 0
        self._left = self._left - 1 if self.came else 0
        return self.came
