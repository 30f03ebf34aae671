"""The reconnect schedule; the numbers are the rules of its module."""

from __future__ import annotations

import math
import random
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.errors import ConfigurationError
from trio_mix.sse import ReconnectPolicy, ReconnectSchedule


class Fixed:
    """A random number generator that always draws the same part of the range."""

    def __init__(self, part: float) -> None:
        self.part = part

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.part


LOW, HIGH = Fixed(0.0), Fixed(1.0)


def failing(schedule: ReconnectSchedule, times: int) -> list[float | None]:
    """Let connects fail one after the other without any delay."""
    schedule.begin(0.0)
    return [schedule.lost(0.0) for _ in range(times)]


# Rule 1


def test_a_stable_connection_is_reopened_almost_at_once() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(stable_after=5.0), rng=HIGH)
    failing(schedule, 10)
    schedule.opened(100.0)
    delay = schedule.lost(105.0)
    assert delay == 0.125
    assert schedule.failures == 0


def test_a_connection_that_was_not_stable_ends_no_series_of_failures() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(stable_after=5.0), rng=HIGH)
    failing(schedule, 3)
    schedule.opened(100.0)
    assert schedule.lost(104.9) == pytest.approx(0.5 * 1.5**3)


def test_with_stable_after_0_every_connection_counts_as_stable() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(stable_after=0.0), rng=HIGH)
    for now in range(5):
        schedule.begin(float(now))
        schedule.opened(float(now))
        assert schedule.lost(float(now)) == 0.125
    assert schedule.lost(4.0) == 0.5  # an attempt that failed does not count


# Rule 2


def test_delays_grow_by_the_exponent_up_to_the_ceiling() -> None:
    policy = ReconnectPolicy(initial_interval=1.0, max_interval=5.0, exponent=2.0)
    assert failing(ReconnectSchedule(policy, rng=HIGH), 5) == pytest.approx(
        [1.0, 2.0, 4.0, 5.0, 5.0]
    )


def test_the_jitter_is_full() -> None:
    assert failing(ReconnectSchedule(ReconnectPolicy(), rng=LOW), 5) == [0.0] * 5
    half = failing(ReconnectSchedule(ReconnectPolicy(initial_interval=2.0), rng=Fixed(0.5)), 1)
    assert half == [1.0]


def test_two_thousand_failures_cause_no_overflow() -> None:
    policy = ReconnectPolicy(max_elapsed_time=None, exponent=100.0)
    schedule = ReconnectSchedule(policy, rng=HIGH)
    assert failing(schedule, 2000)[-1] == 60.0


def test_schedules_have_independent_jitter() -> None:
    delays = {tuple(failing(ReconnectSchedule(ReconnectPolicy()), 3)) for _ in range(5)}
    assert len(delays) == 5


# Rule 3


def test_the_servers_retry_is_a_ceiling_a_minimum_or_ignored() -> None:
    cases: list[tuple[Any, float, list[float]]] = [
        ("ceiling", 3.0, [1.0, 2.0, 3.0, 3.0]),
        ("ceiling", 100.0, [1.0, 2.0, 4.0, 8.0]),
        ("ceiling", 0.0, [1.0, 1.0, 1.0, 1.0]),
        ("obey", 3.0, [3.3, 3.3, 4.0, 8.0]),
        ("obey", 100.0, [10.0, 10.0, 10.0, 10.0]),
        ("obey", math.inf, [10.0, 10.0, 10.0, 10.0]),
        ("ignore", 3.0, [1.0, 2.0, 4.0, 8.0]),
        ("ignore", 0.0, [1.0, 2.0, 4.0, 8.0]),
    ]
    for how, retry, expected in cases:
        policy = ReconnectPolicy(
            initial_interval=1.0, max_interval=10.0, exponent=2.0, server_retry=how
        )
        schedule = ReconnectSchedule(policy, rng=HIGH)
        schedule.server_retry = retry
        assert failing(schedule, 4) == pytest.approx(expected)


def test_an_obeyed_retry_is_the_shortest_delay_also_after_a_stable_connection() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(server_retry="obey"), rng=LOW)
    schedule.server_retry = 3.0
    assert failing(schedule, 2) == [3.0, 3.0]
    schedule.opened(10.0)
    assert schedule.lost(100.0) == 3.0


# Rule 4


def test_retry_after_is_obeyed_up_to_the_limit_with_jitter() -> None:
    for rng, jitter in ((LOW, 0.0), (HIGH, 0.5)):
        schedule = ReconnectSchedule(ReconnectPolicy(max_interval=30.0), rng=rng)
        assert schedule.lost(0.0, retry_after=7.0) == 7.0 + jitter
        assert schedule.lost(0.0, retry_after=1000.0) == 30.0 + jitter
        assert schedule.lost(0.0, retry_after=0.0) == jitter


def test_a_retry_after_beyond_the_time_limit_gives_up_after_three_attempts() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=20.0), rng=LOW)
    for _ in range(2):
        schedule.begin(0.0)
        assert schedule.lost(0.0, retry_after=25.0) == 25.0
    schedule.begin(0.0)
    assert schedule.lost(5.0, retry_after=15.0) == 15.0
    assert schedule.lost(6.0, retry_after=15.0) is None


# Rule 5


def test_the_time_limit_counts_from_the_first_attempt() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=10.0), rng=HIGH)
    for _ in range(3):
        schedule.begin(100.0)
    assert schedule.lost(109.9) == pytest.approx(
        0.1
    )  # the last attempt is made at the end of the limit
    schedule.begin(110.0)
    assert schedule.lost(110.0) is None
    assert schedule.elapsed(110.0) == 10.0
    assert schedule.attempts == 4


def test_the_time_limit_counts_from_the_loss_of_a_stable_connection() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=10.0), rng=HIGH)
    schedule.begin(0.0)
    schedule.opened(1.0)
    assert schedule.lost(1000.0) is not None
    for _ in range(3):
        schedule.begin(1001.0)
    assert schedule.lost(1009.0) is not None
    assert schedule.lost(1010.0) is None


@given(st.floats(0, 1e6), st.floats(0.01, 1000), st.integers(0, 2**32))
def test_the_time_limit_ends_on_a_clock_that_advances_only_in_sleeps(
    now: float, budget: float, seed: int
) -> None:
    policy = ReconnectPolicy(initial_interval=budget / 3, max_elapsed_time=budget)
    schedule = ReconnectSchedule(policy, rng=random.Random(seed))
    schedule.begin(now)
    for _ in range(1000):
        delay = schedule.lost(now)
        if delay is None:
            return
        now += delay
        schedule.begin(now)
    pytest.fail(f"tried a thousand times, {schedule.remaining(now)} s are left")


def test_three_attempts_are_made_however_long_they_take() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=1.0), rng=HIGH)
    schedule.begin(0.0)
    for now in (100.0, 200.0):
        assert schedule.lost(now) is not None
        schedule.begin(now)
    assert schedule.lost(300.0) is None


def test_time_asleep_does_not_count() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=10.0), rng=HIGH)
    schedule.asleep(5.0)  # nothing is counted yet
    for _ in range(3):
        schedule.begin(100.0)
    schedule.asleep(3600.0)
    assert schedule.elapsed(3709.0) == 9.0
    assert schedule.lost(3709.0) is not None
    assert schedule.lost(3710.0) is None


def test_a_time_limit_of_0_allows_no_further_attempt() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=0.0))
    schedule.begin(0.0)
    schedule.opened(0.0)
    assert schedule.lost(1000.0) is None


def test_without_a_time_limit_attempts_continue_forever() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(max_elapsed_time=None))
    schedule.begin(0.0)
    assert schedule.lost(1e9) is not None
    assert schedule.remaining(1e9) is None


# Rule 6


def test_a_planned_drop_is_not_a_failure() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(), rng=HIGH)
    schedule.begin(0.0)
    schedule.opened(0.0)
    schedule.planned(540.0)
    assert (schedule.failures, schedule.attempts) == (0, 0)
    schedule.begin(1000.0)
    assert schedule.lost(1000.0) == 0.5
    assert schedule.elapsed(1000.0) == 0.0


def test_a_planned_drop_resets_failures_only_after_a_stable_connection() -> None:
    schedule = ReconnectSchedule(ReconnectPolicy(stable_after=5.0), rng=HIGH)
    failing(schedule, 2)
    schedule.opened(10.0)
    schedule.planned(11.0)
    assert schedule.failures == 2
    schedule.opened(20.0)
    schedule.planned(25.0)
    assert schedule.failures == 0


# Arguments


BAD: dict[str, list[object]] = {
    "initial_interval": [0, -1, math.inf, math.nan, "1", None, True],
    "max_interval": [0, -1, math.inf, math.nan],
    "exponent": [0.9, 0, -2, math.inf, math.nan, "2"],
    "max_elapsed_time": [-1, math.inf, math.nan, "60"],
    "stable_after": [-1, math.inf, math.nan, None],
    "server_retry": ["Obey", "", None, 3, []],
}


def test_invalid_arguments_are_named_with_their_value() -> None:
    for name, value in [(name, value) for name, values in BAD.items() for value in values]:
        with pytest.raises(ConfigurationError, match=name) as caught:
            ReconnectPolicy(**{name: value})  # type: ignore[arg-type]  # pyright: ignore
        assert repr(value) in str(caught.value)


def test_a_policy_is_a_value() -> None:
    assert ReconnectPolicy() == ReconnectPolicy()
    assert hash(ReconnectPolicy()) == hash(ReconnectPolicy())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ReconnectPolicy().exponent = 2.0  # type: ignore[misc]  # pyright: ignore


# Properties

positive = st.floats(0.001, 1000.0)
policies = st.builds(
    ReconnectPolicy,
    initial_interval=positive,
    max_interval=positive,
    exponent=st.floats(1.0, 10.0),
    max_elapsed_time=st.none() | st.floats(0.0, 1000.0),
    stable_after=st.floats(0.0, 100.0),
    server_retry=st.sampled_from(["ceiling", "obey", "ignore"]),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["begin", "opened", "lost", "planned", "retry"]),
        st.floats(0.0, 200.0),
        st.none() | st.floats(0.0, 5000.0),
    ),
    max_size=40,
)


@given(policies, steps, st.integers(0, 100))
def test_delays_are_within_their_bounds_in_any_history(
    policy: ReconnectPolicy,
    history: list[tuple[str, float, float | None]],
    seed: int,
) -> None:
    schedule = ReconnectSchedule(policy, rng=random.Random(seed))
    now = 1000.0
    opened_at: float | None = None
    begun = False
    for step, elapsed, number in history:
        now += elapsed
        if step == "begin":
            schedule.begin(now)
            begun = True
        elif step == "opened" and begun:
            schedule.opened(now)
            opened_at = now
        elif step == "planned":
            schedule.planned(now)
            opened_at = None
        elif step == "retry":
            schedule.server_retry = number
        elif step == "lost":
            stable = opened_at is not None and now - opened_at >= policy.stable_after
            before = schedule.failures
            delay = schedule.lost(now, retry_after=number)
            opened_at = None
            assert schedule.failures == (0 if stable else before + 1)
            if policy.max_elapsed_time is not None:
                spent = schedule.elapsed(now)
                if policy.max_elapsed_time and schedule.attempts < 3:
                    assert delay is not None
                elif spent >= policy.max_elapsed_time:
                    assert delay is None
                else:
                    assert delay is None or spent + delay <= policy.max_elapsed_time * (1 + 1e-9)
            else:
                assert delay is not None
            if delay is not None:
                jitter = policy.initial_interval if number is not None else 0.0
                assert 0.0 <= delay <= policy.max_interval + jitter
                if number is not None and policy.max_elapsed_time is None:
                    assert delay >= min(number, policy.max_interval)
