"""A bounded part of the relay's campaign: 12 fixed schedules, and seeds that once found defects.

``TRIO_MIX_CAMPAIGN`` asks for so many schedules of fresh seeds instead of the 12. ``python -m
tests.support.relay_campaign --count 1000`` runs more of them, and ``--seed N`` replays one.
"""

from __future__ import annotations

import os
import secrets

import pytest

from tests.support.relay_campaign import carry_out
from tests.support.relay_judge import Figures, judge
from tests.support.relay_schedules import draw

_KNOWN: tuple[int, ...] = (27, 32, 70, 90, 95, 221, 283, 462, 1677, 10019, 20183, 201370, 300562)
_KNOWN += (402404, 500411, 500559, 786018822, 189441750, 46365515)
"""Seeds that once found defects."""


def test_no_event_is_lost_and_no_turn_runs_twice_in_random_schedules(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = os.environ.get("TRIO_MIX_CAMPAIGN")
    count = int(asked or "12")
    start = secrets.randbelow(10**9) if asked else 1
    figures, wrong = Figures(), {}
    for seed in range(start, start + count):
        run = carry_out(draw(seed))
        figures.add(run)
        if found := judge(run):
            wrong[seed] = found
    with capsys.disabled():
        print(f"\nrelay campaign, seeds {start} to {start + count - 1}: {figures}")
    again = f"python -m tests.support.relay_campaign --seed {next(iter(wrong), 0)}"
    assert not wrong, f"replay with `{again}`: {wrong}"


@pytest.mark.parametrize("seed", _KNOWN)
def test_the_invariants_hold_for_seeds_that_once_found_defects(seed: int) -> None:
    assert judge(carry_out(draw(seed))) == []
