"""Which frames after a reconnect are replayed, and which merely bear an old number.

What it knows: the ids of the frames seen, and which connection brought them. What it must never
know: what an event means, how a connection is made.

Real servers number each connection's frames from 1 and replay nothing; the specification promises
ids that go on and a replay of what came after ``Last-Event-ID``. An *epoch* is a run of
connections over which ids go on. Ids are compared within an epoch only:

Rule 1  ``connected`` never counts for the mark, whether it bears an id or not.
Rule 2  In an epoch that goes on, a numbered frame at or below the mark is a replay: dropped.
Rule 3  A connection whose numbers start again begins a new epoch, in which nothing is dropped. Its
        ``connected`` proves that with an id at or below the mark that the next frame follows.
Rule 4  An unnumbered ``connected`` tells nothing: a first number at or below the mark is then a
        replay only if that very frame (id, name, data) was seen before.
Rule 5  Ids that are no numbers are compared with the recent ones, for equality.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from trio_mix.sse import ServerSentEvent

__all__ = ["Epochs"]

_RECENT: Final = 1024


class Epochs:
    """Tells replayed frames from new ones."""

    def __init__(self, mark: str = "") -> None:
        self.mark = mark
        """The id to send as Last-Event-ID: that of the last frame taken in, or empty."""
        self.duplicates = 0
        """Frames dropped as replayed."""
        self.epoch = 1
        """Counts the runs of ids."""
        self._resuming = False
        self._ahead: int | None = None
        self._connected_id: int | None = None
        self._recent: OrderedDict[str, int] = OrderedDict()

    @property
    def continued(self) -> bool | None:
        """Whether this connection goes on with the last one's ids; None: not known yet."""
        return None if self._resuming else self._ahead is not None

    def opened(self) -> None:
        """Begin a new connection."""
        self._resuming = bool(self.mark)
        self._ahead = None
        self._connected_id = None

    def connected(self, frame_id: str) -> None:
        """Take in the ``connected`` frame (rule 1)."""
        self._connected_id = _number(frame_id)

    def admit(self, frame: ServerSentEvent) -> bool:
        """Return whether a frame is new, and move the mark if it is."""
        if not frame.id:
            return True
        number = _number(frame.id)
        if number is None:
            return self._admit_opaque(frame)
        if self._resuming:
            self._resuming = False
            self._decide(frame, number)
        if self._ahead is not None:
            if number <= self._ahead:
                self.duplicates += 1
                return False
            self._ahead = number
        self._take(frame)
        return True

    def _decide(self, frame: ServerSentEvent, number: int) -> None:
        """Tell from the first numbered frame of a connection whether the epoch goes on."""
        mark = _number(self.mark)
        if mark is None:
            return
        first = self._connected_id
        if first is None:
            goes_on = number > mark or self._seen(frame)
        elif first > mark:
            goes_on = True
        else:
            goes_on = number > mark and number != first + 1
        if goes_on:
            self._ahead = mark
        else:
            self.epoch += 1
            self._recent.clear()

    def _admit_opaque(self, frame: ServerSentEvent) -> bool:
        if self._resuming and self._seen(frame):
            self.duplicates += 1
            return False
        self._take(frame)
        return True

    def _seen(self, frame: ServerSentEvent) -> bool:
        return self._recent.get(frame.id) == hash((frame.event, frame.data))

    def _take(self, frame: ServerSentEvent) -> None:
        self.mark = frame.id
        self._recent[frame.id] = hash((frame.event, frame.data))
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
