"""The ``trio-mix`` command.

What it knows: which packages the command needs, and what to say when they are missing.
What it must never know: anything else, so that it can be imported without them.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = frozenset({"cyclopts", "rich", "h11", "prompt_toolkit"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      argv: the arguments without the program's name; ``None`` takes the process's own.

    Returns:
      The exit code, as the reference page of the command line lists them: 0 for success, 1 to 4
      for an error that was told in one line on stderr, 130 for an interrupt from the keyboard.
    """
    try:
        from trio_mix.cli._app import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"trio-mix: the command line needs {missing.name}: pip install 'trio-mix[cli]'",
            file=sys.stderr,
        )
        return 2
    return run(sys.argv[1:] if argv is None else argv)
