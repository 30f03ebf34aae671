"""A ticket in a file, which one process at a time may use.

1. Only its owner can read the file. It is replaced as a whole, and is on the disk when a save
   returns: a process that is killed leaves a ticket that can be read.
2. The file is locked as long as a command uses it, except on Windows. The lock is on the newest
   file: a process that has locked a replaced one tries again.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import Ticket
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._streams import MAX_INPUT

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST: Final = 6 * MAX_INPUT + 8192
"""The largest file, in bytes: a character of a text is at most six in JSON."""


class TicketFile:
    """An open and locked file with a ticket."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    @contextmanager
    def create(cls, name: str) -> Iterator[TicketFile]:
        """Create the file, empty and locked; it is removed if nothing is saved.

        Raises:
          CommandUsageError: it exists.
          OSError: it cannot be created.
        """
        path = Path(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CLOEXEC, 0o600)
        except FileExistsError:
            raise CommandUsageError(
                f"{name} exists: `trio-mix resume` continues its message; name another file for "
                "a new one"
            ) from None
        _lock(descriptor, name)
        file = cls(path, descriptor)
        try:
            yield file
        finally:
            if not os.fstat(file._descriptor).st_size:
                with suppress(OSError):
                    path.unlink()
            os.close(file._descriptor)

    @classmethod
    @contextmanager
    def open(cls, name: str) -> Iterator[tuple[TicketFile, Ticket]]:
        """Open and lock the file, and read its ticket.

        Raises:
          CommandUsageError: another process uses it, or it is no regular file.
          ConfigurationError: it has no ticket.
          OSError: it cannot be opened or read.
        """
        path = Path(os.path.realpath(name))
        file = cls(path, _open_locked(path, name))
        try:
            with open(file._descriptor, "rb", closefd=False) as readable:
                ticket = Ticket.from_json(readable.read(_MOST))
            yield file, ticket
        finally:
            os.close(file._descriptor)

    async def save(self, ticket: Ticket) -> None:
        """Replace the ticket; it is on the disk when this returns. Cancelled, it goes on.

        Raises:
          OSError: it cannot be written; the earlier ticket is still there.
        """
        text = ticket.to_json().encode("ascii") + b"\n"
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._replace, text)

    def _replace(self, text: bytes) -> None:
        descriptor, new = tempfile.mkstemp(prefix=".", dir=self._path.parent)
        try:
            _lock(descriptor, new)
            with open(descriptor, "wb", closefd=False) as writable:
                writable.write(text)
            os.fsync(descriptor)
            os.replace(new, self._path)
        except BaseException:
            os.close(descriptor)
            os.unlink(new)
            raise
        old, self._descriptor = self._descriptor, descriptor
        os.close(old)
        if sys.platform != "win32":
            folder = os.open(self._path.parent, os.O_RDONLY | _CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)


def _open_locked(path: Path, name: str) -> int:
    flags = os.O_RDONLY | _CLOEXEC | getattr(os, "O_NONBLOCK", 0)  # a FIFO does not wait
    while True:
        descriptor = os.open(path, flags)
        try:
            opened = os.fstat(descriptor)
            if not stat.S_ISREG(opened.st_mode):
                raise CommandUsageError(f"{name} is not a regular file, so it has no ticket")
            _lock(descriptor, name)
            newest = os.stat(path)
        except BaseException:
            os.close(descriptor)
            raise
        if os.path.samestat(opened, newest):
            return descriptor
        os.close(descriptor)  # it was replaced meanwhile


def _lock(descriptor: int, name: str) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CommandUsageError(f"{name} is in use: another process runs its message") from None
