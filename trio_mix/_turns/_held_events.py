"""Hold back events until it is known whose they are, bounded by their number and their size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from trio_mix.events import Event

_MOST: Final = 4096
_MOST_TEXT: Final = 16 * 2**20
"""In characters. One event is held whatever its size."""

_names: Final[dict[type, tuple[str, ...]]] = {}


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
        while len(self.events) > _MOST or (self.size > _MOST_TEXT and len(self.events) > 1):
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
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(field.name for field in attrs.fields(kind))
    values = [getattr(event, name) for name in names]
    return sum(len(value) for value in values if isinstance(value, str))
