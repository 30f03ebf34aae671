"""A bounded part of the fleet's campaign: three real relays on one Redis, and random faults.

``TRIO_MIX_FLEET_CAMPAIGN`` is the number of schedules of each kind (by default 1, of a fixed seed).
``python -m tests.support.relay_fleet_campaign --count 100`` runs more of them.
"""

from __future__ import annotations

import os
import secrets
import signal

import pytest

from tests.support.redis_server import NO_REDIS, find_redis
from tests.support.relay_fleet_campaign import carry_out


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("replicated", [False, True], ids=["one Redis", "a replica is promoted"])
async def test_no_event_is_lost_and_no_turn_runs_twice(
    replicated: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    if find_redis() is None:
        pytest.skip(NO_REDIS)
    asked = os.environ.get("TRIO_MIX_FLEET_CAMPAIGN")
    start = secrets.randbelow(10**9) if asked else (8 if replicated else 2)
    seeds = range(start, start + int(asked or "1"))
    figures, wrong = await carry_out(seeds, replicated=replicated)
    with capsys.disabled():
        print(f"\nfleet campaign, seeds from {start} on: {figures}")
    again = f"python -m tests.support.relay_fleet_campaign --seed {next(iter(wrong), 0)}"
    assert not wrong, f"replay with `{again}{' --replicated' * replicated}`: {wrong}"
