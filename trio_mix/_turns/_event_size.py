"""How much memory an event takes: the characters of its texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from trio_mix.events import Event

__all__ = ["size_of"]

_names: Final[dict[type, tuple[str, ...]]] = {}


def size_of(event: Event) -> int:
    """Return the number of characters in the texts of an event."""
    kind = type(event)
    names = _names.get(kind)
    if names is None:
        names = _names[kind] = tuple(field.name for field in attrs.fields(kind))
    values = [getattr(event, name) for name in names]
    return sum(len(value) for value in values if isinstance(value, str))
