"""Opens files that only their owner can read."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO


def open_private(path: str | os.PathLike[str]) -> TextIO:
    """Open a UTF-8 file for writing, line-buffered, with mode 0600 whatever the umask.

    An existing regular file is replaced by a new one, so that its mode does not stay, and a program
    that has the old file open does not read the new contents. A symbolic link is followed, and a
    device or pipe is opened as it is.

    Raises:
      OSError: the file cannot be created or replaced.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        descriptor = os.open(path, flags | os.O_EXCL, 0o600)
    else:
        if stat.S_ISREG(mode):
            descriptor, new = tempfile.mkstemp(prefix=".", dir=Path(path).parent)
            try:
                os.replace(new, path)
            except BaseException:
                os.close(descriptor)
                os.unlink(new)
                raise
        else:
            descriptor = os.open(path, flags | os.O_TRUNC, 0o600)
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.chmod(path, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="\n", buffering=1)
