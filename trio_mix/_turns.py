"""Whose event is it, and when is a message over: the correlation of turns.

What it knows: the ids on the wire, the order of events, the phases of a turn. What it must never
know: I/O, the clock, tasks, how an event was decoded or where it goes once its owner is named.

A *turn* is all that the server does for one sent message. The rules, which the tests cite:

Rule 1  One turn of ours at a time. A second ``register`` before the first is over is a bug.
Rule 2  What arrives before a message's POST is under way is not that message's.
Rule 3  Ids win over order. ``user_message_created`` binds the user message; assistant ids bind the
        model's rounds; tool-call ids bind their calls. Without ids, order decides.
Rule 4  A sub-agent's event (it has a parent tool call) belongs to the turn of that call, binds
        nothing but its own tool calls, and never ends a turn.
Rule 5  A top-level ``complete`` that is done, a top-level ``error`` and, where the server gives up
        on it, ``rate_limit_error`` are terminal. What a finished turn still emits is nobody's.
Rule 6  A turn that somebody else started is nobody's.
Rule 7  Every event has at most one owner, named once.
Rule 8  An answer in the HTTP response ends a turn too; where events are due as well, both must
        come.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix.events import Event

__all__ = ["TRANSITIONS", "Input", "Phase", "Route", "Turn", "TurnRouter", "WireTraits"]


class Phase(enum.Enum):
    """Where a turn stands."""

    REGISTERED = "registered"
    """Known to the router; no byte of the POST is under way."""
    POSTED = "posted"
    """The POST is under way; neither an answer nor an event has come."""
    RUNNING = "running"
    """The server works on it."""
    ENDED = "ended"
    """Its terminal event has come; the HTTP answer is still due (blocking generation)."""
    ANSWERED = "answered"
    """The HTTP answer has come; the terminal event is still due (blocking generation)."""
    OVER = "over"
    """Nothing more is due."""


class Input(enum.Enum):
    """What can happen to a turn."""

    SENDING = "the POST is about to be written"
    RESEND = "it did not run, and will be sent again"
    ACCEPTED = "the server accepted it"
    EVENT = "an event of it"
    TERMINAL = "its terminal event"
    ANSWER = "the HTTP response held the reply"
    REFUSED = "the server refused it"
    SETTLED = "settled without its events"


TRANSITIONS: Final[dict[Phase, dict[Input, Phase]]] = {
    Phase.REGISTERED: {
        Input.SENDING: Phase.POSTED,
        Input.REFUSED: Phase.OVER,
        Input.SETTLED: Phase.OVER,
    },
    Phase.POSTED: {
        Input.ACCEPTED: Phase.RUNNING,
        Input.EVENT: Phase.RUNNING,
        Input.TERMINAL: Phase.ENDED,
        Input.ANSWER: Phase.ANSWERED,
        Input.REFUSED: Phase.OVER,
        Input.RESEND: Phase.REGISTERED,
        Input.SETTLED: Phase.OVER,
    },
    Phase.RUNNING: {
        Input.ACCEPTED: Phase.RUNNING,
        Input.EVENT: Phase.RUNNING,
        Input.TERMINAL: Phase.ENDED,
        Input.ANSWER: Phase.ANSWERED,
        Input.REFUSED: Phase.OVER,
        Input.RESEND: Phase.REGISTERED,
        Input.SETTLED: Phase.OVER,
    },
    Phase.ENDED: {
        Input.ACCEPTED: Phase.OVER,
        Input.ANSWER: Phase.OVER,
        Input.REFUSED: Phase.OVER,
        Input.SETTLED: Phase.OVER,
    },
    Phase.ANSWERED: {
        Input.EVENT: Phase.ANSWERED,
        Input.TERMINAL: Phase.OVER,
        Input.SETTLED: Phase.OVER,
    },
    Phase.OVER: {},
}
"""The state machine as data: drawings of it are made from here.

ENDED and ANSWERED are passed through in one step where only one of the two is due
(`Turn.answer_due`, `Turn.events_due`).
"""

_REMEMBERED: Final = 4096
_BUSY_WORDS: Final = "currently processing"

_TextOrToolUse = (
    ev.ThinkingEvent
    | ev.ContentEvent
    | ev.ToolEvent
    | ev.ToolUseStartEvent
    | ev.ToolUseParameterDeltaEvent
    | ev.ToolUseParameterStreamingCompleteEvent
)
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
    rate_limit_ends: bool = False
    """Whether ``rate_limit_error`` is a turn's last event (pipeline servers)."""
    answers: bool | None = False
    """Whether the POST is answered with the finished reply (blocking servers); None: unknown."""


@attrs.define(eq=False)
class Turn:
    """One sent message, as far as correlation is concerned."""

    text: str
    plan_mode: bool = False
    phase: Phase = Phase.REGISTERED
    answer_due: bool = False
    """Whether the terminal event does not end it: the HTTP answer is due as well."""
    events_due: bool = False
    """Whether the HTTP answer does not end it: the terminal event is due as well."""
    user_message_id: str | None = None
    assistant_ids: list[str] = attrs.field(factory=list)
    ended_by: Event | None = None
    events: int = 0
    awaits_round: bool = True
    held: list[Event] = attrs.field(factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more is due for it."""
        return self.phase is Phase.OVER

    @property
    def bound(self) -> bool:
        """Whether the server has named the user message, or proven by order that it runs."""
        return self.user_message_id is not None

    def step(self, what: Input) -> bool:
        """Apply one input; return whether the table had a place for it."""
        target = TRANSITIONS[self.phase].get(what)
        if target is None:
            return False
        due = {Phase.ENDED: self.answer_due, Phase.ANSWERED: self.events_due}
        self.phase = target if due.get(target, True) else Phase.OVER
        return True

    def matches(self, content: str) -> bool:
        """Whether a stored user text is this message's: plan mode has something appended."""
        ours, theirs = self.text.strip(), content.strip()
        return ours == theirs or (self.plan_mode and theirs.startswith(ours))


@attrs.frozen
class Route:
    """Where one event goes."""

    turn: Turn | None = None
    """The owner, or None: subscribers only."""
    released: tuple[Event, ...] = ()
    """Earlier events, until now nobody's, that this one proves to be the owner's."""
    busy: bool = False
    """The server was busy with something else: the message has to be sent again."""


_NOBODY: Final = Route()


class _Foreign:
    """Stands for every turn that is not the registered one."""

    __slots__ = ("awaits_round",)

    def __init__(self) -> None:
        self.awaits_round = True


class TurnRouter:
    """Names the owner of each event of one session's stream."""

    def __init__(self, traits: WireTraits) -> None:
        self.traits = traits
        self._turn: Turn | None = None
        self._owners: OrderedDict[str, Turn | _Foreign] = OrderedDict()
        self._foreign: _Foreign | None = None
        self._last_active: Turn | _Foreign | None = None
        self._echo: ev.ErrorEvent | ev.RateLimitEvent | None = None
        self._names_users = False

    @property
    def turn(self) -> Turn | None:
        """The registered turn that is not over yet."""
        return self._turn

    def register(self, text: str, *, plan_mode: bool = False) -> Turn:
        """Make a turn known, before its POST (rules 1 and 2)."""
        if self._turn is not None:
            raise RuntimeError("a turn is registered already: sends must wait their turn")
        self._turn = Turn(text=text, plan_mode=plan_mode)
        return self._turn

    def apply(self, turn: Turn, what: Input) -> bool:
        """Tell what happened to a turn outside its events; return whether it mattered."""
        if what is Input.SENDING:
            turn.answer_due = turn.events_due = self.traits.answers is not False
        elif what is Input.ACCEPTED:
            turn.answer_due = turn.events_due = False
        changed = turn.step(what)
        if turn.over and self._turn is turn:
            self._turn = None
        return changed

    def route(self, event: Event) -> Route:
        """Name the owner of the next event, and move that owner's turn on."""
        if isinstance(event, _NOT_OF_TURNS):
            return _NOBODY
        if self.traits.ids is None and _carries_ids(event):
            self.traits.ids = True
        route = self._by_ids(event) if self.traits.ids else self._by_order(event)
        turn = route.turn
        if turn is None or route.busy:
            return route
        turn.events += 1 + len(route.released)
        terminal = self._is_terminal(event)
        self.apply(turn, Input.TERMINAL if terminal else Input.EVENT)
        if terminal:
            turn.ended_by = event
            if isinstance(event, ev.ErrorEvent | ev.RateLimitEvent):
                self._echo = event
        return route

    def bind(self, turn: Turn, user_message_id: str) -> None:
        """Bind a turn whose ``user_message_created`` was lost to the message that is stored."""
        turn.user_message_id = user_message_id
        turn.held.clear()
        self._own(f"message {user_message_id}", turn)

    def lost(self) -> None:
        """Forget what was learnt of other people's turns: the connection was lost."""
        self._foreign = None
        self._last_active = self._turn

    # -- servers without ids: order decides (rules 2, 5) ------------------------------------

    def _by_order(self, event: Event) -> Route:
        turn = self._turn
        names = _id_of(event)
        if turn is None or turn.phase in (Phase.REGISTERED, Phase.ENDED):
            return _NOBODY
        if any(self._owners.get(name, turn) is not turn for name in names):
            return _NOBODY
        if not turn.events and self._swallow_echo(event):
            return _NOBODY
        if not turn.events and self._is_busy(event):
            self.apply(turn, Input.RESEND)
            return Route(turn, busy=True)
        for name in names:
            self._own(name, turn)
        return Route(turn)

    # -- servers with ids (rules 3, 4, 6) ---------------------------------------------------

    def _by_ids(self, event: Event) -> Route:
        turn = self._turn
        if turn is not None and turn.phase in (Phase.REGISTERED, Phase.ENDED):
            turn = None
        owner = self._owner_by_id(event, turn)
        if owner is None and isinstance(event, ev.UserMessageCreatedEvent):
            return self._user_message(event, turn)
        if owner is None:
            owner = self._owner_by_guess(event, turn)
        if owner is None:
            return self._hold(event, turn)
        self._note(event, owner)
        return Route(owner) if isinstance(owner, Turn) and owner is turn else _NOBODY

    def _owner_by_id(self, event: Event, turn: Turn | None) -> Turn | _Foreign | None:
        parent = getattr(event, "parent_tool_call_id", None)
        if parent is not None:
            owner = self._owners.get(parent)
            return owner or self._only_one(turn)
        for name in _id_of(event):
            owner = self._owners.get(name)
            if owner is not None:
                return owner
        return None

    def _user_message(self, event: ev.UserMessageCreatedEvent, turn: Turn | None) -> Route:
        self._names_users = True
        if turn is None or turn.bound or not turn.matches(event.content):
            self._foreign = _Foreign()
            self._note(event, self._foreign)
            return _NOBODY
        turn.user_message_id = event.message_id
        turn.held.clear()
        self._note(event, turn)
        return Route(turn)

    def _owner_by_guess(self, event: Event, turn: Turn | None) -> Turn | _Foreign | None:
        """Name the owner of an event whose ids are new, or that has none; None: hold it."""
        if turn is None:
            return self._foreign or _Foreign()
        if turn.bound:
            if self._foreign is None:
                return turn
            if isinstance(event, _TextOrToolUse | ev.CompleteEvent):
                waiting = [t for t in (turn, self._foreign) if t.awaits_round]
                return waiting[0] if waiting else turn
            return self._last_active or turn
        if isinstance(event, ev.ErrorEvent) and self._foreign is None and not turn.held:
            return _Foreign() if self._swallow_echo(event) else turn
        if self._names_users or self._foreign is not None:
            return self._foreign or _Foreign()
        return None

    def _hold(self, event: Event, turn: Turn | None) -> Route:
        """Keep what may be a foreign turn's rest, until somebody's terminal event tells.

        A server that never names user messages would otherwise never be understood.
        """
        assert turn is not None  # noqa: S101 - _owner_by_guess names an owner without a turn
        if not self._is_terminal(event) or turn.phase is Phase.POSTED:
            turn.held.append(event)
            return _NOBODY
        released, turn.held = tuple(turn.held), []
        for earlier in (*released, event):
            self._note(earlier, turn)
        return Route(turn, released)

    def _only_one(self, turn: Turn | None) -> Turn | _Foreign | None:
        if turn is not None and turn.bound and self._foreign is None:
            return turn
        return self._last_active

    def _note(self, event: Event, owner: Turn | _Foreign) -> None:
        """Remember an event's ids as its owner's, and what the owner is waiting for."""
        self._last_active = owner
        top_level = getattr(event, "parent_tool_call_id", None) is None
        for name in _id_of(event):
            self._own(name, owner)
        if not top_level:
            return
        if isinstance(event, _TextOrToolUse | ev.CompleteEvent):
            owner.awaits_round = False
            assistant = _assistant_id(event)
            if isinstance(owner, Turn) and assistant and assistant not in owner.assistant_ids:
                owner.assistant_ids.append(assistant)
        elif isinstance(event, ev.ToolExecutionCompleteEvent):
            owner.awaits_round = True
        if isinstance(owner, _Foreign) and self._is_terminal(event) and owner is self._foreign:
            self._foreign = None

    def _own(self, name: str, owner: Turn | _Foreign) -> None:
        self._owners.setdefault(name, owner)
        while len(self._owners) > _REMEMBERED:
            self._owners.popitem(last=False)

    # -- both -------------------------------------------------------------------------------

    def _is_terminal(self, event: Event) -> bool:
        if getattr(event, "parent_tool_call_id", None) is not None:
            return False
        if isinstance(event, ev.CompleteEvent):
            return event.done
        if isinstance(event, ev.RateLimitEvent):
            return self.traits.rate_limit_ends
        return isinstance(event, ev.ErrorEvent)

    def _is_busy(self, event: Event) -> bool:
        return isinstance(event, ev.ErrorEvent) and _BUSY_WORDS in event.error.lower()

    def _swallow_echo(self, event: Event) -> bool:
        """Whether this is the repetition, once, of the error that ended the last turn."""
        echo, self._echo = self._echo, None
        return (
            isinstance(event, ev.ErrorEvent | ev.RateLimitEvent)
            and echo is not None
            and attrs.evolve(event, id=None) == attrs.evolve(echo, id=None)
        )


def _assistant_id(event: Event) -> str | None:
    if isinstance(event, ev.CompleteEvent):
        return event.message_id
    return getattr(event, "assistant_message_id", None)


def _tool_call_id(event: Event) -> str | None:
    return getattr(event, "tool_call_id", None)


def _id_of(event: Event) -> tuple[str, ...]:
    """Return the ids that name an event's turn, prefixed by their kind, the surest first."""
    if isinstance(event, ev.UserMessageCreatedEvent):
        return (f"message {event.message_id}",)
    assistant = _assistant_id(event)
    named = (f"message {assistant}",) if assistant else ()
    call = _tool_call_id(event)
    return (*named, call) if call else named


def _carries_ids(event: Event) -> bool:
    return isinstance(event, ev.UserMessageCreatedEvent) or bool(
        getattr(event, "assistant_message_id", None)
    )
