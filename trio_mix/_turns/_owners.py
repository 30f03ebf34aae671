"""Remember which turn owns which ids of a session's events, and which other turns run."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from trio_mix import events as ev
from trio_mix._turns._stored_ends import may_run
from trio_mix._turns._turn import Owner, Phase, Turn
from trio_mix._turns._wire_traits import PLAIN_IDS, TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix._turns._wire_traits import EventIds
    from trio_mix.events import Event

_REMEMBERED: Final = 4096
_OF_OLD_TURNS: Final = 512
"""Ids that are remembered while a turn runs, and between turns: late events are not very late."""
_MOST_OTHERS: Final = 8

_READINESS: Final[dict[type, int]] = {
    ev.ContentEvent: 0,
    ev.ThinkingEvent: 0,
    ev.CompleteEvent: 0,
    ev.ToolEvent: 1,
    ev.ToolParameterDeltaEvent: 1,
    ev.ToolUseStartEvent: 1,
    ev.ToolUseParameterDeltaEvent: 1,
    ev.ToolUseParameterStreamingCompleteEvent: 1,
    ev.ToolExecutionStartEvent: 1,
    ev.ToolExecutionCompleteEvent: 2,
}
"""How ready a turn is for a new round after a top-level event of it (see `Owner`)."""
SHOWING_A_TURN: Final = frozenset({*_READINESS, ev.UserMessageCreatedEvent} - {ev.CompleteEvent})
"""The classes of events after which more of the same turn is to be expected."""
OF_TURNS: Final = SHOWING_A_TURN | TERMINAL
"""The classes of events that show that a turn runs, or has ended."""
DELTAS: Final = frozenset(
    (
        ev.ContentEvent,
        ev.ThinkingEvent,
        ev.ToolUseParameterDeltaEvent,
        ev.ToolParameterDeltaEvent,
    )
)
"""The classes of events of which many come in a row."""
NOT_OF_TURNS: Final = frozenset(
    (
        ev.ConnectedEvent,
        ev.HeartbeatEvent,
        ev.SessionCreatedEvent,
        ev.SessionDeletedEvent,
        ev.StreamGapEvent,
    )
)
"""The classes of events that belong to no turn."""

_NAMED: Final = frozenset((ev.UserMessageCreatedEvent, ev.CompleteEvent))
"""The classes of events that have the id of a message also where no text has one."""

# Compared for every event, and a member of an enum is slow to reach.
_REGISTERED: Final = Phase.REGISTERED
_RUNNING: Final = Phase.RUNNING


class Owners:
    """The owners of the ids of messages and tool calls, and the turns of others that run."""

    def __init__(self) -> None:
        # By id, those that were used last at the end.
        self._messages: dict[str, Owner] = {}
        self._calls: dict[str, Owner] = {}
        self._expected_calls: dict[str, None] = {}
        self._started = 0
        self.ours: Turn | None = None
        """The registered turn that is not over yet."""
        self.others: list[Owner] = []
        """The turns of other clients that have begun and not ended, oldest first."""
        self.unended = False
        """Whether another turn was silent for as long as one of ours, and no end of it came."""
        self.older_ended = False
        """Whether the other turn that ended last had begun before the stream was opened.

        It had not if its end may be that of a turn of ours.
        """
        self.answers_named = False
        """Whether an event before the end of its turn has named an answer."""
        self.others_heard = False
        """Whether an event was another client's."""
        self._may_go_on: list[Owner] = []  # after an end that may have been another turn's
        self._set_aside: list[Owner] = []
        self._last: tuple[Owner | None, EventIds | None] = (None, None)
        """The turn that was heard last on this connection, and the ids of the event."""
        self._last_before: tuple[Owner | None, EventIds | None] | None = None
        """The same of the connection that was lost, until it is known whether the rest comes."""

    # -- ids --------------------------------------------------------------------------------

    def of_message(self, message_id: str | None) -> Owner | None:
        """Return the owner of a message's id, if it is known."""
        return self._messages.get(message_id) if message_id else None

    def of_call(self, tool_call_id: str | None) -> Owner | None:
        """Return the owner of a tool call's id, if it is known."""
        return None if tool_call_id is None else self._calls.get(tool_call_id)

    def messages_of(self, owner: Owner) -> set[str]:
        """Return the ids of a turn's messages."""
        return {each for each, other in self._messages.items() if other is owner}

    def own_message(self, message_id: str | None, owner: Owner) -> None:
        """Set the owner of a message's id, which is then the one that was used last."""
        if message_id:
            self._messages.pop(message_id, None)
            self._messages[message_id] = owner

    def own_call(self, tool_call_id: str, owner: Owner) -> None:
        """Set the owner of a tool call's id, which is then the one that was used last."""
        self._calls.pop(tool_call_id, None)
        self._calls[tool_call_id] = owner

    def own_unknown(self, ids: EventIds, owner: Owner) -> None:
        """Set the owner of the ids that have none yet; the others count as used again."""
        message, call, parent = ids
        if parent is None:
            self.own_message(message, self.of_message(message) or owner)
        if call:
            self.was_expected(call)
            self.own_call(call, self.of_call(call) or owner)

    def own_stored(self, rows: Sequence[StoredRow]) -> None:
        """Set the owners of stored messages: an answer and its calls are its question's turn's.

        More events may come of the turns that may still be running.
        """
        running = may_run(rows)
        self.unended = self.unended and bool(running)
        owner = Owner(over=True)
        for row in rows:
            known = self.of_message(row.id)
            if row.role == "user":
                owner = known or Owner(over=row.id not in running)
            if known is None:
                self.own_message(row.id, owner)
            for call in row.tool_calls:
                if call.tool_call_id not in self._calls:
                    self.own_call(call.tool_call_id, owner)
        self.forget()

    def expect_calls(self, rows: Sequence[StoredRow]) -> None:
        """Note the calls of turns that were stored meanwhile: their events may still come."""
        for call in (call.tool_call_id for row in rows for call in row.tool_calls):
            if call not in self._calls:
                self._expected_calls[call] = None
        _forget_first(self._expected_calls, _OF_OLD_TURNS)

    def was_expected(self, tool_call_id: str) -> bool:
        """Return whether an event is the first one of a call that was stored before it."""
        expected = tool_call_id in self._expected_calls
        self._expected_calls.pop(tool_call_id, None)
        return expected

    def forget(self, *, old_turns: bool = False) -> None:
        """Forget the ids that were used longest ago.

        Args:
          old_turns: whether no turn of ours runs, so that few ids are still needed.
        """
        kept = _OF_OLD_TURNS if old_turns else _REMEMBERED
        _forget_first(self._messages, kept)
        _forget_first(self._calls, kept)

    # -- turns ------------------------------------------------------------------------------

    def begin(self, owner: Owner) -> Owner:
        """Note that a turn begins now, and return it."""
        self._started += 1
        owner.started_at = self._started
        return owner

    def note(self, event: Event, ids: EventIds, owner: Owner, *, ends: bool) -> None:
        """Note a turn's event: its ids are the turn's, and the turn runs, or is over.

        Args:
          event: the event.
          ids: its ids.
          owner: the turn.
          ends: whether the event ends the turn.
        """
        ours = self.ours
        if (
            ours is not None
            and owner is not ours.owner
            and not owner.over
            and ours.overlap in ("", "end")
            and ours.phase is not _REGISTERED
            and type(event) in OF_TURNS
        ):
            ours.overlap = "ids"
        message, call, parent = ids
        self.answers_named = self.answers_named or bool(message and type(event) not in _NAMED)
        last_owner, last_ids = self._last
        if last_owner is not owner or last_ids != ids:
            self._last = (owner, ids)
            if call:
                self.own_call(call, owner)
            if parent is not None:
                self.own_call(parent, owner)
            else:
                self.own_message(message, owner)
        owner.active = True
        self.others_heard = self.others_heard or not owner.ours
        if ours is not None and owner is ours.owner and (message or parent) and ours.bound:
            ours.unheard = False
        if parent is not None:
            return
        owner.readiness = _READINESS.get(type(event), owner.readiness)
        if ends:
            # If its ids were guessed, and the end names none, another turn may have ended.
            owner.over = bool(message) or not owner.guessed
            owner.ended = True
            if ours is None or owner is not ours.owner:
                self.older_ended = not (owner.started_at or owner.guessed)
            self.others = [other for other in self.others if other is not owner]
            if not owner.over:
                owner.less_ready()
                self._may_go_on = [*self._may_go_on, owner][-_MOST_OTHERS:]
        elif (
            type(event) in SHOWING_A_TURN
            and not owner.over
            and (ours is None or owner is not ours.owner)
            and owner not in self.others
        ):
            self.others = [*self.others, owner][-_MOST_OTHERS:]

    def take_plain(self, events: Iterator[Event], taken: list[Event]) -> Event | None:
        """Take events of our turn, with the effects that all rules together have on them.

        It is exact while `ours_alone` holds and no error can be a repetition: an event is ours
        then, unless its class is such that it may begin or end a turn, or one of its ids is known
        to be another turn's.

        Args:
          events: the next events, of a server whose events have ids.
          taken: the list that its events are added to.

        Returns:
          The first event to which the rules have to be applied; None if there is none.
        """
        turn = self.ours
        if turn is None:
            return next(events, None)
        owner, owned = turn.owner, None
        before, readiness = len(taken), owner.readiness
        for event in events:
            kind = type(event)
            ids_of_kind = PLAIN_IDS.get(kind)
            if ids_of_kind is None:
                if kind in NOT_OF_TURNS:
                    continue
                break
            ids = ids_of_kind(event)
            if ids is None or (ids != owned and not self._own_unless_foreign(kind, ids, owner)):
                break
            owned = ids
            if ids[2] is None:
                readiness = _READINESS.get(kind, readiness)
            taken.append(event)
        else:
            event = None
        if owned is not None:
            self._last = (owner, owned)
            owner.active, owner.readiness = True, readiness
            turn.events += len(taken) - before
        return event

    def _own_unless_foreign(self, kind: type, ids: EventIds, owner: Owner) -> bool:
        """Set the owner of an event's ids; return whether none of them shows another owner."""
        message, call, parent = ids
        messages, calls = self._messages, self._calls
        self.answers_named = self.answers_named or bool(message and kind not in _NAMED)
        if parent is not None:
            known = calls.get(parent)
        else:
            known = messages.get(message) if message else None
            if known is None and call:
                known = calls.get(call)
        if known is not None and known is not owner:
            return False
        if call:
            calls.pop(call, None)
            calls[call] = owner
        if parent is not None:
            calls.pop(parent, None)
            calls[parent] = owner
        elif message:
            messages.pop(message, None)
            messages[message] = owner
        return True

    def likeliest(self, ids: EventIds, ours: Owner | None) -> Owner | None:
        """Return the running turn to which an event with new ids, or none, belongs (rule 6).

        Args:
          ids: the event's ids.
          ours: the registered turn, if it has begun.
        """
        running = self.others if ours is None else [*self.others, ours]
        if not running:
            return None
        if ids[2] is None and ids[0]:
            by_age = sorted(running, key=lambda owner: owner.started_at) if ours else running
            readiest = max(by_age, key=lambda owner: owner.readiness)
            if readiest.readiness:
                return readiest
        elif self._last[0] in running:
            return self._last[0]
        return ours or running[-1]

    @property
    def others_may_run(self) -> bool:
        """Whether turns of other clients run, or have an end that may have been another turn's."""
        return bool(self.others or self._may_go_on)

    @property
    def heard_last(self) -> Owner | None:
        """The turn of which an event came last on this connection, unless that was its end."""
        last = self._last[0]
        return None if last is None or last.ended else last

    @property
    def ours_alone(self) -> bool:
        """Whether our turn is bound and runs, and nothing suggests that another one does."""
        turn = self.ours
        if turn is None or turn.phase is not _RUNNING or not turn.bound:
            return False
        if self.others_may_run or turn.unheard or turn.doubt is not None:
            return False
        return self.heard_last in (None, turn.owner)

    def may_have_ended(self) -> None:
        """Note that an error may have been the end of the turn of which an event came last."""
        last = self.heard_last
        if last is not None and last in self.others:
            last.less_ready()

    def is_guess(self, event: Event, ids: EventIds, ours: Owner) -> bool:
        """Return whether an event may be of our turn or of another: nothing shows which."""
        if ids[2] is not None:
            return type(event) in TERMINAL
        if not ids[0]:
            return type(event) in OF_TURNS
        if not ours.readiness:
            return not any(owner.readiness for owner in self.others)
        # What is known of a turn whose ids were guessed may be another's.
        return any(owner.readiness or owner.guessed for owner in self.others)

    def ours_is_over(self) -> None:
        """Note that the registered turn is over, and so is each other that was silent meanwhile."""
        if self.ours is not None:
            self.ours.outlived = not all(owner.active for owner in self.others)
            self.unended = self.unended or self.ours.outlived
        self.ours = None
        self.others = [owner for owner in (*self.others, *self._may_go_on) if owner.active]
        self.others = self.others[-_MOST_OTHERS:]
        self._may_go_on = []
        for owner in self.others:
            owner.active = False
        self.forget(old_turns=True)

    def lost(self) -> None:
        """Set aside what is known of other turns, as the connection was lost."""
        self._set_aside = [*self._set_aside, *self.others][-_MOST_OTHERS:]
        self.others = []
        if self._last_before is None:
            self._last_before = self._last
        self._last = (None, None)
        if self.ours is not None:
            self._last = (self.ours.owner, None)
            self.ours.unheard = True
            self.ours.owner.less_ready()

    def reconnected(self, *, replayed: bool) -> None:
        """Take up the other turns again if all that was missed is replayed, or forget them."""
        ours = self.ours
        if replayed:
            self.others = [*self._set_aside, *self.others][-_MOST_OTHERS:]
            if self._last[1] is None and self._last_before is not None:
                self._last = self._last_before
            if ours is not None:
                ours.unheard = False
        elif ours is not None and ours.phase is not _REGISTERED:
            ours.missed = True
            if self._set_aside or ours.overlap:
                ours.overlap = "guess"  # the other turn may have ended, or gone on
        self._set_aside, self._last_before = [], None


def _forget_first(ids: dict[str, Any], kept: int) -> None:
    """Remove the ids that were used longest ago, all but some."""
    if len(ids) > kept:
        for each in list(islice(ids, len(ids) - kept)):
            del ids[each]
