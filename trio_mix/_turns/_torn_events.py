"""Recognize events that were damaged in transit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mix import events as ev
from trio_mix._json import is_json, member_type
from trio_mix._wire._events import EVENT_CLASSES

if TYPE_CHECKING:
    from trio_mix.events import Event

_TEXT: Final = frozenset({"content", "complete", "message"})


def is_torn(event: Event) -> bool:
    """Return whether an event that fits no class belonged to the turn and was damaged in transit.

    Data that is not JSON was torn. Data that is may be an event of a newer server, which does not
    concern the reply, unless it is text, or the end of it, or has no name: no server sends that.
    """
    if not isinstance(event, ev.UnknownEvent):
        return False
    if event.name in _TEXT:
        return True
    if event.name in EVENT_CLASSES and not is_json(event.data, too_deep=True):
        return True
    return member_type(event.data) in _TEXT
