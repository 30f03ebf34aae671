"""What the user sees of an exception: one line, and an exit code.

What it knows: which exceptions are the user's or the server's affair.
What it must never know: how to hide a defect of this program; those keep their traceback.
"""

from __future__ import annotations

import sys
from typing import Final

from trio_mix.cli._render import clean
from trio_mix.errors import TrioMixError

OK: Final = 0
FAILED: Final = 1
"""What was to be shown did not happen (``demo``)."""
ERROR: Final = 2
"""An error that was told in one line on stderr."""
INTERRUPTED: Final = 130
"""What a shell expects after Ctrl-C."""


def complain(problem: str) -> None:
    """Say one line on stderr."""
    print("trio-mix:", " ".join(clean(problem).split()), file=sys.stderr, flush=True)


def leaves(error: BaseException) -> list[BaseException]:
    """Flatten an exception group; anything else is its own only leaf."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaves(inner)]


def told(error: BaseException) -> int | None:
    """Tell the user about an error, and return the exit code.

    Returns:
      ``None`` when the error is a defect of this program: then its traceback is wanted.
    """
    found = leaves(error)
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in found):
        return INTERRUPTED
    if all(isinstance(leaf, BrokenPipeError) for leaf in found):
        return ERROR
    if not all(isinstance(leaf, TrioMixError | OSError) for leaf in found):
        return None
    # Several tasks that fail for one reason say it in the same words: once is enough.
    for text in dict.fromkeys(str(leaf) or type(leaf).__name__ for leaf in found):
        complain(text)
    return ERROR
