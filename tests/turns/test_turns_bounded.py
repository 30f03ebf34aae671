"""What the router remembers of turns is bounded, and enough."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.support.event_makers import (
    asked,
    begins,
    done,
    error,
    owners,
    router_for,
    says,
    send,
)
from trio_mix._turns._turn import Input, size_of

APIS = ["async", "auto"]


@pytest.mark.parametrize("api", ["async", "pipeline", "auto"])
def test_many_turns_do_not_make_the_router_grow(api: str) -> None:
    router = router_for(api)
    gone = weakref.ref(send(router))
    for number in range(20_000):
        if number:
            send(router)
        if api != "pipeline":
            owners(router, asked(f"fu{number}", "f"), asked(f"u{number}", "hello"))
        owners(router, begins(f"c{number}", f"a{number}"), done(f"a{number}"))
        owners(router, error(f"foreign {number}"), error(f"foreign {number}"))
        if router.turn is not None:
            router.apply(router.turn, Input.SETTLED)
    gc.collect()
    assert gone() is None, "an id must not keep a whole turn alive"
    assert len(router._owners._messages) + len(router._owners._calls) <= 2 * 4096
    assert len(router._owners.others) <= 8


def test_turns_of_others_that_never_end_are_bounded() -> None:
    router = router_for("async")
    owners(router, *[asked(f"f{number}", "f") for number in range(100)])
    assert len(router._owners.others) <= 8


def test_the_errors_that_are_known_to_be_repeated_are_bounded() -> None:
    router = router_for("async")
    for number in range(100):
        turn = send(router)
        assert owners(router, error(f"{number}"), error(f"{number}")) == [turn, None]
    assert len(router._repeated_errors._repeated) <= 8


def test_what_is_held_for_a_turn_is_bounded() -> None:
    router = router_for("async")
    turn = send(router)
    for _ in range(10_000):
        router.route([says("x", "f1")])
    assert len(turn.held) <= 4096
    large = "x" * 2**20
    for number in range(40):
        router.route([says(large, f"l{number}")])
    assert 14 <= sum(size_of(event) > 2**20 for event in turn.held.events) <= 16
    assert turn.held.size == sum(map(size_of, turn.held.events)) <= 16 * 2**20


def test_an_id_in_use_is_not_forgotten_however_many_calls_are_made() -> None:
    router = router_for("async")
    turn = send(router)
    owners(router, asked("u", "hello"))
    foreign = [asked("fu", "f"), says("f", "f1")]
    owners(router, says("x", "a1"), *foreign)
    for number in range(10_000):
        assert owners(router, begins(f"c{number}", "a1")) == [turn]
        assert owners(router, says("f", "f1")) == [None]
    assert owners(router, done("f1"), done("a1")) == [None, turn]
