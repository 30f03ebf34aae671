"""examples/daemon/spool.py: a kill between any two steps loses no job; no entry stops it."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING

import attrs
import pytest

from examples.daemon import spool as module
from examples.daemon.spool import Job, Result, Spool
from trio_mix import Ticket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TICKET = Ticket(session_id="s", text="one", ticket_id="t", state="posting")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path)
    yield spool
    spool.close()


def put(spool: Spool, name: str, prompt: str, age: float = 0) -> None:
    file = spool.folder / "inbox" / f"{name}.txt"
    file.write_text(prompt)
    os.utime(file, (1000 - age, 1000 - age))


def take(spool: Spool) -> Job:
    job = spool.take()
    assert job is not None
    return job


def test_jobs_are_taken_in_the_order_of_arrival(spool: Spool) -> None:
    put(spool, "a", "new")
    put(spool, "b", "old", age=5)
    (spool.folder / "inbox" / ".half.txt").write_text("not yet")
    assert [take(spool).prompt, take(spool).prompt, spool.take()] == ["old", "new", None]
    assert spool.counts() == {"inbox": 1, "running": 2, "done": 0, "failed": 0, "doubt": 0}


def test_a_name_is_not_taken_again_before_its_result_is_removed(spool: Spool) -> None:
    put(spool, "a", "one")
    job = take(spool)
    put(spool, "a", "two")
    assert spool.take() is None
    spool.finish(job, Result.FAILED, error="no luck")
    assert spool.take() is None
    (spool.folder / "failed" / "a.json").unlink()
    assert take(spool).prompt == "two"


def test_a_claimed_job_that_was_not_sent_is_found_again(spool: Spool) -> None:
    put(spool, "a", "one")
    job = take(spool)
    assert spool.unfinished() == [job]
    assert job.ticket is None


def test_a_sent_job_is_found_again_with_its_ticket(spool: Spool) -> None:
    put(spool, "a", "one")
    job = attrs.evolve(take(spool), ticket=TICKET, tries=1)
    spool.note(job)
    assert spool.unfinished() == [job]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("steps", range(8))
def test_killed_at_any_step_of_finishing_the_job_is_unfinished_or_has_its_result(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    put(spool, "a", "one")
    job = attrs.evolve(take(spool), ticket=TICKET, tries=1)
    spool.note(job)
    left = steps
    for name in ("unlink", "rename"):
        real = getattr(type(spool.folder), name)

        def dying(self: Path, *args: object, real: object = real, **kwargs: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(self, *args, **kwargs)  # type: ignore[operator]

        monkeypatch.setattr(type(spool.folder), name, dying)
    died = False
    try:
        spool.finish(job, Result.DONE, text="answer")
    except Killed:
        died = True
    monkeypatch.undo()
    assert died == (steps < 4)
    finished = (spool.folder / "done" / "a.json").exists()
    assert spool.unfinished() == ([] if finished else [job])
    if finished:
        assert json.loads((spool.folder / "done" / "a.json").read_text())["text"] == "answer"
        assert list((spool.folder / "running").iterdir()) == []


def test_an_older_result_of_the_name_does_not_hide_a_job(spool: Spool) -> None:
    put(spool, "a", "two")
    job = attrs.evolve(take(spool), ticket=TICKET)
    spool.note(job)
    module._write(spool.folder / "done" / "a.json", {"session": "old"})
    assert spool.unfinished() == [job]


def test_a_second_process_is_refused(spool: Spool) -> None:
    with pytest.raises(BlockingIOError):
        Spool(spool.folder)


def hostile_inbox(spool: Spool) -> dict[str, str]:
    """Put what is no prompt into the inbox; return what each error says."""
    inbox = spool.folder / "inbox"
    (inbox / "latin.txt").write_bytes(b"na\xefve")
    (inbox / "folder.txt").mkdir()
    (inbox / "folder.txt" / "file").write_text("inside")
    (inbox / "dangling.txt").symlink_to(spool.folder / "nothing")
    secret = spool.folder / "secret"
    secret.write_text("not a prompt")
    (inbox / "link.txt").symlink_to(secret)
    os.mkfifo(inbox / "fifo.txt")
    (inbox / "huge.txt").write_bytes(b"x" * (10 * 2**20 + 1))
    return {
        "latin": "it is not UTF-8",
        "huge": "it is larger",
        **dict.fromkeys(("folder", "dangling", "link", "fifo"), "it is no regular file"),
    }


@pytest.mark.parametrize("killed", [False, True])
def test_what_is_no_prompt_fails_and_the_next_job_is_taken(spool: Spool, killed: bool) -> None:
    errors = hostile_inbox(spool)
    put(spool, "good", "one", age=-9)
    taken = []
    while (job := spool.take()) is not None:
        taken.append(job)
    if killed:
        taken = spool.unfinished()  # in the next process
    assert len(taken) == len(errors) + 1
    for job in taken:
        assert job.error.startswith(errors.get(job.name, "")), job
        if job.error:
            spool.finish(job, Result.FAILED, error=job.error)
    assert [each.name for each in spool.unfinished()] == ["good"]
    failed = sorted(file.name for file in (spool.folder / "failed").iterdir())
    assert failed == sorted(f"{name}.{kind}" for name in errors for kind in ("json", "txt"))
    assert (spool.folder / "failed" / "folder.txt" / "file").read_text() == "inside"
    assert "not a prompt" not in (spool.folder / "failed" / "link.json").read_text()
    put(spool, "fifo", "a new one")
    assert spool.take() is None  # as long as its entry is in failed


def test_files_and_folders_are_the_owners_only(spool: Spool) -> None:
    put(spool, "a", "one")
    job = attrs.evolve(take(spool), ticket=TICKET)
    spool.note(job)
    put(spool, "b", "two")
    take(spool)
    spool.finish(job, Result.DONE, text="answer")
    for path in spool.folder.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_folders_that_were_removed_are_created_again(spool: Spool) -> None:
    put(spool, "a", "one")
    job = take(spool)
    for name in ("inbox", "done", "failed", "doubt"):
        (spool.folder / name).rmdir()
    spool.finish(job, Result.DONE, text="answer")
    assert spool.take() is None
    put(spool, "b", "two")
    assert take(spool).prompt == "two"


def test_on_a_full_disk_the_entry_of_a_failed_job_is_moved(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    put(spool, "a", "one")
    job = take(spool)
    put(spool, "b", "two")
    other = take(spool)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(module, "_sync", lambda *_: None)
    with pytest.raises(OSError, match="No space"):
        spool.finish(other, Result.DONE, text="answer")
    failed = attrs.evolve(job, error="No space left on device")
    spool.finish(failed, Result.FAILED, error=failed.error)
    monkeypatch.undo()
    assert spool.unfinished() == [other]
    assert (spool.folder / "failed" / "a.txt").read_text() == "one"


def test_a_note_that_cannot_be_read_fails_its_job(spool: Spool) -> None:
    for note in ('{"tries": 1, "ticket": "{"}', '{"state": "sent"}', "[", '{"tries": {}}'):
        put(spool, "a", "one")
        job = take(spool)
        (spool.folder / "running" / "a.json").write_text(note)
        (unfinished,) = spool.unfinished()
        assert unfinished.error, note
        spool.finish(unfinished, Result.FAILED, error=unfinished.error)
        assert job.name == unfinished.name
        for file in (spool.folder / "failed").iterdir():
            file.unlink()
