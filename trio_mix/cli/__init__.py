"""The ``trio-mix`` command."""

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
      argv: the arguments without the program's name; ``None`` takes those of the process.

    Returns:
      The exit code, as the reference page of the command line lists them: 0 for success, 1 to 4
      for an error that was reported in one line on stderr, 130 for Ctrl-C.
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
