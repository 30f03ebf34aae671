"""A program that works through tickets, killed at random steps: a bounded part of the campaign.

``python tests/campaign/kill_run.py --kills 250`` kills it as often on each generation.
"""

from __future__ import annotations

import random
import secrets
import sys
from typing import TYPE_CHECKING

import pytest
from kill_run import GENERATIONS, Figures, kill_round

from tests.support.command_forks import fork_server
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it forks")


async def test_no_ticket_runs_twice_and_each_ends_whenever_its_process_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = secrets.randbelow(10**9)
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
