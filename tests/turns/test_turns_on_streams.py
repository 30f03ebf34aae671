"""Turns where each stream runs the messages that are sent while it is open, beside others."""

from __future__ import annotations

import pytest

from tests.support.event_makers import (
    BUSY,
    asked,
    done,
    error,
    owners,
    permission,
    router_for,
    says,
    send,
    thinks,
    tool,
)
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._turn import Input, Phase


def test_a_stream_that_runs_another_clients_message_ends_that_one_first() -> None:
    """Each stream of a pipeline server runs the messages one after another."""
    router = router_for("pipeline")
    router.traits.proof = True  # the stored messages can be read
    owners(router, says("theirs"))
    turn = send(router)
    assert owners(router, says("more of theirs"), error("theirs has failed")) == [None, None]
    assert owners(router, says("ours"), done("m", "ours")) == [turn, turn]


def test_a_busy_server_has_dropped_a_message_of_which_only_an_older_turns_events_came() -> None:
    router = router_for("pipeline")
    router.old([StoredRow(id="fu", role="user"), StoredRow(id="fa", role="assistant", text="x")])
    turn = send(router)
    assert owners(router, says("theirs"), done("fa"), BUSY) == [turn, None, None]
    assert (turn.phase, turn.events) == (Phase.REGISTERED, 0), "it is sent again"
    router.apply(turn, Input.SENDING)
    assert owners(router, says("ours"), BUSY) == [turn, None]
    assert turn.phase is not Phase.REGISTERED, "the conflict concerns another stream"


def test_the_late_text_of_a_complete_does_not_show_that_it_was_another_turns() -> None:
    """A complete can overtake the last text of its own message."""
    for late, known in (
        ([says("ours")], False),
        ([says(f"{number}") for number in range(5)], True),
        ([tool("c")], True),
    ):
        router = router_for("pipeline")
        router.traits.proof = True
        owners(router, says("theirs"))
        turn = send(router)
        assert owners(router, done("m", "ours")) == [None], "it may be theirs"
        assert owners(router, *late) == [turn] * len(late)
        assert (turn.doubted_end is None) is known


@pytest.mark.parametrize("api", ["pipeline", "blocking"])
def test_text_before_the_late_end_of_an_older_turn_may_be_that_turns(api: str) -> None:
    router = router_for(api)
    router.old([StoredRow(id="fu", role="user"), StoredRow(id="fa", role="assistant", text="x")])
    turn = send(router)
    found = [owners(router, done("fa")), turn.overlap]
    found += [owners(router, says("theirs"), done("fa")), turn.overlap]
    assert found == [[None], "", [turn, None], "guess"]


def test_a_message_that_another_stream_runs_owns_nothing_of_this_one() -> None:
    router = router_for("pipeline")
    turn = send(router)
    router.runs_elsewhere(turn)
    assert owners(router, says("theirs"), error("it has failed"), BUSY, done("m")) == [None] * 4
    assert not turn.over
    assert router.others_seen  # a nameless end may be late, and that of this turn


def test_without_ids_each_turn_is_compared_with_the_rows_once_another_client_was_heard() -> None:
    """Nothing shows whose tools were called meanwhile."""
    router = router_for("blocking")
    for before, overlap in (([], ""), ([tool("theirs"), done(None)], "ids")):
        owners(router, *before)
        turn = send(router, accept=False)
        ours = [tool(f"c{overlap}"), says("ours"), done(f"m{overlap}")]
        assert owners(router, *ours) == [turn] * 3
        router.apply(turn, Input.ANSWER)
        assert (turn.over, turn.overlap) == (True, overlap)


def test_a_permission_request_does_not_show_that_a_stream_runs_a_message() -> None:
    """Each stream of the session receives it."""
    router = router_for("pipeline")
    turn = send(router)
    assert owners(router, permission(), done("m")) == [turn, turn], "nobody else uses the session"
    owners(router, tool("theirs"), done("n"))
    turn = send(router)
    assert owners(router, permission(), BUSY) == [None, None]
    assert turn.phase is Phase.REGISTERED, "it is sent again"
    router.apply(turn, Input.SENDING)
    request, begun = permission(), tool("ours")
    assert router.route([request]).events == []
    assert router.route([begun]).events == [request, begun], "another thread writes requests"


def test_a_connection_that_is_older_than_an_upgrade_has_no_event_of_a_message_sent_since() -> None:
    router = router_for("pipeline")
    turn = send(router, accept=False)
    router.traits.update(router_for("async").traits)
    router.traits.stale = True
    router.apply(turn, Input.ACCEPTED)
    assert owners(router, says("theirs"), error("theirs has failed")) == [None, None]
    router.lost()
    router.reconnected(replayed=False)
    assert owners(router, asked("u", "hello"), done("a")) == [turn, turn]


def test_late_deltas_of_a_turn_of_ours_are_not_another_clients() -> None:
    for api in ("pipeline", "blocking"):
        for late, seen in (
            ([thinks("hm"), says("!")], False),
            ([says(f"{number}") for number in range(5)], True),
        ):
            router = router_for(api)
            turn = send(router)
            assert owners(router, says("ours"), done("m"), *late)[2:] == [None] * len(late)
            router.apply(turn, Input.SETTLED)
            assert (router.others_seen, router.others_at_work) == (seen, seen)


def test_an_error_after_which_a_turn_goes_on_may_be_the_end_of_another_one() -> None:
    router = router_for("pipeline")
    router.traits.proof = True
    turn = send(router)
    assert owners(router, error("cancelled"), says("ours, or of a third one")) == [turn, None]
    assert (turn.phase, turn.overlap) == (Phase.ENDED, "guess")


def test_an_accepted_message_is_not_on_the_stream_of_a_later_connection() -> None:
    router = router_for("pipeline")
    turn = send(router)
    router.apply(turn, Input.ACCEPTED)
    router.lost()
    assert owners(router, says("theirs"), error("it has failed")) == [None, None]
    router.reconnected(replayed=True)
    assert owners(router, says("ours"), done("m")) == [turn, turn]


def test_a_message_whose_post_was_open_when_the_connection_was_lost_may_run_on_either() -> None:
    for learned_by_answer, begun in ((False, True), (False, False), (True, False)):
        router = router_for("auto" if learned_by_answer else "pipeline")
        turn = send(router, accept=False)
        owners(router, *[says("ours")] * begun)
        router.lost()
        router.traits.update(router_for("pipeline").traits)
        router.apply(turn, Input.ACCEPTED)
        failed = error("it has failed")
        assert owners(router, failed) == [None if begun else turn], "what has begun goes on there"
        assert turn.overlap == ("" if begun else "guess")
