"""Kill a program that works through tickets at random moments, and start it again.

``python tests/campaign/kill_run.py --kills 250`` does so on each generation of servers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

sys.path.insert(1, str(Path(__file__).parents[2]))  # the package `tests`

import attrs
import trio
import trio.testing

from tests.support.command_forks import ForkServer, fork_server
from trio_mix.testing import MixServer, Pause, Say, Turn, UseTool

if TYPE_CHECKING:
    from trio_mix.testing import Api

_WORKER: Final = Path(__file__).with_name("kill_worker.py")
GENERATIONS: Final[tuple[Api, ...]] = ("async", "blocking", "pipeline", "pipeline-oldest")
OLDEST: Final = "pipeline-oldest"
_SESSIONS: Final = 2
_JOBS: Final = 3
_STEPS: Final = 300
_SECONDS: Final = 0.6
_MOST_KILLS: Final = 40
"""After so many kills the program may end its jobs."""


@attrs.define
class Figures:
    """What was counted."""

    api: Api
    kills: int = 0
    jobs: int = 0
    states: dict[str, int] = attrs.field(factory=dict[str, int])
    notes: list[str] = attrs.field(factory=list[str])
    """About the jobs without a whole reply."""
    wrong: list[str] = attrs.field(factory=list[str])

    def __str__(self) -> str:
        states = ", ".join(f"{n} {state}" for state, n in sorted(self.states.items()))
        return f"{self.api}: {self.kills} kills, {self.jobs} jobs: {states}"


def _turn(rng: random.Random, text: str, settle: float) -> Turn:
    pause = Pause(rng.choice((0.0, 0.0025, 0.025, 0.1)) * settle)
    tools = [UseTool("glob", {"pattern": "*"})] * rng.choice((0, 0, 1))
    return Turn(Say("You said ", deltas=2), pause, *tools, Say(text), pause)


async def kill_round(
    server: MixServer,
    forks: ForkServer,
    rng: random.Random,
    figures: Figures,
    folder: Path,
    *,
    settle: float = 2.0,
    timed: float = 0.0,
) -> None:
    """Do some jobs, with kills, and check how they ended.

    Args:
      server: the server.
      forks: starts the program.
      rng: the moments of the kills.
      figures: where the outcome is counted.
      folder: an empty folder.
      settle: the program's ``settle_timeout``. If it is short, the program is started again only
        when the server has read all that the killed one had sent.
      timed: the part of the kills that are at a random time, and not after a random step.
    """
    jobs: dict[str, dict[str, str]] = {}
    for _ in range(_SESSIONS):
        texts = [f"job-{rng.getrandbits(48):x}" for _ in range(_JOBS)]
        for text in texts:
            server.script(text, _turn(rng, text, settle))
        jobs[server.create_session()] = {text: text for text in texts}
    (folder / "jobs.json").write_text(json.dumps(jobs), "utf-8")
    code, output = -1, b""
    for kills in range(_MOST_KILLS):
        how = ["steps", str(rng.randint(1, _STEPS))]
        if rng.random() < timed:
            how = ["seconds", f"{rng.uniform(0.001, _SECONDS):.4f}"]
        if kills == _MOST_KILLS - 1:
            how = []
        process = await forks.start_program(
            [_WORKER, server.url, folder, str(settle), *how],
            {**os.environ, "PYTHONWARNINGS": "ignore"},
            folder,
        )
        assert process.stdout is not None
        async for data in process.stdout:
            output += data
        code = await process.wait()
        if code >= 0:
            break
        figures.kills += 1
        while settle < 2 and server.connections > server.running_turns:
            await trio.testing.wait_all_tasks_blocked(0.001)
    if code:
        figures.wrong.append(f"the program ended with {code}: {output.decode()[-2000:]}")
        return
    for session_id, asked in jobs.items():
        for text in asked:
            figures.jobs += 1
            outcome = json.loads((folder / f"{text}.result").read_text("utf-8"))
            _check(server, session_id, text, outcome, figures)


def _check(
    server: MixServer, session_id: str, text: str, outcome: dict[str, str], figures: Figures
) -> None:
    state, runs = outcome["state"], server.runs(text)
    figures.states[state] = figures.states.get(state, 0) + 1
    stored = any(text in json.dumps(row) for row in server.stored(session_id))
    about = f"{text} on {session_id}: {outcome}, {runs} runs"
    if state not in ("finished", "incomplete"):
        figures.notes.append(about)
    if runs > 1:
        figures.wrong.append(f"ran twice: {about}")
    if state == "unknown" and stored:
        figures.wrong.append(f"unknown, but stored: {about}")
    said = f"You said {text}"  # of the oldest servers, only the last message has come
    if state == "finished" and outcome["text"] not in (said, text)[: 1 + (server.api == OLDEST)]:
        figures.wrong.append(f"a wrong reply: {about}")
    if state == "gone" and not runs:
        figures.wrong.append(f"gone, but never ran: {about}")


async def kill_campaign(api: Api, kills: int, seed: int) -> Figures:
    """Run rounds until a program was killed so many times."""
    figures, rng = Figures(api), random.Random(seed)
    with ExitStack() as stack:
        forks = stack.enter_context(fork_server())
        async with MixServer(api) as server:
            while figures.kills < kills and len(figures.wrong) < 10:
                with tempfile.TemporaryDirectory() as folder:
                    await kill_round(server, forks, rng, figures, Path(folder), timed=0.5)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=250, help="the number of kills on each")
    parser.add_argument("--api", choices=GENERATIONS, help="only this generation")
    parser.add_argument("--notes", action="store_true", help="print the jobs without a reply")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    wrong = 0
    for api in [options.api] if options.api else GENERATIONS:
        began = time.monotonic()
        figures = trio.run(kill_campaign, api, options.kills, options.seed)
        print(f"{figures}; {time.monotonic() - began:.0f} s", flush=True)
        for line in (*(figures.notes if options.notes else ()), *figures.wrong):
            print("   ", line, flush=True)
        wrong += len(figures.wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
