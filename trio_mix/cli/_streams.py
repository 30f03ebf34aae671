"""The standard streams of the process: replaced where closed, and flushed at the end.

Rules:

1. A standard stream that is closed (``>&-``) becomes the null device, so that no file or connection
   opened later gets its number. Stdout's is open for reading only: a result that is written to it
   would be lost, so each write fails.
2. Text that the encoding cannot write is replaced, never an error.
3. Input is decoded as its byte order mark says, which programs on Windows write, else in the
   encoding of the locale. Bytes that are invalid in it are replaced by U+FFFD.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from typing import TextIO

MAX_INPUT: Final = 16 * 2**20
"""The largest input that is read as one text, in characters."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MODES: Final = (
    ("stdin", "r", os.O_RDWR),
    ("stdout", "w", os.O_RDONLY),
    ("stderr", "w", os.O_RDWR),
)


def prepare_streams() -> None:
    """Make all three standard streams usable."""
    for descriptor, (name, mode, flags) in enumerate(_MODES):
        if getattr(sys, name) is None:
            _open_if_closed(descriptor, flags)
            stream = open(descriptor, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def detect_encoding(stream: TextIO) -> None:
    """Set the encoding of an input stream from its byte order mark (rule 3).

    It waits for the first bytes, so it is called in the thread that reads, before the first read.
    """
    if not isinstance(stream, io.TextIOWrapper) or stream.isatty():
        return
    peek = getattr(stream.buffer, "peek", None)
    start = b"" if peek is None else peek(4)
    encoding = next((name for mark, name in _MARKS if start.startswith(mark)), stream.encoding)
    stream.reconfigure(encoding=encoding, errors="replace")


def _open_if_closed(descriptor: int, flags: int) -> None:
    try:
        os.fstat(descriptor)
    except OSError:
        null = os.open(os.devnull, flags)
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
