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
        An error names nothing: on servers with ids, it ends no turn of ours while another one runs,
        or may still run; the stored messages decide, as they do once another client was heard,
        unless an event shows that ours goes on: one that is known to be ours, not by a guess. A
        turn that a nameless event has ended may go on if its ids were guessed. Where events name
        users' messages only, all else is a guess.
Rule 7  Every event has at most one owner, named once.
Rule 8  An answer in the HTTP response ends a turn too; where events are due as well, both must
        come. A turn that was answered has not failed: an error is then another turn's.
Rule 9  A turn id, which relays add to events and answers, wins over ids and order. While the POST
        of a turn is not answered, events with turn ids are held; if no answer comes, they are
        routed by the other rules.
Rule 10 Each stream of a pipeline server runs the messages that are sent while it is open, one
        after another: another client's message that it runs ends before ours begins. A message
        that another stream runs, also one that was lost, owns no event of this one. A permission
        request goes to every stream: the stored messages show whether it is that message's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._by_ids import HELD, NOBODY, RoutingByIds
from trio_mix._turns._by_order import ASKED, BUSY, RoutingByOrder
from trio_mix._turns._late_deltas import LateDeltas
from trio_mix._turns._owners import DELTAS, NOT_OF_TURNS, Owners
from trio_mix._turns._repeated_errors import RepeatedErrors
from trio_mix._turns._turn import Due, Input, Owner, Phase, Turn
from trio_mix._turns._wire_traits import ids_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from trio_mix._ticket import Ticket
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix._turns._wire_traits import EventIds, WireTraits
    from trio_mix.events import Event

_MOST_NAMED: Final = 4096
# A member of an enum takes long to reach, and these are compared for every event.
_REGISTERED: Final = Phase.REGISTERED
_RUNNING: Final = Phase.RUNNING
_ENDED: Final = Phase.ENDED
_ANSWERED: Final = Phase.ANSWERED


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
    asked: Sequence[Event] = ()
    """The permission requests that are the turn's if the stored messages show it."""


class TurnRouter:
    """Names the owner of each event of one session's stream; ``clock`` returns the time in seconds.

    It is read only when a turn has failed.
    """

    def __init__(self, traits: WireTraits, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.traits: Final = traits
        self._owners = Owners()
        self._late = LateDeltas()
        self._by_ids = RoutingByIds(traits, self._owners, self._late)
        self._by_order = RoutingByOrder(self._owners, self._late)
        self._repeated_errors = RepeatedErrors(traits, self._owners, clock)
        self.others: int = 0
        """How many events were other turns', while no turn of ours was under way."""
        # While deltas of one class with the same ids come, no rule changes anything: their owner
        # (None: nobody), their class and their ids.
        self._streaming: tuple[Turn | None, type, EventIds] | None = None

    @property
    def turn(self) -> Turn | None:
        """The registered turn that is not over yet."""
        return self._owners.ours

    @property
    def end_outstanding(self) -> bool:
        """Whether a turn of the session that was cancelled has not ended yet."""
        return self._repeated_errors.outstanding

    @property
    def others_seen(self) -> bool:
        """Whether an event without ids has shown that another client uses the session."""
        return self._by_order.others_seen

    @property
    def names_users_only(self) -> bool:
        """Whether events name users' messages, but not their answers (some blocking servers)."""
        return bool(self.traits.ids) and not self._owners.answers_named

    @property
    def others_at_work(self) -> bool:
        """Whether the events of this connection show another client's turn without its end."""
        return bool(self._owners.others) or self._by_order.others_at_work

    @property
    def older_ended(self) -> bool:
        """Whether the other turn that ended last may have begun before the stream was opened."""
        return not self.traits.ids or self._owners.older_ended

    def old(self, rows: Sequence[StoredRow], *, errors_due: bool = False) -> None:
        """Note the messages that are stored before a POST: their events are nobody's.

        An answer belongs to the turn of the question before it, which may be running. With
        ``errors_due``, the error of one that was broken off may still come, or come again.
        """
        self._streaming = None
        self._owners.own_stored(rows)
        if errors_due:
            self._repeated_errors.expect_of_earlier()

    def stored_meanwhile(self, rows: Sequence[StoredRow]) -> None:
        """Note other turns that were stored since the last reading: their events may still come."""
        self._owners.expect_calls(rows)

    def expect_end(self) -> None:
        """Note that a turn was cancelled on an earlier stream and has not ended yet."""
        self._repeated_errors.outstanding = True

    def register(self, text: str, *, plan_mode: bool = False, ticket: Ticket | None = None) -> Turn:
        """Register a turn, before its POST (rules 1 and 2)."""
        if self._owners.ours is not None:
            raise RuntimeError("a turn is registered already: sends must be made one by one")
        self._streaming = None
        turn = self._owners.ours = Turn(text=text, plan_mode=plan_mode, ticket=ticket)
        return turn

    def apply(self, turn: Turn, what: Input) -> bool:
        """Apply what happened to a turn beside its events; return whether that changed it."""
        self._streaming = None
        if what is Input.SENDING:
            turn.refused = False
            turn.unnamed = (turn.unnamed or []) if self.traits.turn_ids else None
            turn.doubt, turn.repetitions = None, ()  # no error before this is its own
            blocking = self.traits.answers is not False
            turn.due = Due(answer=blocking, events=blocking, proof=self.traits.proof)
            turn.overlap = "ids" if self._owners.others else turn.overlap
            # Where rows cannot be read, an end that is not taken for this turn's is never found.
            others = self._by_order.others_at_work
            turn.behind = others and self.traits.proof and self.traits.streams_run
            if others and not turn.behind:
                turn.overlap = "guess"
        elif what is Input.ACCEPTED:
            turn.accepted = True
            turn.due = Due(proof=self.traits.proof)
            if turn.unheard and self.traits.streams_run and not turn.elsewhere:
                turn.overlap = "guess"  # either connection may run it
        elif what is Input.ANSWER and turn.failed:
            turn.ended_by, turn.overlap = None, "guess"  # another client's error: ours has answered
        posted = turn.phase is Phase.POSTED and not turn.accepted
        changed = turn.step(what)
        if changed and what is Input.RESEND:
            turn.held.take()
            turn.identity = attrs.evolve(turn.identity, turn_id=None)
            turn.unnamed, turn.events, turn.of_older = None, 0, 0
            turn.accepted, turn.elsewhere, turn.doubt = False, "", None
        if turn.over and self._owners.ours is turn:
            self._repeated_errors.ended(turn, refused=posted)
            self._owners.ours_is_over()
        return changed

    def name(self, turn: Turn, turn_id: str | None) -> Route:
        """Note the turn id in the answer to a POST, and return which events held for it are its.

        Args:
          turn: the turn.
          turn_id: its id; None: no answer came, or it had no id (rule 9).
        """
        if turn.unnamed is None:
            return Route()
        held, turn.unnamed = turn.unnamed, None
        turn.identity = attrs.evolve(turn.identity, turn_id=turn_id)
        return self.route([event for _, event in held], [each for each, _ in held])

    def route(self, events: Iterable[Event], turn_ids: Sequence[str | None] = ()) -> Route:
        """Return which events of a batch are the registered turn's, and move the turn on.

        Args:
          events: the events.
          turn_ids: the turn id of each, which relays add; empty: they have none.
        """
        turn = self._owners.ours
        mine: list[Event] = []
        asked: list[Event] = []
        busy = None
        named, rest = iter(turn_ids), iter(events)
        plain = not turn_ids and self._is_plain()
        while True:
            event = self._owners.take_plain(rest, mine) if plain else next(rest, None)
            if event is None:
                break
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
            if owned is BUSY:
                busy = event
            elif owned is ASKED:
                asked.append(event)
            else:
                mine += owned
            plain = not turn_ids and self._is_plain()
        self._owners.forget()
        return Route(turn if mine or busy or asked else None, mine, busy, asked)

    def bind(self, turn: Turn, user_message_id: str) -> None:
        """Bind a turn whose ``user_message_created`` was lost to the message that is stored."""
        self._streaming = None
        turn.found_as(user_message_id)
        turn.held.take()
        self._owners.begin(turn.owner).less_ready()
        self._owners.own_message(user_message_id, turn.owner)

    def own(self, turn: Turn, *message_ids: str | None) -> None:
        """Note which stored messages are a turn's: events of them may still come."""
        self._streaming = None
        for message_id in message_ids:
            self._owners.own_message(message_id, turn.owner)

    def owned(self, turn: Turn) -> set[str]:
        """Return the ids of the messages that are a turn's, by its events."""
        return self._owners.messages_of(turn.owner)

    def runs_elsewhere(self, turn: Turn) -> None:
        """Note that another stream of the session runs a turn: no event of this one is its own."""
        self._streaming = None
        turn.elsewhere = "other"
        self._by_order.others_seen = True

    def disown(self, turn: Turn) -> None:
        """Note that the events that a turn has received so far were another client's."""
        self._streaming = None
        turn.owner.over = True
        turn.owner = Owner(ours=True)
        turn.ended_by, turn.events, turn.of_older = None, 0, 0
        turn.due, turn.overlap = attrs.evolve(turn.due, proof=True), "ids"

    def of_others(self, turn: Turn, asked: Iterable[str], answers: Iterable[str]) -> set[str]:
        """Return which stored answers are, by their events, those of other turns' questions."""
        asked = asked if turn.bound else ()
        others = [self._owners.of_message(each) for each in self.asked_by_others(turn, asked)]
        return {each for each in answers if self._owners.of_message(each) in others}

    def asked_by_others(self, turn: Turn, asked: Iterable[str]) -> set[str]:
        """Return which stored user messages are, by their events, those of other turns."""
        owners = self._owners
        return {each for each in asked if owners.of_message(each) not in (None, turn.owner)}

    def lost(self) -> None:
        """Set aside what is known of other clients' turns, as the connection was lost."""
        self._streaming = None
        self.traits.used = self.traits.stale = self._by_order.others_at_work = False
        self._repeated_errors.named(None)  # the next connection may repeat it
        turn = self._owners.ours
        if turn is not None and self.traits.streams_run:
            turn.behind = False
            if (turn.accepted or turn.events) and not turn.elsewhere:
                turn.elsewhere = "lost"
            elif turn.phase is Phase.POSTED and not turn.accepted:
                turn.overlap = "guess"  # either connection may run it
        self._owners.lost()

    def reconnected(self, *, replayed: bool) -> None:
        """Take up other clients' turns again if all that was missed is replayed, or forget them."""
        turn = self._owners.ours
        if replayed and turn is not None and turn.elsewhere == "lost":
            turn.elsewhere = ""
        if not replayed:
            self._late.missed()
        self._owners.reconnected(replayed=replayed)

    # -- one event --------------------------------------------------------------------------

    def _is_plain(self) -> bool:
        """Return whether the next event is our turn's, unless its class or its ids differ."""
        if self._repeated_errors.watching_ends or not (self.traits.ids and self._owners.ours_alone):
            return False
        self._streaming = None
        return True

    def _route(self, event: Event) -> Sequence[Event]:
        """Apply the rules to one event; return the events of which it shows that they are ours."""
        self._streaming, self._late.came = None, False
        kind = type(event)
        if kind in NOT_OF_TURNS:
            return NOBODY
        ids = ids_of(event)
        self.traits.learn(event, ids)
        turn = None if self.traits.stale else self._owners.ours
        if turn is not None and (turn.phase is _REGISTERED or turn.phase is _ENDED):
            if turn.refused and turn.phase is _REGISTERED and kind is ev.PermissionEvent:
                return ASKED
            turn = None
        errors = self._repeated_errors
        if kind is ev.UserMessageCreatedEvent and ids[2] is None:
            errors.named(ids[0])
            self._by_ids.names_users = True
        if errors.watching and errors.swallow(event, turn):
            self.others += turn is not None
            return NOBODY
        terminal = self.traits.ends(event, ids)
        failed = terminal and kind is not ev.CompleteEvent
        if failed and turn is not None and turn.phase is _ANSWERED:
            turn.overlap, turn = "guess", None  # rule 8
        if self.traits.ids:
            owned = self._by_ids.route(event, ids, turn, ends=terminal)
        else:
            owned = self._by_order.route(event, ids, turn, ends=terminal)
            if owned is BUSY and turn is not None and self.apply(turn, Input.RESEND):
                turn.refused = True
            elif owned is BUSY:
                owned = NOBODY
        if owned is ASKED:
            return owned
        if not owned:
            self.others += 1
            nameless = turn is None and not self.traits.ids
            self._by_order.note_others(kind, nameless=nameless, ends=terminal)
        elif terminal and self.traits.streams_run:
            self._by_order.others_at_work = False
        if terminal and (owned or self.traits.ids):
            self._late.ended(failed=failed)
        if terminal or errors.watching:
            errors.heard(event, turn, ours=owned is BUSY or bool(owned), terminal=terminal)
        if turn is not None and owned:
            if kind is ev.UserMessageCreatedEvent and errors.copies > 1 and not turn.overlap:
                turn.overlap = "ids"  # each turn that runs brings one copy of an event
            turn.events += len(owned)
            if isinstance(event, ev.UnknownEvent) and event.name in ("complete", "error"):  # torn
                turn.doubt = event
            elif self._by_ids.sure if self.traits.ids else self._by_order.sure:
                turn.doubt = None
            if terminal:
                turn.ended_by = event
                others = self.others_seen or self._owners.others_heard
                if turn.failed and (others or (turn.missed and self.traits.ids)):
                    turn.overlap = turn.overlap or "end"  # it names nothing: the rows decide
                if turn.ended_as_command:
                    turn.due = attrs.evolve(turn.due, proof=False)
                if self.others_seen and not turn.due.proof:
                    # Nothing shows whose turn has ended, or whose tools were called meanwhile.
                    turn.overlap = "guess" if self.traits.streams_run else turn.overlap or "ids"
            self._move_on(turn, ends=terminal)
        if kind in DELTAS and owned is not HELD and not self._late.came:
            owner = turn if owned else None
            if owner is None or (owner is self._owners.ours and owner.doubted_end is None):
                self._streaming = (owner, kind, ids)
        return owned

    # -- relays: turn ids decide (rule 9) ---------------------------------------------------

    def _by_turn_id(self, event: Event, turn_id: str) -> Sequence[Event]:
        self._streaming = None
        turn = self._owners.ours
        if turn is None or turn.phase is _REGISTERED or turn.phase is _ENDED:
            return NOBODY
        if turn.unnamed is not None:
            turn.unnamed.append((turn_id, event))
            if len(turn.unnamed) > _MOST_NAMED:
                del turn.unnamed[0]
            return HELD
        if turn.identity.turn_id is None:
            return self._route(event)
        if turn.identity.turn_id != turn_id:
            return NOBODY
        if isinstance(event, ev.UserMessageCreatedEvent) and event.parent_tool_call_id is None:
            turn.identity = attrs.evolve(turn.identity, user_message_id=event.message_id)
        turn.events += 1
        turn.doubt = None
        ends = self.traits.ends(event, ids_of(event))
        if ends:
            turn.ended_by = event
        self._move_on(turn, ends=ends)
        return (event,)

    def _move_on(self, turn: Turn, *, ends: bool) -> None:
        """Apply an event of a turn's own to its phase."""
        if ends:
            self.apply(turn, Input.TERMINAL)
        elif turn.phase is not _RUNNING:
            self.apply(turn, Input.EVENT)
