"""Fault plans: rules, and plans drawn from a seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.testing import Answer, Corrupt, Cut, Fault, FaultPlan, Refuse, Rule, Split, Stall

REQUESTS = st.lists(
    st.sampled_from([("GET", "/stream"), ("POST", "/api/sessions/1/messages"), ("GET", "/health")]),
    max_size=30,
)


def test_rules_count_only_matching_connections() -> None:
    plan = FaultPlan(
        Rule(Cut(5), path="/stream", method="GET", connections=[2]),
        Rule(Refuse(), method="POST", connections=[1]),
        Rule(Split()),
    )
    assert plan.faults_for("GET", "/health") == (Split(),)
    assert plan.faults_for("GET", "/stream") == (Split(),)
    assert plan.faults_for("POST", "/stream/1/message") == (Refuse(), Split())
    assert plan.faults_for("GET", "/stream") == (Cut(5), Split())
    assert plan.faults_for("POST", "/other") == (Split(),)


def test_a_rule_matches_paths_by_their_beginning() -> None:
    plan = FaultPlan(Rule(Cut(5), path="/stream", connections=[2]))
    assert plan.faults_for("POST", "/stream/1/message") == ()
    assert plan.faults_for("GET", "/stream") == (Cut(5),)


@given(seed=st.integers(), requests=REQUESTS)
def test_the_same_seed_gives_the_same_faults(seed: int, requests: list[tuple[str, str]]) -> None:
    one, two = FaultPlan.random(seed), FaultPlan.random(seed)
    assert [one.faults_for(*r) for r in requests] == [two.faults_for(*r) for r in requests]


@given(seed=st.integers(), requests=REQUESTS)
def test_the_faults_of_streams_do_not_depend_on_other_requests(
    seed: int, requests: list[tuple[str, str]]
) -> None:
    mixed, alone = FaultPlan.random(seed), FaultPlan.random(seed)
    found = [mixed.faults_for(*request) for request in requests]
    streams = [f for f, request in zip(found, requests, strict=True) if request[1] == "/stream"]
    assert streams == [alone.faults_for("GET", "/stream") for _ in streams]


def test_a_random_plan_has_no_faults_on_later_connections_and_keeps_its_bounds() -> None:
    kinds: set[type[Fault]] = set()
    for seed in range(300):
        plan = FaultPlan.random(seed, window=100, most=3, rate=1.0, connections=4)
        for _ in range(4):
            faults = plan.faults_for("GET", "/stream")
            assert 1 <= len(faults) <= 3
            kinds.update(type(fault) for fault in faults)
            for fault in faults:
                if isinstance(fault, Stall | Corrupt):
                    assert 0 <= fault.at < 100
        assert plan.faults_for("GET", "/stream") == ()
    assert len(kinds) == 7


def test_a_random_plan_can_be_limited_to_kinds() -> None:
    for seed in range(50):
        plan = FaultPlan.random(seed, kinds=["busy", "refuse"], rate=1.0)
        assert all(isinstance(f, Answer | Refuse) for f in plan.faults_for("GET", "/stream"))
    with pytest.raises(ValueError, match="earthquake"):
        FaultPlan.random(1, kinds=["earthquake"])


def test_the_repr_of_a_plan_recreates_it() -> None:
    assert repr(FaultPlan.random(42)) == "FaultPlan.random(42)"
    assert "Cut(at=5" in repr(FaultPlan(Rule(Cut(5))))


def test_objects_that_are_not_rules_or_faults_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match=r"put the fault into a rule, Rule\(Cut\("):
        FaultPlan(Cut(7))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="takes faults, for example Cut"):
        Rule("cut")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
