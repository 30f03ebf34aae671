"""Whose a terminal event is, and what else the stored messages show beside another client."""

from __future__ import annotations

import attrs
import pytest
import trio

from tests.support.event_makers import asked, begins, done, error, tool
from trio_mix import ToolCall, errors
from trio_mix._session._stored_messages import Rows, SessionHistory
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input, Phase
from trio_mix._turns._wire_traits import WireTraits


async def test_an_answer_that_follows_two_questions_proves_no_end() -> None:
    """It is that of either one; the answer to the POST decides."""
    session = SessionHistory(None, "s")  # type: ignore[arg-type]
    router = TurnRouter(WireTraits(ids=False, answers=True))
    session.history.read([])
    turn = router.register("ours")
    router.apply(turn, Input.SENDING)
    router.route([done(message_id="a1")])
    theirs, ours, answer = (
        StoredRow(id="u1", role="user", text="theirs"),
        StoredRow(id="u2", role="user", text="ours"),
        StoredRow(id="a1", role="assistant", text="ok", finish="end_turn"),
    )
    for rows, end in (
        ([theirs, ours, answer], "either"),
        ([ours, answer, theirs], "ours"),
        ([theirs, answer, ours], "others"),
        ([ours, theirs], ""),
    ):
        assert session.reading(rows, turn, router).end == end, rows


async def test_an_end_with_an_id_that_no_row_has_is_proved_by_its_text() -> None:
    ours, answer, theirs = (
        StoredRow(id="u1", role="user", text="ours"),
        StoredRow(id="a1", role="assistant", text="ok", finish="end_turn"),
        StoredRow(id="u2", role="user", text="theirs"),
    )
    for rows, content, end in (
        ([ours, answer], "ok", "ours"),
        ([ours, answer], "yes", ""),
        ([ours, answer], "", ""),
        ([ours], "ok", ""),
        ([ours, answer, theirs], "ok", ""),
        ([theirs, answer, ours], "ok", ""),
    ):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        router = TurnRouter(WireTraits(ids=False, proof=True))
        session.history.read([])
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([done("nan", content)])
        assert session.reading(rows, turn, router).end == end, (rows, content)


async def test_rows_that_no_event_has_named_may_be_the_end_of_a_message_beside_an_error() -> None:
    for named, finish, outcome in (
        (False, "end_turn", TurnOutcome.FINISHED),
        (True, "canceled", TurnOutcome.BROKEN_OFF),
    ):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        router = TurnRouter(WireTraits(ids=True))
        session.history.read([])
        router.route([asked("u1", "theirs"), begins("c", "a1")])
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([asked("u2", "ours")])
        router.own(turn, "a2" if named else None)
        router.route([error("it failed")])
        rows = [
            StoredRow(id="u1", role="user", text="theirs"),
            StoredRow(id="a1", role="assistant", text="", finish="tool_use"),
            StoredRow(id="u2", role="user", text="ours"),
            StoredRow(id="a2", role="assistant", text="y", finish=finish),
        ]
        turn.doubt, turn.overlap = turn.doubt or error("it failed"), "guess"
        found = session.reading(rows, turn, router).verdict
        assert found is not None
        assert found.outcome is outcome
        assert found.mixed
        assert found.either is named, "the events that named its rows may be the other turn's"


async def test_a_message_that_is_not_stored_was_not_cancelled() -> None:
    for text, end in (("request cancelled by user", "others"), ("no provider key", "ours")):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        session.history.read([])
        router = TurnRouter(WireTraits(ids=False, answers=True))
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([error(text)])
        assert session.reading([], turn, router).end == end


async def test_an_error_after_a_turn_whose_end_nothing_shows_may_be_that_turns() -> None:
    rows = [
        StoredRow(id="u1", role="user", text="ours before"),
        StoredRow(id="a1", role="assistant", text="one"),
        StoredRow(id="u2", role="user", text="theirs"),
        StoredRow(id="a2", role="assistant", text="two"),
    ]
    ended = [attrs.evolve(row, finish="end_turn" if row.role != "user" else "") for row in rows]
    stopped = [*ended[:3], attrs.evolve(ended[3], finish="canceled")]
    cases = ((rows[:2], "ours"), (rows, "either"), (ended, ""), (stopped, ""))
    for before, end in cases:
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        session.history.read([])
        router = TurnRouter(WireTraits(ids=False, proof=True))
        earlier = router.register("ours before")
        router.apply(earlier, Input.SENDING)
        router.route([error("no provider key")])
        router.apply(earlier, Input.SETTLED)
        session.history.count(earlier, answered=False, outcome_open=False)
        session.history.read(before)
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([error("request cancelled by user")])
        now = [*before, StoredRow(id="u", role="user", text="ours")]
        assert session.reading(now, turn, router).end == end


async def test_an_error_after_one_that_may_be_another_turns_is_in_doubt_too() -> None:
    """On a slow connection each error may be that of the turn before."""
    for doubtful, end in ((True, "either"), (False, "ours")):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        session.history.read([])
        router = TurnRouter(WireTraits(ids=False, proof=True))
        before = [StoredRow(id="u1", role="user", text="ours before")]
        earlier = router.register("ours before")
        router.apply(earlier, Input.SENDING)
        router.route([error("request cancelled by user")])
        router.apply(earlier, Input.SETTLED)
        session.history.over(earlier, known=True, doubtful=doubtful)
        session.history.count(earlier, answered=False, outcome_open=False)
        session.history.read(before)
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([error("request cancelled by user")])
        now = [*before, StoredRow(id="u2", role="user", text="ours")]
        assert session.reading(now, turn, router).end == end


async def test_an_end_that_names_no_answer_is_found_by_its_text() -> None:
    theirs = [
        StoredRow(id="u1", role="user", text="theirs"),
        StoredRow(id="a1", role="assistant", text="x", finish="end_turn"),
    ]
    ours = StoredRow(id="u2", role="user", text="ours")
    answer = StoredRow(id="a2", role="assistant", text="y", finish="end_turn")
    same = attrs.evolve(answer, text="x")
    for rows, text, end in (
        ([*theirs, ours], "x", "others"),
        ([*theirs, ours, answer], "y", "ours"),
        ([*theirs, ours, answer], "z", ""),
        ([*theirs, ours, same], "x", ""),
        ([ours], "y", "ours"),
    ):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        session.history.read([])
        router = TurnRouter(WireTraits(ids=False, answers=False, proof=True))
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.apply(turn, Input.ACCEPTED)
        router.route([done(None, text)])
        assert turn.phase is Phase.ENDED
        assert session.reading(rows, turn, router).end == end, (rows, text)


async def test_the_partial_reply_beside_a_turn_that_was_stored_meanwhile_is_marked() -> None:
    """The rows are in the order of their beginning: the other turn may have ended later."""
    session = SessionHistory(None, "s")  # type: ignore[arg-type]
    router = TurnRouter(WireTraits(ids=False, answers=True))
    rows = [
        StoredRow(id="u1", role="user", text="theirs"),
        StoredRow(id="a1", role="assistant", text="x", finish="end_turn"),
        StoredRow(id="u2", role="user", text="ours"),
        StoredRow(id="a2", role="assistant", text="y", finish="canceled"),
    ]
    for before, alone in (([], False), (rows[:2], True)):
        session.history.read(before)
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.route([error("it failed")])
        assert session.reading(rows, turn, router).alone is alone
        router.apply(turn, Input.REFUSED)


async def test_a_call_that_was_stored_before_its_events_came_is_not_ours_for_certain() -> None:
    """The connection may be slow: the events of another turn come after our POST."""
    call = ToolCall(tool_call_id="c", name="ls")
    rows = [
        StoredRow(id="u1", role="user", text="ours"),
        StoredRow(id="a1", role="assistant", text="x", finish="end_turn"),
        StoredRow(id="u2", role="user", text="theirs"),
        StoredRow(id="a2", role="assistant", tool_calls=(call,), finish="end_turn"),
    ]
    for stored_meanwhile, overlap in ((True, "guess"), (False, "")):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        router = TurnRouter(WireTraits(ids=False, answers=True))
        session.history.read([] if stored_meanwhile else rows)
        first = router.register("ours")
        router.apply(first, Input.SENDING)
        session.reading(rows, first, router)
        router.apply(first, Input.SETTLED)
        turn = router.register("ours again")
        router.apply(turn, Input.SENDING)
        router.route([tool("c")])
        assert turn.overlap == overlap


async def test_an_end_without_an_id_may_be_late_and_that_of_another_clients_turn() -> None:
    answered = [
        StoredRow(id="u1", role="user", text="before"),
        StoredRow(id="a1", role="assistant", text="x"),
    ]
    ours = StoredRow(id="u2", role="user", text="ours")
    for sent_before, end in ((False, "either"), (True, "ours")):
        session = SessionHistory(None, "s")  # type: ignore[arg-type]
        session.history.read([])
        router = TurnRouter(WireTraits(ids=False, answers=False, proof=True))
        if sent_before:
            earlier = router.register("before")
            router.apply(earlier, Input.SENDING)
            router.route([done(text="x")])
            router.apply(earlier, Input.SETTLED)
            session.history.count(earlier, answered=True, outcome_open=False)
        session.history.read(answered)
        turn = router.register("ours")
        router.apply(turn, Input.SENDING)
        router.apply(turn, Input.ACCEPTED)
        router.route([done(text="x")])
        assert session.reading([*answered, ours], turn, router).end == end


class _Refusing:
    """Stored messages that are refused with a status, unless there are rows."""

    none_kept = False

    def __init__(self) -> None:
        self.status = 404
        self.found: Rows | None = None
        self.readings = 0

    async def rows(self, _session_id: str) -> Rows | None:
        self.readings += 1
        await trio.lowlevel.checkpoint()
        if self.found is not None:
            return self.found
        raise errors.ErrorResponse(
            error=errors.RESTError(code=self.status, message="Not found", type="not_found"),
            status_code=self.status,
            headers={},
            body="",
            request=errors.RequestInfo("GET", "http://x", "sessions.export_session"),
        )


async def test_a_refused_reading_means_the_operation_only_while_the_session_is_known_to_exist() -> (
    None
):
    stored, router = _Refusing(), TurnRouter(WireTraits(ids=False))
    session = SessionHistory(stored, "s")  # type: ignore[arg-type]

    async def known_after_reading() -> bool:
        assert (await session.before(router)).none_kept is session.none_kept
        return session.none_kept

    assert not await known_after_reading(), "the session may not exist"
    session.connected()
    stored.status = 503
    assert not await known_after_reading(), "it passes"
    stored.status = 404
    assert await known_after_reading()
    assert await known_after_reading()
    assert await session.rows() is None
    assert stored.readings == 3
    session.lost()
    assert not await known_after_reading(), "the session may have been deleted"
    session.connected()
    stored.found = Rows([])
    assert not await known_after_reading()
    stored.found = None
    assert not await known_after_reading(), "the operation exists"
    with pytest.raises(errors.ErrorResponse):
        await session.rows()
