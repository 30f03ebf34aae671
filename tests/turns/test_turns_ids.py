"""Turns on wires with message ids: other people's turns before, during and after ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.event_makers import (
    asked,
    begins,
    done,
    error,
    owners,
    permission,
    ran,
    rate_limit,
    router_for,
    runs,
    says,
    send,
    served,
    thinks,
    unknown,
)
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._turn import Input, Phase

if TYPE_CHECKING:
    from trio_mix import events as ev

APIS = ["async", "auto"]


@pytest.mark.parametrize("api", APIS)
def test_a_whole_turn_with_rounds_and_a_sub_agent_is_ours(api: str) -> None:
    router = router_for(api)
    turn = send(router)
    events: list[ev.Event] = [
        asked("u", "hello"),
        thinks("hm", "a1"),
        says("let me see", "a1"),
        begins("task", "a1"),
        runs("task"),
        asked("su", "a sub-agent's task", "task"),
        says("sub", "sa", "task"),
        begins("c2", "sa", "task"),
        permission("task"),
        ran("c2", "task"),
        says("deeper", "sb", "c2"),
        done("sa", "sub", "task"),
        error(parent="task"),
        ran("task"),
        rate_limit(),
        unknown(),
        says("so", "a2"),
        done("a2", "so"),
    ]
    assert owners(router, *events) == [turn] * len(events)
    assert turn.over
    late = [says("!", "a2"), ran("task"), done("a2"), says("x", "sa", "task"), begins("c9", "a1")]
    assert owners(router, *late) == [None] * len(late)


@pytest.mark.parametrize("api", APIS)
def test_events_show_which_stored_answers_are_of_other_clients(api: str) -> None:
    router = served(api)
    turn = send(router)
    stored = (["u0", "u9", "u"], ["a0", "a9", "a1", "a2"])
    owners(router, asked("u9", "foreign"), says("its", "a9"))
    assert router.of_others(turn, *stored) == set()  # it is not known yet which question is ours
    owners(router, asked("u", "hello"), done("a9", "its"), says("ours", "a1"))
    assert router.of_others(turn, *stored) == {"a0", "a9"}
    assert router.of_others(turn, ["u"], stored[1]) == set()  # nor whose question a9 answers


@pytest.mark.parametrize("replayed", [True, False])
def test_a_foreign_turn_goes_on_where_it_was_only_when_all_is_replayed(replayed: bool) -> None:
    router = served("async")
    owners(router, asked("u9", "foreign"))
    turn = send(router)
    router.lost()
    router.reconnected(replayed=replayed)
    its = owners(router, says("its", "a9"), done("a9", "its"))
    assert (its == [None, None]) is replayed  # else nobody can tell: what names ours may be lost
    if replayed:
        assert owners(router, asked("u", "hello"), says("ours", "a1")) == [turn, turn]


@pytest.mark.parametrize("api", APIS)
def test_the_rest_of_a_turn_that_began_before_the_stream_is_not_ours(api: str) -> None:
    router = router_for(api)
    turn = send(router)
    before = owners(router, says("rest", "f1"), begins("fc", "f1"), permission())
    assert before == [None] * 3
    assert owners(router, asked("u", "hello")) == [turn]
    mixed = [says("of theirs", "f1"), says("ours", "a1"), runs("fc"), ran("fc"), says("x", "f1")]
    assert owners(router, *mixed) == [None, turn, None, None, None]
    assert owners(router, done("f1"), says("!", "a1"), done("a1")) == [None, turn, turn]


@pytest.mark.parametrize("api", APIS)
def test_a_foreign_rest_heard_while_idle_keeps_its_next_rounds(api: str) -> None:
    router = router_for(api)
    owners(router, says("rest", "f1"), begins("fc", "f1"), runs("fc"))
    turn = send(router)
    assert owners(router, asked("u", "hello"), thinks("hm", "a1")) == [turn, turn]
    assert owners(router, ran("fc"), says("round two", "f2"), done("f2")) == [None] * 3
    assert owners(router, done("a1")) == [turn]


def test_a_foreign_end_before_our_message_is_named_is_known_by_its_missing_beginning() -> None:
    router = router_for("async")
    turn = send(router)
    assert owners(router, says("the end", "f1"), done("f1", "not only the end")) == [None, None]
    assert not turn.over
    assert owners(router, asked("u", "hello"), done("a1")) == [turn, turn]


def test_a_foreign_end_before_our_post_is_accepted_is_not_ours() -> None:
    router = router_for("async")
    turn = send(router, accept=False)
    assert owners(router, says("x", "f1"), done("f1", "x")) == [None, None]
    assert turn.phase is Phase.POSTED
    assert owners(router, says("late", "f1"), asked("u", "hello")) == [None, turn]


def test_where_user_messages_are_named_nothing_is_ours_before_ours_is() -> None:
    router = served("async")
    turn = send(router)
    assert owners(router, says("x", "f1"), done("f1", "x"), done("g1", "y")) == [None] * 3
    assert owners(router, asked("u", "hello"), done("a1")) == [turn, turn]


def test_our_text_sent_by_another_client_is_not_ours() -> None:
    router = router_for("async")
    turn = send(router)
    assert owners(router, asked("u", "hello"), asked("fu", "hello")) == [turn, None]
    assert owners(router, says("o", "a1"), says("f", "f1"), done("f1")) == [turn, None, None]
    assert owners(router, done("a1")) == [turn]


def test_a_server_that_never_names_user_messages_is_understood_at_the_turns_end() -> None:
    router = router_for("async")
    for number in range(3):
        turn = send(router)
        events = [thinks("hm", f"a{number}"), says("x", f"a{number}"), done(f"a{number}", "x")]
        assert owners(router, *events) == [turn] * 3
        assert turn.over
        assert turn.events == 3


@pytest.mark.parametrize("api", APIS)
def test_turns_of_others_before_during_and_after_ours_are_nobodys(api: str) -> None:
    router = router_for(api)
    foreign = [asked("fu", "theirs"), says("f", "f1"), done("f1")]
    assert owners(router, *foreign) == [None] * 3
    turn = send(router)
    assert owners(router, asked("gu", "theirs"), says("g", "g1"), unknown()) == [None] * 3
    assert owners(router, asked("u", "hello"), says("o", "a1")) == [turn, turn]
    assert owners(router, asked("hu", "others")) == [None]
    # The unknown round is of the one that is due one; neither of two that speak.
    assert owners(router, says("h", "h1"), says("o", "a1"), says("g", "g1")) == [None, turn, None]
    assert owners(router, done("g1"), done("h1"), done("a1")) == [None, None, turn]
    assert owners(router, asked("iu", "hello"), says("i", "i1"), done("i1")) == [None] * 3


def test_of_two_turns_that_are_due_a_round_the_older_speaks_first() -> None:
    router = router_for("async")
    owners(router, asked("fu", "theirs"))
    turn = send(router)
    owners(router, asked("u", "hello"))
    assert owners(router, says("f", "f1"), says("o", "a1")) == [None, turn]
    assert owners(router, done("f1"), done("a1")) == [None, turn]


def test_two_foreign_turns_at_once_do_not_hide_each_other() -> None:
    router = served("async")
    owners(router, asked("fu", "f"), says("f", "f1"), begins("fc", "f1"), asked("gu", "g"))
    owners(router, says("g", "g1"), done("g1"))
    turn = send(router)
    owners(router, asked("u", "hello"), says("o", "a1"))
    assert owners(router, ran("fc"), says("f", "f2"), done("f2")) == [None] * 3
    assert owners(router, done("a1")) == [turn]


def test_an_error_without_ids_is_of_the_turn_heard_last() -> None:
    router = served("async")
    turn = send(router)
    owners(router, asked("u", "hello"), says("o", "a1"), asked("fu", "f"), says("f", "f1"))
    assert owners(router, error(), error()) == [None, None]
    assert owners(router, says("!", "a1"), error("ours"), error("ours")) == [turn, turn, None]


def test_an_error_before_our_message_is_named_is_ours_unless_others_run() -> None:
    router = served("async")
    turn = send(router)
    assert owners(router, error("early"), error("early")) == [turn, None]
    assert turn.over
    owners(router, asked("fu", "f"))
    turn = send(router)
    assert owners(router, error("theirs"), error("theirs")) == [None, None]
    assert owners(router, asked("u", "hello"), done("a")) == [turn, turn]


@pytest.mark.parametrize("api", APIS)
def test_a_repeated_error_never_ends_the_next_turn(api: str) -> None:
    router = router_for(api)
    first = send(router)
    assert owners(router, asked("u1", "hello"), error(), error()) == [first, first, None]
    second = send(router)
    assert owners(router, asked("u2", "hello"), error()) == [second, second]
    third = send(router, accept=False)
    assert owners(router, error()) == [None], "the repetition, after the next POST"
    router.apply(third, Input.ACCEPTED)
    assert owners(router, asked("u3", "hello"), error()) == [third, third]
    fourth = send(router)
    assert owners(router, asked("u4", "hello"), error()) == [fourth, None], "later still"
    assert owners(router, error(), error()) == [fourth, None]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("copies", [1, 2, 3])
def test_an_error_is_repeated_as_often_as_turns_overlap(api: str, copies: int) -> None:
    """Each event comes once for each turn that runs, and each error twice as often."""
    for late in range(2 * copies):
        router = router_for(api)
        first = send(router)
        named = [asked("u1", "hello") for _ in range(copies)]
        errors = [error() for _ in range(2 * copies)]
        early = 2 * copies - late
        assert owners(router, *named, *errors[:early]) == (
            [first] * (copies + 1) + [None] * (early - 1)
        )
        second = send(router)
        assert owners(router, *errors[early:]) == [None] * late
        assert owners(router, asked("u2", "hello"), says("x", "a2")) == [second, second]
        assert owners(router, error()) == [second], "its own"


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_the_error_of_an_overlapping_turn_does_not_end_ours(copies: int) -> None:
    router = served("async")
    owners(router, asked("f", "theirs"))
    turn = send(router)
    named = [asked("u", "hello") for _ in range(copies)]
    assert owners(router, *named, says("x", "fa")) == [turn] * copies + [None]
    theirs = [error("theirs") for _ in range(2 * copies)]
    assert owners(router, *theirs) == [None] * 2 * copies
    assert owners(router, error("ours")) == [turn]


@pytest.mark.parametrize("lost", [False, True])
def test_a_message_that_is_named_twice_on_one_connection_runs_beside_another_turn(
    lost: bool,
) -> None:
    router = router_for("async")
    turn = send(router)
    owners(router, asked("u", "hello"))
    assert not turn.overlap
    if lost:  # the server may send it again
        router.lost()
        router.reconnected(replayed=True)
    assert owners(router, asked("u", "hello")) == [turn]
    assert bool(turn.overlap) is not lost


CANCELLED = "request cancelled by user"


@pytest.mark.parametrize("api", [*APIS, "pipeline"])
@pytest.mark.parametrize("end", ["its events", "the error", "the stored messages"])
def test_what_is_said_of_a_cancellation_that_came_too_late_is_not_the_next_turns(
    api: str, end: str
) -> None:
    router = router_for(api)
    first = send(router)
    begun = [asked("u1", "hello"), says("x", "a1")] if api != "pipeline" else [says("x")]
    assert owners(router, *begun) == [first] * len(begun)
    first.cancelling = True
    if end == "its events":
        assert owners(router, done("a1")) == [first]
    elif end == "the error":  # overlapping turns send each event twice
        assert owners(router, error(CANCELLED)) == [first]
    else:
        router.apply(first, Input.SETTLED)
    assert first.over
    assert owners(router, error(CANCELLED)) == [None]
    second = send(router)
    assert owners(router, error(CANCELLED)) == [None]
    begun = [asked("u2", "hello"), says("y", "a2")] if api != "pipeline" else [says("y")]
    assert owners(router, *begun) == [second] * len(begun)
    assert owners(router, error(CANCELLED)) == [second], "its own: somebody has cancelled it"


def test_an_error_that_says_cancelled_is_the_turns_own_where_none_was_cancelled() -> None:
    router = router_for("async")
    first = send(router)
    assert owners(router, asked("u1", "hello"), done("a1")) == [first, first]
    second = send(router)
    assert owners(router, error(CANCELLED)) == [second]


# -- sub-agents ------------------------------------------------------------------------------


def test_a_sub_agent_of_an_unknown_call_belongs_to_the_only_turn() -> None:
    router = served("async")
    assert owners(router, says("x", "s", "nowhere")) == [None]
    turn = send(router)
    assert owners(router, says("x", "s", "nowhere")) == [None], "ours has not begun"
    assert owners(router, asked("u", "hello"), done("s", "x", "lost")) == [turn, turn]
    assert not turn.over


def test_of_two_turns_a_sub_agent_of_an_unknown_call_belongs_to_the_one_heard_last() -> None:
    router = served("async")
    turn = send(router)
    owners(router, asked("u", "hello"), says("o", "a1"), asked("fu", "f"), says("o", "a1"))
    assert owners(router, says("x", "s", "nowhere"), says("f", "f1")) == [turn, None]


def test_a_sub_agents_events_follow_their_call_to_any_turn() -> None:
    router = served("async")
    turn = send(router)
    owners(router, asked("u", "hello"), begins("ours", "a1"))
    owners(router, asked("fu", "f"), begins("theirs", "f1"))
    mixed = [says("x", "s", "theirs"), says("y", "t", "ours"), begins("in", "s", "theirs")]
    assert owners(router, *mixed) == [None, turn, None]
    assert owners(router, says("z", "v", "in"), done("s", "", "theirs")) == [None, None]


def test_a_sub_agents_task_with_our_words_is_not_our_message() -> None:
    router = router_for("async")
    turn = send(router)
    assert owners(router, asked("su", "hello", "somebodys")) == [None]
    assert not turn.bound
    assert owners(router, asked("u", "hello")) == [turn]


# -- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize("api", APIS)
def test_a_late_nameless_end_of_a_turn_that_was_stored_before_is_not_ours(api: str) -> None:
    router = router_for(api)
    router.old([StoredRow(id="fu", role="user"), StoredRow(id="fa", role="assistant", text="x")])
    turn = send(router)
    assert owners(router, asked("fu", "theirs"), says("x", "fa"), done(None)) == [None] * 3
    assert turn.doubt is not None, "it may have been ours"
    assert owners(router, asked("u", "hello"), done("a")) == [turn, turn]
    assert turn.over


def test_late_nameless_events_of_a_turn_that_was_stored_before_are_not_ours_that_is_bound() -> None:
    router = router_for("async")
    answer = StoredRow(id="fa", role="assistant", text="x", finish="canceled")
    router.old([StoredRow(id="fu", role="user"), answer])
    turn = send(router)
    router.bind(turn, "u")
    late = [asked("fu", "theirs"), permission(), says("x", "fa"), rate_limit(), error()]
    assert owners(router, *late) == [None] * len(late)
    assert turn.doubt is not None, "it may have been ours"
    ours = [permission(), error("it broke later")]
    assert owners(router, *ours) == [turn, turn], "the other turn has ended"


def test_late_deltas_where_only_users_messages_are_named_are_not_another_clients() -> None:
    """The next message is asked for its permissions and gets its error only if it runs alone."""
    cases = ((False, 1, ""), (True, 4, ""), (False, 5, "ids"), (True, 5, "ids"))
    for posted, late, overlap in cases:
        router = router_for("blocking")
        turn = send(router, "Q", accept=False)
        assert owners(router, asked("u", "Q"), says("a"), done("m", "abc")) == [turn] * 3
        router.apply(turn, Input.ANSWER)
        deltas = [thinks("hm"), *[says("b")] * (late - 1)]
        if not posted:
            assert owners(router, *deltas) == [None] * late
        turn = send(router, "R", accept=False)
        if posted:
            assert owners(router, *deltas) == [None] * late
        assert owners(router, asked("v", "R"), permission()) == [turn] * 2
        assert turn.overlap == overlap


def test_deltas_after_a_loss_may_be_another_clients() -> None:
    router = router_for("blocking")
    turn = send(router, "Q", accept=False)
    assert owners(router, asked("u", "Q"), done("m", "abc")) == [turn] * 2
    router.apply(turn, Input.ANSWER)
    for replayed in (True, False):
        router.lost()
        router.reconnected(replayed=replayed)
        assert owners(router, says("b")) == [None]
        assert router.others_at_work is not replayed
