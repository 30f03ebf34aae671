"""The file with the sessions of a server, which one server at a time may use.

Rules:

1. The file is replaced as a whole, and is on the disk before it takes the place of the older one: a
   process that is killed leaves a file that can be read. Only its owner can read it.
2. The file is locked while a server uses it, except on Windows. The lock is on the newest file: a
   server that has locked a replaced one tries again.
"""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.errors import ConfigurationError
from trio_mix.testing.server._state import MAX_STATE, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mix.testing._log import Log
    from trio_mix.testing.server._state import SavedSession
    from trio_mix.testing.server._store import SessionRow, Store

_log: Final = get_logger("trio_mix")
_CLOEXEC: Final = getattr(os, "O_CLOEXEC", 0)
_DELAY: Final = 0.2
"""The seconds between a change and the next save."""


class StateFile:
    """The file of one server. Its methods are called by one task at a time.

    Args:
      path: the file; it is created if it does not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._name = os.fspath(path)
        self._path = Path(os.path.realpath(path))
        self._descriptor: int | None = None
        self._written: tuple[bytes, list[SavedSession]] | None = None
        self._warned = False

    async def open(self) -> tuple[dict[str, int], list[SessionRow]]:
        """Lock the file and return the counters of ids and the sessions in it.

        Raises:
          ConfigurationError: another server uses it, or it is not the state of a server.
          OSError: it cannot be created or read.
        """
        return await trio.to_thread.run_sync(self._open)

    def _open(self) -> tuple[dict[str, int], list[SessionRow]]:
        self._descriptor = self._open_locked()
        with open(self._descriptor, "rb", closefd=False) as readable:
            data = readable.read(MAX_STATE + 2**20)
        return decode(data, self._name) if data else ({}, [])

    def _open_locked(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | _CLOEXEC, 0o600)
            try:
                opened = os.fstat(descriptor)
                if not stat.S_ISREG(opened.st_mode):
                    raise ConfigurationError(f"{self._name} is not a regular file: name another.")
                self._lock(descriptor)
                newest = os.stat(self._path)
            except FileNotFoundError:  # it was removed meanwhile
                os.close(descriptor)
                continue
            except BaseException:
                os.close(descriptor)
                raise
            if os.path.samestat(opened, newest):
                return descriptor
            os.close(descriptor)  # it was replaced meanwhile

    async def keep(self, store: Store, log: Log) -> None:
        """Save the sessions a moment after anything has happened, until cancelled."""
        while True:
            seen = log.count
            try:
                await self.save(store)
            except OSError as error:
                _log.warning("%s could not be saved (%s).", self._name, error)
            await log.wait_until(partial(_has_grown, log, seen))
            await trio.sleep(_DELAY)

    async def finish(self, store: Store) -> None:
        """Save the sessions for the last time, shielded, and unlock the file.

        Raises:
          OSError: it cannot be written; the older file is still there.
        """
        with trio.CancelScope(shield=True):
            try:
                await self.save(store)
            finally:
                self.close()

    async def save(self, store: Store) -> None:
        """Save the sessions, if they have changed; on the disk when this returns.

        Raises:
          OSError: it cannot be written; the older file is still there.
        """
        head, sessions, left_out = await encode(store)
        if left_out and not self._warned:
            self._warned = True
            _log.warning(
                "%s is full (%d MiB): the sessions that were changed longest ago are not saved (%d "
                "now).",
                self._name,
                MAX_STATE // 2**20,
                left_out,
            )
        if (head, sessions) == self._written:
            return
        await trio.to_thread.run_sync(self._replace, head, sessions)
        self._written = head, sessions

    def _replace(self, head: bytes, sessions: Iterable[SavedSession]) -> None:
        descriptor, new = tempfile.mkstemp(prefix=".", dir=self._path.parent)
        try:
            self._lock(descriptor)
            with open(descriptor, "wb", closefd=False) as writable:
                writable.write(head)
                writable.writelines(session.line() for session in sessions)
            os.fsync(descriptor)
            os.replace(new, self._path)
        except BaseException:
            os.close(descriptor)
            os.unlink(new)
            raise
        old, self._descriptor = self._descriptor, descriptor
        if old is not None:
            os.close(old)
        if sys.platform != "win32":
            folder = os.open(self._path.parent, os.O_RDONLY | _CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _lock(self, descriptor: int) -> None:
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"{self._name} is in use by another server: stop that one, or name another file."
            ) from None

    def close(self) -> None:
        """Unlock the file."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _has_grown(log: Log, seen: int) -> bool:
    return log.count != seen
