"""Text for a terminal: cleaned, and cut to a length; errors on stderr."""

from __future__ import annotations

import sys
from contextlib import suppress

from trio_mix._terminal_text import clean, escape

__all__ = ["clean", "escape", "excerpt", "print_error"]

_EXCERPT = 200
_LOOKED_AT = 64 * 1024  # characters of a text that an excerpt is made of


def excerpt(text: str, limit: int = _EXCERPT) -> str:
    """Return the text on one line, cut to the limit in characters."""
    cut = len(text) > _LOOKED_AT
    flat = " ".join(clean(text[:_LOOKED_AT]).split())
    return flat if len(flat) <= limit and not cut else flat[: limit - 1] + "…"


def print_error(problem: str) -> None:
    """Print one line on stderr, unless stderr is gone."""
    with suppress(OSError):
        print("trio-mix:", escape(" ".join(problem.split())), file=sys.stderr, flush=True)
