"""Decide to which turn each event belongs, and when a message is over.

A *turn* is all that the server does for one sent message. The rules, which the tests cite:

Rule 1  One turn of ours at a time. A second ``register`` before the first is over is a bug.
Rule 2  What comes before a message's POST is under way is not that message's.
Rule 3  Ids win over order. ``user_message_created`` binds the user message; assistant ids bind the
        model's rounds; tool-call ids bind their calls, until a call begins with the same id:
        providers use them again. Without ids, order decides.
Rule 4  A sub-agent's event (it has a parent tool call) belongs to the turn of that call, binds
        only its own tool calls, and never ends a turn.
Rule 5  A top-level ``complete`` that is done, a top-level ``error`` and, where the server gives up
        on it, ``rate_limit_error`` are terminal. What a finished turn still emits is nobody's.
Rule 6  A turn that another client started is nobody's, also one that began before this stream.
        Where two turns run at once, an id not seen before belongs to the one that is readiest for
        a new round, of two equally ready ones to the older; an event without ids belongs to the
        one that was heard last. A turn that was cut is less ready: it may be over.
Rule 7  Every event has at most one owner, named once.
Rule 8  An answer in the HTTP response ends a turn too; where events are due as well, both must
        come.
Rule 9  A turn id, which relays add to events and answers, wins over ids and order. While the POST
        of a turn is not answered, events with turn ids are held; if no answer comes, they are
        routed by the other rules.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._event_ids import begins_call, ids_of
from trio_mix._turns._event_size import size_of
from trio_mix._turns._repeated_errors import RepeatedErrors, is_busy
from trio_mix._turns._turn import TRANSITIONS, Input, Owner, Phase, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix._turns._event_ids import EventIds
    from trio_mix._turns._stored_turn import StoredRow
    from trio_mix.events import Event

__all__ = [
    "TRANSITIONS",
    "Input",
    "Phase",
    "Route",
    "Turn",
    "TurnRouter",
    "WireTraits",
]


_REMEMBERED: Final = 4096
_OF_OLD_TURNS: Final = 512
"""Ids that are remembered while a turn runs, and between turns: late events are not very late."""
_FOREIGN: Final = 8
_HELD_SIZE: Final = 16 * 2**20
"""The texts of events that are held until it is known whose they are, in characters."""

_DELTAS: Final = frozenset(
    (
        ev.ContentEvent,
        ev.ThinkingEvent,
        ev.ToolUseParameterDeltaEvent,
        ev.ToolParameterDeltaEvent,
    )
)
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
_SHOWING_A_TURN: Final = frozenset({*_READINESS, ev.UserMessageCreatedEvent} - {ev.CompleteEvent})
"""The events after which more of the same turn is to be expected."""
_TERMINAL: Final = frozenset((ev.CompleteEvent, ev.ErrorEvent, ev.RateLimitEvent))
"""The classes of events that can end a turn."""
_TURNS_EVENTS: Final = _SHOWING_A_TURN | _TERMINAL
_NOT_OF_TURNS: Final = frozenset(
    (
        ev.ConnectedEvent,
        ev.HeartbeatEvent,
        ev.SessionCreatedEvent,
        ev.SessionDeletedEvent,
        ev.StreamGapEvent,
    )
)

# A member of an enum takes long to reach, and these are compared for every event.
_REGISTERED: Final = Phase.REGISTERED
_POSTED: Final = Phase.POSTED
_RUNNING: Final = Phase.RUNNING
_ENDED: Final = Phase.ENDED


@attrs.define
class WireTraits:
    """How this server's generation differs where turns are concerned."""

    ids: bool | None = None
    """Whether events have message ids; None until the first event shows it."""
    rate_limit_ends: bool | None = False
    """Whether ``rate_limit_error`` is a turn's last event (pipeline servers). None: unknown; then
    it is the last one if events have no ids."""
    answers: bool | None = False
    """Whether the POST is answered with the finished reply (blocking servers); None: unknown."""
    turn_ids: bool = False
    """Whether a relay adds the ids of turns (rule 9)."""
    proof: bool = False
    """Whether only the stored messages show whose a ``complete`` is (pipeline servers)."""


@attrs.frozen
class Route:
    """The events of a batch that are the registered turn's; all others are nobody's."""

    turn: Turn | None = None
    """The turn, or None if the batch does not concern it."""
    events: Sequence[Event] = ()
    """The turn's events in the order in which they came. Events of earlier batches come first,
    whose owner was not known until now."""
    busy: Event | None = None
    """The event with which the server said that it was busy and has dropped the message."""


# What `_route` returns for an event that is not the turn's; compared by identity.
_NOBODY: Final[Sequence[Event]] = []
_HELD: Final[Sequence[Event]] = []
_BUSY: Final[Sequence[Event]] = []


class TurnRouter:
    """Names the owner of each event of one session's stream."""

    def __init__(self, traits: WireTraits) -> None:
        self.traits = traits
        self._turn: Turn | None = None
        self._messages: OrderedDict[str, Owner] = OrderedDict()
        self._calls: OrderedDict[str, Owner] = OrderedDict()
        self._foreign: list[Owner] = []
        self._set_aside: list[Owner] = []
        self._last_heard: Owner | None = None
        self._last_ids: EventIds | None = None
        self._started = 0
        self._repeated_errors = RepeatedErrors()
        self._names_users = False
        self._nameless_at_work = False
        self.others: int = 0
        """How many events were other turns', while no turn of ours was under way."""
        # While deltas of one class with the same ids come, their owner stays the same and no rule
        # changes anything: the owner, None for nobody, their class and their ids.
        self._streaming: tuple[Turn | None, type, EventIds] | None = None

    @property
    def turn(self) -> Turn | None:
        """The registered turn that is not over yet."""
        return self._turn

    @property
    def end_outstanding(self) -> bool:
        """Whether a turn of the session that was cancelled has not ended yet."""
        return self._repeated_errors.outstanding

    @property
    def others_at_work(self) -> bool:
        """Whether the events of this connection show another client's turn without its end."""
        return bool(self._foreign) or self._nameless_at_work

    def old(self, rows: Iterable[StoredRow]) -> None:
        """Note the messages that are stored before a POST: their events are nobody's.

        An answer belongs to the turn of the question before it, which may be running.
        """
        self._streaming = None
        owner = over = Owner(over=True)
        for row in rows:
            known = self._messages.get(row.id)
            if row.role == "user":
                owner = known or over
            if row.id and known is None:
                _remember(self._messages, row.id, owner)
        self._forget(_REMEMBERED)

    def expect_end(self) -> None:
        """Note that a turn was cancelled on an earlier stream and has not ended yet."""
        self._repeated_errors.outstanding = True

    def register(self, text: str, *, plan_mode: bool = False) -> Turn:
        """Register a turn, before its POST (rules 1 and 2)."""
        if self._turn is not None:
            raise RuntimeError("a turn is registered already: sends must be made one by one")
        self._streaming = None
        self._turn = Turn(text=text, plan_mode=plan_mode)
        return self._turn

    def apply(self, turn: Turn, what: Input) -> bool:
        """Apply what happened to a turn beside its events; return whether that changed it."""
        self._streaming = None
        if what is Input.SENDING:
            turn.unnamed = self.traits.turn_ids
            turn.answer_due = turn.events_due = self.traits.answers is not False
            turn.overlap = "ids" if self._foreign else turn.overlap
        elif what is Input.ACCEPTED:
            turn.answer_due = turn.events_due = False
        if what is Input.SENDING or what is Input.ACCEPTED:
            turn.proof_due = self.traits.proof
        changed = turn.step(what)
        if changed and what is Input.RESEND:
            turn.held.clear()
            turn.named_events.clear()
            turn.turn_id, turn.unnamed = None, False
            turn.doubt = None
        if turn.over and self._turn is turn:
            self._turn = None
            self._repeated_errors.ended(turn)
            self._foreign = [owner for owner in self._foreign if owner.active]
            for owner in self._foreign:
                owner.active = False
            self._forget(_OF_OLD_TURNS)
        return changed

    def name(self, turn: Turn, turn_id: str | None) -> Route:
        """Note the turn id in the answer to a POST, and return which events held for it are its.

        Args:
          turn: the turn.
          turn_id: its id; None: no answer came, or it had no id (rule 9).
        """
        if not turn.unnamed:
            return Route()
        turn.turn_id, turn.unnamed = turn_id, False
        held, turn.named_events = turn.named_events, []
        return self.route([event for _, event in held], [each for each, _ in held])

    def route(self, events: Iterable[Event], turn_ids: Iterable[str | None] = ()) -> Route:
        """Return which events of a batch are the registered turn's, and move the turn on.

        Args:
          events: the events.
          turn_ids: the turn id of each, which relays add; empty: they have none.
        """
        turn = self._turn
        mine: list[Event] = []
        busy = None
        named = iter(turn_ids)
        for event in events:
            turn_id = next(named, None)
            streaming = self._streaming
            if turn_id is not None:
                owned = self._by_turn_id(event, turn_id)
            elif (
                streaming is not None
                and type(event) is streaming[1]
                and ids_of(event) == streaming[2]
            ):
                if streaming[0] is not None:
                    streaming[0].events += 1
                    mine.append(event)
                else:
                    self.others += 1
                continue
            else:
                owned = self._route(event)
            if owned is _BUSY:
                busy = event
            else:
                mine += owned
        self._forget(_REMEMBERED)
        return Route(turn if mine or busy else None, mine, busy)

    def bind(self, turn: Turn, user_message_id: str) -> None:
        """Bind a turn whose ``user_message_created`` was lost to the message that is stored."""
        self._streaming = None
        turn.user_message_id = user_message_id
        turn.held.clear()
        self._begin(turn.owner)
        turn.owner.readiness = min(turn.owner.readiness, 1)
        _remember(self._messages, user_message_id, turn.owner)

    def own(self, turn: Turn, *message_ids: str | None) -> None:
        """Note which stored messages are a turn's: events of them may still come."""
        self._streaming = None
        for message_id in message_ids:
            if message_id:
                _remember(self._messages, message_id, turn.owner)

    def owned(self, turn: Turn) -> set[str]:
        """Return the ids of the messages that are a turn's, by its events."""
        return {each for each, owner in self._messages.items() if owner is turn.owner}

    def disown(self, turn: Turn) -> None:
        """Note that the events that a turn has received so far were another client's."""
        self._streaming = None
        turn.owner.over = True
        turn.owner = Owner()
        turn.ended_by, turn.events = None, 0
        turn.proof_due, turn.overlap = True, "ids"

    def of_others(self, turn: Turn, asked: Iterable[str], answers: Iterable[str]) -> set[str]:
        """Return which stored answers are, by their events, those of other turns' questions.

        None are while the turn is not bound, nor are answers whose question no event has named.
        """
        if not turn.bound:
            return set()
        owners = [self._messages.get(each) for each in asked]
        others = [owner for owner in owners if owner not in (None, turn.owner)]
        return {each for each in answers if self._messages.get(each) in others}

    def lost(self) -> None:
        """Set aside what is known of other clients' turns, as the connection was lost."""
        self._streaming = None
        self._set_aside = [*self._set_aside, *self._foreign][-_FOREIGN:]
        self._foreign = []
        self._last_heard = self._last_ids = None
        self._nameless_at_work = False
        self._repeated_errors.named(None)  # the next connection may repeat it
        if self._turn is not None:
            self._last_heard = self._turn.owner
            self._turn.cut = not self._turn.bound
            self._turn.owner.readiness = min(self._turn.owner.readiness, 1)

    def reconnected(self, *, replayed: bool) -> None:
        """Take up other clients' turns again if all that was missed is replayed, or forget them."""
        if replayed:
            self._foreign = [*self._set_aside, *self._foreign][-_FOREIGN:]
            if self._turn is not None:
                self._turn.cut = False
        elif self._set_aside and self._turn is not None and self._turn.phase is not _REGISTERED:
            self._turn.overlap = "guess"  # the other turn may have ended, or gone on
        self._set_aside = []

    # -- one event --------------------------------------------------------------------------

    def _route(self, event: Event) -> Sequence[Event]:
        """Apply the rules to one event; return the events of which it shows that they are ours."""
        self._streaming = None
        kind = type(event)
        if kind in _NOT_OF_TURNS:
            return _NOBODY
        ids = ids_of(event)
        if self.traits.ids is None and _are_of_messages(event, ids):
            self.traits.ids = True
        turn = self._turn
        if turn is not None and (turn.phase is _REGISTERED or turn.phase is _ENDED):
            turn = None
        errors = self._repeated_errors
        if kind is ev.UserMessageCreatedEvent and ids[2] is None:
            errors.named(ids[0])
        if errors.watching and errors.swallow(event, turn, ids=bool(self.traits.ids)):
            if turn is not None:
                turn.doubt = event
            return _NOBODY
        terminal = kind in _TERMINAL and ids[2] is None and self._is_terminal(event)
        if self.traits.ids:
            owned = self._by_ids(event, ids, turn, terminal=terminal)
        else:
            owned = self._by_order(event, ids, turn)
        if not owned:
            self.others += 1
            self._nameless_at_work = not terminal and (
                self._nameless_at_work
                or (turn is None and not self.traits.ids and kind in _SHOWING_A_TURN)
            )
        if terminal or errors.watching:
            ours = owned is _BUSY or bool(owned)
            errors.heard(event, turn, ours=ours, terminal=terminal, ids=bool(self.traits.ids))
        if turn is not None and owned:
            if kind is ev.UserMessageCreatedEvent and errors.copies > 1 and not turn.overlap:
                turn.overlap = "ids"  # each turn that runs brings one copy of an event
            turn.events += len(owned)
            torn_end = kind is ev.UnknownEvent and event.name in ("complete", "error")  # type: ignore[union-attr]
            turn.doubt = event if torn_end else None
            if terminal:
                turn.ended_by = event
                named = isinstance(event, ev.CompleteEvent) and bool(event.message_id)
                turn.proof_due = turn.proof_due and named
                self.apply(turn, Input.TERMINAL)
            elif turn.phase is not _RUNNING:
                self.apply(turn, Input.EVENT)
        if kind in _DELTAS and owned is not _HELD:
            owner = turn if owned else None
            if owner is None or owner is self._turn:  # it may have ended the turn
                self._streaming = (owner, kind, ids)
        return owned

    # -- relays: turn ids decide (rule 9) ---------------------------------------------------

    def _by_turn_id(self, event: Event, turn_id: str) -> Sequence[Event]:
        self._streaming = None
        turn = self._turn
        if turn is None or turn.phase is _REGISTERED or turn.phase is _ENDED:
            return _NOBODY
        if turn.unnamed:
            turn.named_events.append((turn_id, event))
            if len(turn.named_events) > _REMEMBERED:
                del turn.named_events[0]
            return _HELD
        if turn.turn_id is None:
            return self._route(event)
        if turn.turn_id != turn_id:
            return _NOBODY
        if isinstance(event, ev.UserMessageCreatedEvent) and event.parent_tool_call_id is None:
            turn.user_message_id = event.message_id
        self._moved_on(event, turn)
        return (event,)

    def _moved_on(self, event: Event, turn: Turn) -> None:
        """Apply an event of a turn's own to its phase."""
        turn.events += 1
        turn.doubt = None
        if type(event) in _TERMINAL and ids_of(event)[2] is None and self._is_terminal(event):
            turn.ended_by = event
            self.apply(turn, Input.TERMINAL)
        elif turn.phase is not _RUNNING:
            self.apply(turn, Input.EVENT)

    # -- servers without ids: order decides (rules 2, 5) ------------------------------------

    def _by_order(self, event: Event, ids: EventIds, turn: Turn | None) -> Sequence[Event]:
        message, call, parent = ids
        message = message if parent is None else None
        if turn is None:
            rest = Owner(over=True)
            if message:
                _remember(self._messages, message, self._messages.get(message, rest))
            if call:
                _remember(self._calls, call, self._calls.get(call, rest))
            return _NOBODY
        if self._is_left_over(event, ids, turn):
            return _NOBODY
        if is_busy(event):
            # A turn with events runs already: the conflict concerns another stream of the session.
            busy = not turn.events and self.apply(turn, Input.RESEND)
            return _BUSY if busy else _NOBODY
        if message:
            _remember(self._messages, message, turn.owner)
        if call:
            _remember(self._calls, call, turn.owner)
        return (event,)

    def _is_left_over(self, event: Event, ids: EventIds, turn: Turn) -> bool:
        """Return whether an id shows that an earlier turn still emits it."""
        message, call, parent = ids
        ours = turn.owner
        if parent is not None:
            named = self._calls.get(parent, ours) is not ours
        else:
            named = bool(message and self._messages.get(message, ours) is not ours)
        reused = bool(call and self._calls.get(call, ours) is not ours)
        return named or (reused and not begins_call(event))

    # -- servers with ids (rules 3, 4, 6) ---------------------------------------------------

    def _by_ids(
        self, event: Event, ids: EventIds, turn: Turn | None, *, terminal: bool
    ) -> Sequence[Event]:
        message, call, parent = ids
        if parent is not None:
            owner = self._calls.get(parent)
        else:
            owner = self._messages.get(message) if message else None
            if owner is None and call:
                owner = self._calls.get(call)
                if owner is not None and owner.over and (message or begins_call(event)):
                    owner = None  # the id of an old call, used again
        if owner is None:
            if isinstance(event, ev.UserMessageCreatedEvent) and parent is None:
                return self._user_message(event, ids, turn)
            owner = self._owner_by_guess(event, ids, turn)
            if owner is None and turn is not None:
                return self._hold(event, turn, terminal=terminal)
            owner = owner or Owner()
        if terminal and turn is not None and not (turn.bound or owner.started_at):
            turn.doubt = event
        self._note(event, ids, owner, terminal=terminal)
        return (event,) if turn is not None and owner is turn.owner else _NOBODY

    def _user_message(
        self, event: ev.UserMessageCreatedEvent, ids: EventIds, turn: Turn | None
    ) -> Sequence[Event]:
        self._names_users = True
        if turn is None or turn.bound or not turn.matches(event.content):
            self._note(event, ids, self._begin(Owner()), terminal=False)
            return _NOBODY
        self._give_away(turn)
        turn.user_message_id = event.message_id
        self._note(event, ids, self._begin(turn.owner), terminal=False)
        return (event,)

    def _owner_by_guess(self, event: Event, ids: EventIds, turn: Turn | None) -> Owner | None:
        """Return the owner of an event whose ids are new, or that has none; None: not known."""
        message, _, parent = ids
        candidates = self._foreign
        if turn is not None and turn.bound:
            if not candidates:
                return turn.owner
            if self._is_guess(event, ids, turn):
                turn.overlap = "guess"
            candidates = sorted([*candidates, turn.owner], key=lambda owner: owner.started_at)
        elif turn is not None and not candidates:
            if isinstance(event, ev.ErrorEvent) and parent is None and not turn.held:
                return turn.owner
            return Owner() if self._names_users and not turn.cut else None
        if not candidates:
            return None
        if parent is None and message:
            readiest = max(candidates, key=lambda owner: owner.readiness)
            if readiest.readiness:
                return readiest
        elif self._last_heard in candidates:
            return self._last_heard
        return turn.owner if turn is not None and turn.bound else candidates[-1]

    def _is_guess(self, event: Event, ids: EventIds, turn: Turn) -> bool:
        """Return whether an event may be a turn's or another one's: nothing shows whose it is."""
        if ids[2] is not None or not ids[0]:
            return type(event) in _TERMINAL
        able = [owner for owner in (turn.owner, *self._foreign) if owner.readiness]
        return not able or (turn.owner in able and len(able) > 1)

    def _hold(self, event: Event, turn: Turn, *, terminal: bool) -> Sequence[Event]:
        """Hold back what may be the rest of another client's turn, until a terminal event shows it.

        Without that a server that never names user messages could not be understood.
        """
        turn.held_size = size_of(event) + (turn.held_size if turn.held else 0)
        turn.held.append(event)
        while len(turn.held) > _REMEMBERED or (turn.held_size > _HELD_SIZE and len(turn.held) > 1):
            turn.held_size -= size_of(turn.held.pop(0))
        if not terminal:
            return _HELD
        if turn.phase is _POSTED or _began_earlier(turn.held):
            self._give_away(turn)
            turn.doubt = event
            return _NOBODY
        released, turn.held = turn.held, []
        self._note_all(released, turn.owner)
        return released

    def _give_away(self, turn: Turn) -> None:
        """Take the held events for the rest of a turn that began before ours."""
        self._note_all(turn.held, self._begin(Owner()))
        turn.held.clear()

    def _begin(self, owner: Owner) -> Owner:
        self._started += 1
        owner.started_at = self._started
        return owner

    def _note_all(self, events: Iterable[Event], owner: Owner) -> None:
        for event in events:
            ids = ids_of(event)
            terminal = type(event) in _TERMINAL and ids[2] is None and self._is_terminal(event)
            self._note(event, ids, owner, terminal=terminal)

    def _note(self, event: Event, ids: EventIds, owner: Owner, *, terminal: bool) -> None:
        """Remember an event's ids as its owner's, and what the owner is ready for."""
        message, call, parent = ids
        if self._last_heard is not owner or self._last_ids != ids:
            self._last_heard, self._last_ids = owner, ids
            if call:
                _remember(self._calls, call, owner)
            if parent is not None:
                _remember(self._calls, parent, owner)
            elif message:
                _remember(self._messages, message, owner)
        owner.active = True
        mine = self._turn
        if (
            mine is not None
            and owner is not mine.owner
            and not owner.over
            and not mine.overlap
            and mine.phase is not _REGISTERED
            and type(event) in _TURNS_EVENTS
        ):
            mine.overlap = "ids"
        if parent is not None:
            return
        owner.readiness = _READINESS.get(type(event), owner.readiness)
        if terminal:
            owner.over = True
            self._foreign = [other for other in self._foreign if other is not owner]
        elif (
            not owner.over
            and type(event) in _SHOWING_A_TURN
            and not (self._turn is not None and owner is self._turn.owner)
            and owner not in self._foreign
        ):
            self._foreign = [*self._foreign, owner][-_FOREIGN:]

    # -- both -------------------------------------------------------------------------------

    def _forget(self, kept: int) -> None:
        """Forget the ids that were used longest ago."""
        for owners in (self._messages, self._calls):
            while len(owners) > kept:
                owners.popitem(last=False)

    def _is_terminal(self, event: Event) -> bool:
        """Return whether a top-level event ends its turn."""
        if isinstance(event, ev.CompleteEvent):
            return event.done
        if isinstance(event, ev.RateLimitEvent):
            ends = self.traits.rate_limit_ends
            return not self.traits.ids if ends is None else ends
        return isinstance(event, ev.ErrorEvent)


def _remember(owners: OrderedDict[str, Owner], name: str, owner: Owner) -> None:
    """Set the owner of an id, which is then the one that was used last."""
    owners[name] = owner
    owners.move_to_end(name)


def _are_of_messages(event: Event, ids: EventIds) -> bool:
    """Return whether only a server whose events name their turn sends such ids."""
    named = bool(ids[0]) and not isinstance(event, ev.CompleteEvent)
    return named or ids[2] is not None or isinstance(event, ev.UserMessageCreatedEvent)


def _began_earlier(held: list[Event]) -> bool:
    """Return whether the text of a ``complete`` shows that its first deltas came before these."""
    ending = held[-1]
    if not isinstance(ending, ev.CompleteEvent) or ending.content is None:
        return False
    heard = "".join(
        event.content
        for event in held
        if isinstance(event, ev.ContentEvent)
        and event.parent_tool_call_id is None
        and event.assistant_message_id == ending.message_id
    )
    return not ending.content.startswith(heard)
