"""Which frames after a reconnect are replayed, and which merely bear an old number.

What it knows: the ids of the frames seen, and which connection brought them. What it must never
know: what an event means (but for rule 6), how a connection is made.

Real servers number each connection's frames from 1 and replay nothing; the specification promises
ids that go on and a replay of what came after ``Last-Event-ID``. An *epoch* is a run of
connections over which ids go on. Ids are compared within an epoch only:

Rule 1  ``connected`` never counts for the mark, whether it bears an id or not.
Rule 2  In an epoch that goes on, a numbered frame at or below the mark is a replay: dropped.
Rule 3  A connection whose numbers start again begins a new epoch, in which nothing is dropped. Its
        ``connected`` proves that with an id below the mark that the next frame follows.
Rule 4  Where ``connected`` proves nothing, a first number at or below the mark is a replay only if
        that very frame (id, name, data) was seen before, and so is each that follows it, until one
        is new: by its number the epoch goes on, by its text it is another one.
Rule 5  Ids that are no numbers are compared with the recent ones, with name and data.
Rule 6  A frame without an id of its own inherits the one before it: it is new, and proves nothing.
        So is a heartbeat, all of which look the same, and which nobody replays.
"""

from __future__ import annotations

from array import array
from operator import attrgetter, lt, ne
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix.sse import ServerSentEvent
    from trio_mix.sse._decoder import Columns

__all__ = ["ReplayFilter"]

_RECENT: Final = 1024
_HEARTBEAT: Final = "heartbeat"
_parts: Final = attrgetter("id", "event", "data")


class ReplayFilter:
    """Tells replayed frames from new ones."""

    def __init__(self, mark: str = "") -> None:
        self.mark = mark
        """The id to send as Last-Event-ID: that of the last frame taken in, or empty."""
        self.duplicates = 0
        """Frames dropped as replayed."""
        self.epoch = 1
        """Counts the runs of ids."""
        self.continued: bool | None = False
        """Whether this connection goes on with the last one's ids; None: not known yet."""
        self._compared = False
        self._ahead: int | None = None
        self._connected_id: int | None = None
        self._previous: str | None = None
        self._begun = False
        # Hashes of at least the last 1024 frames taken in, and at most twice as many: eight bytes
        # each, and for most connections nobody ever asks. Where somebody has, they are a set too.
        self._recent = array("q")
        self._known: set[int] | None = None

    def opened(self) -> None:
        """Begin a new connection."""
        if not self.mark:
            self._forget()
        self._compared = bool(self.mark)
        self.continued = None if self.mark else False
        self._ahead = None
        self._connected_id = None
        self._previous = None
        self._begun = False

    def connected(self, frame_id: str) -> None:
        """Take in the ``connected`` frame (rule 1)."""
        self._connected_id = _number(frame_id)
        self._previous = frame_id

    def admit_all(self, frames: Sequence[ServerSentEvent]) -> bool:
        """Take in the frames of one read at once, where each is plainly new; return whether.

        Else none is taken in: they are `admit`'s, one by one. For most reads of a busy stream.
        """
        return self._admit_all([frame.id for frame in frames], map(_parts, frames))

    def admit_columns(self, columns: Columns) -> bool:
        """Do what `admit_all` does, for frames that came in columns."""
        return self._admit_all(columns.ids, zip(columns.ids, columns.names, columns.data))  # noqa: B905 - of one length

    def _admit_all(self, ids: Sequence[str], parts: Iterable[tuple[str, ...]]) -> bool:
        if not any(ids):
            self._begun = True
            return True
        if not all(ids) or not all(map(ne, (self._previous, *ids), ids)):
            return False
        if self._compared:
            numbers = [_number(frame_id) for frame_id in ids]
            if self.continued is None or None in numbers:
                return False
            if self._ahead is not None:
                if not all(map(lt, (self._ahead, *numbers), numbers)):  # type: ignore[arg-type]
                    return False
                self._ahead = numbers[-1]
        self._begun = True
        self.mark = self._previous = ids[-1]
        self._remember(list(map(hash, parts)))
        return True

    def admit(self, frame: ServerSentEvent) -> bool:
        """Return whether a frame is new, and move the mark if it is."""
        if not self._compared and frame.id and frame.id != self._previous:
            self._begun = True  # no earlier connection's frame is there that it could repeat
            self._previous = frame.id
            self._take(frame)
            return True
        begun, self._begun = self._begun, True
        if not frame.id or (frame.id == self._previous and (begun or not self._seen(frame))):
            return True
        self._previous = frame.id
        number = _number(frame.id)
        if number is None:
            new = self._is_new_opaque(frame)
        else:
            if self.continued is None:
                self._decide(frame, number)
            ahead = self._ahead is None or number > self._ahead
            new = self.continued is not None and ahead
            if new and self._ahead is not None:
                self._ahead = number
        if new:
            self._take(frame)
        elif frame.event != _HEARTBEAT:
            self.duplicates += 1
        return new or frame.event == _HEARTBEAT

    def _decide(self, frame: ServerSentEvent, number: int) -> None:
        """Tell from a numbered frame whether the epoch goes on, where it can tell that."""
        mark, first = _number(self.mark), self._connected_id
        if mark is None:
            self.continued = False
        elif number > mark or (first is not None and first > mark):
            self.continued, self._ahead = True, mark
        else:
            follows = first is not None and number == first + 1 and first < mark
            if follows or not (frame.event == _HEARTBEAT or self._seen(frame)):
                self.continued = False
                self.epoch += 1
                self._forget()

    def _is_new_opaque(self, frame: ServerSentEvent) -> bool:
        replayed = self._compared and self._seen(frame)
        if self.continued is None:
            self.continued = replayed
        return not replayed

    def _seen(self, frame: ServerSentEvent) -> bool:
        if self._known is None:
            self._known = set(self._recent)
        return hash((frame.id, frame.event, frame.data)) in self._known

    def _take(self, frame: ServerSentEvent) -> None:
        self.mark = frame.id
        self._remember([hash((frame.id, frame.event, frame.data))])

    def _remember(self, hashes: list[int]) -> None:
        self._recent.extend(hashes)
        if len(self._recent) > 2 * _RECENT:
            del self._recent[:-_RECENT]
            self._known = None
        elif self._known is not None:
            self._known.update(hashes)

    def _forget(self) -> None:
        del self._recent[:]
        self._known = None


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
