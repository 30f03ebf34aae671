"""The SQLite file of the log: its tables, its lock, and its errors as the relay's own."""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import Final

from trio_mix.relay._errors import (
    LogBusy,
    LogCorrupt,
    LogError,
    LogFull,
    LogReadOnly,
    LogTooNew,
)

_APPLICATION: Final = 0x4D495852
"""Identifies the file as a log of the relay, in its header."""
_VERSION: Final = 1
_BUSY_TIMEOUT: Final = 5.0

_SCHEMA: Final = """
CREATE TABLE session (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL DEFAULT 0,
    token BLOB,
    newest INTEGER NOT NULL DEFAULT 0,
    events INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE event (
    session INTEGER NOT NULL,
    id INTEGER NOT NULL,
    audience INTEGER NOT NULL,
    at REAL NOT NULL,
    frame BLOB NOT NULL,
    PRIMARY KEY (session, id)
) WITHOUT ROWID;
CREATE TABLE deleted (
    session INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    PRIMARY KEY (session, epoch)
) WITHOUT ROWID;
CREATE TABLE turn (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    session INTEGER NOT NULL,
    subject TEXT NOT NULL,
    key TEXT,
    digest TEXT NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    ticket TEXT,
    outcome TEXT,
    answer_status INTEGER,
    answer_type TEXT,
    answer_body BLOB,
    created_at REAL NOT NULL,
    ended_at REAL,
    first_id INTEGER
);
CREATE INDEX turn_key ON turn (session, subject, key) WHERE key IS NOT NULL;
CREATE INDEX turn_pending ON turn (session, number) WHERE ended_at IS NULL;
CREATE INDEX turn_ended ON turn (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE value (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""

_CAUSES: Final[dict[int, tuple[type[LogError], str]]] = {
    sqlite3.SQLITE_BUSY: (LogBusy, "another process has locked it. Stop that process"),
    sqlite3.SQLITE_LOCKED: (LogBusy, "another process has locked it. Stop that process"),
    sqlite3.SQLITE_READONLY: (
        LogReadOnly,
        "it is read-only. Make the file and its folder writable",
    ),
    sqlite3.SQLITE_PERM: (LogReadOnly, "access is denied. Make the file and its folder writable"),
    sqlite3.SQLITE_FULL: (LogFull, "the disk is full. Free space: the relay continues by itself"),
    sqlite3.SQLITE_CORRUPT: (
        LogCorrupt,
        "the file is damaged. Restore a backup, or move the file away to begin with an empty log",
    ),
    sqlite3.SQLITE_NOTADB: (
        LogCorrupt,
        "the file is no SQLite database. Pass another path, or move the file away",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        LogError,
        "the file cannot be opened. Check that its folder exists and is writable",
    ),
}


def as_log_error(exc: sqlite3.Error | OSError, path: str) -> LogError:
    """Return the relay's exception for one of SQLite or of the system, with the cause set."""
    kind, remedy = LogError, f"{exc}. Check the disk"
    if isinstance(exc, sqlite3.Error):
        code = getattr(exc, "sqlite_errorcode", None) or 0
        kind, remedy = _CAUSES.get(code & 0xFF, (kind, remedy))
    error = kind(f"The log {path!r} cannot be used: {remedy}.")
    error.__cause__ = exc
    return error


def connect(path: str, *, synchronous: str) -> sqlite3.Connection:
    """Open the file for reading and writing, with manual transactions.

    Raises:
      sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA journal_size_limit = 67108864")
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Create the tables in a new file, or check that they are those of this version.

    Raises:
      LogCorrupt, LogTooNew: the file is something else.
      sqlite3.Error: it cannot be read or written.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        [application] = connection.execute("PRAGMA application_id").fetchone()
        [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if application == 0 and tables == 0:
            for statement in _SCHEMA.split(";\n"):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
        else:
            check_format(connection, path)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def check_format(connection: sqlite3.Connection, path: str) -> None:
    """Check that a file is a log of this version.

    Raises:
      LogCorrupt, LogTooNew: it is something else.
      sqlite3.Error: it cannot be read.
    """
    [application] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise LogCorrupt(
            f"The log {path!r} cannot be used: the file is a database of another program. "
            "Pass another path, or move the file away."
        )
    if version > _VERSION:
        raise LogTooNew(
            f"The log {path!r} cannot be used: a newer version of trio_mix has written it "
            f"(format {version}, this version knows {_VERSION}). Use that version, or pass "
            "another path."
        )


class FileLock:
    """A lock beside the file: one process at a time uses a log. It ends with the process.

    Args:
      path: the path of the log.

    Raises:
      LogBusy: another process has the lock.
      OSError: the lock file cannot be made.
    """

    def __init__(self, path: str) -> None:
        name = f"{path}-lock"
        self._descriptor = os.open(
            name, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600
        )
        try:
            _lock(self._descriptor)
        except OSError:
            holder = os.read(self._descriptor, 20).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            process = f" (process {holder})" if holder.isdigit() else ""
            raise LogBusy(
                f"The log {path!r} cannot be used: another relay{process} uses it. Stop that one, "
                "or pass another path to this one."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, 1024, os.SEEK_SET)  # what is locked cannot be read by others
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
