"""Completes what a subscriber missed of a turn whose connection was lost, from the stored rows.

Rule 1  The turn that was heard last, and had no end when the connection was lost, is healed. Events
        are held back until it is known how far it came; requests to the user never are.
Rule 2  If it is over, a gap event, the text that was not seen, and its end are passed on.
Rule 3  If it still runs, its text is held back until its end, and then rule 2 applies: the order of
        the text is never broken. Its other events are passed on.
Rule 4  If the rows do not continue the text that was seen, or cannot be read, an ordinary gap event
        and everything that was held back are passed on.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from trio_mix import events as ev
from trio_mix._turns._stored_turn import TurnOutcome, judge
from trio_mix._turns._wire_traits import ids_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix.events import Event

_MOST_HELD: Final = 10_000
"""The number of events that are held back at most; then the gap is not healed."""
_NEVER_HELD: Final = (
    *(ev.PermissionEvent, ev.NotificationEvent, ev.ConnectedEvent, ev.HeartbeatEvent),
    *(ev.SessionCreatedEvent, ev.SessionDeletedEvent),
)
_TEXT: Final = (ev.ContentEvent, ev.ThinkingEvent)
_HEALED: Final = "the connection was lost; what follows was read from the stored messages"
_NOT_HEALED: Final = "the connection was lost, and the stored messages do not show what is missing"
_LOST_ERROR: Final = "The turn ended with an error, which was lost with the connection."


class Healer:
    """What one subscriber has seen of the turn that was heard last.

    Attributes:
      holding: whether events are held back until the rows are read.
      ended: whether the rows are read because the turn has ended on this connection.
      again: whether the rows have to be read again, after a pause.
    """

    def __init__(self) -> None:
        self.holding: bool = False
        self.ended: bool = False
        self.again: bool = False
        self._growth: int = -1
        self._following: bool = False
        self._held: list[Event] = []
        self._gap: ev.StreamGapEvent | None = None
        self._gap_due = False
        self._begin(None)
        self._open = False

    def lost(self) -> None:
        """Note that the connection was lost."""
        self._gap_due = self._open
        if self._open:
            self.holding = True
            self.ended = False

    def replayed(self) -> list[Event]:
        """Return what is passed on because the server replays what was missed."""
        self._gap, self._gap_due = None, False
        return self._release()

    def abandon(self) -> list[Event]:
        """Return what was held back, because the stream has ended."""
        return self._give_up() if self.holding or self._following else []

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return which events are passed on now."""
        passed: list[Event] = []
        for event in events:
            if self._gap_due and isinstance(event, ev.StreamGapEvent):
                self._gap, self._gap_due = event, False  # in its place is what is healed
            elif not self.holding:
                passed += self._next(event)
            elif isinstance(event, _NEVER_HELD):
                passed.append(event)
            else:
                self._held.append(event)
        if len(self._held) > _MOST_HELD:
            passed += self._give_up()
        return passed

    def stored(self, rows: Sequence[StoredRow] | None) -> list[Event]:
        """Return what is passed on after the rows were read; None: they cannot be."""
        self.again = False
        if not self.holding:
            return []
        at = None if rows is None else self._find(rows)
        if rows is None or at is None:
            return self._give_up()
        verdict = judge(
            rows, user_message_id=rows[at].id, matches=lambda _: True, known=None, earlier=()
        )
        later = (i for i in range(at + 1, len(rows)) if rows[i].role == "user")
        answers = [r for r in rows[at + 1 : next(later, len(rows))] if r.role == "assistant"]
        text = "".join(row.text for row in answers)
        if _digest(text[: self._length]) != self._seen.digest():
            return self._give_up()
        over = verdict.outcome in (TurnOutcome.FINISHED, TurnOutcome.BROKEN_OFF)
        if not over and (self.ended or verdict.looks_whole) and self._reads_again(verdict.growth):
            return []
        if not (over or self.ended or verdict.looks_whole):
            self.holding, self._following = False, True
            held, self._held = self._held, []
            return self.feed(held)
        return self._heal(answers, broken=verdict.outcome is TurnOutcome.BROKEN_OFF)

    def _reads_again(self, growth: int) -> bool:
        """Return whether rows that do not show the end are read again: until they stay the same."""
        self.again = growth != self._growth
        self._growth = growth
        return self.again

    def _next(self, event: Event) -> list[Event]:
        """Return what is passed on of an event that need not wait for the rows."""
        if ids_of(event)[2] is not None or isinstance(event, (*_NEVER_HELD, ev.StreamGapEvent)):
            return [event]
        if isinstance(event, ev.UserMessageCreatedEvent):
            if self._following:
                return self._hold_end(event)  # another turn begins: this one's end was lost
            self._begin(event.message_id)
        elif _ends(event):
            if self._following:
                return self._hold_end(event)
            self._open = False
        elif self._following and isinstance(event, _TEXT):
            self._held.append(event)
            return []
        elif isinstance(event, ev.ContentEvent):
            if not self._open:
                self._begin(None)
            self._length += len(event.content)
            self._seen.update(event.content.encode("utf-8", "surrogatepass"))
        elif not self._open and not isinstance(event, ev.UnknownEvent):
            self._begin(None)
        return [event]

    def _hold_end(self, event: Event) -> list[Event]:
        self.holding = self.ended = True
        self._held.append(event)
        return []

    def _begin(self, user_message_id: str | None) -> None:
        self._open = True
        self._user_message_id = user_message_id
        self._length = 0
        self._seen = blake2b(digest_size=16)

    def _find(self, rows: Sequence[StoredRow]) -> int | None:
        """Return the index of the turn's question: by its id, or the last one."""
        asked = (i for i in reversed(range(len(rows))) if rows[i].role == "user")
        if self._user_message_id is not None:
            return next((i for i in asked if rows[i].id == self._user_message_id), None)
        return next(asked, None)

    def _heal(self, answers: Sequence[StoredRow], *, broken: bool) -> list[Event]:
        """Return what was missed (rule 2), and what was held back and is not part of it."""
        texts: list[Event] = []
        begins = 0
        for row in answers:
            rest = row.text[max(0, self._length - begins) :]
            begins += len(row.text)
            if rest:
                texts.append(ev.ContentEvent(content=rest, assistant_message_id=row.id))
        before, end, after = self._split({row.id for row in answers})
        if end is None and broken:
            end = ev.ErrorEvent(error=_LOST_ERROR)
        elif end is None:
            last = answers[-1] if answers else None
            end = ev.CompleteEvent(
                done=True,
                content=None if last is None else last.text,
                message_id=None if last is None else last.id,
            )
        self._open, self._held, self._gap = False, after, None
        gap = ev.StreamGapEvent(missed=None, reason=_HEALED, healed=True)
        return [gap, *before, *texts, end, *self._release()]

    def _split(self, mine: set[str]) -> tuple[list[Event], Event | None, list[Event]]:
        """Return the held events of the turn without its text, its end, and all other ones."""
        own: list[Event] = []
        end: Event | None = None
        others: list[Event] = []
        for event in self._held:
            message = ids_of(event)[0]
            if end is not None or (message is not None and message not in mine):
                # After the end, only late text of the turn is not passed on.
                if message not in mine or not isinstance(event, _TEXT):
                    others.append(event)
            elif _ends(event):
                end = event
            elif not isinstance(event, _TEXT):
                own.append(event)
        return own, end, others

    def _give_up(self) -> list[Event]:
        gap = self._gap or ev.StreamGapEvent(missed=None, reason=_NOT_HEALED)
        self._gap = None
        return [gap, *self._release()]

    def _release(self) -> list[Event]:
        self._growth = -1
        self.holding = self.ended = self._following = False
        held, self._held = self._held, []
        return self.feed(held)


def _digest(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _ends(event: Event) -> bool:
    """Return whether a top-level event ends its turn."""
    if isinstance(event, ev.CompleteEvent):
        return event.done
    return isinstance(event, ev.ErrorEvent)
