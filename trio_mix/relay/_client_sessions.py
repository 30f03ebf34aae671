"""What a `RelayClient` follows: its consumers' positions, and what it must ask the relay for.

Rule 1  A consumer has every event after its position once, in order, or a gap in their place.
Rule 2  On one connection a session has one subscription. If a consumer needs earlier events than
        the subscription sends, it is moved back; other consumers skip the events that they have.
Rule 3  A consumer that is too slow is a position, too: what it has no room for is not kept, and is
        asked for again once it has taken what it holds. Other consumers of the session wait while
        it is sent what they have already.
Rule 4  After a loss each session is subscribed to again at the position of its last consumer.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs

from trio_mix._json import NotJSON, parse_leniently
from trio_mix._turns._wire_traits import turn_id_of
from trio_mix.relay._ids import epoch_of
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_mix.relay._records import StartFrom

_OVERHEAD: Final = 200
"""What a buffered event takes in addition to its data, in bytes."""
_GAP: Final = "gap"
_ENDS: Final = ("done", "unknown", "cancelled")


@attrs.frozen
class Missed:
    """Events that are not kept any more, in place of which a gap is returned."""

    count: int | None


_Item: TypeAlias = ServerSentEvent | Missed


class Follower:
    """One consumer of one session.

    Args:
      position: the position after which it begins; None: where ``start`` says.
      start: where it begins without a position.
      max_size: the size of the events that are buffered, in bytes.

    Attributes:
      position: the position up to which everything was buffered or returned.
      began: the position at which the first subscription began; None before.
      synced: whether the subscription sends the events after the position.
      lagging: whether the buffer is full: rule 3.
      failure: the error that ended the session for its consumers.
    """

    def __init__(
        self, position: int | None, start: StartFrom = "now", *, max_size: int = 4 * 2**20
    ) -> None:
        self.position: int | None = position
        self.start: StartFrom = start
        self.began: int | None = None
        self.synced: bool = False
        self.lagging: bool = False
        self.failure: Exception | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Called when there is something to take, or the position or the failure is known."""
        self.on_room: Callable[[], None] = lambda: None
        """Called when events must be asked for again (rule 3)."""
        self._items: deque[_Item] = deque()
        self._size = 0
        self._max_size = max_size

    @property
    def waits(self) -> bool:
        """Whether events must be asked for."""
        return not (self.synced or self.lagging)

    def __len__(self) -> int:
        return len(self._items)

    def begin(self, position: int) -> None:
        """Note that the subscription sends the events after a position."""
        self.position = position
        self.began = position if self.began is None else self.began
        self.synced = True
        self.on_change()

    def offer(self, event: ServerSentEvent, position: int | None) -> None:
        """Buffer an event, if there is room for it.

        Args:
          event: the event.
          position: its position; None: it is not stored.
        """
        if self._items and self._size >= self._max_size:
            if position is not None:
                self.synced, self.lagging = False, True
            return
        if position is not None:
            self.position = position
        if self._wants(event):
            self._items.append(event)
            self._size += _size_of(event)
            self.on_change()

    def _wants(self, event: ServerSentEvent) -> bool:
        del event
        return True

    def miss(self, count: int | None, position: int) -> None:
        """Note that events up to a position are not kept any more."""
        self.began = self.position if self.began is None else self.began
        self.position = position
        self._items.append(Missed(count))
        self.on_change()

    def take(self) -> _Item | None:
        """Return the next item, or None if nothing is buffered."""
        if not self._items:
            return None
        item = self._items.popleft()
        if isinstance(item, ServerSentEvent):
            self._size -= _size_of(item)
        self._note_room()
        return item

    def _note_room(self) -> None:
        if self.lagging and not self._items:
            self.lagging = False
            self.on_room()

    def fail(self, failure: Exception) -> None:
        """End the consumer with an error, after the events that are buffered."""
        self.failure = self.failure or failure
        self.on_change()


class TurnFollower(Follower):
    """Buffers the events of one turn, which may be known later than its first events.

    Attributes:
      turn_id: the turn; None: not known yet.
      over: whether the turn has ended, though its end may be buffered, or cannot be followed.
    """

    def __init__(self, *, max_size: int = 4 * 2**20) -> None:
        super().__init__(None, max_size=max_size)
        self.turn_id: str | None = None
        self.over: bool = False
        self.on_over: Callable[[], None] = lambda: None
        """Called when it is over."""

    def offer(self, event: ServerSentEvent, position: int | None) -> None:
        """Buffer an event, if there is room for it; note the end of the turn in any case."""
        super().offer(event, position)
        if event.event == "turn" and _turn_of(event) == self.turn_id and end_of(event.data):
            self._end()

    def fail(self, failure: Exception) -> None:
        """End the consumer with an error, after the events that are buffered."""
        super().fail(failure)
        self._end()

    def _end(self) -> None:
        self.over = True
        self.on_over()

    def _wants(self, event: ServerSentEvent) -> bool:
        turn_id = _turn_of(event)
        return turn_id is not None and self.turn_id in (None, turn_id)

    def name(self, turn_id: str) -> None:
        """Drop the events of other turns."""
        self.turn_id = turn_id
        kept = [item for item in self._items if isinstance(item, Missed) or self._wants(item)]
        self._items = deque(kept)
        self._size = sum(_size_of(item) for item in kept if isinstance(item, ServerSentEvent))
        self._note_room()
        self.on_change()


class FollowedSession:
    """One session on the connections of a client.

    Args:
      session_id: the session.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id: str = session_id
        self._followers: dict[Follower, None] = {}
        self._live: int | None = None
        """The position of the subscription on this connection; None: there is none."""
        self._gap: tuple[int, int | None] | None = None
        """The position before a gap, and its size, until the next event shows its end."""
        self._asked: int | StartFrom | None = None
        """What the subscription that is not answered begins at."""

    def __len__(self) -> int:
        return len(self._followers)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do for the session."""
        return not self._followers and self._live is None and self._asked is None

    def add(self, follower: Follower) -> None:
        """Follow the session for a consumer."""
        self._followers[follower] = None

    def discard(self, follower: Follower) -> None:
        """Follow the session for a consumer no longer."""
        self._followers.pop(follower, None)

    def lost(self) -> None:
        """Note that the connection, or the subscription, was lost."""
        self._live = self._asked = self._gap = None
        for follower in self._followers:
            follower.synced = False

    def fail(self, failure: Exception) -> None:
        """End all consumers."""
        self.lost()
        for follower in list(self._followers):
            follower.fail(failure)

    # -- what must be asked for -----------------------------------------------------------------

    def next_command(self) -> dict[str, object] | None:
        """Return the next message to the relay; None if nothing must be sent now."""
        if self._asked is not None:
            return None
        waiting = [follower for follower in self._followers if follower.waits]
        if self._live is not None:
            for follower in waiting:
                if isinstance(follower, TurnFollower) and follower.position is None:
                    follower.begin(self._live)  # its turn is not sent yet: it comes later
        waiting = [follower for follower in waiting if follower.waits]
        command: dict[str, object] = {"type": "subscribe", "sessionId": self.session_id}
        known = [each.position for each in waiting if each.position is not None]
        if known:
            self._asked = min(known)
            return {**command, "after": str(self._asked)}
        if waiting:
            self._asked = waiting[0].start
            return {**command, "from": self._asked}
        if self._live is not None and not any(each.synced for each in self._followers):
            self._live = None
            return {**command, "type": "unsubscribe"}
        return None

    # -- what the relay sends -------------------------------------------------------------------

    def subscribed(self, position: int, gap: Mapping[str, int | None] | None) -> None:
        """Note the answer to a subscription."""
        asked, self._asked = self._asked, None
        if asked is None:
            return  # of a connection or a subscription that is given up
        self._live, self._gap = position, None
        for follower in self._followers:
            if follower.lagging:
                continue
            if follower.position is None:
                if asked == follower.start:
                    follower.begin(position)
            elif follower.position >= position:
                follower.begin(follower.position)
            elif gap is not None and isinstance(asked, int):
                _miss(follower, asked, gap.get("missed"), position)
                follower.begin(position)
            else:
                follower.synced = False  # it is asked for next

    def events(self, events: Iterable[Mapping[str, str]]) -> None:
        """Pass events on to the consumers."""
        if self._live is None:
            return  # of a subscription that is given up
        for fields in events:
            frame = ServerSentEvent(
                id=fields.get("id", ""), event=fields["event"], data=fields["data"]
            )
            position = int(frame.id) if frame.id else None
            if position is None and frame.event == _GAP:
                base, before = self._gap or (self._live, 0)
                more = _missed_of(frame.data)
                self._gap = base, None if before is None or more is None else before + more
                continue
            if position is not None and self._gap is not None:
                (base, missed), self._gap = self._gap, None
                for follower in list(self._followers):
                    if follower.synced:
                        _miss(follower, base, missed, position - 1)
            for follower in list(self._followers):
                at = cast("int", follower.position)
                if follower.synced and (position is None or position > at):
                    follower.offer(frame, position)
            if position is not None:
                self._live = position


def _miss(follower: Follower, base: int, missed: int | None, position: int) -> None:
    """Note that the events up to a position are not kept any more.

    Args:
      follower: the consumer.
      base: the position from which ``missed`` counts.
      missed: the number of events.
      position: the position.
    """
    at = follower.position
    if at is None or at >= position:
        return
    if at != base:
        missed = position - at if epoch_of(at) == epoch_of(position) else None
    follower.miss(missed, position)


def end_of(data: str) -> str:
    """Return the state in the event of a turn, if the turn has ended in it; else ""."""
    try:
        fields = parse_leniently(data)
    except NotJSON:
        return ""
    state = cast("dict[str, object]", fields).get("state") if isinstance(fields, dict) else None
    return state if isinstance(state, str) and state in _ENDS else ""


def _turn_of(event: ServerSentEvent) -> str | None:
    """Return the id of the turn that an event belongs to, None without one."""
    if event.event != "turn":
        return turn_id_of(event.data)
    try:
        turn_id = json.loads(event.data)["turnId"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return turn_id if isinstance(turn_id, str) else None


def _missed_of(data: str) -> int | None:
    try:
        missed = json.loads(data)["missed"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return missed if isinstance(missed, int) else None


def _size_of(event: ServerSentEvent) -> int:
    return sys.getsizeof(event.data) + _OVERHEAD
