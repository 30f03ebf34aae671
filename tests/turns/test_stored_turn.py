"""What stored messages say of one turn, in both shapes that servers give them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.stored_messages import Stored, answer, call, exported, texts_of, user, verdict
from trio_mix._turns._history import History
from trio_mix._turns._stored_ends import at_work
from trio_mix._turns._stored_rows import rows_of
from trio_mix._turns._stored_turn import PriorTurn, TurnOutcome
from trio_mix._turns._turn import Turn

if TYPE_CHECKING:
    from trio_mix.models import BackendMessage

# -- finding the turn ------------------------------------------------------------------------


def test_a_turn_is_found_by_its_id_whatever_texts_there_are() -> None:
    rows = [user("u1", "hi"), answer("a1", "one"), user("u2", "hi"), answer("a2", "two")]
    assert texts_of(verdict(rows, user_id="u1", known=None)) == ("one",)
    assert texts_of(verdict(rows, user_id="u2", known=None)) == ("two",)
    assert verdict(rows, user_id="u3").outcome is TurnOutcome.UNKNOWN


def test_the_same_text_sent_before_is_not_taken_for_the_turn() -> None:
    rows = [user("u1", "hi"), answer("a1", "one")]
    assert verdict(rows, known={"u1", "a1"}).outcome is TurnOutcome.ABSENT
    rows += [user("u2", "hi"), answer("a2", "two")]
    assert verdict(rows, known={"u1", "a1"}).user_message_id == "u2"


def test_earlier_turns_of_this_client_are_set_aside_one_row_each() -> None:
    rows = [user("u1", "hi"), answer("a1", "one")]
    once, twice = [PriorTurn(text="hi ")], [PriorTurn(text="hi"), PriorTurn(text="hi")]
    assert verdict(rows).user_message_id == "u1"
    assert verdict(rows, earlier=once).outcome is TurnOutcome.ABSENT
    rows.append(user("u2", "hi"))
    assert verdict(rows, earlier=once).user_message_id == "u2"
    assert verdict(rows, earlier=twice).outcome is TurnOutcome.ABSENT
    assert verdict(rows, earlier=[PriorTurn(text="other")]).user_message_id == "u2"


def test_rows_that_the_server_has_deleted_are_not_looked_for_among_others() -> None:
    rows = [user("u2", "hi"), answer("a2", "two"), user("u3", "hi"), answer("a3", "three")]
    first, second = (PriorTurn(text="hi", message_id=each) for each in ("a1", "a2"))
    assert verdict(rows, earlier=[first, second]).user_message_id == "u3"
    assert verdict(rows[:2], earlier=[first, second]).outcome is TurnOutcome.ABSENT
    assert verdict(rows[2:], earlier=[first, second]).outcome is TurnOutcome.UNKNOWN, (
        "the ids may be others than the events had"
    )


def test_absence_proves_nothing_once_earlier_messages_are_gone_too() -> None:
    """The session was rewound, or is another one with the same id."""
    history = History()
    history.read([])
    stored = rows_of([user("u1", "hi"), answer("a1", "one")])
    assert history.judge(stored, Turn("hi")).outcome is TurnOutcome.UNFINISHED
    for rows, outcome in ((stored, TurnOutcome.ABSENT), ([], TurnOutcome.UNKNOWN)):
        assert history.judge(rows, Turn("and")).outcome is outcome
    history.read([])
    assert history.judge([], Turn("and")).outcome is TurnOutcome.ABSENT


def test_a_turn_that_may_not_have_been_stored_proves_nothing() -> None:
    refused = [PriorTurn(text="hi", certain=False)]
    assert verdict([], earlier=refused).outcome is TurnOutcome.ABSENT
    assert verdict([user("u1", "hi")], earlier=refused).outcome is TurnOutcome.UNKNOWN, (
        "never sent twice"
    )
    rows = [user("u1", "hi"), answer("a1", "x"), user("u2", "hi")]
    assert verdict(rows, earlier=refused).user_message_id == "u2"
    assert verdict(rows, earlier=[*refused, PriorTurn(text="hi")]).outcome is TurnOutcome.UNKNOWN
    other = [PriorTurn(text="other", certain=False)]
    assert verdict([user("u1", "hi")], earlier=other).user_message_id == "u1"


def test_without_a_baseline_a_matching_text_proves_nothing_and_none_proves_absence() -> None:
    assert verdict([user("u1", "hi")], known=None).outcome is TurnOutcome.UNKNOWN
    assert verdict([user("u1", "ho")], known=None).outcome is TurnOutcome.ABSENT
    assert verdict([], known=None).outcome is TurnOutcome.ABSENT


def test_rows_of_others_are_not_the_turns() -> None:
    rows = [user("f1", "theirs"), answer("b1", "x"), user("u1", "hi"), answer("a1", "mine")]
    rows += [user("f2", "theirs"), answer("b2", "x")]
    found = verdict(rows)
    assert (found.user_message_id, texts_of(found)) == ("u1", ("mine",))
    assert verdict(rows[:2]).outcome is TurnOutcome.ABSENT


def test_plan_modes_appended_text_is_known_again_also_of_an_earlier_turn() -> None:
    planned = user("u1", "hi\n<plan>")
    assert verdict([planned], plan_mode=True).user_message_id == "u1"
    assert verdict([planned]).outcome is TurnOutcome.ABSENT
    before = [PriorTurn(text="hi", plan_mode=True)]
    assert verdict([planned], plan_mode=True, earlier=before).outcome is TurnOutcome.ABSENT
    rows = [planned, user("u2", "hi")]
    assert verdict(rows, earlier=before).user_message_id == "u2"


# -- the outcome -----------------------------------------------------------------------------


@pytest.mark.parametrize("finish", ["end_turn", "stop", "max_tokens", "permission_denied"])
def test_a_finish_reason_says_that_it_is_finished(finish: str) -> None:
    found = verdict([exported("u", "user", "hi"), exported("a", "assistant", "x", finish)])
    assert found.outcome is TurnOutcome.FINISHED
    assert texts_of(found) == ("x",)
    assert found.reply is not None
    assert found.reply.recovered
    assert found.reply.message_id == "a"


@pytest.mark.parametrize("finish", ["canceled", "cancelled", "error", "aborted"])
def test_a_finish_reason_says_that_it_was_broken_off(finish: str) -> None:
    rows = [exported("u", "user", "hi"), exported("a", "assistant", "x", finish)]
    assert verdict(rows).outcome is TurnOutcome.BROKEN_OFF


@pytest.mark.parametrize("finish", [None, "", "tool_use", "tool_calls", "unknown"])
def test_a_row_that_goes_on_is_not_finished_and_does_not_look_it(finish: str | None) -> None:
    rows = [exported("u", "user", "hi"), exported("a", "assistant", "partial", finish)]
    found = verdict(rows)
    assert found.outcome is TurnOutcome.UNFINISHED
    assert not found.looks_whole
    assert not found.nothing_open
    assert not verdict([*rows, exported("t", "tool", "out")]).looks_whole


def test_where_finish_reasons_tell_a_question_of_somebody_else_proves_nothing() -> None:
    rows = [exported("u", "user", "hi"), exported("a", "assistant", "part")]
    foreign = [exported("f", "user", "theirs"), exported("b", "assistant", "x", "end_turn")]
    assert verdict([*rows, *foreign]).outcome is TurnOutcome.UNFINISHED
    assert verdict([rows[0], *foreign]).outcome is TurnOutcome.UNFINISHED
    assert verdict([rows[0], foreign[0]]).outcome is TurnOutcome.UNFINISHED
    assert verdict([*rows, foreign[0]]).outcome is TurnOutcome.UNFINISHED


def test_an_export_that_never_has_finish_reasons_is_judged_by_what_follows() -> None:
    before = [exported("u0", "user", "old"), exported("a0", "assistant", "x")]
    rows = [*before, exported("u", "user", "hi"), exported("a", "assistant", "x")]
    assert verdict(rows, known={"u0", "a0"}).outcome is TurnOutcome.UNFINISHED
    assert verdict(rows, known={"u0", "a0"}).looks_whole
    rows.append(exported("f", "user", "theirs"))
    assert verdict(rows, known={"u0", "a0"}).outcome is TurnOutcome.FINISHED


def test_turns_that_were_broken_off_do_not_hide_that_a_server_stores_finish_reasons() -> None:
    """The server was killed in the middle of the first turn: its answer has no finish reason."""
    before = [exported("u0", "user", "old", "stop"), exported("a0", "assistant", "x")]
    rows = [*before, exported("u", "user", "hi", "stop"), exported("a", "assistant", "x")]
    assert at_work(rows_of(rows))
    found = verdict([*rows, exported("f", "user", "theirs", "stop")], known={"u0"})
    assert found.has_reasons
    assert found.outcome is TurnOutcome.UNFINISHED


def test_without_finish_reasons_a_later_question_ends_it() -> None:
    later = user("f", "theirs")
    rows = [user("u", "hi"), answer("a", "x")]
    assert verdict(rows).outcome is TurnOutcome.UNFINISHED
    assert verdict([*rows, later]).outcome is TurnOutcome.FINISHED
    assert verdict([rows[0], later]).outcome is TurnOutcome.BROKEN_OFF
    open_call = [rows[0], answer("a", "x", call("c", finished=False)), later]
    assert verdict(open_call).outcome is TurnOutcome.BROKEN_OFF


@pytest.mark.parametrize(
    ("rows", "whole", "nothing_open"),
    [
        ([answer("a", "x")], True, True),
        ([answer("a", "")], False, False),
        ([answer("a", None)], False, False),
        ([], False, False),
        ([answer("a", "let me see", call("c"))], False, True),
        ([answer("a", "let me see", call("c")), answer("t", "out", role="tool")], False, True),
        ([answer("a", "", call("c")), answer("b", "")], False, True),
        ([answer("a", "let me see", call("c")), answer("b", "done")], True, True),
        ([answer("a", "", call("c", finished=False)), answer("b", "done")], False, False),
        ([answer("a", "so"), answer("t", "out", role="tool")], False, True),
    ],
)
def test_what_looks_whole(rows: list[BackendMessage], whole: bool, nothing_open: bool) -> None:
    found = verdict([user("u", "hi"), *rows])
    assert found.outcome is TurnOutcome.UNFINISHED
    assert (found.looks_whole, found.nothing_open) == (whole, nothing_open)


def test_a_turn_of_several_rounds_has_all_their_texts_and_calls() -> None:
    rows = [
        user("u", "hi"),
        answer("a1", "one ", call("c1")),
        answer("t1", "out", role="tool"),
        answer("t2", "out", role="tool"),
        answer("a2", "two", call("c2", is_error=True)),
        answer("a3", "three"),
    ]
    found = verdict(rows)
    assert found.reply is not None
    assert found.reply.texts == ("one ", "two", "three")
    assert [(c.tool_call_id, c.success) for c in found.reply.tool_calls] == [
        ("c1", None),
        ("c2", False),
    ]
    assert (found.reply.message_id, found.reply.user_message_id) == ("a3", "u")


@pytest.mark.parametrize(
    ("before", "answers", "mixed"),
    [
        ([user("u1", "other")], [answer("a1", "its"), answer("a2", "ours")], True),
        (
            [exported("u1", "user", "other")],
            [
                exported("a1", "assistant", "its", "end_turn"),
                exported("a2", "assistant", "", "max"),
            ],
            True,
        ),
        ([user("u1", "other")], [answer("a1", "ours, for it was killed")], False),
        ([user("u1", "other")], [answer("a1", "one", call("c1")), answer("a2", "two")], True),
        (
            [user("u1", "other"), answer("a0", "its")],
            [answer("a1", "ours"), answer("a2", "too")],
            False,
        ),
        ([], [answer("a1", "ours"), answer("a2", "too")], False),
    ],
)
def test_answers_after_two_questions_are_not_known_to_be_the_lasts(
    before: list[Stored], answers: list[Stored], mixed: bool
) -> None:
    assert verdict([*before, user("u2", "hi"), *answers], user_id="u2").mixed is mixed


def test_growth_is_seen_in_each_thing_that_can_grow() -> None:
    rows: list[list[Stored]] = [
        [user("u", "hi")],
        [user("u", "hi"), answer("a", "")],
        [user("u", "hi"), answer("a", "x")],
        [user("u", "hi"), answer("a", "x", call("c", finished=False))],
        [user("u", "hi"), answer("a", "x", call("c"))],
        [user("u", "hi"), answer("a", "x", call("c")), answer("t", "", role="tool")],
        [user("u", "hi"), answer("a", "x", call("c")), answer("t", "out", role="tool")],
    ]
    growth = [verdict(some).growth for some in rows]
    assert growth == sorted(set(growth))
    assert verdict([]).growth == 0


@pytest.mark.parametrize(
    ("rows", "running"),
    [
        ([], False),
        ([user("u", "x")], True),
        ([user("u", "x"), answer("a", "y")], False),
        ([user("u", "x"), answer("a", "y", call("c"))], True),
        ([exported("u", "user", "x"), exported("a", "assistant", "y")], True),
        ([exported("u", "user", "x"), exported("a", "assistant", "y", "tool_use")], True),
        ([exported("u", "user", "x"), exported("a", "assistant", "y", "end_turn")], False),
        ([exported("u", "user", "x"), exported("a", "assistant", "y", "canceled")], False),
        (
            [
                exported("u", "user", "x"),
                exported("v", "user", "another client's"),
                exported("b", "assistant", ""),
                exported("a", "assistant", "y", "end_turn"),
            ],
            True,
        ),
        (
            [
                exported("u", "user", "x"),
                exported("b", "assistant", "z", "tool_use"),
                exported("v", "user", "another client's"),
                exported("a", "assistant", "y", "end_turn"),
            ],
            True,
        ),
        (
            [
                exported("u", "user", "x"),
                exported("v", "user", "another client's"),
                exported("a", "assistant", "y", "end_turn"),
                exported("b", "assistant", "", "tool_use"),
                exported("w", "user", "x"),
                exported("c", "assistant", "y", "end_turn"),
                exported("d", "assistant", "y", "end_turn"),
            ],
            False,
        ),
        (
            [
                exported("u", "user", "never answered"),
                exported("v", "user", "x"),
                exported("a", "assistant", "y", "end_turn"),
                exported("w", "user", "x"),
                exported("b", "assistant", "y", "end_turn"),
            ],
            False,
        ),
    ],
)
def test_whether_the_last_turn_may_still_be_running(rows: list[Stored], running: bool) -> None:
    assert at_work(rows_of(rows)) is running
