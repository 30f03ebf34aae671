"""The newest events of a session, joined, for consumers that each have a position.

Rule 1  Events are appended in batches. Consumers at the same position receive the same bytes
        object: a batch is joined once, however many consumers there are.
Rule 2  A consumer that is further behind than the ring reads the log. A read never skips an event.
Rule 3  The ring is bounded by events and by bytes; the newest batch is always in it.
Rule 4  Deleted events are counted per epoch. The counts outlive the events, so that a consumer
        learns how many it missed.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from trio_mix.relay._ids import epoch_of, sequence_of
from trio_mix.relay._records import Chunk, Gap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trio_mix.relay._records import LoggedEvent

_MAX_CHUNK: Final = 65536


def missed_after(position: int, deleted: Mapping[int, int], *, forgotten: int = 0) -> Gap | None:
    """Return which events after a position are deleted; None if none is.

    Args:
      position: the position of a consumer.
      deleted: for each epoch, the sequence number of its last deleted event.
      forgotten: the counts of this epoch and of those before it are not kept any more.
    """
    epoch, seen = epoch_of(position), sequence_of(position)
    if epoch <= forgotten:
        return Gap(None)
    missed = sum(
        max(0, last - (seen if each == epoch else 0))
        for each, last in deleted.items()
        if each >= epoch
    )
    return Gap(missed) if missed else None


def join_events(
    events: Sequence[LoggedEvent], position: int, *, relay: bool, pipeline: bool
) -> Chunk:
    """Return events as one chunk for a consumer; see `LoggedEvent.shown`."""
    if not events:
        return Chunk(b"", position)
    data = b"".join([event.shown(relay=relay, pipeline=pipeline) for event in events])
    return Chunk(data, events[-1].id)


class _Batch:
    """Events that were appended together, and all of them joined, for both kinds of consumers."""

    __slots__ = ("after", "chunks", "events", "newest", "size")

    def __init__(self, events: Sequence[LoggedEvent], after: int) -> None:
        self.events = events
        self.after = after
        self.newest = events[-1].id
        self.size = sum(len(event.frame) for event in events)
        self.chunks: dict[bool, Chunk] = {}

    def following(self, position: int) -> Sequence[LoggedEvent]:
        """Return the events after a position; ids are consecutive in a batch."""
        done = position - self.events[0].id + 1
        return self.events[done:] if done > 0 else self.events


class Ring:
    """The newest events of one session.

    Args:
      newest: the position of the newest event that is stored.
      size: the number of events to keep.
      max_bytes: the number of bytes to keep.
      pipeline: whether a rate limit ends its turn on this server.

    Attributes:
      newest: the position of the newest event.
      oldest: the position after which every event is in the ring.
    """

    def __init__(
        self,
        newest: int,
        *,
        size: int = 2000,
        max_bytes: int = 8 * 2**20,
        pipeline: bool = False,
    ) -> None:
        self.newest: int = newest
        self.oldest: int = newest
        self.pipeline: bool = pipeline
        self._size = size
        self._max_bytes = max_bytes
        self._batches: deque[_Batch] = deque()
        self._events = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._events

    def append(self, events: Sequence[LoggedEvent]) -> None:
        """Append events that are stored, in order."""
        if not events:
            return
        if events[-1].id - events[0].id != len(events) - 1:  # of several epochs
            for run in _runs(events):
                self.append(run)
            return
        batch = _Batch(events, self.newest)
        self._batches.append(batch)
        self.newest = batch.newest
        self._events += len(events)
        self._bytes += batch.size
        while len(self._batches) > 1 and (
            self._events > self._size or self._bytes > self._max_bytes
        ):
            first = self._batches.popleft()
            self._events -= len(first.events)
            self._bytes -= first.size
            self.oldest = first.newest

    def read(self, position: int, *, relay: bool, limit: int = _MAX_CHUNK) -> Chunk | None:
        """Return the next events after a position; None if the ring does not have them (rule 2).

        The chunk is empty at the newest event. A chunk has at most ``limit`` bytes, or one event.
        """
        if position >= self.newest:
            return Chunk(b"", position)
        if position < self.oldest:
            return None
        behind = 0  # batches after the one with the first event; most consumers are near the end
        for batch in reversed(self._batches):
            if batch.after <= position:
                break
            behind += 1
        else:
            batch, behind = self._batches[0], behind - 1
        if behind == 0 and batch.after == position and batch.size <= limit:
            if relay not in batch.chunks:
                batch.chunks[relay] = self._join(batch.events, position, relay=relay)
            return batch.chunks[relay]
        chosen: list[LoggedEvent] = []
        size = 0
        for batch in islice(self._batches, len(self._batches) - 1 - behind, None):
            for event in batch.following(position):
                size += len(event.frame)
                if chosen and size > limit:
                    return self._join(chosen, position, relay=relay)
                chosen.append(event)
        return self._join(chosen, position, relay=relay)

    def _join(self, events: Sequence[LoggedEvent], position: int, *, relay: bool) -> Chunk:
        return join_events(events, position, relay=relay, pipeline=self.pipeline)


def _runs(events: Sequence[LoggedEvent]) -> Iterator[Sequence[LoggedEvent]]:
    """Split events where their ids are not consecutive."""
    start = 0
    for at in range(1, len(events) + 1):
        if at == len(events) or events[at].id != events[at - 1].id + 1:
            yield events[start:at]
            start = at
