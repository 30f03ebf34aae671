"""Separate the events that a server replays after a reconnect from those that only have an old id.

Real servers number the events of each connection from 1 and replay nothing; the specification
promises ids that go on, and a replay of what came after ``Last-Event-ID``. An *epoch* is a sequence
of connections over which the ids go on. Ids are compared within an epoch only:

Rule 1  ``connected`` does not count for the mark, whether it has an id or not, unless the response
        names the id after which it starts (a relay): then its id is the mark.
Rule 2  In an epoch that goes on, a numbered event at or below the mark is a replay: dropped.
Rule 3  A connection whose numbers start again begins a new epoch, in which nothing is dropped. Its
        ``connected`` proves that with an id below the mark that the next event follows.
Rule 4  Where ``connected`` proves nothing, a first number at or below the mark is a replay only if
        exactly that event (id, name, data) was seen before, and so is each that follows it, until
        one is new: if its number is new, the epoch goes on; if only its data is, a new one begins.
Rule 5  Ids that are not numbers are compared with the recent ones, together with name and data.
Rule 6  An event without an id of its own inherits the previous one: it is new, and proves nothing.
        So is a heartbeat: all heartbeats look the same, and no server replays them.
Rule 7  A start that the response names proves at once whether the epoch goes on: if it is the mark.
        So does a ``connected`` with the id of the mark, except for 1: servers that begin each
        connection with 1 send that, too.
Rule 8  An event whose id the server has set to nothing clears the mark.
"""

from __future__ import annotations

from array import array
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.sse import ServerSentEvent

_RECENT: Final = 1024
_HEARTBEAT: Final = "heartbeat"
_parts: Final = attrgetter("id", "event", "data")


class ReplayFilter:
    """Decides which events of a connection are new.

    Args:
      mark: the id to resume after, where the stream goes on with an earlier one.
    """

    def __init__(self, mark: str = "") -> None:
        self.mark: str = mark
        """The id to send as Last-Event-ID: that of the last new event, or empty."""
        self.duplicates: int = 0
        """How many events were dropped as replayed."""
        self.epoch: int = 1
        """The number of the epoch, from 1."""
        self.continued: bool | None = False
        """Whether this connection goes on with the last one's ids; None: not known yet."""
        self.start_named: bool = False
        """Whether the response of this connection named the id after which it starts."""
        self._compared = False
        self._ahead: int | None = None
        self._connected_id: int | None = None
        self._previous: str | None = None
        self._begun = False
        # Hashes of at least the last 1024 new events, and at most twice as many: eight bytes each.
        # Most connections never look one up; the set is made when one does.
        self._recent = array("q")
        self._known: set[int] | None = None

    def opened(self, start: str = "") -> None:
        """Begin a new connection.

        Args:
          start: the id after which the response says that it starts, or empty.
        """
        self.start_named = bool(start)
        if not self.mark:
            self._forget()
        self._compared = bool(self.mark)
        self.continued = None if self.mark else False
        self._ahead = None
        self._connected_id = None
        self._previous = None
        self._begun = False
        if self.mark and start == self.mark:
            self._continue()
        elif self.mark and start:
            self._compared = False
            self._begin_epoch()

    def connected(self, event_id: str) -> None:
        """Note the id of the ``connected`` event (rules 1 and 7)."""
        self._connected_id = _number(event_id)
        self._previous = event_id
        if self._connected_id not in (None, 0, 1) and self._connected_id == _number(self.mark):
            self._continue()
        if self.start_named and event_id:
            self.mark = event_id

    def id_cleared(self) -> None:
        """Note that the server has set the id to nothing (rule 8)."""
        if not self._previous:  # else the next event shows it
            self.mark = ""

    def admit(self, events: Sequence[ServerSentEvent]) -> Sequence[ServerSentEvent]:
        """Return the events of a batch that are new, and move the mark to the last of them.

        Args:
          events: the next events of the connection, without ``connected``.
        """
        if self._compared:
            return [event for event in events if self._is_new(event)]
        # No earlier connection's event can be repeated here.
        self._begun = self._begun or bool(events)
        before = previous = self._previous
        named = []
        for event in events:
            if event.id != previous and (event.id or previous):
                previous = event.id
                if previous:
                    named.append(event)
        if named or previous != before:
            self._previous = previous
            if named:
                self._remember(named)
            if not previous:
                self.mark = ""
        return events

    def _is_new(self, event: ServerSentEvent) -> bool:
        begun, self._begun = self._begun, True
        if not event.id and self._previous:
            self._previous = self.mark = ""
        if not event.id or (event.id == self._previous and (begun or not self._seen(event))):
            return True
        self._previous = event.id
        number = _number(event.id)
        if number is None:
            new = self._is_new_opaque(event)
        else:
            if self.continued is None:
                self._decide(event, number)
            ahead = self._ahead is None or number > self._ahead
            new = self.continued is not None and ahead
            if new and self._ahead is not None:
                self._ahead = number
        if new:
            self._remember([event])
        elif event.event != _HEARTBEAT:
            self.duplicates += 1
        return new or event.event == _HEARTBEAT

    def _decide(self, event: ServerSentEvent, number: int) -> None:
        """Set ``continued`` if a numbered event shows whether the epoch goes on."""
        mark, first = _number(self.mark), self._connected_id
        if mark is None:
            self.continued = False
        elif number > mark or (first is not None and first > mark):
            self._continue()
        else:
            follows = first is not None and number == first + 1 and first < mark
            if follows or not (event.event == _HEARTBEAT or self._seen(event)):
                self._begin_epoch()

    def _continue(self) -> None:
        self.continued, self._ahead = True, _number(self.mark)

    def _begin_epoch(self) -> None:
        self.continued = False
        self.epoch += 1
        self._forget()

    def _is_new_opaque(self, event: ServerSentEvent) -> bool:
        replayed = self._seen(event)
        if self.continued is None:
            self.continued = replayed
        return not replayed

    def _seen(self, event: ServerSentEvent) -> bool:
        if self._known is None:
            self._known = set(self._recent)
        return hash(_parts(event)) in self._known

    def _remember(self, events: Sequence[ServerSentEvent]) -> None:
        """Move the mark past new events, and keep their hashes."""
        self.mark = events[-1].id
        hashes = list(map(hash, map(_parts, events)))
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
