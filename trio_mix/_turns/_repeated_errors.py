"""Recognize errors that a server sends twice, and the end of a cancelled turn that it sends late.

Rule 1  An error is repeated once. Where turns overlap, each event comes once for each of them, and
        so do an error and its repetition: how often the last user message was named shows it. If
        no event of the connection has named one, any number of repetitions may come.
Rule 2  An equal error while no turn of ours is under way is always taken for a repetition. Directly
        after an error that ended a turn of ours it shows that the server repeats this error.
Rule 3  An equal error may be the next turn's own: what is wrong with a server is wrong for every
        message. It is taken for a repetition if ids show that this turn has not begun, if the first
        was another client's during this turn, or if the server is known to repeat it and the turn
        has only begun. Without ids only the last counts, and only until the message is accepted. To
        drop a turn's only error would leave it without an end.
Rule 4  "Busy" is never a repetition: it asks for the message to be sent again.
Rule 5  "Cancelled" is an older turn's only while the end of a cancelled turn is outstanding, and
        ours otherwise: another client has stopped our turn. An end is outstanding where the turn
        was left before its end came, on this stream or on an earlier one of the session; on servers
        without ids, only until our turn has begun. A turn that was cancelled and has ended may
        still report its cancellation, also again, until the next one has begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._turn import Phase

if TYPE_CHECKING:
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event

_REMEMBERED: Final = 8
_MOST_COPIES: Final = 8
_BUSY_WORDS: Final = "currently processing"
_CANCELLED_WORD: Final = "cancel"

_Failure = ev.ErrorEvent | ev.RateLimitEvent


@attrs.define
class _Expected:
    kind: tuple[object, ...]
    during: Turn | None
    left: int
    """How many repetitions may still come."""
    fresh: bool
    """Whether it ended a turn of ours, and nothing else has come since."""


class RepeatedErrors:
    """Separates repeated errors from new ones."""

    def __init__(self) -> None:
        self._expected: _Expected | None = None
        self._repeated: dict[tuple[object, ...], None] = {}
        self._late_cancel = False
        self._named: str | None = None
        self.copies = 1
        """How often an event has named the last user message."""
        self.outstanding = False
        """Whether a turn that was cancelled has not ended yet."""

    @property
    def watching(self) -> bool:
        """Whether the next event can be a repetition, or the late end of a cancelled turn."""
        return self._expected is not None or self.outstanding or self._late_cancel

    def swallow(self, event: Event, turn: Turn | None, *, ids: bool) -> bool:
        """Return whether an event is a repetition; it is then nobody's.

        Args:
          event: the next event.
          turn: our turn that is under way.
          ids: whether events have message ids.
        """
        if is_cancelled(event) and not (turn is not None and turn.cancelling):
            begun = turn is not None and turn.events > (1 if ids and turn.bound else 0)
            if self.outstanding and (ids or not begun):
                self.outstanding, self._late_cancel = False, True  # it may be repeated
                return True
            if self._late_cancel and not begun:
                return True
        expected = self._expected
        if expected is None or not isinstance(event, _Failure) or _kind(event) != expected.kind:
            return False
        if turn is None:
            if expected.fresh:
                self._repeated[expected.kind] = None
                if len(self._repeated) > _REMEMBERED:
                    del self._repeated[next(iter(self._repeated))]
        elif not self._is_likely(expected, turn, ids=ids):
            return False
        expected.left -= 1
        # A turn that has begun may fail with the same error, so one late repetition is enough.
        late = turn is not None and turn.bound and expected.during is not turn
        if late or not expected.left:
            self._expected = None
        return True

    def heard(
        self, event: Event, turn: Turn | None, *, ours: bool, terminal: bool, ids: bool
    ) -> None:
        """Note an event that is not a repetition.

        Args:
          event: the event.
          turn: our turn that was under way.
          ours: whether the event was that turn's.
          terminal: whether the event ended a turn.
          ids: whether events have message ids.
        """
        if ours and not isinstance(event, ev.UserMessageCreatedEvent):
            self._late_cancel = False
            self.outstanding = self.outstanding and ids
        if terminal:
            error = isinstance(event, _Failure) and not is_busy(event)
            during = None if ours else turn
            known = ours or not ids or self._named is not None
            left = 2 * (self.copies if known else _MOST_COPIES) - 1
            self._expected = _Expected(_kind(event), during, left, fresh=ours) if error else None
        elif self._expected is not None:
            self._expected.fresh = False

    def named(self, message_id: str | None) -> None:
        """Note that an event has named a user message: each turn that runs brings one copy."""
        again = bool(message_id) and message_id == self._named
        self.copies = min(self.copies + 1, _MOST_COPIES) if again else 1
        self._named = message_id

    def ended(self, turn: Turn) -> None:
        """Note that a turn of ours is over, whatever ended it."""
        if turn.cancelling and turn.ended_by is None:
            self.outstanding = True
        elif turn.cancelling:
            self._late_cancel = True

    def _is_likely(self, expected: _Expected, turn: Turn, *, ids: bool) -> bool:
        begun = turn.events > (1 if turn.bound else 0)
        known = expected.kind in self._repeated and not begun
        if not ids:
            return known and turn.phase is Phase.POSTED
        named = turn.bound and bool(turn.events or not turn.identity.by_text)
        return known or not named or expected.during is turn


def is_busy(event: Event) -> bool:
    """Return whether the server says that it runs another message and has dropped this one."""
    return isinstance(event, ev.ErrorEvent) and _BUSY_WORDS in event.error.lower()


def is_cancelled(event: Event | None) -> bool:
    """Return whether an error says that its turn was cancelled."""
    return isinstance(event, ev.ErrorEvent) and _CANCELLED_WORD in event.error.lower()


def _kind(event: Event) -> tuple[object, ...]:
    return (type(event), *attrs.astuple(attrs.evolve(event, id=None)))
