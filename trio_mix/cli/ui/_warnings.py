"""The package's warnings on stderr, one line each, like everything else that the command says.

What it knows: the logger, and when something else tells the same.
What it must never know: what is warned of.

Rules:

1. A warning is said once: whoever asked for the log (``MIX_DEBUG``), or set up a handler, has it
   there.
2. None comes while a status line shows what the stream is doing: it would say the same, and garble
   the screen.
3. Nothing is left on the logger, for others may go on using it.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from trio_mix._rest._options import debug_wanted
from trio_mix.cli.ui._text import print_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_log: Final = logging.getLogger("trio_mix")


class _WarningHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.quiet = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self.quiet:
            print_error(record.getMessage())


_HANDLER: Final = _WarningHandler()


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Say warnings on stderr until the block is left."""
    if debug_wanted() or _log.handlers:
        yield
        return
    _log.addHandler(_HANDLER)
    try:
        yield
    finally:
        _log.removeHandler(_HANDLER)


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Say none until the block is left: something else shows what goes on."""
    _HANDLER.quiet += 1
    try:
        yield
    finally:
        _HANDLER.quiet -= 1
