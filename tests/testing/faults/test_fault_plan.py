"""The plan of faults: data, and a pure function of its seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.testing import Answer, Corrupt, Cut, Fault, FaultPlan, Refuse, Rule, Split, Stall

REQUESTS = st.lists(
    st.sampled_from([("GET", "/stream"), ("POST", "/api/sessions/1/messages"), ("GET", "/health")]),
    max_size=30,
)


def test_rules_count_only_the_connections_that_fit_them() -> None:
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


def test_a_rule_counts_every_path_that_begins_with_its_own() -> None:
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


def test_a_random_plan_spares_later_connections_and_keeps_its_bounds() -> None:
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


def test_a_random_plan_can_be_told_what_may_happen() -> None:
    for seed in range(50):
        plan = FaultPlan.random(seed, kinds=["busy", "refuse"], rate=1.0)
        assert all(isinstance(f, Answer | Refuse) for f in plan.faults_for("GET", "/stream"))
    with pytest.raises(ValueError, match="earthquake"):
        FaultPlan.random(1, kinds=["earthquake"])


def test_a_plan_says_how_to_make_it_again() -> None:
    assert repr(FaultPlan.random(42)) == "FaultPlan.random(42)"
    assert "Cut(at=5" in repr(FaultPlan(Rule(Cut(5))))


def test_what_is_no_rule_and_no_fault_is_refused_where_it_is_written() -> None:
    with pytest.raises(TypeError, match=r"put the fault into a rule, Rule\(Cut\("):
        FaultPlan(Cut(7))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="takes faults, for example Cut"):
        Rule("cut")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
