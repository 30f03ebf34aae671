"""Turn what a session's upstream stream brings into the events that consumers receive.

Rule 1  An event of a turn has the turn's id. A turn that nobody sent through the relay gets an id
        with its first event.
Rule 2  Each turn has exactly one end. The end of one of our turns is withheld until its message is
        over; then what is missing of the turn is appended, and its end. An error that the server
        sends a second time, and text that it sends after the end, are dropped.
Rule 3  After a hole the events of the turn are held back, until the stored messages or its end show
        what is missing. Permission requests and notifications are not: they wait for an answer.
Rule 4  ``connected`` and heartbeats belong to a connection: they are dropped. ``session_created``
        and ``session_deleted`` are announced to all sessions' consumers instead.
Rule 5  What is held back is bounded in bytes. Beyond the limit only the stored messages count. So
        is what is remembered of a turn: of a longer one only the end is compared with them.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._repeated_errors import is_busy
from trio_mix._turns._wire_traits import ids_of
from trio_mix._wire._events import decode_event
from trio_mix.relay._bridge import Round, WireStyle
from trio_mix.relay._foreign_turns import ForeignTurns
from trio_mix.relay._outbox import Draft, complete_draft, error_draft, with_turn_id
from trio_mix.relay._records import Audience, Outcome
from trio_mix.relay._turn_progress import OpenRequest, TurnEvents, audience_of
from trio_mix.relay._turn_repair import completed, gap_draft, released
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trio_mix.events import Event

_REMEMBERED: Final = 256
_MAX_REQUESTS: Final = 1000
_LOST: Final = "the end of the turn was lost with a connection"

_DROPPED: Final = (ev.ConnectedEvent, ev.HeartbeatEvent)
_ANNOUNCED: Final = (ev.SessionCreatedEvent, ev.SessionDeletedEvent)
_OF_RELAY: Final = ("gap", "turn", "permission_settled")
_ASKS: Final = (ev.PermissionEvent, ev.NotificationEvent)
_ENDS: Final = (ev.CompleteEvent, ev.ErrorEvent, ev.RateLimitEvent)


class SessionEvents:
    """The events of one session.

    Args:
      new_turn_id: returns an id for a turn that was sent past the relay.
      rate_limit_ends: whether ``rate_limit_error`` ends its turn on this server.
      style: how this server's events look; it is corrected by what comes.

    Attributes:
      own: the turn that the relay sent and that is not settled, or None.
      requests: the open permission requests by their ids.
      asked: the ids of permission requests and notifications, open or not.
      answered: the answers to permission requests that an earlier owner has stored, of our turn:
        whether each was granted, and by whom.
      announced: events about sessions, which the caller takes out.
      repaired: the number of turns that were completed from stored messages.
      last_start: the position before the last turn that began; 0: none has.
    """

    def __init__(
        self,
        new_turn_id: Callable[[], str],
        *,
        rate_limit_ends: bool = False,
        style: WireStyle | None = None,
    ) -> None:
        self.own: TurnEvents | None = None
        self.requests: OrderedDict[str, OpenRequest] = OrderedDict()
        self.asked: OrderedDict[str, None] = OrderedDict()
        self.answered: dict[str, tuple[bool, str]] = {}
        self.announced: list[tuple[str, str, str]] = []
        self.repaired: int = 0
        self.last_start: int = 0
        self.style: WireStyle = WireStyle() if style is None else style
        self._foreign = ForeignTurns(new_turn_id)
        self._rate_limit_ends = rate_limit_ends
        self._ended_messages: OrderedDict[str, None] = OrderedDict()
        self._last_error: str | None = None
        self._position = 0

    @property
    def foreign(self) -> TurnEvents | None:
        """The newest turn that was sent past the relay and is not over, or None."""
        return self._foreign.newest

    # -- our turn -----------------------------------------------------------------------------

    def begin(
        self,
        turn_id: str,
        appended: Iterable[ServerSentEvent] = (),
        *,
        cut: bool,
        start: int = 0,
        tail: bool = False,
    ) -> None:
        """Note that a turn is posted, or resumed.

        Args:
          turn_id: its id.
          appended: its events in the log, if it is resumed.
          cut: whether events of it may have been lost before.
          start: the position before its first event.
          tail: whether the first of its events are not kept any more.
        """
        self.own = TurnEvents(turn_id, own=True, cut=cut, start=start)
        self.last_start = start or self.last_start
        self.own.tail = tail
        for frame in appended:
            event = decode_event(frame)
            self.own.note_ids(event)
            if isinstance(event, ev.PermissionEvent | ev.NotificationEvent):
                self.asked[_request_id(event)] = None
            if isinstance(event, ev.PermissionEvent):
                position = int(frame.id) if frame.id.isdigit() else 0
                request = OpenRequest(frame.data, turn_id, position)
                self.requests[event.permission_id] = request
            elif frame.event == "permission_settled":
                settled = json.loads(frame.data)  # written by a relay
                self.requests.pop(settled["permissionId"], None)
                self.answered[settled["permissionId"]] = settled["granted"], settled["by"]
            elif frame.event not in _OF_RELAY:
                self.own.see(event)

    def settle_foreign(
        self, turn: TurnEvents, outcome: Outcome, rounds: Sequence[Round]
    ) -> list[Draft]:
        """End a turn that was sent past the relay and was cut, if it is still the one that runs."""
        if turn not in self._foreign.turns:
            return []
        self._foreign.end(turn)
        return self._settled(turn, outcome, rounds, end_needed=True)

    def settle(
        self, outcome: Outcome, rounds: Sequence[Round] = (), *, end_needed: bool = True
    ) -> list[Draft]:
        """End our turn, and return the events that complete it (rule 2).

        Args:
          outcome: how it ended.
          rounds: the turn as it is stored; empty if that is not known.
          end_needed: whether an end must be made if the server sent none.
        """
        turn, self.own = self.own, None
        self._foreign.ended()
        assert turn is not None  # noqa: S101 - begun before
        return self._settled(turn, outcome, rounds, end_needed=end_needed)

    def _settled(
        self, turn: TurnEvents, outcome: Outcome, rounds: Sequence[Round], *, end_needed: bool
    ) -> list[Draft]:
        drafts: list[Draft] = []
        if turn.cut or (turn.seen.text and outcome.kind == "complete"):
            drafts, repaired = completed(turn, outcome, rounds, self.style)
            self.repaired += repaired
        end: Draft | None = None
        if turn.end is not None:
            end = self._end_draft(turn.end)
            if turn.end.event != "complete" and outcome.kind == "complete":
                end = complete_draft(outcome)  # the error was another turn's
        elif outcome.kind == "complete":
            end = complete_draft(outcome)
        elif end_needed:
            end = error_draft(outcome)
        if end is not None:
            drafts.append(end)
            self._last_error = None if end.event == "complete" else _error_text(end.data)
        self._forget(turn)
        return [attrs.evolve(each, data=with_turn_id(each.data, turn.turn_id)) for each in drafts]

    @property
    def cut(self) -> bool:
        """Whether events of our turn are held back."""
        return self.own is not None and self.own.cut

    @property
    def held_text(self) -> str:
        """The text of our turn that is held back; empty if nothing is."""
        return "" if self.own is None or not self.own.cut else self.own.held_text

    def release(self, rounds: Sequence[Round], held_before: str) -> list[Draft]:
        """Return what is missing of our turn, and what is held back, if the rounds show it.

        Args:
          rounds: what is stored of the turn, which is running.
          held_before: `held_text` before the rounds were read.
        """
        turn = self.own
        drafts = [] if turn is None else released(turn, rounds, held_before, self.style)
        if turn is None or not drafts:
            return []
        self.repaired += 1
        return [attrs.evolve(each, data=with_turn_id(each.data, turn.turn_id)) for each in drafts]

    # -- what the stream brings ---------------------------------------------------------------

    def hole(self) -> None:
        """Note that events may be missing here."""
        self._foreign.hole()
        if self.own is not None:
            self.own.hole()

    def take(self, frame: ServerSentEvent, *, mine: bool, position: int = 0) -> list[Draft]:
        """Return the events to append for one that the server sent.

        Args:
          frame: the event as it was sent.
          mine: whether it belongs to the message that the relay sent last.
          position: the id of the event that was appended last.
        """
        self._position = position
        event = decode_event(frame)
        if isinstance(event, _DROPPED) or frame.event in _OF_RELAY:
            return []
        if isinstance(event, _ANNOUNCED):
            self.announced.append((frame.event, frame.data, event.session_id))
            return []
        if self._foreign.is_copy(frame, event, self.own):
            return []
        self._learn_style(event)
        ended = self._foreign_lost(event, mine=mine)
        turn = self._turn_of(event, mine=mine)
        if turn is None:
            return ended
        return ended + self._take(frame, event, turn)

    def _take(self, frame: ServerSentEvent, event: Event, turn: TurnEvents) -> list[Draft]:
        turn.note_ids(event)
        if isinstance(event, _ASKS):
            return [self._asked(frame, event, turn)]
        if turn.cut and turn.own and not (turn.seen.events or turn.held or turn.end):
            # The first event of a turn: none was lost before it.
            turn.cut = not isinstance(event, ev.UserMessageCreatedEvent)
            turn.was_cut = turn.cut
        if self._is_end(event):
            return self._ended(frame, turn)
        if turn.end is not None:
            return []  # text that the end has overtaken: the reply contains it
        if turn.cut:
            turn.hold(frame, event)
            return []
        turn.see(event)
        return [Draft(frame.event, with_turn_id(frame.data, turn.turn_id), audience_of(event))]

    def _turn_of(self, event: Event, *, mine: bool) -> TurnEvents | None:
        """Return the turn that an event belongs to; None if it is dropped (rule 2)."""
        own = self.own
        if own is not None and (mine or own.owns(event)):
            own.recognized = own.recognized or mine
            return own
        message = ids_of(event)[0]
        if message is not None and message in self._ended_messages:
            return None
        found = self._foreign.find(event) if own is None else self._foreign.owner(event)
        if found is not None:
            return found
        if is_busy(event) and own is not None:
            return None  # the message is sent again
        if own is not None and (own.cut or not own.recognized):
            return own  # as long as nothing shows that it is another's
        if isinstance(event, ev.ErrorEvent | ev.RateLimitEvent) and (
            event.error == self._last_error or own is not None
        ):
            return None
        found = self._foreign.find(event)
        if found is None:
            found = self._foreign.begin(self._position)
            self.last_start = self._position
        return found

    def _ended(self, frame: ServerSentEvent, turn: TurnEvents) -> list[Draft]:
        if turn.own or turn.cut:  # a foreign turn that was cut is settled from what is stored, too
            if turn.end is None:
                turn.end = frame
            return []
        drafts: list[Draft] = []
        end = self._end_draft(frame)
        drafts.append(end)
        self._last_error = None if end.event == "complete" else _error_text(end.data)
        self._foreign.end(turn)
        self._forget(turn)
        return [attrs.evolve(each, data=with_turn_id(each.data, turn.turn_id)) for each in drafts]

    def _foreign_lost(self, event: Event, *, mine: bool) -> list[Draft]:
        """End the turns sent past the relay whose own ends were lost with a connection."""
        begins = mine or isinstance(event, ev.UserMessageCreatedEvent)
        if not begins or ids_of(event)[2] is not None:
            return []
        drafts: list[Draft] = []
        for turn in [each for each in self._foreign.turns if each.cut]:
            self._foreign.end(turn)
            self._forget(turn)
            end = error_draft(Outcome(kind="unknown", error=_LOST))
            if turn.end is not None:
                end = self._end_draft(turn.end)
            drafts += [
                attrs.evolve(each, data=with_turn_id(each.data, turn.turn_id))
                for each in (gap_draft(), *turn.passed_on(), end)
            ]
        return drafts

    def _is_end(self, event: Event) -> bool:
        if not isinstance(event, _ENDS) or event.parent_tool_call_id is not None:
            return False
        if isinstance(event, ev.CompleteEvent):
            return event.done
        return isinstance(event, ev.ErrorEvent) or self._rate_limit_ends

    def _end_draft(self, frame: ServerSentEvent) -> Draft:
        audience = Audience.RATE_LIMIT if frame.event == "rate_limit_error" else Audience.ALL
        return Draft(frame.event, frame.data, audience)

    def _asked(
        self,
        frame: ServerSentEvent,
        event: ev.PermissionEvent | ev.NotificationEvent,
        turn: TurnEvents,
    ) -> Draft:
        data = with_turn_id(frame.data, turn.turn_id)
        if isinstance(event, ev.PermissionEvent):
            # Its id is the next one.
            request = OpenRequest(data, turn.turn_id, self._position + 1)
            self.requests[event.permission_id] = request
            if len(self.requests) > _MAX_REQUESTS:
                self.requests.popitem(last=False)
        self.asked[_request_id(event)] = None
        if len(self.asked) > _MAX_REQUESTS:
            self.asked.popitem(last=False)
        return Draft(frame.event, data)

    def _forget(self, turn: TurnEvents) -> None:
        """Note that a turn is over: its requests, and what still comes of its messages."""
        self.requests.clear()
        self.answered.clear()
        for message in turn.message_ids:
            self._ended_messages[message] = None
        while len(self._ended_messages) > _REMEMBERED:
            self._ended_messages.popitem(last=False)

    def _learn_style(self, event: Event) -> None:
        style = self.style
        if isinstance(event, ev.ContentEvent):
            named = event.assistant_message_id is not None
            if style.ids is not named or not style.deltas:
                self.style = attrs.evolve(style, deltas=True, ids=named)
        elif isinstance(event, ev.ToolEvent | ev.ToolParameterDeltaEvent):
            self.style = attrs.evolve(style, tool_use=False)
        elif isinstance(event, ev.ToolUseStartEvent):
            self.style = attrs.evolve(style, tool_use=True)


def _request_id(event: ev.PermissionEvent | ev.NotificationEvent) -> str:
    if isinstance(event, ev.PermissionEvent):
        return event.permission_id
    return event.notification_id


def _error_text(data: str) -> str | None:
    event = decode_event(ServerSentEvent(event="error", data=data))
    return event.error if isinstance(event, ev.ErrorEvent) else None
