"""Store jobs as files, so that every step of a job is one rename or one atomic write.

A job moves from ``inbox/X.txt`` to ``running/X.txt``, and ends as one of ``done/X.json``,
``failed/X.json`` and ``doubt/X.json``. The note ``running/X.json`` has the job's ticket, which is
written *before* its prompt is sent, so that the outcome can be found after a kill.

What others put into the inbox is not trusted: what cannot be a prompt becomes a failed job.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING

import attrs

from trio_mix import Ticket

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Job", "Result", "Spool"]

_LONGEST_PROMPT = 10 * 2**20


class Result(StrEnum):
    """How a job ended; also the name of the folder."""

    DONE = "done"
    FAILED = "failed"
    DOUBT = "doubt"


@attrs.frozen
class Job:
    """A prompt and its progress."""

    name: str
    prompt: str = ""
    tries: int = 0
    ticket: Ticket | None = None
    error: str = ""  # why it cannot run: its entry is moved to failed

    def __str__(self) -> str:
        return self.name if self.name.isprintable() else ascii(self.name)

    @property
    def session(self) -> str:
        return "" if self.ticket is None else self.ticket.session_id


class Spool:
    """A spool folder; one process at a time uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taking = Lock()
        self._make_folders()
        self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(self._lock)
                raise BlockingIOError(error.errno, "another daemon uses it") from error

    def close(self) -> None:
        os.close(self._lock)

    def unfinished(self) -> list[Job]:
        """Return the jobs that an earlier process had begun."""
        running = self.folder / "running"
        for note in running.glob("*.json"):
            if not os.path.lexists(note.with_suffix(".txt")):
                note.unlink()  # the process was killed before it could do so
        jobs = [self._read(file) for file in sorted(running.glob("*.txt"))]
        for job in [job for job in jobs if self._has_result(job)]:
            self._forget(job)  # the process was killed after writing the result
            jobs.remove(job)
        return jobs

    def take(self) -> Job | None:
        """Claim the next job of the inbox, or return None. Threads may call this concurrently."""
        with self._taking:
            self._make_folders()
            for file in sorted(self._inbox(), key=_age):
                # A name that is in use, or whose result still exists, has to wait.
                if not self._in_use(file.stem):
                    running = self.folder / "running" / file.name
                    with suppress(FileNotFoundError):  # it was removed meanwhile
                        file.rename(running)
                        _sync(running.parent, file.parent)
                        return self._read(running)
        return None

    def note(self, job: Job) -> None:
        """Write a job's progress; it is on the disk when this returns."""
        ticket = None if job.ticket is None else job.ticket.to_json()
        _write(self._note(job), {"tries": job.tries, "ticket": ticket})

    def finish(self, job: Job, result: Result, **more: object) -> None:
        """Write a job's result, then remove it from the running jobs.

        If the disk is full, the entry of a job that has failed is moved without a result.
        """
        values = {
            "name": job.name,
            "prompt": job.prompt,
            "tries": job.tries,
            "session": job.session,
        }
        try:
            _write(self.folder / result / f"{job.name}.json", {**values, **more})
        except OSError:
            if not job.error:
                raise
        self._forget(job)

    def counts(self) -> dict[str, int]:
        """Return how many jobs are in each folder."""
        kinds = {"inbox": "*.txt", "running": "*.txt", **dict.fromkeys(map(str, Result), "*.json")}
        return {name: len(list((self.folder / name).glob(kind))) for name, kind in kinds.items()}

    def _make_folders(self) -> None:
        """Create the folders; one that was removed while the daemon runs as well."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("inbox", "running", *Result):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)

    def _inbox(self) -> list[Path]:
        return [file for file in (self.folder / "inbox").glob("*.txt") if file.name[0] != "."]

    def _read(self, file: Path) -> Job:
        """Return a job that was claimed, with its note, or with the reason why it cannot run."""
        job = Job(file.stem)
        try:
            job = attrs.evolve(job, prompt=_read_prompt(file))
            note = json.loads(self._note(job).read_bytes())
            ticket = None if note["ticket"] is None else Ticket.from_json(note["ticket"])
            return attrs.evolve(job, tries=int(note["tries"]), ticket=ticket)
        except FileNotFoundError:
            return job  # it was claimed, and no more
        except (OSError, ValueError) as error:
            return attrs.evolve(job, error=str(error))
        except (KeyError, TypeError):
            return attrs.evolve(job, error="its note is none of this program")

    def _note(self, job: Job) -> Path:
        return self.folder / "running" / f"{job.name}.json"

    def _in_use(self, name: str) -> bool:
        taken = [self.folder / result / f"{name}.json" for result in Result]
        taken += [self.folder / folder / f"{name}.txt" for folder in ("running", Result.FAILED)]
        return any(map(os.path.lexists, taken))

    def _has_result(self, job: Job) -> bool:
        for result in Result:
            with suppress(OSError, ValueError, KeyError, TypeError):
                found = json.loads((self.folder / result / f"{job.name}.json").read_bytes())
                if job.ticket is not None and found["session"] == job.session:
                    return True
        return False

    def _forget(self, job: Job) -> None:
        # The note is removed last: a prompt without its note would be sent again.
        file = self._note(job).with_suffix(".txt")
        if job.error:
            self._make_folders()
            with suppress(FileNotFoundError):
                file.rename(self.folder / Result.FAILED / file.name)  # whatever it is
        else:
            file.unlink(missing_ok=True)
        _sync(file.parent)
        self._note(job).unlink(missing_ok=True)


def _read_prompt(file: Path) -> str:
    """Read a prompt, but no folder, no device and no file elsewhere."""
    if not stat.S_ISREG(file.lstat().st_mode):
        raise ValueError("it is no regular file")
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(file, flags), "rb") as stream:
        os.chmod(file, 0o600)
        data = stream.read(_LONGEST_PROMPT + 1)
    if len(data) > _LONGEST_PROMPT:
        raise ValueError(f"it is larger than {_LONGEST_PROMPT} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error.reason} at byte {error.start}") from None


def _age(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except FileNotFoundError:  # it was removed meanwhile
        return 0


def _write(file: Path, value: object) -> None:
    """Write JSON for the owner only, so that after a crash the file is complete or absent."""
    beside = file.with_suffix(".tmp")
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1)
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
