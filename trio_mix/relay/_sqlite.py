"""`SqliteLog`: the log of the relay in one SQLite file."""

from __future__ import annotations

import math
import os
import secrets
import sqlite3
import time
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import attrs
import trio

from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.relay._errors import Fenced
from trio_mix.relay._ids import before_first
from trio_mix.relay._log import Extent, LogStatistics, Retention
from trio_mix.relay._records import (
    Audience,
    LoggedEvent,
    TurnRecord,
)
from trio_mix.relay._sqlite_outbox import SqliteOutbox, number_of, update_turn
from trio_mix.relay._sqlite_schema import FileLock, as_log_error, connect, prepare
from trio_mix.relay._sqlite_turns import size_of, size_of_ended
from trio_mix.relay._sqlite_writer import Job, Size, Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

T = TypeVar("T")

_READERS: Final = 4
_RELEASE_TIMEOUT: Final = 5.0


class SqliteLog:
    """A log in one SQLite file, for one relay. Use it as an async context manager.

    A thread writes, and commits what all sessions append together. The file, and those that SQLite
    makes beside it, are readable for their owner only.

    Args:
      path: the file, which is made if it does not exist.
      commit_interval: seconds between commits while there is more to write. An event that comes
        after a pause is stored at once.
      synchronous: ``"normal"``: a killed process loses nothing that was acknowledged; ``"full"``: a
        power cut does not either, at the price of waiting for the disk with each commit.
      retention: how much is kept.

    Attributes:
      commit_interval: the argument.

    Raises:
      ConfigurationError: an argument is invalid.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        commit_interval: float = 0.004,
        synchronous: Literal["normal", "full"] = "normal",
        retention: Retention | None = None,
    ) -> None:
        self._path = os.fspath(path)
        if synchronous not in ("normal", "full"):
            raise ConfigurationError(
                f"SqliteLog(synchronous={synchronous!r}): use 'normal' or 'full'."
            )
        if not 0 <= commit_interval <= 1:
            raise ConfigurationError(
                f"SqliteLog(commit_interval={commit_interval!r}): it is between 0 and 1 second."
            )
        self.commit_interval: float = commit_interval
        self._synchronous = synchronous
        self._retention = Retention() if retention is None else retention
        self._lock: FileLock | None = None
        self._writer: Writer | None = None
        self._readers: list[sqlite3.Connection] = []
        self._limiter: trio.CapacityLimiter | None = None
        self._started = (0.0, 0.0)
        self._appends = self._events = self._bytes = 0
        self.outbox: SqliteOutbox = SqliteOutbox(self)
        """The turns."""
        self.peers: None = None
        """One relay uses the file."""

    def __repr__(self) -> str:
        return f"<trio_mix.relay.SqliteLog {self._path!r}>"

    async def __aenter__(self) -> Self:
        """Open the file.

        Raises:
          LogBusy: another relay uses it.
          LogCorrupt, LogTooNew: it is not a log, is damaged, or was written by a newer version.
          LogReadOnly, LogFull, LogError: it cannot be written.

        A checkpoint.
        """
        if self._writer is not None:
            raise UsageError(f"The log {self._path!r} is open already.")
        self._started = (time.time(), time.monotonic())
        connection, sizes, turn_bytes = await trio.to_thread.run_sync(self._open)
        self._limiter = trio.CapacityLimiter(_READERS)
        try:
            self._writer = Writer(
                connection,
                self._path,
                interval=self.commit_interval,
                retention=self._retention,
                now=self.now,
                sizes=sizes,
                turn_bytes=turn_bytes,
            )
        except BaseException:  # no thread can be started
            connection.close()
            self._release_lock()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Store what was submitted, and close the file. Shielded."""
        writer, self._writer = self._writer, None
        if writer is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        await writer.aclose()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._close, writer)

    def now(self) -> float:
        """Return the time in seconds since 1970; a clock that is set does not make it jump."""
        wall, steady = self._started
        return wall + time.monotonic() - steady

    async def acquire(self, session_id: str, *, seen: int = 0) -> SqliteLease:
        """Return a new lease of a session, in a new epoch; see `Log.acquire`."""
        del seen  # one process uses the file, which loses nothing
        token = secrets.token_bytes(16)

        def run(connection: sqlite3.Connection) -> SqliteLease:
            number = number_of(connection, session_id)
            epoch, newest = connection.execute(
                "UPDATE session SET epoch = epoch + 1, token = ? WHERE number = ?"
                " RETURNING epoch, newest",
                (token, number),
            ).fetchone()
            if not newest:
                newest = before_first(epoch)
                connection.execute(
                    "UPDATE session SET newest = ? WHERE number = ?", (newest, number)
                )
            return SqliteLease(self, session_id, number, epoch=epoch, newest=newest, token=token)

        return await self.write(Job(run))

    async def read(
        self, session_id: str, after: int, *, max_bytes: int = 262_144
    ) -> list[LoggedEvent]:
        """Return the next stored events after a position; see `Log.read`."""

        def run(connection: sqlite3.Connection) -> list[LoggedEvent]:
            found: list[LoggedEvent] = []
            size = 0
            cursor = connection.execute(
                "SELECT id, audience, frame FROM event WHERE session ="
                " (SELECT number FROM session WHERE id = ?) AND id > ? ORDER BY id",
                (session_id, after),
            )
            for event_id, audience, frame in cursor:
                size += len(frame)
                if found and size > max_bytes:
                    break
                found.append(LoggedEvent(event_id, Audience(audience), frame))
            cursor.close()
            return found

        return await self.read_with(run)

    async def extent(self, session_id: str) -> Extent | None:
        """Return which events of a session are stored; None if the session is unknown."""

        def run(connection: sqlite3.Connection) -> Extent | None:
            row = connection.execute(
                "SELECT number, newest, forgotten FROM session WHERE id = ?", (session_id,)
            ).fetchone()
            if row is None:
                return None
            number, newest, forgotten = row
            first = connection.execute(
                "SELECT id FROM event WHERE session = ? ORDER BY id LIMIT 1", (number,)
            ).fetchone()
            deleted = connection.execute(
                "SELECT epoch, sequence FROM deleted WHERE session = ?", (number,)
            )
            return Extent(
                newest=newest,
                oldest=newest if first is None else first[0] - 1,
                deleted=dict(deleted.fetchall()),
                forgotten=forgotten,
            )

        return await self.read_with(run)

    async def remember(self, name: str, value: str) -> None:
        """Store a value under a name."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT OR REPLACE INTO value (name, value) VALUES (?, ?)", (name, value)
            )

        await self.write(Job(run))

    async def recall(self, name: str) -> str | None:
        """Return a stored value, or None."""

        def run(connection: sqlite3.Connection) -> str | None:
            row = connection.execute("SELECT value FROM value WHERE name = ?", (name,)).fetchone()
            return None if row is None else str(row[0])

        return await self.read_with(run)

    def statistics(self) -> LogStatistics:
        """Return the log's counters."""
        writer = self._opened()
        return LogStatistics(
            commits=writer.commits,
            appends=self._appends,
            events=self._events,
            bytes=self._bytes,
            deleted=writer.deleted,
            failures=writer.failures,
        )

    # -- inside -------------------------------------------------------------------------------

    def _opened(self) -> Writer:
        if self._writer is None:
            raise UsageError(f"The log {self._path!r} is not open: use it as `async with log`.")
        return self._writer

    async def write(self, job: Job[T]) -> T:
        """Write, and return the job's result once it is stored."""
        return await self._opened().submit(job)

    async def _append(
        self, lease: SqliteLease, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord]
    ) -> None:
        number, at = lease.number, self.now()
        rows = [(number, event.id, int(event.audience), at, event.frame) for event in events]
        size = sum(len(event.frame) for event in events)
        ended = sum(map(size_of, turns))

        def run(connection: sqlite3.Connection) -> None:
            row = connection.execute(
                "SELECT token FROM session WHERE number = ?", (number,)
            ).fetchone()
            if row is None or row[0] != lease.token:
                raise Fenced(f"Session {lease.session_id!r} was acquired by another relay.")
            if rows:
                connection.executemany(
                    "INSERT INTO event (session, id, audience, at, frame) VALUES (?, ?, ?, ?, ?)",
                    rows,
                )
                connection.execute(
                    "UPDATE session SET newest = ?, events = events + ?, bytes = bytes + ?"
                    " WHERE number = ?",
                    (events[-1].id, len(rows), size, number),
                )
                job.grown = (number, len(rows), size, at)
            for turn in turns:
                update_turn(connection, turn)
            job.ended = ended

        job = Job(run)
        await self.write(job)
        self._appends += 1
        self._events += len(events)
        self._bytes += size

    async def read_with(self, run: Callable[[sqlite3.Connection], T]) -> T:
        """Read in a thread, with a connection of its own."""
        self._opened()

        def in_thread() -> T:
            connection: sqlite3.Connection | None = None
            try:
                try:
                    connection = self._readers.pop()
                except IndexError:
                    connection = sqlite3.connect(
                        self._path, timeout=5.0, isolation_level=None, check_same_thread=False
                    )
                return run(connection)
            except sqlite3.Error as exc:
                raise as_log_error(exc, self._path) from exc
            finally:
                if connection is not None and self._lock is not None:
                    self._readers.append(connection)
                elif connection is not None:
                    connection.close()  # the log was closed meanwhile

        return await trio.to_thread.run_sync(in_thread, limiter=self._limiter)

    def _open(self) -> tuple[sqlite3.Connection, dict[int, Size], int]:
        connection: sqlite3.Connection | None = None
        try:
            self._lock = FileLock(self._path)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.close(descriptor)
            connection = connect(self._path, synchronous=self._synchronous)
            prepare(connection, self._path)
            rows = connection.execute("SELECT number, events, bytes FROM session").fetchall()
            turn_bytes = size_of_ended(connection)
        except BaseException as exc:
            if connection is not None:
                connection.close()
            self._release_lock()
            if isinstance(exc, sqlite3.Error | OSError):
                raise as_log_error(exc, self._path) from exc
            raise
        sizes = {number: Size(events, size) for number, events, size in rows}
        return connection, sizes, turn_bytes

    def _close(self, writer: Writer) -> None:
        for connection in (*self._readers, writer.connection):
            try:
                connection.close()
            except sqlite3.Error:  # what was committed is stored
                continue
        self._readers.clear()
        self._release_lock()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


@attrs.frozen(kw_only=False, eq=False)
class SqliteLease:
    """A lease of a session in the file, which one process uses: nobody can take it over."""

    _log: SqliteLog
    session_id: str
    number: int
    epoch: int = attrs.field(kw_only=True)
    newest: int = attrs.field(kw_only=True)
    token: bytes = attrs.field(kw_only=True, repr=False)
    takeover: bool = attrs.field(default=False, init=False)

    def remaining(self) -> float:
        """Return for how many seconds it is valid: forever."""
        return math.inf

    async def wait_lost(self) -> None:
        """Wait forever: an append notices that the session was acquired again."""
        await trio.sleep_forever()

    async def append(self, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord] = ()) -> None:
        """Store events and the new state of turns; see `Lease.append`."""
        await self._log._append(self, events, turns)

    async def release(self) -> None:
        """End the lease: appends with it are refused from now on. Never raises."""

        def run(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE session SET token = NULL WHERE number = ? AND token = ?",
                (self.number, self.token),
            )

        with trio.move_on_after(_RELEASE_TIMEOUT, shield=True):  # noqa: ASYNC912 - the write is a checkpoint
            try:
                await self._log.write(Job(run))
            except Exception:  # noqa: BLE001 - the next lease ends this one, too
                return  # noqa: ASYNC910 - the write is a checkpoint
