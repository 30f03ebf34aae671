"""examples/daemon/spool.py and lookup.outcome_of: a kill between any two steps loses no job."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import pytest

from examples.daemon import spool as module
from examples.daemon.lookup import Finished, NotRun, outcome_of
from examples.daemon.spool import Job, Result, Spool, State
from trio_mix.models import ExportMessage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)


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
    assert job.state is State.CLAIMED


def test_a_sent_job_is_found_again_with_its_session(spool: Spool) -> None:
    put(spool, "a", "one")
    job = attrs.evolve(take(spool), state=State.SENT, session="s", tries=1)
    spool.note(job)
    assert spool.unfinished() == [job]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("steps", range(8))
def test_killed_at_any_step_of_finishing_the_job_is_unfinished_or_has_its_result(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    put(spool, "a", "one")
    job = attrs.evolve(take(spool), state=State.SENT, session="s", tries=1)
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
    assert died == (steps < 3)
    finished = (spool.folder / "done" / "a.json").exists()
    assert spool.unfinished() == ([] if finished else [job])
    if finished:
        assert json.loads((spool.folder / "done" / "a.json").read_text())["text"] == "answer"
        assert list((spool.folder / "running").iterdir()) == []


def test_an_older_result_of_the_name_does_not_hide_a_job(spool: Spool) -> None:
    put(spool, "a", "two")
    job = attrs.evolve(take(spool), state=State.SENT, session="new")
    spool.note(job)
    module._write(spool.folder / "done" / "a.json", {"session": "old"})
    assert spool.unfinished() == [job]


def test_a_second_process_is_refused(spool: Spool) -> None:
    with pytest.raises(BlockingIOError):
        Spool(spool.folder)


def row(role: str, content: str = "", finish: str | None = None) -> ExportMessage:
    return ExportMessage(
        id="m", role=role, content=content, created_at=NOW, updated_at=NOW, finish_reason=finish
    )


@pytest.mark.parametrize(
    ("rows", "outcome"),
    [
        ([], NotRun()),
        ([row("user")], None),
        ([row("user"), row("assistant", "part")], None),
        ([row("user"), row("assistant", "look", "tool_use")], None),
        ([row("user"), row("assistant", "part", "canceled")], NotRun()),
        ([row("user"), row("assistant", "all", "end_turn")], Finished("all", [])),
        (
            [row("user"), row("assistant", "a", "tool_use"), row("assistant", "b", "end_turn")],
            Finished("ab", []),
        ),
    ],
)
def test_only_proof_in_the_stored_messages_counts(
    rows: list[ExportMessage], outcome: Finished | NotRun | None
) -> None:
    assert outcome_of(rows) == outcome
