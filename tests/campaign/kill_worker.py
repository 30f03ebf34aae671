"""A program that works through jobs with tickets, and may be killed at any moment.

``python kill_worker.py URL FOLDER SETTLE [steps N | seconds T]``: FOLDER has ``jobs.json``, and
gets a ticket and a result for each job. The process ends without any cleanup, as by ``kill -9``,
when Trio has run N steps of its tasks, or T seconds after it has started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import trio

from trio_mix import Mix, SessionStream, Ticket, errors


class KillAfter(trio.abc.Instrument):
    """Kills this process after a number of steps of Trio's tasks."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - Trio's
        self._left -= 1
        if self._left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


def write(path: Path, text: str) -> None:
    """Replace a file at once: it is never seen half-written."""
    path.with_suffix(".new").write_text(text, "utf-8")
    path.with_suffix(".new").replace(path)


async def do(session: SessionStream, folder: Path, name: str, text: str) -> None:
    """Do one job, unless it is done."""
    result, stored = folder / f"{name}.result", folder / f"{name}.ticket"
    if result.exists():
        return
    if stored.exists():
        ticket = Ticket.from_json(stored.read_bytes())
    else:
        ticket = await session.prepare(text)
        write(stored, ticket.to_json())
    try:
        async with session.resume(ticket, save=lambda t: write(stored, t.to_json())) as message:
            reply = await message.wait()
        outcome = {"state": "incomplete" if reply.incomplete else "finished", "text": reply.text}
    except errors.MessageInterrupted as exc:
        outcome = {"state": exc.outcome, "text": str(exc)}
    except errors.AgentError as exc:
        outcome = {"state": "failed", "text": str(exc)}
    write(result, json.dumps(outcome))


async def work(url: str, folder: Path, settle: float) -> None:
    async def session_jobs(session_id: str, jobs: dict[str, str]) -> None:
        async with mix.open_stream(session_id, settle_timeout=settle) as session:
            for name, text in jobs.items():
                await do(session, folder, name, text)

    async with Mix(url) as mix, trio.open_nursery() as nursery:
        for session_id, jobs in json.loads((folder / "jobs.json").read_text("utf-8")).items():
            nursery.start_soon(session_jobs, session_id, jobs)


def main() -> None:
    url, folder, settle, *kill = sys.argv[1:]
    instruments: list[trio.abc.Instrument] = []
    match kill:
        case ["steps", steps]:
            instruments.append(KillAfter(int(steps)))
        case ["seconds", seconds]:
            signal.setitimer(signal.ITIMER_REAL, float(seconds))  # nothing handles SIGALRM
    trio.run(work, url, Path(folder), float(settle), instruments=instruments)


if __name__ == "__main__":
    main()
