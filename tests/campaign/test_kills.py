"""A program that works through tickets, killed at random steps: a bounded part of the campaign.

``python tests/campaign/kill_run.py --kills 250`` kills it as often on each generation, and
``python tests/campaign/ticket_schedules.py --count 2000`` runs more of the schedules in memory.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
from typing import TYPE_CHECKING

import pytest
from kill_run import GENERATIONS, Figures, kill_round
from ticket_schedules import carry_out

from tests.support.command_forks import fork_server
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path


def test_tickets_hold_in_random_schedules_of_processes_that_die() -> None:
    asked = os.environ.get("TRIO_MIX_CAMPAIGN")
    start = secrets.randbelow(10**9) if asked else 700_000_000
    wrong = {}
    for seed in range(start, start + int(asked or "24")):
        _, _, found = carry_out(seed)
        if found:
            wrong[seed] = found
    replay = "python tests/campaign/ticket_schedules.py --seed"
    assert not wrong, f"replay with `{replay} {next(iter(wrong))}`: {wrong}"


@pytest.mark.skipif(sys.platform == "win32", reason="it forks")
async def test_no_ticket_runs_twice_and_each_ends_whenever_its_process_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = 7
    with fork_server() as forks:
        for api in GENERATIONS:
            figures, rng = Figures(api), random.Random(seed)
            folder = tmp_path / api
            folder.mkdir()
            async with MixServer(api, pace=0) as server:
                await kill_round(server, forks, rng, figures, folder, settle=0.3)
            with capsys.disabled():
                print(f"\n{figures} (seed {seed})", end="")
            assert not figures.wrong, f"seed {seed}: {figures.wrong}"
            assert figures.jobs == 6
