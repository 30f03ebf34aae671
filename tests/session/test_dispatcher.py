"""Events to their message and to every subscriber; a message ends exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.event_makers import (
    BUSY,
    asked,
    done,
    error,
    permission,
    rate_limit,
    router_for,
    says,
    tool,
)
from tests.support.messages import message_state
from trio_mix import events as ev
from trio_mix._session._buffers import HARD_LIMIT_FACTOR
from trio_mix._session._dispatcher import EventDispatcher, copies_of
from trio_mix._session._stored_messages import SessionHistory
from trio_mix._turns._stored_rows import StoredReply, StoredRow
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Input
from trio_mix.errors import AgentError, ConsumerTooSlow, StreamClosed

if TYPE_CHECKING:
    from trio_mix._session._buffers import EventBuffer
    from trio_mix._session._message_state import MessageState
    from trio_mix._turns._turn import Overlap


class Recorder(EventDispatcher):
    """A dispatcher that records the messages whose turn is over."""

    def __init__(self, api: str = "pipeline") -> None:
        self.ended: list[MessageState] = []
        super().__init__(router_for(api), self.ended.append)

    def send(self, text: str = "hello", mark: int = 100, *, accept: bool = True) -> MessageState:
        state = message_state(self.router.register(text), mark)
        self.attach(state)
        self.step(state, Input.SENDING)
        if accept:
            self.step(state, Input.ACCEPTED)
        return state


async def buffered_in(buffer: EventBuffer[ev.Event]) -> list[ev.Event]:
    return [
        event
        for event in [await anext(buffer, None) for _ in range(len(buffer))]
        if event is not None
    ]


def agent_error(state: MessageState) -> AgentError:
    assert isinstance(state.failure, AgentError)
    return state.failure


async def test_every_event_goes_to_every_subscriber_and_ours_to_the_message() -> None:
    dispatcher = Recorder()
    buffers = [dispatcher.subscribe(99), dispatcher.subscribe(99)]
    dispatcher.deliver([says("before")])
    state = dispatcher.send()
    dispatcher.deliver([says("a"), ev.HeartbeatEvent(), done("m", "a"), says("after")])
    assert dispatcher.subscribers == 2
    for buffer in buffers:
        got = await buffered_in(buffer)
        assert got == [
            says("before"),
            says("a"),
            ev.HeartbeatEvent(),
            done("m", "a"),
            says("after"),
        ]
    assert await buffered_in(state.buffer) == [says("a"), done("m", "a")]
    assert await anext(state.buffer, None) is None
    assert state.partial().text == "a"


async def test_released_events_reach_the_message_in_order_and_subscribers_once() -> None:
    dispatcher = Recorder("async")
    buffer = dispatcher.subscribe(99)
    state = dispatcher.send()
    events = [says("x", "a"), tool("c"), done("a", "x")]
    dispatcher.deliver(events)
    assert await buffered_in(state.buffer) == events
    assert await buffered_in(buffer) == events


def test_a_message_ends_once_and_the_next_can_be_sent() -> None:
    dispatcher = Recorder()
    state = dispatcher.send()
    dispatcher.deliver([done("m", "ok"), error(), done("m", "ok")])
    dispatcher.step(state, Input.SETTLED)
    state.fail(ValueError("too late"))
    assert dispatcher.ended == [state]
    assert state.failure is None
    assert dispatcher.current is None
    assert state.over.is_set()
    assert state.turn_over.is_set()
    assert dispatcher.send().turn is dispatcher.router.turn


async def test_what_has_settled_a_turn_is_not_the_next_message_with_the_same_text() -> None:
    dispatcher, session = Recorder(), SessionHistory(None, "s")  # type: ignore[arg-type]
    session.history.read([])
    first = dispatcher.send("again")
    dispatcher.step(first, Input.SETTLED, StoredReply(texts=("a",), user_message_id="u1"))
    session.history.count(first.turn, answered=True, outcome_open=False)
    second = dispatcher.send("again")
    rows = [
        StoredRow(id="u1", role="user", text="again"),
        StoredRow(id="a1", role="assistant", text="a", finish="end_turn"),
    ]
    found = session.reading(rows, second.turn, dispatcher.router)
    assert found.outcome is TurnOutcome.ABSENT
    rows.append(StoredRow(id="u2", role="user", text="again"))
    found = session.reading(rows, second.turn, dispatcher.router)
    assert found.outcome is TurnOutcome.UNFINISHED, "it must not be sent again"


def test_started_is_set_by_what_comes_first() -> None:
    dispatcher = Recorder()
    state = dispatcher.send(accept=False)
    assert not state.started.is_set()
    dispatcher.deliver([says("a")])
    assert state.started.is_set()
    dispatcher.deliver([done()])
    state = dispatcher.send(accept=False)
    dispatcher.step(state, Input.ACCEPTED)
    assert state.started.is_set()
    dispatcher = Recorder("blocking")
    state = dispatcher.send(accept=False)
    dispatcher.step(state, Input.ANSWER, StoredReply(texts=("a",)))
    assert state.started.is_set()
    assert not state.over.is_set()


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (error("no luck"), ["no luck", "session s", "server's log"]),
        (
            ev.ErrorEvent(error="no key", type="authentication_error"),
            ["no key (authentication_error)", "API key"],
        ),
        (rate_limit(), ["slow down", "in 60 s"]),
        (ev.RateLimitEvent(error="slow"), ["again later"]),
    ],
)
def test_what_the_agent_gave_up_on_is_an_agent_error(event: ev.Event, words: list[str]) -> None:
    dispatcher = Recorder()
    state = dispatcher.send()
    dispatcher.deliver([says("so far"), event])
    failure = agent_error(state)
    assert failure.event is event
    assert failure.partial is not None
    assert failure.partial.text == "so far"
    assert all(word in str(failure) for word in words), str(failure)


def test_a_busy_server_is_reported_and_the_message_receives_nothing() -> None:
    dispatcher = Recorder()
    buffer = dispatcher.subscribe(9)
    reported: list[tuple[MessageState, ev.Event]] = []
    dispatcher.on_busy = lambda state, event: reported.append((state, event))
    state = dispatcher.send()
    dispatcher.deliver([BUSY])
    assert reported == [(state, BUSY)]
    assert len(state.buffer) == 0
    assert len(buffer) == 1
    assert not state.over.is_set()
    assert dispatcher.current is state


def test_a_message_that_nobody_reads_fails_alone() -> None:
    dispatcher = Recorder()
    buffer = dispatcher.subscribe(10)
    state = dispatcher.send(mark=1)
    for number in range(HARD_LIMIT_FACTOR + 5):
        dispatcher.deliver([tool(str(number))])
    assert isinstance(state.failure, ConsumerTooSlow)
    assert not state.turn_over.is_set(), "the server is still at it"
    assert len(buffer) == 10
    dispatcher.deliver([done()])
    assert dispatcher.ended == [state]
    assert isinstance(state.failure, ConsumerTooSlow)


def test_the_partial_reply_of_a_message_that_is_not_answered_yet_is_marked() -> None:
    """Without ids, the events may be those of another client's turn."""
    for api, doubts in (("blocking", ("shared",)), ("pipeline", ()), ("async", ())):
        dispatcher = Recorder(api)
        state = dispatcher.send(mark=1, accept=api != "blocking")
        dispatcher.deliver([asked("u", "hello")] if api == "async" else [])
        dispatcher.deliver([says("x", "a" if api == "async" else None)])
        for number in range(HARD_LIMIT_FACTOR + 5):
            dispatcher.deliver([tool(str(number))])
        assert isinstance(state.failure, ConsumerTooSlow)
        assert state.failure.partial is not None
        assert state.failure.partial.doubts == doubts


def test_an_abandoned_message_still_collects_its_reply_and_its_end() -> None:
    dispatcher = Recorder()
    state = dispatcher.send()
    state.fail(ValueError("left"))
    dispatcher.deliver([says("x"), done("m", "x")])
    assert state.partial().text == "x"
    assert state.turn_over.is_set()
    assert len(state.buffer) == 0


def test_a_permission_request_reaches_the_policy_while_the_message_is_open() -> None:
    dispatcher = Recorder()
    state = dispatcher.send()
    asked_for: list[ev.PermissionEvent | ev.NotificationEvent | None] = []
    state.questions.policies[ev.PermissionEvent] = bool
    state._ask = lambda state: asked_for.append(state.questions.next())
    dispatcher.deliver([permission()])
    state.fail(ValueError("left"))
    dispatcher.deliver([permission()])
    assert asked_for == [permission()]


def test_a_permission_request_that_may_be_another_turns_reaches_no_policy() -> None:
    overlaps: tuple[Overlap, ...] = ("", "ids", "guess")
    for overlap in overlaps:
        dispatcher = Recorder()
        state = dispatcher.send()
        asked_for: list[ev.PermissionEvent | ev.NotificationEvent | None] = []
        state.questions.policies[ev.PermissionEvent] = bool
        state._ask = lambda state, found=asked_for: found.append(state.questions.next())  # type: ignore[misc]
        state.turn.overlap = overlap
        dispatcher.deliver([permission()])
        assert asked_for == ([] if overlap else [permission()])


async def test_a_torn_event_is_followed_by_a_gap_in_its_message_only() -> None:
    dispatcher = Recorder()
    buffer = dispatcher.subscribe(9)
    state = dispatcher.send()
    torn = ev.UnknownEvent(name="content", data='{"content": "tw')
    dispatcher.deliver([says("One "), torn, says("three."), done("m", "One two three.")])
    mine = await buffered_in(state.buffer)
    assert mine[:2] == [says("One "), torn]
    assert isinstance(mine[2], ev.StreamGapEvent)
    assert len(await buffered_in(buffer)) == 4
    assert state.partial().incomplete


async def test_a_gap_is_reported_to_subscribers_and_to_a_message_that_was_cut() -> None:
    dispatcher = Recorder()
    buffer = dispatcher.subscribe(9)
    state = dispatcher.send()
    dispatcher.gap("lost")
    assert len(state.buffer) == 0
    state.gap_unreported = True
    dispatcher.gap("lost again")
    dispatcher.gap("and again")
    gaps = [
        ev.StreamGapEvent(missed=None, reason=why) for why in ("lost", "lost again", "and again")
    ]
    assert await buffered_in(state.buffer) == [gaps[1]]
    assert await buffered_in(buffer) == gaps


def test_a_reply_read_from_the_stored_messages_ends_it_and_owns_what_comes_late() -> None:
    dispatcher = Recorder("async")
    state = dispatcher.send()
    dispatcher.deliver([asked("u", "hello"), says("a", "m1")])
    stored = StoredReply(texts=("ab", "c"), message_id="m2", user_message_id="u", recovered=True)
    dispatcher.step(state, Input.SETTLED, stored)
    reply = state.partial()
    assert (reply.text, reply.final_text, reply.recovered) == ("abc", "c", True)
    assert dispatcher.ended == [state]
    second = dispatcher.send()
    dispatcher.deliver([asked("u2", "hello"), says("c", "m2"), done("m2", "c")])
    assert len(second.buffer) == 1
    assert not second.over.is_set()


def test_an_answer_after_the_end_changes_nothing_of_an_error() -> None:
    dispatcher = Recorder("blocking")
    state = dispatcher.send(accept=False)
    dispatcher.deliver([error("broke")])
    assert not state.over.is_set()
    dispatcher.step(state, Input.REFUSED)
    assert "broke" in str(agent_error(state))


def test_a_failure_ends_the_turn_with_it() -> None:
    dispatcher = Recorder()
    state = dispatcher.send(accept=False)
    dispatcher.end_with(state, ValueError("refused"), Input.REFUSED)
    assert str(state.failure) == "refused"
    assert dispatcher.ended == [state]
    assert dispatcher.router.turn is None


def test_the_end_of_a_message_stops_the_policies_that_are_asked() -> None:
    dispatcher = Recorder()
    state = dispatcher.send()
    scope = trio.CancelScope()
    state.questions.running.add(scope)
    dispatcher.deliver([done()])
    assert scope.cancel_called


@pytest.mark.parametrize("cleanly", [True, False])
async def test_closing_ends_everything_each_with_its_own_exception(cleanly: bool) -> None:
    dispatcher = Recorder()
    buffers = [dispatcher.subscribe(9), dispatcher.subscribe(9)]
    state = dispatcher.send()
    dispatcher.deliver([says("x")])
    dispatcher.close(copies_of(StreamClosed("over", url="u", session_id="s")), cleanly=cleanly)
    seen: list[BaseException | None] = [state.failure]
    assert state.turn_over.is_set()
    assert await anext(state.buffer, None) == says("x")
    with pytest.raises(StreamClosed):
        await anext(state.buffer, None)
    for buffer in buffers:
        assert await anext(buffer, None) == says("x")
        if cleanly:
            assert await anext(buffer, None) is None
        else:
            with pytest.raises(StreamClosed) as caught:
                await anext(buffer, None)
            seen.append(caught.value)
    assert len(set(map(id, seen))) == len(seen)
    with pytest.raises(StreamClosed):
        await anext(dispatcher.subscribe(9), None)


async def test_an_unsubscribed_buffer_gets_nothing_more() -> None:
    dispatcher = Recorder()
    buffer = dispatcher.subscribe(9)
    dispatcher.deliver([says("x")])
    dispatcher.unsubscribe(buffer)
    dispatcher.unsubscribe(buffer)
    dispatcher.deliver([says("y")])
    assert await anext(buffer, None) is None
    assert dispatcher.subscribers == 0
