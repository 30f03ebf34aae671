"""The state of one turn: its phases, what moves it on, and what is remembered of it."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from trio_mix._ticket import Ticket
    from trio_mix.events import Event

    Overlap: TypeAlias = Literal["", "end", "ids", "guess"]
    Elsewhere: TypeAlias = Literal["", "other", "lost"]

_MOST_HELD: Final = 4096
_MOST_TEXT_HELD: Final = 16 * 2**20
"""In characters. One event is held whatever its size."""

_text_fields: Final[dict[type, tuple[str, ...]]] = {}


class Phase(enum.Enum):
    """The phase of a turn."""

    REGISTERED = "registered"
    """Known to the router; no byte of the POST is under way."""
    POSTED = "posted"
    """The POST is under way; neither an answer nor an event has come."""
    RUNNING = "running"
    """The server works on it."""
    ENDED = "ended"
    """Its terminal event has come; the HTTP answer is still due (blocking generation), or the
    stored messages have to show whose event it is (pipeline generation)."""
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
    DISOWNED = "the terminal event was another client's"


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
        Input.DISOWNED: Phase.RUNNING,
    },
    Phase.ANSWERED: {
        Input.EVENT: Phase.ANSWERED,
        Input.TERMINAL: Phase.OVER,
        Input.SETTLED: Phase.OVER,
    },
    Phase.OVER: {},
}
"""The state machine as data; its drawing is made from it.

ENDED and ANSWERED are passed through in one step if nothing else is due (`Due`). While a proof is
due, an accepted POST does not end a turn.
"""


_ENDED: Final = Phase.ENDED
_OVER: Final = Phase.OVER  # compared for every event, and a member of an enum takes long to reach


@attrs.define(eq=False)
class Owner:
    """A turn, of ours or not, as the owner of ids."""

    ours: bool = False
    """Whether it is one of this stream's."""
    started_at: int = 0
    """Its number in the order in which turns were seen to begin; 0 if it was not."""
    readiness: int = 2
    """How ready it is for a new round: it is speaking (0), has called a tool (1), has begun or its
    tool has run (2)."""
    over: bool = False
    """Whether no event of it shows any more that it runs."""
    ended: bool = False
    """Whether its end has come on this stream."""
    active: bool = False
    """Whether an event of it has come since the last turn of ours was over."""
    guessed: bool = False
    """Whether some of its events may be those of another turn that ran beside it."""

    def less_ready(self) -> None:
        """Note that the turn may be over, or in the middle of a round."""
        self.readiness = min(self.readiness, 1)


@attrs.frozen(kw_only=True)
class Due:
    """What is due, in addition to one of the terminal event and the HTTP answer, to end a turn."""

    answer: bool = False
    """Whether the terminal event does not end it: the HTTP answer is due as well."""
    events: bool = False
    """Whether the HTTP answer does not end it: the terminal event is due as well."""
    proof: bool = False
    """Whether a ``complete`` does not end it: the stored messages have to show whose it is."""


@attrs.frozen(kw_only=True)
class Identity:
    """What names a turn among the events, and its message among the stored ones."""

    user_message_id: str | None = None
    """The id of its user message; None: not known yet."""
    by_text: bool = False
    """Whether that is the id of a stored message that has its text."""
    turn_id: str | None = None
    """The id that a relay has given it; None until the answer to its POST has come."""


@attrs.define
class HeldEvents:
    """The events of a session that may be a turn's; the oldest are dropped beyond the bounds."""

    events: list[Event] = attrs.field(factory=list)
    size: int = 0

    def __len__(self) -> int:
        return len(self.events)

    def add(self, event: Event) -> None:
        """Hold one more event."""
        self.events.append(event)
        self.size += size_of(event)
        while len(self.events) > _MOST_HELD or (
            self.size > _MOST_TEXT_HELD and len(self.events) > 1
        ):
            self.size -= size_of(self.events.pop(0))

    def take(self) -> list[Event]:
        """Return the events, and hold none from then on."""
        events, self.events, self.size = self.events, [], 0
        return events

    def began_earlier(self) -> bool:
        """Return whether the text of a final ``complete`` has a beginning that is not held."""
        ending = self.events[-1]
        if not isinstance(ending, ev.CompleteEvent) or ending.content is None:
            return False
        heard = "".join(
            event.content
            for event in self.events
            if isinstance(event, ev.ContentEvent)
            and event.parent_tool_call_id is None
            and event.assistant_message_id == ending.message_id
        )
        return not ending.content.startswith(heard)


def size_of(event: Event) -> int:
    """Return the number of characters in the texts of an event."""
    kind = type(event)
    names = _text_fields.get(kind)
    if names is None:
        names = _text_fields[kind] = tuple(field.name for field in attrs.fields(kind))
    values = [getattr(event, name) for name in names]
    return sum(len(value) for value in values if isinstance(value, str))


@attrs.define(eq=False)
class Turn:
    """The turn of one sent message, as far as routing is concerned."""

    text: str
    plan_mode: bool = False
    ticket: Ticket | None = None
    """The ticket of its message as it was when the turn was registered, if it has one."""
    phase: Phase = Phase.REGISTERED
    due: Due = Due()
    overlap: Overlap = ""
    """Whether another turn of the session ran meanwhile, and how its events were distinguished.

    ``end``: only the error that ended this turn may be another one's.
    """
    twin: bool = False
    """Whether another message with its text was sent meanwhile, of which it may be the turn."""
    outlived: bool = False
    """Whether another turn was silent while it ran, and has not ended."""
    identity: Identity = Identity()
    ended_by: Event | None = None
    events: int = 0
    of_older: int = 0
    """How many of these events came before the end of an older turn, and may be that one's."""
    owner: Owner = attrs.field(factory=lambda: Owner(ours=True))
    held: HeldEvents = attrs.field(factory=HeldEvents)
    """Events that may be its own."""
    unheard: bool = False
    """Whether no event that names it has come since a connection was lost, unless all that was
    missed is replayed. What binds it may have been lost then."""
    missed: bool = False
    """Whether another turn may have begun unseen: a connection was lost, and not replayed."""
    accepted: bool = False
    """Whether the server has answered the POST with a success."""
    elsewhere: Elsewhere = ""
    """Why no event of this connection is its own, on servers whose streams run the messages: the
    stream that runs it is another one, or was lost."""
    refused: bool = False
    """Whether its stream was busy and has dropped it: another one may run it."""
    behind: bool = False
    """Whether such a stream has to end another client's turn before it runs this one."""
    cancelling: bool = False
    """Whether a request to cancel it was sent, or is being sent."""
    unnamed: list[tuple[str, Event]] | None = None
    """The events with turn ids that have arrived since a relay was asked to send it; None: it was
    not, or it has answered."""
    resumed: bool = False
    """Whether another process, or an earlier attempt, may have sent the message: its ticket and the
    stored messages show whether it did."""
    doubt: Event | None = None
    """A terminal event that was taken for another turn's and may have been this one's, if no event
    of this turn has come since."""
    repetitions: tuple[Event, ...] = ()
    """The errors that may have repeated those of earlier turns of this stream, or may have been its
    own; the last one is `doubt` if no event of this turn has come since."""

    errors_unseen: bool = False
    """Whether these may be the errors of a turn that this stream has not seen fail."""

    @property
    def over(self) -> bool:
        """Whether nothing more is due."""
        return self.phase is _OVER

    @property
    def failed(self) -> bool:
        """Whether its terminal event was an error."""
        return isinstance(self.ended_by, ev.ErrorEvent | ev.RateLimitEvent)

    @property
    def doubts_repetition(self) -> bool:
        """Whether its end may have been taken for the repetition of an earlier turn's error."""
        return bool(self.repetitions) and self.doubt is self.repetitions[-1]

    @property
    def doubted_end(self) -> ev.CompleteEvent | None:
        """A ``complete`` that was taken for another turn's and may have been this one's."""
        return self.doubt if isinstance(self.doubt, ev.CompleteEvent) else None

    @property
    def is_command(self) -> bool:
        """Whether it is a command: nothing that is stored shows whether it has run."""
        return is_command(self.text)

    @property
    def ended_as_command(self) -> bool:
        """Whether it is a command, and its end names no message, as a command's does."""
        named = isinstance(self.ended_by, ev.CompleteEvent) and bool(self.ended_by.message_id)
        return not (named or self.failed) and self.is_command

    @property
    def heard(self) -> int:
        """How many events were its own, or are held back until their owner is known."""
        return self.events + len(self.held.events) + len(self.unnamed or ())

    @property
    def bound(self) -> bool:
        """Whether the id of the user message is known."""
        return self.identity.user_message_id is not None

    def found_as(self, user_message_id: str) -> None:
        """Note the id of the stored message that was found to be this turn's, by its text."""
        self.identity = attrs.evolve(self.identity, user_message_id=user_message_id, by_text=True)

    @property
    def user_message_id(self) -> str | None:
        """The id of its user message; None: not known yet."""
        return self.identity.user_message_id

    def step(self, what: Input) -> bool:
        """Apply one input; return whether the table has it in this phase."""
        target = TRANSITIONS[self.phase].get(what)
        if target is None or (what is Input.ACCEPTED and self.phase is _ENDED and self.due.proof):
            return False
        due = self.due
        passed = (target is Phase.ENDED and not (due.answer or due.proof)) or (
            target is Phase.ANSWERED and not due.events
        )
        self.phase = Phase.OVER if passed else target
        return True

    def matches(self, content: str) -> bool:
        """Return whether a stored user text is this message's: plan mode appends something."""
        return same_text(self.text, content, plan_mode=self.plan_mode)


def same_text(sent: str, stored: str, *, plan_mode: bool = False) -> bool:
    """Return whether a stored text is that of a message: plan mode appends something."""
    ours, theirs = plain(sent), plain(stored)
    return ours == theirs or (plan_mode and bool(ours) and theirs.startswith(ours))


def is_command(text: str) -> bool:
    """Return whether a text is a command, which servers run without storing it."""
    return text.lstrip().startswith(("/", "!"))


def plain(text: str) -> str:
    """Return a text in the form in which it can be compared with a server's copy of it.

    A server may trim or fold white space, and replaces half a surrogate pair.
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return " ".join(whole.split())
