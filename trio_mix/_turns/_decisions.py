"""What a message's task can be asked to do, and what it reports of the stored messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from trio_mix._turns._stored_rows import StoredReply
    from trio_mix._turns._stored_turn import End, TurnOutcome, Verdict
    from trio_mix.events import ErrorEvent, Event, RateLimitEvent


@attrs.frozen
class Wait:
    """Wait for the next fact, at most until a time; asked again then."""

    until: float = math.inf


@attrs.frozen
class Post:
    """Send the message."""


@attrs.frozen
class Restart:
    """Forget the attempt that did not run; the message is sent again."""


@attrs.frozen
class ReadStored:
    """Read the stored messages and report a `Reading`, at most until a time."""

    until: float = math.inf


@attrs.frozen
class Cancel:
    """Ask the server to cancel and report whether it acknowledged that."""


@attrs.frozen
class Withdraw:
    """End the message, which was left before any of it was sent."""


@attrs.frozen
class Bind:
    """Note which stored message this is; ``lost`` where the event that names it was lost."""

    user_message_id: str
    lost: bool


@attrs.frozen
class Follow:
    """Take the message for running: another stream of the session runs it."""


@attrs.frozen
class Disown:
    """Take the events of the message for another client's, and go on with it."""


@attrs.frozen(kw_only=True)
class Complete:
    """End the turn: with its stored reply, by an event, or as it stands."""

    reply: StoredReply | None = None
    ended_by: Event | None = None
    doubtful: bool = False
    """Whether the reply may be incomplete."""
    unproven: bool = False
    """Whether nothing shows that the terminal event is this turn's."""
    lost: str = ""
    """Why events are missing, for a gap event; empty where none is due."""
    events_lost: bool = False
    """Whether events are lost, and the message has not received a gap event for them yet."""


@attrs.frozen(kw_only=True)
class Interrupt:
    """End the message with `MessageInterrupted`."""

    outcome: Literal["gone", "unknown"]
    what: str
    why: str
    reply: StoredReply | None = None
    """What is stored of the reply."""
    mixed: bool = False
    """Whether some of that may be another turn's."""
    cause: ErrorEvent | RateLimitEvent | None = None
    """The error event that may have been this turn's end."""


@attrs.frozen
class Refuse:
    """End the message with an exception: the server, or a hook, refused it."""

    failure: BaseException


Decision: TypeAlias = (
    Wait
    | Post
    | Restart
    | ReadStored
    | Cancel
    | Withdraw
    | Bind
    | Follow
    | Disown
    | Complete
    | Interrupt
    | Refuse
)


@attrs.frozen(kw_only=True)
class Reading:
    """One reading of the session's stored messages."""

    verdict: Verdict | None = None
    """What the rows say of this turn; None where they could not be read."""
    at_work: bool = False
    """Whether the session's last turn, of any client, may still be running."""
    ends_shown: bool = False
    """Whether the rows show when a turn ends, by finish reasons."""
    over_known: bool = False
    """Whether it is known that the last stored turn is over, or was cancelled on a stream that has
    queued nothing, whatever the rows show."""
    weight: int = 0
    """A number that changes when more is stored in the session."""
    age: float | None = None
    """Seconds since its newest row changed, by the server's clock, or since the first reading that
    showed it; None: unknown."""
    unended: float | None = None
    """Seconds since a turn changed that has no end there, by the server's clock, before a message
    is sent; None: there is no such turn, or no time."""
    end: End = ""
    """Whose the terminal event is: empty where the rows do not show it yet, either where they will
    not show it."""
    alone: bool = True
    """Whether this turn runs, and no other one; also where the rows do not show it."""
    others_stored: bool = False
    """Whether the session has recent messages that this stream has not sent."""
    lone: bool = True
    """Whether no event and no stored message shows that another client uses the session."""
    none_kept: bool = False
    """Whether the server keeps no messages that can be read."""

    @property
    def outcome(self) -> TurnOutcome | None:
        """What the rows say, or None."""
        return None if self.verdict is None else self.verdict.outcome
