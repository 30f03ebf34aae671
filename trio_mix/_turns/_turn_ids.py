"""The turn id that a relay adds to the data of an event."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["turn_id_of"]

_LONGEST: Final = 160
_LAST_FIELD: Final = re.compile(r'[,{]\s*"turnId"\s*:\s*"([^"\\]{1,100})"\s*\}\s*$')


def turn_id_of(data: str) -> str | None:
    """Return the turn id in the data of an event; None without one.

    A relay appends it as the last field, so that only the end of the data is looked at.
    """
    match = _LAST_FIELD.search(data, max(0, len(data) - _LONGEST))
    return None if match is None else match[1]
