"""What stored messages say of a turn beside which other turns ran, or may have run."""

from __future__ import annotations

from datetime import timedelta

import attrs

from tests.support.stored_messages import NOW, answer, exported, texts_of, user, verdict
from trio_mix._turns._stored_ends import last_unended
from trio_mix._turns._stored_rows import rows_of
from trio_mix._turns._stored_turn import TurnOutcome, judge


def test_a_turn_without_an_end_is_found_before_later_turns_that_have_ended() -> None:
    rows = [
        exported("u", "user", "ended"),
        exported("a", "assistant", "y", "end_turn"),
        exported("v", "user", "silent"),
        exported("w", "user", "beside it"),
        exported("b", "assistant", "", "tool_use", "ls"),
        exported("c", "assistant", "y", "end_turn"),
        exported("x", "user", "later"),
        exported("d", "assistant", "y", "end_turn"),
    ]
    timed = [
        attrs.evolve(row, updated_at=NOW + timedelta(seconds=10 * i)) for i, row in enumerate(rows)
    ]
    assert last_unended(rows_of(timed)) == NOW.timestamp() + 20
    assert last_unended(rows_of(timed[:5])) == NOW.timestamp() + 40
    ended = [*timed, exported("e", "assistant", "at last", "end_turn")]
    assert last_unended(rows_of(ended)) is None
    assert last_unended(rows_of([user("u", "silent"), user("v", "hi"), answer("a", "y")])) is None


def test_an_end_can_be_that_of_a_turn_that_goes_on_in_silence_before_ended_ones() -> None:
    rows = [
        exported("u", "user", "silent"),
        exported("v", "user", "beside it"),
        exported("a", "assistant", "y", "end_turn"),
        exported("w", "user", "hi"),
        exported("b", "assistant", "", "tool_use", "ls"),
        exported("c", "assistant", "at last", "canceled"),
    ]
    for unended, outcome in (
        (True, TurnOutcome.UNFINISHED),
        (False, TurnOutcome.BROKEN_OFF),
    ):
        found = verdict(rows, user_id="w", settled="a", unended=unended)
        assert (found.outcome, found.contested) == (outcome, unended)
    ended = [*rows, exported("d", "assistant", "y", "canceled")]
    assert verdict(ended, user_id="w", settled="a", unended=True).outcome is TurnOutcome.BROKEN_OFF


def test_the_only_answer_may_be_that_of_a_turn_that_may_still_run() -> None:
    before = [
        exported("d", "user", "another process's"),
        exported("a", "assistant", "", "tool_use"),
    ]
    rows = [*before, exported("u", "user", "hi"), exported("b", "assistant", "x", "end_turn")]
    found = verdict(rows, user_id="u", known=None, unended=True)
    assert (found.outcome, found.mixed) == (TurnOutcome.FINISHED, True)


def test_without_finish_reasons_a_later_question_ends_only_turns_that_cannot_overlap() -> None:
    rows = [user("u", "hi"), user("v", "another client's"), answer("a", "y")]
    for overlaps, outcome in ((True, TurnOutcome.UNFINISHED), (False, TurnOutcome.BROKEN_OFF)):
        found = verdict(rows, user_id="u", overlaps=overlaps)
        assert (found.outcome, found.ended_beside) == (outcome, True)


def test_an_end_beside_another_turn_can_be_that_of_either_turn() -> None:
    asked = [exported("u", "user", "hi"), exported("v", "user", "another client's")]
    running = exported("b", "assistant", "", "tool_use", "ls")
    for user_id, ends in (("u", []), ("u", [answer("a", "y")]), ("v", [answer("a", "y"), running])):
        found = verdict([*asked, *ends], user_id=user_id)
        assert found.outcome is TurnOutcome.UNFINISHED
        assert found.ended_beside is bool(ends)


def test_overlapping_turns_are_over_once_as_many_have_ended_as_were_asked_for() -> None:
    dead, ours = exported("d", "user", "another process's"), exported("u", "user", "hi")
    done = exported("a", "assistant", "all", "end_turn")
    broken = exported("b", "assistant", "", "canceled")
    for rows, outcome, either in (
        ([dead, ours, broken], TurnOutcome.UNFINISHED, False),
        ([dead, ours, broken, broken], TurnOutcome.BROKEN_OFF, False),
        ([dead, ours, done, broken], TurnOutcome.BROKEN_OFF, True),
        ([ours, dead, done, broken], TurnOutcome.BROKEN_OFF, True),
        ([ours, dead, done, done], TurnOutcome.FINISHED, False),
        ([ours, dead, done], TurnOutcome.UNFINISHED, False),
    ):
        found = verdict(rows, user_id="u")
        assert (found.outcome, found.either) == (outcome, either), rows
        assert found.mixed or outcome is TurnOutcome.UNFINISHED, rows


def test_another_clients_message_with_the_same_text_may_be_this_one() -> None:
    rows = [user("u1", "hi"), answer("a1", "one"), user("u2", "hi"), answer("a2", "two")]
    assert (texts_of(verdict(rows)), verdict(rows).mixed) == (("two",), True)
    named = judge(
        rows_of(rows),
        user_message_id=None,
        matches=lambda stored: stored == "hi",
        known=(),
        earlier=(),
        ended_by="a1",
    )
    assert (texts_of(named), named.mixed) == (("one",), False)
