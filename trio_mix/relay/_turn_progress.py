"""One turn, as far as its events have come: what was appended, and what is held back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._turns._wire_traits import ids_of
from trio_mix.relay._bridge import CallSeen
from trio_mix.relay._outbox import Draft
from trio_mix.relay._records import Audience

if TYPE_CHECKING:
    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

_MAX_HELD: Final = 16 * 2**20
_MAX_SEEN: Final = 64 * 2**20
_MAX_CALLS: Final = 10_000
_MAX_IDS: Final = 20_000


class Seen:
    """The text and the tool calls in some events of a turn."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: dict[str, CallSeen] = {}
        self.events = 0
        self.size = 0

    def add(self, event: Event) -> None:
        """Note one event."""
        self.events += 1
        if isinstance(event, ev.ContentEvent):
            if event.parent_tool_call_id is None:
                self.text.append(event.content)
                self.size += len(event.content)
            return
        call = ids_of(event)[1]
        if call is None:
            return
        seen = self.calls.setdefault(call, CallSeen())
        match event:
            case ev.ToolUseStartEvent():
                seen.announced = True
            case ev.ToolUseParameterStreamingCompleteEvent():
                seen.complete = True
            case ev.ToolEvent():
                seen.announced = True
                seen.complete = seen.complete or (event.status == "completed" and event.input != "")
            case ev.ToolExecutionCompleteEvent():
                seen.finished = True
            case _:
                pass

    def drop_beginning(self) -> None:
        """Forget the first half of the text and of the calls."""
        text = "".join(self.text)[-self.size // 2 :]
        self.text, self.size = [text], len(text)
        for call in list(self.calls)[: len(self.calls) // 2]:
            del self.calls[call]


@attrs.frozen
class OpenRequest:
    """A permission request that nobody has answered."""

    data: str
    turn_id: str
    position: int
    """The id of its event."""


class TurnEvents:
    """One turn: what was appended of it, and what is held back.

    Args:
      turn_id: its id.
      own: whether it was sent through the relay.
      cut: whether events of it may have been lost before.
      start: the position before its first event.
    """

    def __init__(self, turn_id: str, *, own: bool, cut: bool = False, start: int = 0) -> None:
        self.turn_id = turn_id
        self.start = start
        self.own = own
        self.cut = cut
        self.was_cut = cut
        self.recognized = not cut
        """Whether the client knows since the last hole which events are this turn's."""
        self.seen = Seen()
        self.held: list[tuple[ServerSentEvent, Event]] = []
        self.held_bytes = 0
        self.tail = False
        self.end: ServerSentEvent | None = None
        self.message_ids: dict[str, None] = {}
        """The ids of its top-level assistant messages."""
        self.calls: dict[str, None] = {}
        self.answering = False
        """Whether an assistant message of it is known."""

    def see(self, event: Event) -> None:
        """Note an event that is appended (rule 5)."""
        self.seen.add(event)
        if self.seen.size > _MAX_SEEN or len(self.seen.calls) > _MAX_CALLS:
            self.seen.drop_beginning()
            self.tail = True

    def note_ids(self, event: Event) -> None:
        """Remember the ids by which later events of the turn are recognized."""
        message, call, parent = ids_of(event)
        if message and parent is None:
            self.message_ids[message] = None
            self.answering = self.answering or not isinstance(event, ev.UserMessageCreatedEvent)
        if call:
            self.calls[call] = None
        for ids in (self.message_ids, self.calls):
            if len(ids) > _MAX_IDS:
                del ids[next(iter(ids))]

    def owns(self, event: Event) -> bool:
        """Return whether an id in an event is the turn's."""
        message, call, parent = ids_of(event)
        if parent is not None:
            return parent in self.calls
        return (message in self.message_ids) or (call in self.calls)

    def hold(self, frame: ServerSentEvent, event: Event) -> None:
        """Hold an event back (rules 3 and 5)."""
        self.held_bytes += len(frame.data)
        if self.held_bytes <= _MAX_HELD:
            self.held.append((frame, event))

    @property
    def held_text(self) -> str:
        """The top-level text that is held back."""
        return "".join(
            event.content
            for _, event in self.held
            if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None
        )

    def passed_on(self) -> list[Draft]:
        """Return what is held back, as it is appended."""
        return [Draft(frame.event, frame.data, audience_of(event)) for frame, event in self.held]

    def hole(self) -> None:
        """Note that events may be missing: what was held back does not follow on what comes now."""
        self.cut = self.was_cut = True
        self.recognized = False
        self.held, self.held_bytes = [], 0


def audience_of(event: Event) -> Audience:
    """Return which consumers receive an event of the server."""
    return Audience.RATE_LIMIT if isinstance(event, ev.RateLimitEvent) else Audience.ALL
