"""Shows the library's log warnings on stderr, one line each; a defect with its traceback.

Rules:

1. A warning is shown once: not if the log is shown (``MIX_DEBUG``) or has another handler.
2. No warning is shown while a status line shows the state of the stream: it would repeat that, and
   garble the screen.
3. The logger is left as it was, because others may use it.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from trio_mix._rest._options import debug_wanted
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.cli.ui._text import print_error, print_traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

_log: Final = logging.getLogger("trio_mix")


class _WarningHandler(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.suppressed = 0

    def emit(self, record: logging.LogRecord) -> None:
        if not self.suppressed:
            print_error(without_library_terms(record.getMessage()))
            if record.exc_info is not None and record.exc_info[1] is not None:
                print_traceback(record.exc_info[1])


_HANDLER: Final = _WarningHandler()


@contextmanager
def warnings_on_stderr() -> Iterator[None]:
    """Show warnings on stderr until the block is left."""
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
    """Show no warnings until the block is left."""
    _HANDLER.suppressed += 1
    try:
        yield
    finally:
        _HANDLER.suppressed -= 1
