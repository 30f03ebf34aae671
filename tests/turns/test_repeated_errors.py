"""An error that a server sends twice: the second copy may come while a later turn of ours runs."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import attrs

from tests.support.event_makers import (
    asked,
    begins,
    done,
    error,
    owners,
    permission,
    router_for,
    says,
    send,
)
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._turn import Input

if TYPE_CHECKING:
    from trio_mix import events as ev
    from trio_mix._turns._turn import Turn

CANCELLED = "request cancelled by user"


def unreadable_router() -> TurnRouter:
    """A router whose server stores no messages that can be read."""
    return TurnRouter(attrs.evolve(router_for("async").traits, readable=False))


def fail(router: TurnRouter, name: str, *errors: ev.Event) -> Turn:
    """Send a message whose turn begins, and ends with the first of some errors."""
    turn = send(router, name)
    assert owners(router, asked(f"u-{name}", name), *errors) == [
        turn,
        turn,
        *[None] * (len(errors) - 1),
    ]
    return turn


def test_a_late_copy_of_an_error_ends_no_later_turn_wherever_it_comes() -> None:
    turns = [
        [asked("u1", "one"), says("x", "a1"), begins("c1", "a1"), done("a1")],
        [asked("u2", "two"), says("y", "a2"), done("a2")],
    ]
    for late in range(sum(map(len, turns)) + 1):
        router = router_for("async")
        fail(router, "first", error())
        position = itertools.count()
        for name, events in zip(("one", "two"), turns, strict=True):
            turn = send(router, name)
            for event in events:
                if next(position) == late:
                    copy = error()
                    assert owners(router, copy) == [None], late
                    assert turn.doubt is copy, "the stored messages decide if nothing else comes"
                assert owners(router, event) == [turn], late
                assert turn.doubt is None, "it goes on"
            assert turn.over
            assert turn.overlap == ""
        assert owners(router, error()) == [None]


def test_the_error_of_a_turn_ends_it_with_its_second_copy_at_the_latest() -> None:
    """Several turns fail with one text, and the second copy of the first is late, or is lost."""
    for first, more in itertools.product((1, 2), range(3)):
        router = router_for("async")
        fail(router, "first", *[error() for _ in range(first)])
        for number in range(more):
            turn = send(router, f"{number}")
            owners(router, asked(f"u{number}", f"{number}"), error(), error())
            assert turn.over, "one copy may be the first turn's, but not both"
            assert turn.failed
            assert turn.doubt is None
        turn = send(router, "good")
        if first == 1:
            assert owners(router, error()) == [None]
        assert owners(router, asked("u", "good"), says("x", "a"), done("a")) == [turn] * 3


def test_copies_of_different_errors_are_distinguished() -> None:
    router = router_for("async")
    fail(router, "first", error("overloaded"))
    fail(router, "second", error("no such model"))
    turn = send(router, "third")
    assert owners(router, asked("u", "third"), error("overloaded")) == [turn, None]
    assert owners(router, says("x", "a"), error("no such model"), says("y", "a")) == [
        turn,
        None,
        turn,
    ]
    assert owners(router, error("another one")) == [turn], "no error equals it"


def test_an_equal_error_after_the_time_limit_is_the_turns_own() -> None:
    now = [0.0]
    router = TurnRouter(router_for("async").traits, lambda: now[0])
    fail(router, "first", error())
    now[0] = 10.0
    fail(router, "second", error())
    now[0] = 19.0
    turn = send(router, "third")
    assert owners(router, asked("u", "third"), error()) == [turn, None]
    assert turn.doubts_repetition


def test_after_a_turn_that_the_stored_messages_ended_two_copies_may_be_late() -> None:
    """Its only error so far was in doubt: the second copies of both turns may still come."""
    router = router_for("async")
    fail(router, "first", error())
    turn = send(router, "second")
    copy = error()
    assert owners(router, asked("u2", "second"), copy) == [turn, None]
    turn.ended_by = copy
    router.apply(turn, Input.SETTLED)
    turn = send(router, "third")
    events = [asked("u3", "third"), error(), says("x", "a"), error(), says("y", "a"), error()]
    assert owners(router, *events) == [turn, None, turn, None, turn, turn]


def test_the_error_of_a_refused_message_ends_no_later_turn() -> None:
    for copies in (1, 2):
        router = router_for("async")
        refused = send(router, "no key", accept=False)
        router.apply(refused, Input.REFUSED)
        turn = send(router, "with a key")
        for number in range(copies):
            turn_events = [asked("u", "with a key")] if not number else [says("x", "a")]
            assert owners(router, *turn_events, error("no key")) == [turn, None]
        assert owners(router, error("it broke")) == [turn], "it equals none"


def test_the_errors_of_sub_agents_and_a_cancelled_turn_are_not_in_doubt() -> None:
    router = router_for("async")
    refused = send(router, "no key", accept=False)
    router.apply(refused, Input.REFUSED)
    turn = send(router)
    events = [asked("u", "hello"), begins("c", "a"), error("it broke", parent="c")]
    assert owners(router, *events) == [turn] * 3
    router = router_for("async")
    fail(router, "stopped", error(CANCELLED))
    turn = send(router, "stop this too")
    turn.cancelling = True
    assert owners(router, asked("v", "stop this too"), error(CANCELLED)) == [turn, turn]


def test_where_nothing_can_be_read_a_server_that_sends_each_error_once_is_believed() -> None:
    router = unreadable_router()
    for number in range(4):
        fail(router, f"{number}", error())


def test_where_nothing_can_be_read_an_error_in_mid_turn_is_no_repetition() -> None:
    router = unreadable_router()
    fail(router, "first", error(), error())
    fail(router, "second", error())
    turn = send(router, "third")
    events = [asked("u3", "third"), says("x", "a"), permission(), error()]
    assert owners(router, *events) == [turn] * 4


def test_a_lost_connection_leaves_no_error_in_doubt() -> None:
    """Another turn may have begun meanwhile, and copies that were lost do not come any more."""
    router = router_for("async")
    fail(router, "first", error())
    turn = send(router, "second")
    assert owners(router, asked("u2", "second")) == [turn]
    router.lost()
    router.reconnected(replayed=False)
    assert owners(router, error()) == [turn]
