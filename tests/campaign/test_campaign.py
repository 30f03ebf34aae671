"""A bounded part of the campaign, with fresh seeds on every run.

``TRIO_MIX_CAMPAIGN`` says how many schedules (150). By hand, ``python tests/campaign --count 5000``
runs more of them, and ``--seed N`` replays one.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from campaign_judge import Figures, judge
from campaign_run import Run, carry_out
from campaign_schedule import draw

from trio_mix import errors
from trio_mix.testing import MessageRun

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS = 6
_KNOWN = (
    *(15, 38, 56, 90, 116, 119, 129, 133, 139, 152, 214, 236, 241, 285, 10602, 10759, 30996),
    *(700004054, 920001515, 920001907, 930001687, 940000717, 940001631, 970001617, 990000074),
    100001429,
)
"""Seeds that found defects once."""


@pytest.mark.parametrize("part", range(_PARTS))
def test_fresh_schedules_lose_nothing_and_double_nothing(
    part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    count = -(-int(os.environ.get("TRIO_MIX_CAMPAIGN", "30")) // _PARTS)
    start = secrets.randbelow(10**9)
    figures, wrong = Figures(), {}
    for seed in range(start, start + count):
        run = carry_out(draw(seed))
        figures.add(run)
        if found := judge(run):
            wrong[seed] = found
    with capsys.disabled():
        print(f"\ncampaign, part {part}, seeds {start} to {start + count - 1}: {figures}")
    assert not wrong, f"replay with `python tests/campaign --seed {next(iter(wrong))}`: {wrong}"


@pytest.mark.parametrize("seed", _KNOWN)
def test_schedules_that_found_defects_once_hold(seed: int) -> None:
    assert judge(carry_out(draw(seed))) == []


def test_a_seed_replays_exactly() -> None:
    first, second = carry_out(draw(7)), carry_out(draw(7))
    assert first.timeline == second.timeline
    assert [outcome.reply for outcome in first.outcomes] == [
        outcome.reply for outcome in second.outcomes
    ]


@pytest.fixture(scope="module")
def quiet() -> Run:
    """A run in which several messages were answered."""
    return next(
        run
        for run in (carry_out(draw(seed)) for seed in range(100, 160))
        if sum(outcome.how == "reply" for outcome in run.outcomes) >= 3
        and any(outcome.events for outcome in run.outcomes)
        and run.schedule.api == "async"
        and not run.schedule.corrupts
        and judge(run) == []
    )


def _lose_text(run: Run) -> None:
    outcome = next(outcome for outcome in run.outcomes if outcome.reply is not None)
    assert outcome.reply is not None
    object.__setattr__(outcome.reply, "text", outcome.reply.text[:-4])


def _run_twice(run: Run) -> None:
    run.log.append(next(record for record in run.log if isinstance(record, MessageRun)))


def _hang(run: Run) -> None:
    run.outcomes[0].how = "hung"


def _share_an_event(run: Run) -> None:
    giver = next(outcome for outcome in run.outcomes if outcome.events)
    taker = next(outcome for outcome in run.outcomes if outcome is not giver)
    taker.events.append(giver.events[-1])


def _lie(run: Run) -> None:
    outcome = next(outcome for outcome in run.outcomes if outcome.job.text.startswith("final"))
    outcome.error = errors.MessageInterrupted("gone", outcome="gone")


def _leave_something(run: Run) -> None:
    run.left.append("a task")


@pytest.mark.parametrize(
    "spoil", [_lose_text, _run_twice, _hang, _share_an_event, _lie, _leave_something]
)
def test_the_judge_sees_what_is_wrong(quiet: Run, spoil: Callable[[Run], None]) -> None:
    run = carry_out(quiet.schedule)
    assert judge(run) == []
    spoil(run)
    assert judge(run) != []
