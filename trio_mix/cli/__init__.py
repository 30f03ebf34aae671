"""The ``trio-mix`` command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = frozenset({"cyclopts", "rich", "h11", "prompt_toolkit", "platformdirs", "markdown_it"})


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
      argv: the arguments without the program's name; ``None`` takes those of the process.

    Returns:
      The exit code, as the reference page of the command line lists them: 0 for success, 1 to 4
      for an error that was reported in one line on stderr, 130 for Ctrl-C.
    """
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:  # before the command handles signals, or after
        print("trio-mix: interrupted", file=sys.stderr)
        return 130


def _main(argv: Sequence[str]) -> int:
    from trio_mix.cli._streams import flush_streams, prepare_streams

    prepare_streams()
    try:
        from trio_mix.cli._app import run
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in _EXTRA:
            raise
        print(
            f"trio-mix: the command line needs {missing.name}: run pip install '.[cli]' in a clone"
            " of trio_mix, which is on no package index",
            file=sys.stderr,
        )
        return 2
    code = run(argv)
    try:
        flush_streams()
    except BrokenPipeError:  # the reader has exited early
        pass
    except OSError as error:
        from trio_mix.cli._errors import report_error

        return code or report_error(error)  # a failed command was reported
    return code
