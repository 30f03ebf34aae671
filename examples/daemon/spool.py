"""Store jobs as files, so that every step of a job is one rename or one atomic write.

A job moves from ``inbox/X.txt`` to ``running/X.txt``, and ends as one of ``done/X.json``,
``failed/X.json`` and ``doubt/X.json``. The note ``running/X.json`` is written *before* its prompt
is sent. It has the session's id, so that the outcome can be found after a kill.
"""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Job", "Result", "Spool", "State"]


class State(StrEnum):
    """The progress of a running job."""

    CLAIMED = "claimed"  # not sent, or to be sent again
    SENT = "sent"  # it may have run: find the outcome before sending it again
    PARKED = "parked"  # it was sent, and then cancelled on the server


class Result(StrEnum):
    """How a job ended; also the name of the folder."""

    DONE = "done"
    FAILED = "failed"
    DOUBT = "doubt"


@attrs.frozen
class Job:
    """A prompt and its progress."""

    name: str
    prompt: str
    state: State = attrs.field(default=State.CLAIMED, converter=State)
    session: str = ""
    tries: int = 0


class Spool:
    """A spool folder; one process at a time uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taking = Lock()
        for name in ("inbox", "running", *Result):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._lock = (folder / "lock").open("w")
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._lock.close()
                raise BlockingIOError(error.errno, "another daemon uses it") from error
            except OSError:
                self._lock.close()
                raise

    def close(self) -> None:
        self._lock.close()

    def unfinished(self) -> list[Job]:
        """Return the jobs that an earlier process had begun."""
        jobs: list[Job] = []
        for note in (self.folder / "running").glob("*.json"):
            if not note.with_suffix(".txt").exists():
                note.unlink()  # the process was killed before it could do so
        for file in sorted((self.folder / "running").glob("*.txt")):
            job = Job(file.stem, file.read_text(encoding="utf-8"))
            note = file.with_suffix(".json")
            if note.exists():
                job = Job(**json.loads(note.read_text(encoding="utf-8")))
            if any(self._is_result_of(job, self.folder / result) for result in Result):
                self._forget(job)  # the process was killed after writing the result
            else:
                jobs.append(job)
        return jobs

    def take(self) -> Job | None:
        """Claim the next job of the inbox, or return None. Threads may call this concurrently."""
        with self._taking:
            return self._take()

    def _take(self) -> Job | None:
        files = [file for file in (self.folder / "inbox").glob("*.txt") if file.name[0] != "."]
        for file in sorted(files, key=_age):
            # A name that is in use, or whose result still exists, has to wait.
            if not self._in_use(file.stem):
                running = self.folder / "running" / file.name
                try:
                    file.rename(running)
                except FileNotFoundError:  # it was removed meanwhile
                    continue
                _sync(running.parent, file.parent)
                return Job(file.stem, running.read_text(encoding="utf-8", errors="replace"))
        return None

    def note(self, job: Job) -> None:
        """Write a job's progress; it is on the disk when this returns."""
        _write(self.folder / "running" / f"{job.name}.json", attrs.asdict(job))

    def finish(self, job: Job, result: Result, **more: object) -> None:
        """Write a job's result, then remove it from the running jobs."""
        values = attrs.asdict(job, filter=lambda field, _: field.name != "state")
        _write(self.folder / result / f"{job.name}.json", {**values, **more})
        self._forget(job)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each folder."""
        kinds = {"inbox": "*.txt", "running": "*.txt", **dict.fromkeys(map(str, Result), "*.json")}
        return {name: len(list((self.folder / name).glob(kind))) for name, kind in kinds.items()}

    def _in_use(self, name: str) -> bool:
        taken = [self.folder / result / f"{name}.json" for result in Result]
        return any(file.exists() for file in (self.folder / "running" / f"{name}.txt", *taken))

    def _is_result_of(self, job: Job, folder: Path) -> bool:
        file = folder / f"{job.name}.json"
        return (
            file.exists() and json.loads(file.read_text(encoding="utf-8"))["session"] == job.session
        )

    def _forget(self, job: Job) -> None:
        # The note is removed last: a prompt without its note would be sent again.
        running = self.folder / "running"
        (running / f"{job.name}.txt").unlink(missing_ok=True)
        _sync(running)
        (running / f"{job.name}.json").unlink(missing_ok=True)


def _age(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # it was removed meanwhile
        return 0


def _write(file: Path, value: object) -> None:
    """Write JSON so that after a crash the file is complete or absent."""
    beside = file.with_suffix(".tmp")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, ensure_ascii=False, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    beside.rename(file)
    _sync(file.parent)


def _sync(*folders: Path) -> None:
    """Make renames in folders durable."""
    for folder in folders:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
