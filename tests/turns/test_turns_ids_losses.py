"""Turns on wires with message ids: what is known of them after losses, and from stored messages."""

from __future__ import annotations

from tests.support.event_makers import (
    asked,
    begins,
    done,
    error,
    owners,
    permission,
    ran,
    router_for,
    says,
    send,
    served,
)
from trio_mix import ToolCall
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._turn import Input


def test_a_turn_bound_by_its_stored_row_is_followed_again() -> None:
    router = served("async")
    turn = send(router)
    router.lost()
    assert turn.unheard
    assert owners(router, says("x", "a1")) == [None]
    router.bind(turn, "u")
    assert owners(router, asked("u", "hello")) == [turn]
    assert owners(router, says("y", "a1"), done("a1")) == [turn, turn]


def test_after_a_loss_events_of_an_unbound_turn_are_kept_for_it() -> None:
    router = served("async")
    turn = send(router)
    router.lost()
    assert owners(router, says("x", "a1"), done("a1", "x")) == [turn, turn]


def test_what_others_did_before_a_loss_does_not_count_after_it() -> None:
    router = served("async")
    owners(router, asked("fu", "f"))
    turn = send(router)
    owners(router, asked("u", "hello"))
    router.lost()
    assert owners(router, says("x", "a1"), done("a1")) == [turn, turn]


def test_a_replay_goes_on_with_the_turn_that_was_heard_last_before_the_loss() -> None:
    router = router_for("async")
    answer = StoredRow(id="fa", role="assistant", text="x", finish="canceled")
    router.old([StoredRow(id="fu", role="user"), answer])
    turn = send(router)
    assert owners(router, asked("fu", "theirs"), says("x", "fa")) == [None] * 2
    router.lost()
    router.lost()
    router.reconnected(replayed=True)
    stopped = error("request cancelled by user")
    assert owners(router, stopped, asked("u", "hello"), done("a")) == [None, turn, turn]


def test_after_a_loss_new_ids_may_be_those_of_a_turn_that_only_copies_of_events_showed() -> None:
    router = served("async")
    turn = send(router)
    assert owners(router, asked("u1", "hello"), asked("u1", "hello")) == [turn] * 2
    found = [turn.overlap]  # each turn that runs brings one copy
    router.lost()
    router.reconnected(replayed=False)
    assert [*found, turn.overlap] == ["ids", "guess"], "ours may have ended meanwhile"


def test_late_events_of_a_turn_read_from_the_stored_messages_are_not_the_next_ones() -> None:
    router = router_for("async")
    first = send(router)
    router.own(first, "u1", "a1", None, "")
    router.apply(first, Input.SETTLED)
    second = send(router)
    assert owners(router, says("late", "a1"), done("a1", "late")) == [None, None]
    assert not second.over


def test_a_running_turns_answer_that_is_stored_before_its_events_still_ends_that_turn() -> None:
    router = served("async")
    assert owners(router, asked("u1", "another client's")) == [None]
    router.old([StoredRow(id="u1", role="user"), StoredRow(id="a1", role="assistant")])
    turn = send(router)
    theirs = owners(router, says("their text", "a1"), done("a1", "their text"))
    ours = owners(router, asked("u2", "hello"), says("our text", "a2"), done("a2", "our text"))
    assert (theirs, ours) == ([None] * 2, [turn] * 3)


def test_the_tool_of_a_stored_turn_that_is_at_work_is_that_turns_until_its_end() -> None:
    router = router_for("async")
    running = ToolCall(tool_call_id="c", name="bash", input="{}")
    answer = StoredRow(id="a1", role="assistant", tool_calls=(running,), finish="")
    router.old([StoredRow(id="u1", role="user", finish=""), answer])
    assert owners(router, ran("c")) == [None]
    before = router.others_at_work
    assert owners(router, done("a1", "their text")) == [None]
    assert (before, router.others_at_work) == (True, False)
    turn = send(router)
    ours = owners(router, asked("u2", "hello"), says("our text", "a2"), done("a2", "our text"))
    assert ours == [turn] * 3
    assert turn.overlap == ""


def test_a_turn_that_no_event_has_named_was_not_cancelled() -> None:
    router = router_for("async")
    turn = send(router)
    stopped = error("request cancelled by user")
    assert owners(router, stopped, stopped) == [None, None]
    assert turn.doubt is not None, "the stored messages decide"
    assert owners(router, asked("u", "hello"), done("a")) == [turn, turn]
    turn = send(router)
    turn.cancelling = True
    assert owners(router, stopped) == [turn]


def test_an_end_that_may_have_been_ours_is_looked_up_at_once() -> None:
    router = served("async")
    owners(router, asked("fu", "theirs"), begins("c", "fa"), ran("c"))
    turn = send(router)
    assert owners(router, asked("u", "hello")) == [turn]
    assert owners(router, says("ours", "a"), done("a", "ours")) == [None, None], "a guess"
    assert turn.overlap == "guess"
    assert turn.doubt is not None


def test_only_a_turn_that_no_event_has_named_may_be_older_than_the_stream() -> None:
    router = router_for("async")
    send(router)
    owners(router, asked("fu", "theirs"), asked("u", "hello"), done("fa"))
    assert not router.older_ended, "a silent turn may still go on"
    router = router_for("async")
    owners(router, says("x", "f1"), done("f1"))
    assert router.older_ended


def test_an_event_without_ids_does_not_show_that_our_turn_goes_on() -> None:
    router = served("async")
    turn = send(router)
    owners(router, asked("u", "hello"), says("ours", "a"), asked("fu", "theirs"))
    assert owners(router, error("it failed")) == [None]
    assert turn.doubt is not None
    owners(router, permission())
    assert turn.doubt is not None, "the other turn may ask"
    assert owners(router, says("more", "a")) == [turn]
    assert turn.doubt is None


def test_an_event_that_is_ours_by_a_guess_does_not_show_that_our_turn_goes_on() -> None:
    """The other turn had just begun when ours failed: the error is taken for its end."""
    router = served("async")
    turn = send(router)
    owners(router, asked("u", "hello"), says("ours", "a"), asked("fu", "theirs"))
    assert owners(router, error("it failed")) == [None]
    assert owners(router, says("theirs", "fa"), says(" go on", "fa")) == [turn, turn], "a guess"
    owners(router, begins("c", "fa"), ran("c"))
    assert turn.doubt is not None
    assert owners(router, says("more", "a")) == [turn]
    assert turn.doubt is None


def test_an_end_that_may_be_ours_does_not_end_a_silent_turn() -> None:
    router = served("async")
    owners(router, begins("c", "fa"), ran("c"))
    send(router)
    owners(router, asked("u", "hello"), says("ours", "a"), done("a", "ours"))
    assert not router.older_ended


def test_the_late_error_of_a_stored_turn_is_its_own_also_after_the_end_of_another_one() -> None:
    router = router_for("async")
    router.old(
        [
            StoredRow(id="u1", role="user", finish="stop"),
            StoredRow(id="a1", role="assistant", text="x", finish="end_turn"),
            StoredRow(id="u2", role="user", finish="stop"),
            StoredRow(id="a2", role="assistant", text="y", finish="canceled"),
        ]
    )
    turn = send(router)
    late = [asked("u1", "one"), done("a1"), asked("u2", "two"), says("y", "a2"), error("failed")]
    assert owners(router, *late) == [None] * 5
    assert turn.doubt is not None


def test_two_stored_turns_that_are_at_work_both_go_on() -> None:
    router = router_for("async")
    calls = [ToolCall(tool_call_id=name, name="bash", input="{}") for name in ("c1", "c2")]
    router.old(
        [
            StoredRow(id="u1", role="user", finish="stop"),
            StoredRow(id="a1", role="assistant", tool_calls=(calls[0],), finish="tool_use"),
            StoredRow(id="u2", role="user", finish="stop"),
            StoredRow(id="a2", role="assistant", tool_calls=(calls[1],), finish="tool_use"),
        ]
    )
    turn = send(router)
    assert owners(router, asked("u3", "hello"), says("ours ", "a3")) == [turn] * 2
    for call, answer in (("c1", "a4"), ("c2", "a5")):
        theirs = owners(router, ran(call), says("theirs", answer), done(answer, "theirs"))
        assert theirs == [None] * 3
        assert turn.overlap == "ids"
    assert owners(router, says("and more", "a3"), done("a3")) == [turn] * 2


def test_a_turn_that_was_given_up_keeps_its_later_rounds() -> None:
    router = served("async")
    first = send(router)
    owners(router, asked("u1", "hello"), begins("c", "a1"))
    router.apply(first, Input.SETTLED)
    second = send(router)
    owners(router, asked("u2", "hello"), says("o", "b1"))
    assert owners(router, ran("c"), says("zombie", "a2"), done("a2")) == [None] * 3
    assert owners(router, done("b1")) == [second]


def test_a_turn_whose_ids_were_guessed_may_go_on_after_an_error() -> None:
    """The error names nothing: the turn that it ended may be the other one."""
    router = served("async")
    first = send(router)
    owners(router, asked("fu", "theirs"), asked("u1", "hello"))
    assert owners(router, says("either", "m1"), begins("c", "m2")) == [None, first]
    first.cancelling = True
    assert owners(router, error("request cancelled by user")) == [first]
    second = send(router)
    assert owners(router, asked("u2", "hello")) == [second]
    assert owners(router, ran("c"), says("theirs", "m3"), done("m3")) == [None] * 3
    assert second.overlap == "guess"
    assert owners(router, says("ours", "m4"), done("m4")) == [second] * 2


def test_a_turn_that_may_have_ended_in_place_of_another_runs_beside_the_next_one() -> None:
    router = served("async")
    first = send(router)
    owners(router, asked("fu", "theirs"), asked("u1", "hello"), begins("c", "either"))
    assert owners(router, error("request cancelled by user")) == [None]
    assert first.doubt is not None
    assert router.apply(first, Input.SETTLED), "the stored messages show that ours was cancelled"
    second = send(router)
    assert second.overlap, "theirs may go on"
    assert owners(router, asked("u2", "hello"), done("m2")) == [second] * 2
    assert not send(router).overlap, "it was silent for a whole turn"


def test_a_foreign_turn_that_vanished_is_forgotten_after_a_turn_of_silence() -> None:
    router = served("async")
    owners(router, asked("fu", "never ends"), begins("c", "f1"))
    for number in range(2):
        turn = send(router)
        ours = [asked(f"v{number}", "hello"), says("x", f"b{number}"), done(f"b{number}")]
        assert owners(router, *ours) == [turn] * 3
        assert turn.outlived == bool(number), "the other turn may go on all the same"
    turn = send(router)
    assert owners(router, asked("u", "hello"), says("x", "a1"), done("a1")) == [turn] * 3
    assert not turn.outlived


def test_an_error_names_no_turn_while_another_one_runs_also_a_silent_one() -> None:
    router = served("async")
    owners(router, asked("fu", "silent"))
    for number in range(4):
        turn = send(router)
        broken = error(f"{number}")
        assert owners(router, asked(f"v{number}", "hello"), broken) == [turn, None]
        assert (turn.doubt, turn.overlap) == (broken, "guess"), "the stored messages decide"
        router.apply(turn, Input.SETTLED)
    router.old([StoredRow(id="fu", role="user"), StoredRow(id="fa", role="assistant", text="x")])
    turn = send(router)
    assert owners(router, asked("u", "hello"), error("ours")) == [turn, turn]
    assert turn.over, "the stored messages show that the other one has ended"


def test_an_error_of_turns_that_began_before_the_stream_may_be_repeated_any_number_of_times() -> (
    None
):
    for readable in (True, False):
        router = router_for("async")
        router.traits.readable = readable
        owners(router, says("x", "f1"), error("theirs"))
        turn = send(router)
        assert owners(router, *[error("theirs")] * 5) == [None] * 5
        last = owners(router, asked("u", "hello"), says("y", "a1"), error("theirs"))
        assert last == [turn, turn, None if readable else turn]
        assert turn.doubts_repetition is readable, "the stored messages decide"


def test_a_finished_turn_is_not_revived_by_what_it_still_emits() -> None:
    router = served("async")
    assert owners(router, says("late", "a0")) == [None]
    turn = send(router)
    assert owners(router, error("before it was named")) == [turn]


def test_what_came_before_a_message_was_sent_again_is_not_its_own() -> None:
    router = router_for("async")
    turn = send(router, accept=False)
    early = says("x", "f1")
    assert owners(router, early) == [None]
    router.apply(turn, Input.RESEND)
    router.apply(turn, Input.SENDING)
    router.apply(turn, Input.ACCEPTED)
    end = done("a1", "x")
    route = router.route([end])
    assert route.turn is turn
    assert route.events == [end]
