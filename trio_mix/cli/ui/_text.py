"""Text for a terminal: cleaned, and cut to a length; errors on stderr."""

from __future__ import annotations

import shutil
import sys
import textwrap
import traceback
from contextlib import suppress

from trio_mix._terminal_text import clean, escape

_EXCERPT = 200
_NARROWEST = 20
_LOOKED_AT = 64 * 1024  # characters of a text that an excerpt is made of


def excerpt(text: str, limit: int = _EXCERPT) -> str:
    """Return the text on one line, cut to the limit in characters."""
    cut = len(text) > _LOOKED_AT
    flat = " ".join(clean(text[:_LOOKED_AT]).split())
    return flat if len(flat) <= limit and not cut else flat[: limit - 1] + "…"


def print_error(problem: str) -> None:
    """Print one line on stderr, unless stderr is gone. A terminal gets it wrapped at words."""
    with suppress(OSError):
        line = f"trio-mix: {escape(' '.join(problem.split()))}"
        print(wrapped(line) if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


def print_traceback(error: BaseException) -> None:
    """Print the traceback of an exception on stderr, unless stderr is gone."""
    with suppress(OSError):
        text = escape("".join(traceback.format_exception(error)))
        print(text, end="", file=sys.stderr, flush=True)


def wrapped(text: str) -> str:
    """Return the text with line ends at words, as the terminal is wide; no word is broken."""
    width = max(shutil.get_terminal_size().columns - 1, _NARROWEST)
    lines = (
        textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    )
    return "\n".join("\n".join(each) for each in lines)
