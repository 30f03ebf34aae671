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
Rule 6  On async servers whose stored messages can be read, they decide instead of rule 3, unless
        another client's turn runs or a connection was lost. For `_LATEST` seconds after an error
        that ended a turn of ours, equal errors are in doubt, whatever has come since; so are the
        first errors after a POST that was refused, which an event may report as well. As many are
        in doubt as repetitions are due: one more error is the turn's own.
Rule 7  A turn may have failed before the stream was opened, or while its connection was lost. If
        the stored messages show one that was broken off lately, all errors are in doubt (rule 6)
        for `_LATEST` seconds: how many of that turn's have come before is not known.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from trio_mix import events as ev
from trio_mix._turns._turn import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._turns._owners import Owners
    from trio_mix._turns._turn import Turn
    from trio_mix._turns._wire_traits import WireTraits
    from trio_mix.events import Event

_REMEMBERED: Final = 8
_MOST_COPIES: Final = 8
_BUSY_WORDS: Final = "currently processing"
_CANCELLED_WORD: Final = "cancel"
_LATEST: Final = 10.0
"""Seconds after an error in which an equal one is taken for its repetition (rule 6)."""

_Failure = ev.ErrorEvent | ev.RateLimitEvent
_Kind: TypeAlias = tuple[object, ...]


@attrs.define
class _Expected:
    left: int
    """How many repetitions may still come."""
    during: Turn | None = None
    """The turn of ours that was under way, if the error was not its end."""
    until: float = math.inf
    """When no repetition comes any more; infinite where rule 3 decides."""
    unseen: bool = False
    """Whether the error is that of a turn that this stream has not seen fail (rule 7)."""

    @property
    def in_doubt(self) -> bool:
        """Whether the stored messages decide about its repetitions (rule 6)."""
        return self.until < math.inf


class RepeatedErrors:
    """Separates repeated errors from new ones.

    Args:
      traits: how this server's events show turns.
      owners: the owners of the ids so far.
      clock: returns the time, in seconds.
    """

    def __init__(self, traits: WireTraits, owners: Owners, clock: Callable[[], float]) -> None:
        self._traits = traits
        self._owners = owners
        self._clock = clock
        self._expected: dict[_Kind, _Expected] = {}
        self._of_refused: _Expected | None = None
        """The errors that may follow a POST that was refused."""
        self._of_earlier = -math.inf
        """Until when errors may be those of a turn that this stream has not seen (rule 7)."""
        self._fresh: _Kind | None = None
        """The error that ended a turn of ours, if nothing else has come since."""
        self._repeated: dict[_Kind, None] = {}
        self._late_cancel = False
        self._named: str | None = None
        self.copies = 1
        """How often an event has named the last user message."""
        self.outstanding = False
        """Whether a turn that was cancelled has not ended yet."""

    @property
    def watching(self) -> bool:
        """Whether events have to be noted: an error may be repeated, or a late end may come."""
        expects = self._expected or self._of_refused or self._of_earlier > -math.inf
        return bool(expects) or self.watching_ends

    @property
    def watching_ends(self) -> bool:
        """Whether the late end of a cancelled turn may come."""
        return self.outstanding or self._late_cancel

    def swallow(self, event: Event, turn: Turn | None) -> bool:
        """Return whether an event is a repetition, or may be one; it is then nobody's.

        Args:
          event: the next event.
          turn: our turn that is under way; the event is then its doubt.
        """
        if not isinstance(event, _Failure):
            return False
        late = self._is_late_end(event, turn)
        if not (late or self._is_repetition(event, turn)):
            return False
        if turn is not None and not (late and turn.doubts_repetition):  # that one is more likely
            turn.doubt = event
        if is_cancelled(event):
            self._owners.may_have_ended()
        return True

    def _is_late_end(self, event: Event, turn: Turn | None) -> bool:
        """Return whether an event is the late end of a cancelled turn (rule 5)."""
        if not (is_cancelled(event) and _is_top_level(event)):
            return False
        if turn is not None and turn.cancelling:
            return False
        ids = bool(self._traits.ids)
        begun = turn is not None and turn.events > (1 if ids and turn.bound else 0)
        if self.outstanding and (ids or not begun):
            self.outstanding, self._late_cancel = False, True  # it may be repeated
            if self._rows_decide:
                self._expect(event, 2 * self.copies - 1)
            return True
        if self._late_cancel and not begun:
            self._count(_kind(event))
            return True
        return False

    def _is_repetition(self, event: Event, turn: Turn | None) -> bool:
        """Return whether an error repeats an earlier one, or may do so (rules 1 to 3, and 6)."""
        kind, late = _kind(event), False
        doubtful = turn is None or self._is_doubtful(event, turn)
        expected = self._expectation(event, kind, turn, doubtful=doubtful)
        if expected is None:
            return False
        if turn is None:
            if self._fresh == kind:
                self._repeated[kind] = None
                _forget_first(self._repeated)
        elif expected.in_doubt and doubtful:
            earlier = turn.repetitions if turn.doubts_repetition else ()
            turn.repetitions = (*earlier, event)
            turn.errors_unseen = expected.unseen
        elif not self._is_likely(kind, expected, turn):
            return False
        else:
            # A turn that has begun may fail with the same error: one late repetition is enough.
            late = turn.bound and expected.during is not turn
        self._count(kind, last=late)
        return True

    def _count(self, kind: _Kind, *, last: bool = False) -> None:
        """Count a repetition; ``last``: no more of this error are expected."""
        expected = self._expected.get(kind)
        if expected is not None:
            expected.left -= 1
            if last or not expected.left:
                del self._expected[kind]

    def heard(self, event: Event, turn: Turn | None, *, ours: bool, terminal: bool) -> None:
        """Note an event that is not a repetition.

        Args:
          event: the event.
          turn: our turn that was under way.
          ours: whether the event was that turn's.
          terminal: whether the event ended a turn.
        """
        ids = bool(self._traits.ids)
        if ours and not isinstance(event, ev.UserMessageCreatedEvent):
            self._late_cancel = False
            self.outstanding = self.outstanding and ids
        self._fresh = None
        if not terminal:
            return
        now = self._clock() if self._expected else 0.0
        kept = [each for each in self._expected.items() if each[1].in_doubt and now < each[1].until]
        self._expected = dict(kept)
        if not isinstance(event, _Failure) or is_busy(event):
            return
        if ours:
            self._fresh = _kind(event)
        copies = self.copies if ours or not ids or self._named is not None else _MOST_COPIES
        if self._rows_decide and (ours or turn is None):
            self._expect(event, 2 * copies - 1)
        else:
            self._expected[_kind(event)] = _Expected(2 * copies - 1, None if ours else turn)

    def named(self, message_id: str | None) -> None:
        """Note that an event has named a user message: each turn that runs brings one copy."""
        again = bool(message_id) and message_id == self._named
        self.copies = min(self.copies + 1, _MOST_COPIES) if again else 1
        self._named = message_id

    def ended(self, turn: Turn, *, refused: bool) -> None:
        """Note that a turn of ours is over, whatever ended it.

        Args:
          turn: the turn.
          refused: whether it is because its POST was not accepted.
        """
        if -math.inf < self._of_earlier <= self._clock():
            self._of_earlier = -math.inf
        if turn.cancelling and turn.ended_by is None:
            self.outstanding = True
        elif turn.cancelling:
            self._late_cancel = True
        if turn.ended_by is not None and turn.doubts_repetition and turn.ended_by is turn.doubt:
            for each in {_kind(event): event for event in turn.repetitions}.values():
                self._expect(each, 2 * self.copies)  # it may have been the turn's own
        elif refused and turn.ended_by is None and not (turn.events or turn.bound):
            self._of_refused = _Expected(2, until=self._clock() + _LATEST)

    def expect_of_earlier(self) -> None:
        """Expect the errors of a turn that this stream has not seen (rule 7)."""
        self._of_earlier = self._clock() + _LATEST

    @property
    def _rows_decide(self) -> bool:
        """Whether the stored messages show whose an error is (rule 6)."""
        traits = self._traits
        return bool(traits.ids and traits.answers is False and traits.readable)

    def _expect(self, error: Event, more: int) -> None:
        """Expect repetitions of an error that ended a turn of ours, where the rows decide."""
        kind, now = _kind(error), self._clock()
        before = self._expected.pop(kind, None)
        if before is not None and before.in_doubt and now < before.until:
            more += before.left
        self._expected[kind] = _Expected(min(more, 2 * _MOST_COPIES), until=now + _LATEST)
        _forget_first(self._expected)

    def _expectation(
        self, event: Event, kind: _Kind, turn: Turn | None, *, doubtful: bool
    ) -> _Expected | None:
        """Return what is expected of an error; None if it repeats none."""
        expected, now = self._expected.get(kind), self._clock()
        if expected is not None and expected.in_doubt and now >= expected.until:
            del self._expected[kind]
            return None
        if not (doubtful and _is_top_level(event)) or is_busy(event):
            return expected
        decided = expected is None or not expected.in_doubt
        if turn is not None and now < self._of_earlier and decided:
            expected = _Expected(2 * _MOST_COPIES, until=self._of_earlier, unseen=True)
        elif expected is None and self._of_refused is not None and now < self._of_refused.until:
            expected, self._of_refused = self._of_refused, None
        else:
            return expected
        self._expected[kind] = expected
        _forget_first(self._expected)
        return expected

    def _is_doubtful(self, event: Event, turn: Turn) -> bool:
        """Return whether the stored messages show whether an error is our turn's (rule 6).

        As long as the server's API is unknown, the POST may have been tried on a path that it does
        not have: an error that comes meanwhile is no failure of the turn.
        """
        others = self._owners.others or self._owners.unended
        lost = turn.unheard or turn.missed
        stopped = turn.cancelling and is_cancelled(event)
        traits = self._traits
        unknown = traits.answers is None and traits.readable and turn.phase is Phase.POSTED
        return (self._rows_decide or unknown) and not (others or lost or stopped)

    def _is_likely(self, kind: _Kind, expected: _Expected, turn: Turn) -> bool:
        begun = turn.events > (1 if turn.bound else 0)
        known = kind in self._repeated and not begun
        if not self._traits.ids:
            return known and turn.phase is Phase.POSTED
        named = turn.bound and bool(turn.events or not turn.identity.by_text)
        return known or not named or expected.during is turn


def is_busy(event: Event) -> bool:
    """Return whether the server says that it runs another message and has dropped this one."""
    return isinstance(event, ev.ErrorEvent) and _BUSY_WORDS in event.error.lower()


def is_cancelled(event: Event | None) -> bool:
    """Return whether an error says that its turn was cancelled."""
    return isinstance(event, ev.ErrorEvent) and _CANCELLED_WORD in event.error.lower()


def _is_top_level(event: Event) -> bool:
    return isinstance(event, ev.ErrorEvent) and event.parent_tool_call_id is None


def _kind(event: Event) -> _Kind:
    return (type(event), *attrs.astuple(attrs.evolve(event, id=None)))


def _forget_first(kinds: dict[_Kind, Any]) -> None:
    """Remove the oldest entry if there are too many."""
    if len(kinds) > _REMEMBERED:
        del kinds[next(iter(kinds))]
