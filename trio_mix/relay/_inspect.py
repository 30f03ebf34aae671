"""Reads what a log in SQLite has of one session, also while a relay uses the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from urllib.parse import quote

import attrs

from trio_mix.relay._errors import SessionUnknown
from trio_mix.relay._sqlite_schema import as_log_error, check_format

_TURNS = 20


@attrs.frozen
class InspectedTurn:
    """A turn of a session, without its text."""

    turn_id: str
    state: str
    created_at: float
    ended_at: float | None
    subject: str


@attrs.frozen
class InspectedSession:
    """What a log has of a session."""

    session_id: str
    epoch: int
    """How many leases it has had."""
    newest: int
    """The position of the newest event."""
    oldest: int
    """The position before the oldest event that is kept."""
    events: int
    """The number of events that are kept."""
    bytes: int
    """Their size."""
    deleted: int
    """The number of events of known epochs that are not kept any more."""
    turns: tuple[InspectedTurn, ...] = ()
    """The newest turns, newest first."""


def inspect_session(path: str | os.PathLike[str], session_id: str) -> InspectedSession:
    """Return what a log has of a session. It blocks: call it in a thread.

    Raises:
      LogError: the file cannot be read, or is not a log of this version.
      SessionUnknown: the log does not have the session.
    """
    name = os.fspath(path)
    try:
        with closing(_open(name)) as connection:
            return _inspect(connection, session_id)
    except (sqlite3.Error, OSError) as error:
        raise as_log_error(error, name) from error


def list_sessions(path: str | os.PathLike[str]) -> list[str]:
    """Return the ids of the sessions in a log. It blocks: call it in a thread.

    Raises:
      LogError: the file cannot be read, or is not a log of this version.
    """
    name = os.fspath(path)
    try:
        with closing(_open(name)) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM session ORDER BY id")]
    except (sqlite3.Error, OSError) as error:
        raise as_log_error(error, name) from error


def _open(name: str) -> sqlite3.Connection:
    os.stat(name)
    connection = sqlite3.connect(f"file:{quote(name)}?mode=ro", uri=True, timeout=5.0)
    try:
        check_format(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _inspect(connection: sqlite3.Connection, session_id: str) -> InspectedSession:
    connection.execute("BEGIN")
    found = connection.execute(
        "SELECT number, epoch, newest, events, bytes FROM session WHERE id = ?", (session_id,)
    ).fetchone()
    if found is None:
        raise SessionUnknown(f"The log has no session {session_id!r}. Check the id.")
    number, epoch, newest, events, size = found
    [first] = connection.execute(
        "SELECT min(id) FROM event WHERE session = ?", (number,)
    ).fetchone()
    [deleted] = connection.execute(
        "SELECT coalesce(sum(sequence), 0) FROM deleted WHERE session = ?", (number,)
    ).fetchone()
    turns = connection.execute(
        "SELECT id, state, created_at, ended_at, subject FROM turn WHERE session = ?"
        " ORDER BY number DESC LIMIT ?",
        (number, _TURNS),
    )
    oldest = newest if first is None else first - 1
    return InspectedSession(
        session_id=session_id,
        epoch=epoch,
        newest=newest,
        oldest=oldest,
        events=events,
        bytes=size,
        deleted=deleted,
        turns=tuple(InspectedTurn(*row) for row in turns),
    )
