"""Stored rows that join a question and its answer, and answers in the HTTP response."""

from __future__ import annotations

import pytest

from tests.support.stored_messages import answer, call, texts_of, user, verdict
from trio_mix._turns._stored_rows import rows_of, stored_reply
from trio_mix._turns._stored_turn import (
    TurnOutcome,
)
from trio_mix.models import BackendMessage

# -- joined rows, and answers in the HTTP response ---------------------------------------------


def test_a_question_joined_to_its_answer_is_two_rows() -> None:
    found = verdict([answer("e1", "x", call("c"), asked="hi")])
    assert found.user_message_id is None, "the row's id is not the question's"
    assert (texts_of(found), found.looks_whole) == (("x",), True)
    both = BackendMessage(
        id="e1", role="user", session_id="s", user_input="hi", assistant_response="x"
    )
    assert texts_of(verdict([both])) == ("x",)


def test_the_same_question_joined_twice_is_two_turns() -> None:
    rows = [answer("e1", "one", asked="hi"), answer("e2", "two", asked="hi")]
    known = {row.id for row in rows_of(rows[:1])}
    found = verdict(rows, known=known)
    assert texts_of(found) == ("two",)
    assert verdict(rows[:1], known=known).outcome is TurnOutcome.ABSENT


def test_a_joined_row_that_only_calls_tools_goes_on_in_the_next() -> None:
    rows = [answer("e1", "", call("c"), asked="hi"), answer("e2", "end", asked="hi")]
    assert texts_of(verdict(rows)) == ("", "end")


def test_an_answer_repeated_as_the_input_of_its_row_is_no_question() -> None:
    rows = [user("u", "hi"), answer("a1", "x", call("c"), asked="x"), answer("a2", "y", asked="y")]
    found = verdict(rows)
    assert (found.user_message_id, texts_of(found)) == ("u", ("x", "y"))
    assert len(rows_of(rows)) == 3
    alone = rows_of([answer("e1", "one", asked="hi"), answer("e2", "ping", asked="ping")])
    assert [row.text for row in alone if row.role == "user"] == ["hi", "ping"]


def test_a_question_repeated_on_its_answers_is_no_second_question() -> None:
    rows = [
        user("u", "hi"),
        answer("a1", "x", call("c"), asked="hi"),
        answer("a2", "y", asked="hi"),
    ]
    assert [row.role for row in rows_of(rows)] == ["user", "assistant", "assistant"]
    assert texts_of(verdict(rows)) == ("x", "y")


@pytest.mark.parametrize("role", ["assistant", "system", "", "user"])
def test_an_answer_in_the_response_is_a_reply_whatever_role_it_has(role: str) -> None:
    found = stored_reply([answer("a", "done", asked="/help", role=role)])
    assert (found.texts, found.message_id, found.recovered) == (("done",), "a", False)


def test_no_rows_are_no_reply() -> None:
    assert stored_reply([]).texts == ()
