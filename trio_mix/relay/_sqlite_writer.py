"""The thread that writes the SQLite log: many jobs in one transaction, and the retention.

Rule 1  Jobs that are submitted while a transaction is under way, or within the commit interval
        after the last one, are committed together. A job after a pause is committed at once.
Rule 2  A job that refuses (a `RelayError`) does so before it writes: the others are not affected.
        If the transaction of several jobs fails, each is tried alone, except where all would fail.
Rule 3  The retention deletes one slice at a time, each in its own transaction, between commits.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import LogBusy, LogError, LogFull, RelayError
from trio_mix.relay._ids import epoch_of, sequence_of
from trio_mix.relay._log import KEY_KEPT
from trio_mix.relay._sqlite_schema import as_log_error
from trio_mix.relay._sqlite_turns import delete_turns, strip_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix.relay._log import Retention

T = TypeVar("T")

_SLICE: Final = 1000
_SLICES_AT_END: Final = 10
_AGE_INTERVAL: Final = 30.0
_MOST_COUNTED: Final = 100
"""The number of epochs of one session of which the deleted events are counted."""
_MOST_LOOKUPS: Final = 500

_logger = get_logger("trio_mix.relay")


@attrs.define
class Size:
    """What is stored of one session."""

    events: int = 0
    bytes: int = 0
    oldest_at: float | None = None
    """When its oldest event was stored; None: not looked up yet."""


class Job(Generic[T]):
    """Something to write, and its result. Submitted by `Writer.submit`.

    Args:
      run: writes, in the thread; it is called again if its transaction has failed.
    """

    def __init__(self, run: Callable[[sqlite3.Connection], T]) -> None:
        self.run: Callable[[sqlite3.Connection], T] = run
        self.done: trio.Event = trio.Event()
        self.result: T | None = None
        self.failure: BaseException | None = None
        self.grown: tuple[int, int, int, float] | None = None
        """The session, and how many events and bytes the job adds to it, and when."""
        self.ended: int = 0
        """The bytes of the turns that the job ends."""


class Writer:
    """Owns the writing connection, in a thread of its own.

    Args:
      connection: the connection.
      path: the path of the file, for errors.
      interval: seconds from one commit to the next, while there is more to write.
      retention: how much is kept.
      now: returns the time in seconds since 1970.
      sizes: what is stored of each session, by its number.
      turn_bytes: the size of the turns that are over.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: str,
        *,
        interval: float,
        retention: Retention,
        now: Callable[[], float],
        sizes: dict[int, Size],
        turn_bytes: int = 0,
    ) -> None:
        self.commits: int = 0
        self.failures: int = 0
        self.deleted: int = 0
        self.connection: sqlite3.Connection = connection
        self._path = path
        self._interval = interval
        self._retention = retention
        self._now = now
        self._sizes = sizes
        self._bytes = sum(size.bytes for size in sizes.values())
        self._turn_bytes = turn_bytes
        self._stripped = (0.0, 0)
        self._overfull: set[int] = set()
        self._jobs: queue.SimpleQueue[Job[object] | None] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._last_commit = 0.0
        self._next_age_check = 0.0
        self._ended = trio.Event()
        self._closing = False
        for number in sizes:
            self._check_size(number)
        self._thread = threading.Thread(target=self._run, name="trio_mix relay log", daemon=True)
        self._thread.start()

    async def submit(self, job: Job[T]) -> T:
        """Write, and return the job's result once it is stored.

        A checkpoint. If it is cancelled, the job may or may not be stored.
        """
        if self._closing:
            await trio.lowlevel.checkpoint()
            raise LogError(f"The log {self._path!r} was closed.")
        self._jobs.put(job)  # type: ignore[arg-type]
        await job.done.wait()
        if job.failure is not None:
            raise job.failure
        return job.result  # type: ignore[return-value]

    async def aclose(self) -> None:
        """Write what was submitted, and end the thread; shielded."""
        self._closing = True
        self._jobs.put(None)
        with trio.CancelScope(shield=True):
            await self._ended.wait()
            await trio.to_thread.run_sync(self._thread.join)

    # -- in the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._step():
                pass
        finally:
            self._token.run_sync_soon(self._ended.set)

    def _step(self) -> bool:
        """Write the next jobs, or delete a slice; return whether to go on."""
        try:
            jobs = [self._jobs.get(timeout=self._idle_time())]
        except queue.Empty:
            self._delete_old()
            return True
        wait = self._last_commit + self._interval - time.monotonic()
        if wait > 0 and jobs[0] is not None:
            time.sleep(wait)
        while True:
            try:
                jobs.append(self._jobs.get_nowait())
            except queue.Empty:
                break
        work = [job for job in jobs if job is not None]
        if work:
            self._write(work)
            self._last_commit = time.monotonic()
            self._token.run_sync_soon(_finish, work)
        if None in jobs:
            for _ in range(_SLICES_AT_END):
                self._delete_old()
            return False
        self._delete_old()
        return True

    def _idle_time(self) -> float:
        """Return how long to wait for a job before the retention is looked at."""
        if self._overfull:
            return 0.001
        return max(0.001, min(1.0, self._next_age_check - time.monotonic()))

    def _write(self, jobs: Sequence[Job[object]]) -> None:
        failure = self._transaction(jobs)
        if failure is None:
            return
        self.failures += 1
        if len(jobs) > 1 and not isinstance(failure, LogFull | LogBusy):
            for job in jobs:
                alone = self._transaction([job])
                if alone is not None:  # else the job's own refusal stays, if it has one
                    job.failure = alone
        else:
            for job in jobs:
                job.failure = failure

    def _transaction(self, jobs: Sequence[Job[object]]) -> BaseException | None:
        """Run jobs in one transaction; return what made it fail."""
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                job.grown = job.failure = None
                job.ended = 0
                try:
                    job.result = job.run(connection)
                except RelayError as exc:
                    job.failure = exc
            connection.execute("COMMIT")
        except Exception as exc:  # noqa: BLE001 - reported to every job of the transaction
            self._roll_back()
            return as_log_error(exc, self._path) if isinstance(exc, sqlite3.Error) else exc
        self.commits += 1
        for job in jobs:
            self._turn_bytes += job.ended
            if job.grown is not None:
                self._grow(*job.grown)
        return None

    def _roll_back(self) -> None:
        if self.connection.in_transaction:
            try:
                self.connection.execute("ROLLBACK")
            except sqlite3.Error as exc:  # SQLite has done so itself
                _logger.debug("A transaction of the log was rolled back already: %s", exc)

    # -- retention ----------------------------------------------------------------------------

    def _grow(self, number: int, events: int, size: int, at: float) -> None:
        stored = self._sizes.setdefault(number, Size())
        if not stored.events:
            stored.oldest_at = at
        stored.events += events
        stored.bytes += size
        self._bytes += size
        self._check_size(number)

    def _check_size(self, number: int) -> None:
        limit = self._retention.events
        if self._sizes[number].events > limit + min(_SLICE, limit // 10):
            self._overfull.add(number)

    def _delete_old(self) -> None:
        """Delete one slice, if something is over a limit (rule 3)."""
        try:
            if self._overfull:
                number = next(iter(self._overfull))
                excess = self._sizes[number].events - self._retention.events
                if excess > 0:
                    self._delete_slice(number, min(excess, _SLICE))
                if excess <= _SLICE:
                    self._overfull.discard(number)
            elif self._bytes > self._retention.bytes:
                number = max(self._sizes, key=lambda each: self._sizes[each].bytes)
                self._delete_slice(number, _SLICE, bytes_over=self._bytes - self._retention.bytes)
            elif self._turn_bytes > self._retention.turn_bytes:
                over = self._turn_bytes - self._retention.turn_bytes
                step = strip_turns(self.connection, self._stripped, over)
                self._stripped, freed = step or ((0.0, 0), self._turn_bytes)
                self._turn_bytes -= freed
            elif time.monotonic() >= self._next_age_check and not self._delete_by_age():
                self._next_age_check = time.monotonic() + _AGE_INTERVAL
        except sqlite3.Error as exc:
            self._roll_back()
            self._next_age_check = time.monotonic() + 1.0
            self._overfull.clear()
            _logger.warning("Old events are not deleted: %s", as_log_error(exc, self._path))

    def _delete_by_age(self) -> bool:
        """Delete a slice of what is too old; return whether there may be more."""
        oldest, lookups = self._now() - self._retention.age, 0
        for number, size in self._sizes.items():
            if size.events and size.oldest_at is None:
                size.oldest_at = self._oldest_at(number)
                lookups += 1
            if size.events and size.oldest_at is not None and size.oldest_at < oldest:
                self._delete_slice(number, _SLICE, before=oldest)
                return True
            if lookups >= _MOST_LOOKUPS:
                return True
        ended = self._now() - max(self._retention.age, KEY_KEPT)
        count, freed = delete_turns(self.connection, ended, _SLICE)
        self._turn_bytes -= freed
        return count == _SLICE

    def _oldest_at(self, number: int) -> float | None:
        row = self.connection.execute(
            "SELECT at FROM event WHERE session = ? ORDER BY id LIMIT 1", (number,)
        ).fetchone()
        return None if row is None else float(row[0])

    def _delete_slice(
        self,
        number: int,
        count: int,
        *,
        before: float | None = None,
        bytes_over: int | None = None,
    ) -> None:
        """Delete the oldest events of a session, and count them.

        Args:
          number: the session.
          count: how many, at most.
          before: stop at the first one that is not older than this.
          bytes_over: stop when this many bytes are deleted.
        """
        connection = self.connection
        rows = connection.execute(
            "SELECT id, length(frame), at FROM event WHERE session = ? ORDER BY id LIMIT ?",
            (number, count),
        ).fetchall()
        gone: list[int] = []
        size = 0
        for event_id, length, at in rows:
            if (before is not None and at >= before) or (
                bytes_over is not None and size >= bytes_over
            ):
                break
            gone.append(event_id)
            size += length
        if not gone:
            self._sizes[number].oldest_at = rows[0][2] if rows else None
            return
        counts = {epoch_of(event_id): sequence_of(event_id) for event_id in gone}
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("DELETE FROM event WHERE session = ? AND id <= ?", (number, gone[-1]))
        connection.executemany(
            "INSERT OR REPLACE INTO deleted (session, epoch, sequence) VALUES (?, ?, ?)",
            [(number, epoch, sequence) for epoch, sequence in counts.items()],
        )
        self._forget_counts(number)
        connection.execute(
            "UPDATE session SET events = events - ?, bytes = bytes - ? WHERE number = ?",
            (len(gone), size, number),
        )
        connection.execute("COMMIT")
        stored = self._sizes[number]
        stored.events -= len(gone)
        stored.bytes -= size
        stored.oldest_at = self._oldest_at(number)
        self._bytes -= size
        self.deleted += len(gone)

    def _forget_counts(self, number: int) -> None:
        """Forget the oldest counts of a session with very many epochs."""
        row = self.connection.execute(
            "SELECT epoch FROM deleted WHERE session = ? ORDER BY epoch DESC LIMIT 1 OFFSET ?",
            (number, _MOST_COUNTED),
        ).fetchone()
        if row is not None:
            self.connection.execute(
                "DELETE FROM deleted WHERE session = ? AND epoch <= ?", (number, row[0])
            )
            self.connection.execute(
                "UPDATE session SET forgotten = ? WHERE number = ?", (row[0], number)
            )


def _finish(jobs: Sequence[Job[object]]) -> None:
    for job in jobs:
        job.done.set()
