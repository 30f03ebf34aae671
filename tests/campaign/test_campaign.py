"""A bounded part of the campaign: 30 fixed schedules, and seeds that once found defects.

``TRIO_MIX_CAMPAIGN`` asks for so many schedules of fresh seeds instead of the 30. ``python
tests/campaign --count 5000`` runs more of them, and ``--seed N`` replays one.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import attrs
import pytest
from campaign_features import FEATURES, draw
from campaign_figures import Figures
from campaign_judge import judge
from campaign_run import carry_out

from trio_mix import errors
from trio_mix import events as ev
from trio_mix.testing import Drop, MessageRun, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from campaign_play import Run

_PARTS = 6
_KNOWN = (
    *(15, 38, 56, 90, 116, 119, 129, 133, 139, 152, 214, 236, 241, 285, 10602, 10759, 30996),
    *(700004054, 920001515, 920001907, 930001687, 940000717, 940001631, 970001617, 990000074),
    *(100001429, 60270),
)
"""Seeds that once found defects."""
_KNOWN_WITH = {
    "two clients": (
        *(504, 515, 569, 214729034, 214729089, 810000038, 810000112, 810000146, 810000160),
        *(810000215, 810000252, 810000372, 820000091, 820000125, 820000147, 820000170, 820000216),
        *(820000241, 820000247, 820000501, 830000236, 830000349, 840000234, 910001141, 910001393),
        *(910010022, 912000323, 912000641, 912002135, 860008051, 960000494, 955001849, 918002985),
        *(910006630, 912001393, 1900000010, 1000050690, 2400002592),
        2600008703,
    ),
    "at work": (2500004095, 401904, 810000121, 810000164, 810000362, 910010356, 918000572),
    "at work, reopen": (860000084, 860003746),
    "at work, rough": (860002144, 860004588, 860009956, 955003932),
    "at work, two clients": (
        *(860008082, 910002043, 910004151, 910010972, 860006274, 920002161, 930500017, 930500311),
        *(930500404, 913000161, 910012465, 1000013264),
        *(1600002435, 2100003516, 4500000719),
    ),
    "at work, reopen, two clients": (860007683, 860002458),
    "reopen": (4800002938,),
    "reopen, two clients": (860005346, 1600003600, 1800003618),
    "reopen, two clients, upgrade": (2100020886,),
    "rough, two clients, upgrade": (2100000800, 2600002979),
    "at work, rough, two clients": (910004289, 910012388, 970007870, 88100293, 4800003581),
    "at work, rough, two clients, upgrade": (910005104, 3000002212),
    "rough": (980007696, 4500001918),
    "rough, upgrade": (4600002372,),
    "rough, two clients": (
        *(860001800, 920000673, 874000103, 950005892, 950006872, 955005925, 980009986),
        *(1300006637, 1700003118),
        *(1000010989, 1200000169, 2000004734, 2001000125),
    ),
    "reopen, rough, two clients": (
        *(910001410, 918003551, 2003000441, 2003001664, 2003002811, 2003005713, 2003006426),
        2003008313,
    ),
}
"""The same for schedules with features."""


@pytest.mark.parametrize("part", range(_PARTS))
def test_no_message_is_lost_or_run_twice_in_random_schedules(
    part: int, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = os.environ.get("TRIO_MIX_CAMPAIGN")
    count = -(-int(asked or "30") // _PARTS)
    start = secrets.randbelow(10**9) if asked else 100_000_000 + part * count
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
def test_the_invariants_hold_for_seeds_that_once_found_defects(seed: int) -> None:
    assert judge(carry_out(draw(seed, ()))) == []


@pytest.mark.parametrize("features", _KNOWN_WITH)
def test_the_invariants_hold_for_seeds_with_features(features: str) -> None:
    for seed in _KNOWN_WITH[features]:
        assert judge(carry_out(draw(seed, features.split(", ")))) == [], seed


def test_a_seed_replays_exactly() -> None:
    for seed in range(7, 12):
        first, second = carry_out(draw(seed, FEATURES)), carry_out(draw(seed, FEATURES))
        assert first.timeline == second.timeline
        assert [each.reply for each in first.outcomes] == [each.reply for each in second.outcomes]


@pytest.fixture(scope="module")
def successful() -> Run:
    """Return a run with several replies."""
    return next(
        run
        for run in (carry_out(draw(seed, ())) for seed in range(100, 160))
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


def _report_gone(run: Run) -> None:
    outcome = next(outcome for outcome in run.outcomes if outcome.job.text.startswith("final"))
    outcome.error = errors.MessageInterrupted("gone", outcome="gone")


def _confuse(run: Run) -> None:
    outcome = next(outcome for outcome in run.outcomes if outcome.job.text.startswith("final"))
    event = ev.ErrorEvent(error="another turn has failed")
    outcome.error = errors.AgentError("another turn has failed", event=event)


def _wait(run: Run) -> None:
    turns = {
        text: tuple(Turn(*(s for s in turn.steps if not isinstance(s, Drop))) for turn in used)
        for text, used in run.schedule.turns.items()
    }
    run.schedule = attrs.evolve(run.schedule, rules=(), accidents=(), turns=turns)
    run.outcomes[-1].ended += 100.0


def _leave_a_task(run: Run) -> None:
    run.left.append("a task")


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (_lose_text, "wrong text"),
        (_run_twice, "run twice"),
        (_hang, "not ended"),
        (_share_an_event, "shared event"),
        (_report_gone, "wrong outcome"),
        (_confuse, "wrong error"),
        (_wait, "late"),
        (_leave_a_task, "left"),
    ],
)
def test_the_judge_finds_each_violation(
    successful: Run, spoil: Callable[[Run], None], kind: str
) -> None:
    run = carry_out(successful.schedule)
    assert judge(run) == []
    spoil(run)
    assert kind in {violation.kind for violation in judge(run)}
