"""The standard streams of the process: replaced where closed, and flushed at the end.

Rules:

1. A standard stream that is closed (``>&-``) becomes the null device, so that no file or connection
   opened later gets its number.
2. Text that the encoding cannot write is replaced, never an error.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Final

_MODES: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def prepare_streams() -> None:
    """Make all three standard streams usable."""
    for descriptor, (name, mode) in enumerate(_MODES):
        if getattr(sys, name) is None:
            _open_if_closed(descriptor)
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _open_if_closed(descriptor: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != descriptor:
            os.dup2(null, descriptor)
            os.close(null)


def flush_streams() -> None:
    """Flush stdout and stderr.

    Raises:
      OSError: one cannot be written. Its file is now the null device, so that the interpreter's
        own flush does not fail again.
    """
    failure: OSError | None = None
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            failure = failure or error
            with suppress(OSError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)
    if failure is not None:
        raise failure
