"""Text for a terminal: control characters removed, cut to a length, errors on stderr."""

from __future__ import annotations

import re
import sys

_EXCERPT = 200


# The C0 and C1 controls but line feed and tab, and what overrides the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def clean(text: str) -> str:
    """Take out what could steer a terminal: all control characters but line feed and tab."""
    return _CONTROLS.sub("", text)


def excerpt(text: str, limit: int = _EXCERPT) -> str:
    """Make one line of the text, no longer than the limit."""
    flat = " ".join(clean(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def print_error(problem: str) -> None:
    """Say one line on stderr."""
    print("trio-mix:", " ".join(clean(problem).split()), file=sys.stderr, flush=True)
