"""Whose event is it, and when is a message over: the correlation of turns.

What it knows: the ids on the wire, the order of events, the phases of a turn. What it must never
know: I/O, the clock, tasks, how an event was decoded or where it goes once its owner is named.

A *turn* is all that the server does for one sent message. The rules, which the tests cite:

Rule 1  One turn of ours at a time. A second ``register`` before the first is over is a bug.
Rule 2  What arrives before a message's POST is under way is not that message's.
Rule 3  Ids win over order. ``user_message_created`` binds the user message; assistant ids bind the
        model's rounds; tool-call ids bind their calls, until one begins anew: providers use them
        again. Without ids, order decides.
Rule 4  A sub-agent's event (it has a parent tool call) belongs to the turn of that call, binds
        nothing but its own tool calls, and never ends a turn.
Rule 5  A top-level ``complete`` that is done, a top-level ``error`` and, where the server gives up
        on it, ``rate_limit_error`` are terminal. What a finished turn still emits is nobody's.
Rule 6  A turn that somebody else started is nobody's, also one that began before we listened.
        Where two run at once, an id not seen before is of the one that is most due a new round, of
        the older where both are; what has no id is of the one that was heard last. A turn that was
        cut is less due: it may be over.
Rule 7  Every event has at most one owner, named once.
Rule 8  An answer in the HTTP response ends a turn too; where events are due as well, both must
        come.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from trio_mix import events as ev
from trio_mix._turns._event_ids import (
    begins_call,
    call_of,
    carries_ids,
    ids_of,
    message_of,
    parent_of,
)
from trio_mix._turns._repeated_errors import RepeatedErrors, is_busy
from trio_mix._turns._turn import TRANSITIONS, Input, Owner, Phase, Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix.events import Event

__all__ = [
    "TRANSITIONS",
    "Delta",
    "Input",
    "Phase",
    "Route",
    "Turn",
    "TurnRouter",
    "WireTraits",
]


_REMEMBERED: Final = 4096
_OF_OLD_TURNS: Final = 512
"""Ids that are remembered while a turn runs, and between turns: what is late is not very late."""
_FOREIGN: Final = 8

Delta: TypeAlias = ev.ContentEvent | ev.ThinkingEvent
_ToolUse = (
    ev.ToolEvent
    | ev.ToolParameterDeltaEvent
    | ev.ToolUseStartEvent
    | ev.ToolUseParameterDeltaEvent
    | ev.ToolUseParameterStreamingCompleteEvent
)
_ToolRun = ev.ToolExecutionStartEvent | ev.ToolExecutionCompleteEvent
_NOT_OF_TURNS = (
    ev.ConnectedEvent,
    ev.HeartbeatEvent,
    ev.SessionCreatedEvent,
    ev.SessionDeletedEvent,
    ev.StreamGapEvent,
)


@attrs.define
class WireTraits:
    """How this server's generation differs where turns are concerned."""

    ids: bool | None = None
    """Whether events carry message ids; None until the first event tells."""
    rate_limit_ends: bool | None = False
    """Whether ``rate_limit_error`` is a turn's last event (pipeline servers); None: unknown, then
    it is where events carry no ids."""
    answers: bool | None = False
    """Whether the POST is answered with the finished reply (blocking servers); None: unknown."""


@attrs.frozen
class Route:
    """Which events of a batch are the registered turn's; all others are nobody's."""

    turn: Turn | None = None
    """The turn, or None where none of the events is its own."""
    events: Sequence[Event] = ()
    """The turn's events in the order in which they came. Events of earlier batches come first,
    whose owner was not known until now."""
    busy: Event | None = None
    """The event with which the server said that it was busy and has dropped the message."""


_NOBODY: Final = Route()
_HELD: Final = Route()
_DELTAS: Final = frozenset((ev.ContentEvent, ev.ThinkingEvent))


class TurnRouter:
    """Names the owner of each event of one session's stream."""

    def __init__(self, traits: WireTraits) -> None:
        self.traits = traits
        self._turn: Turn | None = None
        self._owners: OrderedDict[str, Owner] = OrderedDict()
        self._foreign: list[Owner] = []
        self._set_aside: list[Owner] = []
        self._last_heard: Owner | None = None
        self._started = 0
        self._repeated_errors = RepeatedErrors()
        self._names_users = False
        # While only text of one assistant message comes, its owner stays the same and no rule
        # changes anything: the owner, None for nobody, and the message's id.
        self._streaming: tuple[Turn | None, str | None] | None = None

    @property
    def turn(self) -> Turn | None:
        """The registered turn that is not over yet."""
        return self._turn

    def register(self, text: str, *, plan_mode: bool = False) -> Turn:
        """Make a turn known, before its POST (rules 1 and 2)."""
        if self._turn is not None:
            raise RuntimeError("a turn is registered already: sends must wait their turn")
        self._streaming = None
        self._turn = Turn(text=text, plan_mode=plan_mode)
        return self._turn

    def apply(self, turn: Turn, what: Input) -> bool:
        """Tell what happened to a turn outside its events; return whether it mattered."""
        self._streaming = None
        if what is Input.SENDING:
            turn.answer_due = turn.events_due = self.traits.answers is not False
        elif what is Input.ACCEPTED:
            turn.answer_due = turn.events_due = False
        changed = turn.step(what)
        if changed and what is Input.RESEND:
            turn.held.clear()
            turn.doubt = None
        if turn.over and self._turn is turn:
            self._turn = None
            self._repeated_errors.ended(turn)
            self._foreign = [owner for owner in self._foreign if owner.heard]
            for owner in self._foreign:
                owner.heard = False
            while len(self._owners) > _OF_OLD_TURNS:
                self._owners.popitem(last=False)
        return changed

    def route(self, events: Iterable[Event]) -> Route:
        """Return which events of a batch are the registered turn's, and move the turn on."""
        turn = self._turn
        mine: list[Event] = []
        busy = None
        for event in events:
            streaming = self._streaming
            if (
                streaming is not None
                and type(event) in _DELTAS
                and event.assistant_message_id == streaming[1]  # type: ignore[union-attr]
                and event.parent_tool_call_id is None  # type: ignore[union-attr]
            ):
                if streaming[0] is not None:
                    streaming[0].events += 1
                    mine.append(event)
                continue
            route = self._route(event)
            mine += route.events
            busy = busy or route.busy
        return Route(turn if mine or busy else None, mine, busy)

    def _route(self, event: Event) -> Route:
        """Apply the rules to one event."""
        self._streaming = None
        if isinstance(event, _NOT_OF_TURNS):
            return _NOBODY
        if self.traits.ids is None and carries_ids(event):
            self.traits.ids = True
        turn = self._turn
        if turn is not None and turn.phase in (Phase.REGISTERED, Phase.ENDED):
            turn = None
        if self._repeated_errors.swallow(event, turn, ids=bool(self.traits.ids)):
            if turn is not None:
                turn.doubt = event
            return _NOBODY
        route = self._by_ids(event, turn) if self.traits.ids else self._by_order(event, turn)
        terminal = self._is_terminal(event)
        self._repeated_errors.heard(event, turn, ours=route.turn is not None, terminal=terminal)
        if route.turn is not None and route.busy is None:
            route.turn.events += len(route.events)
            route.turn.doubt = event if _may_have_ended(event) else None
            if terminal:
                route.turn.ended_by = event
            self.apply(route.turn, Input.TERMINAL if terminal else Input.EVENT)
        if (
            isinstance(event, Delta)
            and event.parent_tool_call_id is None
            and route is not _HELD
            and route.busy is None
        ):
            self._streaming = (route.turn, event.assistant_message_id)
        return route

    def bind(self, turn: Turn, user_message_id: str) -> None:
        """Bind a turn whose ``user_message_created`` was lost to the message that is stored."""
        self._streaming = None
        turn.user_message_id = user_message_id
        turn.held.clear()
        self._begin(turn.owner)
        turn.owner.due = min(turn.owner.due, 1)
        self._own(f"message {user_message_id}", turn.owner)

    def own(self, turn: Turn, *message_ids: str | None) -> None:
        """Take in which stored messages are a turn's: events of them may still come."""
        self._streaming = None
        for message_id in message_ids:
            if message_id:
                self._own(f"message {message_id}", turn.owner)

    def of_others(self, turn: Turn, asked: Iterable[str], answers: Iterable[str]) -> set[str]:
        """Return which stored answers events have told to be those of questions not this turn's.

        Nothing is told of a turn that is not bound, nor of answers whose question was not heard of.
        """
        if not turn.bound:
            return set()
        owners = [self._owners.get(f"message {each}") for each in asked]
        others = [owner for owner in owners if owner not in (None, turn.owner)]
        return {each for each in answers if self._owners.get(f"message {each}") in others}

    def lost(self) -> None:
        """Set aside what was learnt of other people's turns: the connection was lost."""
        self._streaming = None
        self._set_aside = [*self._set_aside, *self._foreign][-_FOREIGN:]
        self._foreign = []
        self._last_heard = None
        if self._turn is not None:
            self._last_heard = self._turn.owner
            self._turn.cut = not self._turn.bound
            self._turn.owner.due = min(self._turn.owner.due, 1)

    def reconnected(self, *, replayed: bool) -> None:
        """Take up other people's turns again where all that was missed comes, else forget them."""
        if replayed:
            self._foreign = [*self._set_aside, *self._foreign][-_FOREIGN:]
            if self._turn is not None:
                self._turn.cut = False
        self._set_aside = []

    # -- servers without ids: order decides (rules 2, 5) ------------------------------------

    def _by_order(self, event: Event, turn: Turn | None) -> Route:
        if turn is None:
            rest = Owner(over=True)
            for name in ids_of(event):
                self._own(name, self._owners.get(name, rest))
            return _NOBODY
        if self._is_left_over(event, turn):
            return _NOBODY
        if is_busy(event):
            # With events it runs already: another stream of the session is told of the conflict.
            busy = not turn.events and self.apply(turn, Input.RESEND)
            return Route(turn, busy=event) if busy else _NOBODY
        for name in ids_of(event):
            self._own(name, turn.owner)
        return Route(turn, (event,))

    def _is_left_over(self, event: Event, turn: Turn) -> bool:
        """Whether an id says that it is what an earlier turn still emits."""
        names = [*ids_of(event), *parent_of(event)]
        others = [name for name in names if self._owners.get(name, turn.owner) is not turn.owner]
        return bool(others) and not (begins_call(event) and others == [call_of(event)])

    # -- servers with ids (rules 3, 4, 6) ---------------------------------------------------

    def _by_ids(self, event: Event, turn: Turn | None) -> Route:
        top_level = not parent_of(event)
        owner = self._owner_by_id(event)
        if owner is None and isinstance(event, ev.UserMessageCreatedEvent) and top_level:
            return self._user_message(event, turn)
        if owner is None:
            owner = self._owner_by_guess(event, turn)
        if owner is None and turn is not None:
            return self._hold(event, turn)
        owner = owner or Owner()
        if turn is not None and not (turn.bound or owner.since) and self._is_terminal(event):
            turn.doubt = event
        self._note(event, owner)
        return Route(turn, (event,)) if turn is not None and owner is turn.owner else _NOBODY

    def _owner_by_id(self, event: Event) -> Owner | None:
        for parent in parent_of(event):
            return self._owners.get(parent)
        message, call = message_of(event), call_of(event)
        owner = self._owners.get(message) if message else None
        if owner is None and call:
            owner = self._owners.get(call)
            if owner is not None and owner.over and (message or begins_call(event)):
                return None  # the id of an old call, used again
        return owner

    def _user_message(self, event: ev.UserMessageCreatedEvent, turn: Turn | None) -> Route:
        self._names_users = True
        if turn is None or turn.bound or not turn.matches(event.content):
            self._note(event, self._begin(Owner()))
            return _NOBODY
        self._give_away(turn)
        turn.user_message_id = event.message_id
        self._note(event, self._begin(turn.owner))
        return Route(turn, (event,))

    def _owner_by_guess(self, event: Event, turn: Turn | None) -> Owner | None:
        """Name the owner of an event whose ids are new, or that has none; None: nobody known."""
        candidates = self._foreign
        if turn is not None and turn.bound:
            candidates = sorted([*candidates, turn.owner], key=lambda owner: owner.since)
        elif turn is not None and not candidates:
            if isinstance(event, ev.ErrorEvent) and not (turn.held or parent_of(event)):
                return turn.owner
            return Owner() if self._names_users and not turn.cut else None
        if not candidates:
            return None
        if not parent_of(event) and message_of(event):
            due = max(owner.due for owner in candidates)
            if due:
                return next(owner for owner in candidates if owner.due == due)
        elif self._last_heard in candidates:
            return self._last_heard
        return turn.owner if turn is not None and turn.bound else candidates[-1]

    def _hold(self, event: Event, turn: Turn) -> Route:
        """Keep what may be a foreign turn's rest, until somebody's terminal event tells.

        A server that never names user messages would otherwise never be understood.
        """
        turn.held.append(event)
        if len(turn.held) > _REMEMBERED:
            del turn.held[0]
        if not self._is_terminal(event):
            return _HELD
        if turn.phase is Phase.POSTED or _began_earlier(turn.held):
            self._give_away(turn)
            turn.doubt = event
            return _NOBODY
        released, turn.held = turn.held, []
        for earlier in released:
            self._note(earlier, turn.owner)
        return Route(turn, released)

    def _give_away(self, turn: Turn) -> None:
        """Take what was held for the rest of a turn that began before ours."""
        rest = self._begin(Owner())
        for earlier in turn.held:
            self._note(earlier, rest)
        turn.held.clear()

    def _begin(self, owner: Owner) -> Owner:
        self._started += 1
        owner.since = self._started
        return owner

    def _note(self, event: Event, owner: Owner) -> None:
        """Remember an event's ids as its owner's, and what the owner is waiting for."""
        self._last_heard = owner
        owner.heard = True
        for name in (*ids_of(event), *parent_of(event)):
            self._own(name, owner)
        if parent_of(event):
            return
        if isinstance(event, Delta | ev.CompleteEvent):
            owner.due = 0
        elif isinstance(event, ev.ToolExecutionCompleteEvent):
            owner.due = 2
        elif isinstance(event, _ToolUse | _ToolRun):
            owner.due = 1
        ours = self._turn is not None and owner is self._turn.owner
        if self._is_terminal(event):
            owner.over = True
            self._foreign = [other for other in self._foreign if other is not owner]
        elif (
            isinstance(event, ev.UserMessageCreatedEvent | Delta | _ToolUse | _ToolRun)
            and not (ours or owner.over)
            and owner not in self._foreign
        ):
            self._foreign = [*self._foreign, owner][-_FOREIGN:]

    def _own(self, name: str, owner: Owner) -> None:
        self._owners[name] = owner
        self._owners.move_to_end(name)
        while len(self._owners) > _REMEMBERED:
            self._owners.popitem(last=False)

    # -- both -------------------------------------------------------------------------------

    def _is_terminal(self, event: Event) -> bool:
        if parent_of(event):
            return False
        if isinstance(event, ev.CompleteEvent):
            return event.done
        if isinstance(event, ev.RateLimitEvent):
            ends = self.traits.rate_limit_ends
            return not self.traits.ids if ends is None else ends
        return isinstance(event, ev.ErrorEvent)


def _may_have_ended(event: Event) -> bool:
    """Whether it is what an ending could have become, torn on the way."""
    return isinstance(event, ev.UnknownEvent) and event.name in ("complete", "error")


def _began_earlier(held: list[Event]) -> bool:
    """Whether the text of a ``complete`` says that its first deltas were not among these."""
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
