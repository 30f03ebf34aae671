"""Text for a terminal: control characters removed, cut to a length; errors on stderr."""

from __future__ import annotations

import re
import sys

_EXCERPT = 200


# The C0 and C1 controls except line feed and tab, and the controls of the writing direction.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Return the text without control characters, except line feed and tab."""
    return _CONTROLS.sub("", text)


def excerpt(text: str, limit: int = _EXCERPT) -> str:
    """Return the text on one line, cut to the limit in characters."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def print_error(problem: str) -> None:
    """Print one line on stderr."""
    print("trio-mix:", " ".join(clean(problem).split()), file=sys.stderr, flush=True)
