"""Events to their message and to every subscriber; a message ends exactly once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from event_makers import BUSY, asked, done, error, permission, rate_limit, router_for, says, tool

from trio_mix import events as ev
from trio_mix._session._mailbox import HARD_LIMIT_FACTOR
from trio_mix._session._switchboard import Inbox, Switchboard, copies_of
from trio_mix._turns._reply import StoredReply
from trio_mix._turns._router import Input
from trio_mix.errors import AgentError, ConsumerTooSlow, StreamClosed

if TYPE_CHECKING:
    from trio_mix._session._mailbox import Mailbox


class Board(Switchboard):
    """A switchboard that notes whose turn was over."""

    def __init__(self, api: str = "pipeline") -> None:
        self.ended: list[Inbox] = []
        super().__init__(router_for(api), self.ended.append)

    def send(self, text: str = "hello", mark: int = 100, *, accept: bool = True) -> Inbox:
        inbox = Inbox(self.router.register(text), "s", mark)
        self.attach(inbox)
        self.step(inbox, Input.SENDING)
        if accept:
            self.step(inbox, Input.ACCEPTED)
        return inbox

    def deliver_all(self, *events: ev.Event) -> None:
        for event in events:
            self.deliver(event)


async def waiting_in(line: Mailbox) -> list[ev.Event]:
    return [
        event for event in [await anext(line, None) for _ in range(len(line))] if event is not None
    ]


def agent_error(inbox: Inbox) -> AgentError:
    assert isinstance(inbox.failure, AgentError)
    return inbox.failure


async def test_every_event_goes_to_every_subscriber_and_ours_to_the_message() -> None:
    board = Board()
    lines = [board.subscribe(99), board.subscribe(99)]
    board.deliver(says("before"))
    inbox = board.send()
    board.deliver_all(says("a"), ev.HeartbeatEvent(), done("m", "a"), says("after"))
    assert board.subscribers == 2
    for line in lines:
        got = await waiting_in(line)
        assert got == [
            says("before"),
            says("a"),
            ev.HeartbeatEvent(),
            done("m", "a"),
            says("after"),
        ]
    assert await waiting_in(inbox.mailbox) == [says("a"), done("m", "a")]
    assert await anext(inbox.mailbox, None) is None
    assert inbox.partial().text == "a"


async def test_released_events_reach_the_message_in_order_and_subscribers_once() -> None:
    board = Board("async")
    line = board.subscribe(99)
    inbox = board.send()
    events = [says("x", "a"), tool("c"), done("a", "x")]
    board.deliver_all(*events)
    assert await waiting_in(inbox.mailbox) == events
    assert await waiting_in(line) == events


def test_a_message_ends_once_and_the_next_can_be_sent() -> None:
    board = Board()
    inbox = board.send()
    board.deliver_all(done("m", "ok"), error(), done("m", "ok"))
    board.step(inbox, Input.SETTLED)
    inbox.fail(ValueError("too late"))
    assert board.ended == [inbox]
    assert inbox.failure is None
    assert board.inbox is None
    assert inbox.over.is_set()
    assert inbox.turn_over.is_set()
    assert board.send().turn is board.router.turn


def test_started_is_set_by_what_comes_first() -> None:
    board = Board()
    inbox = board.send(accept=False)
    assert not inbox.started.is_set()
    board.deliver(says("a"))
    assert inbox.started.is_set()
    board.deliver(done())
    inbox = board.send(accept=False)
    board.step(inbox, Input.ACCEPTED)
    assert inbox.started.is_set()
    board = Board("blocking")
    inbox = board.send(accept=False)
    board.step(inbox, Input.ANSWER, StoredReply(texts=("a",)))
    assert inbox.started.is_set()
    assert not inbox.over.is_set()


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
    board = Board()
    inbox = board.send()
    board.deliver_all(says("so far"), event)
    failure = agent_error(inbox)
    assert failure.event is event
    assert failure.partial is not None
    assert failure.partial.text == "so far"
    assert all(word in str(failure) for word in words), str(failure)


def test_a_busy_server_is_told_of_and_the_message_gets_nothing() -> None:
    board = Board()
    line = board.subscribe(9)
    told: list[tuple[Inbox, ev.Event]] = []
    board.on_busy = lambda inbox, event: told.append((inbox, event))
    inbox = board.send()
    board.deliver(BUSY)
    assert told == [(inbox, BUSY)]
    assert len(inbox.mailbox) == 0
    assert len(line) == 1
    assert not inbox.over.is_set()
    assert board.inbox is inbox


def test_a_message_that_nobody_reads_fails_alone() -> None:
    board = Board()
    line = board.subscribe(10)
    inbox = board.send(mark=1)
    for number in range(HARD_LIMIT_FACTOR + 5):
        board.deliver(tool(str(number)))
    assert isinstance(inbox.failure, ConsumerTooSlow)
    assert not inbox.turn_over.is_set(), "the server is still at it"
    assert len(line) == 10
    board.deliver(done())
    assert board.ended == [inbox]
    assert isinstance(inbox.failure, ConsumerTooSlow)


def test_an_abandoned_message_still_collects_its_reply_and_its_end() -> None:
    board = Board()
    inbox = board.send()
    inbox.fail(ValueError("left"))
    board.deliver_all(says("x"), done("m", "x"))
    assert inbox.partial().text == "x"
    assert inbox.turn_over.is_set()
    assert len(inbox.mailbox) == 0


def test_a_permission_is_asked_for_while_the_message_is_open() -> None:
    board = Board()
    inbox = board.send()
    asked_for: list[ev.PermissionEvent] = []
    inbox.on_permission = asked_for.append
    board.deliver(permission())
    inbox.fail(ValueError("left"))
    board.deliver(permission())
    assert asked_for == [permission()]


async def test_a_gap_is_said_to_subscribers_and_to_a_message_that_was_cut() -> None:
    board = Board()
    line = board.subscribe(9)
    inbox = board.send()
    board.gap("lost")
    assert len(inbox.mailbox) == 0
    inbox.cut = True
    board.gap("lost again")
    board.gap("and again")
    gaps = [
        ev.StreamGapEvent(missed=None, reason=why) for why in ("lost", "lost again", "and again")
    ]
    assert await waiting_in(inbox.mailbox) == [gaps[1]]
    assert await waiting_in(line) == gaps


def test_a_reply_read_from_the_stored_messages_ends_it_and_owns_what_comes_late() -> None:
    board = Board("async")
    inbox = board.send()
    board.deliver_all(asked("u", "hello"), says("a", "m1"))
    stored = StoredReply(texts=("ab", "c"), message_id="m2", user_message_id="u", recovered=True)
    board.step(inbox, Input.SETTLED, stored)
    reply = inbox.partial()
    assert (reply.text, reply.final_text, reply.recovered) == ("abc", "c", True)
    assert board.ended == [inbox]
    second = board.send()
    board.deliver_all(asked("u2", "hello"), says("c", "m2"), done("m2", "c"))
    assert len(second.mailbox) == 1
    assert not second.over.is_set()


def test_an_answer_after_the_end_changes_nothing_of_an_error() -> None:
    board = Board("blocking")
    inbox = board.send(accept=False)
    board.deliver(error("broke"))
    assert not inbox.over.is_set()
    board.step(inbox, Input.REFUSED)
    assert "broke" in str(agent_error(inbox))


def test_a_failure_ends_the_turn_with_it() -> None:
    board = Board()
    inbox = board.send(accept=False)
    board.end_with(inbox, ValueError("refused"), Input.REFUSED)
    assert str(inbox.failure) == "refused"
    assert board.ended == [inbox]
    assert board.router.turn is None


def test_the_end_of_a_message_stops_the_policies_that_are_asked() -> None:
    board = Board()
    inbox = board.send()
    scope = trio.CancelScope()
    inbox.policies.add(scope)
    board.deliver(done())
    assert scope.cancel_called


@pytest.mark.parametrize("cleanly", [True, False])
async def test_closing_ends_everything_each_with_its_own_exception(cleanly: bool) -> None:
    board = Board()
    lines = [board.subscribe(9), board.subscribe(9)]
    inbox = board.send()
    board.deliver(says("x"))
    board.close(copies_of(StreamClosed("over", url="u", session_id="s")), cleanly=cleanly)
    seen: list[BaseException | None] = [inbox.failure]
    assert inbox.turn_over.is_set()
    assert await anext(inbox.mailbox, None) == says("x")
    with pytest.raises(StreamClosed):
        await anext(inbox.mailbox, None)
    for line in lines:
        assert await anext(line, None) == says("x")
        if cleanly:
            assert await anext(line, None) is None
        else:
            with pytest.raises(StreamClosed) as caught:
                await anext(line, None)
            seen.append(caught.value)
    assert len(set(map(id, seen))) == len(seen)
    with pytest.raises(StreamClosed):
        await anext(board.subscribe(9), None)


async def test_an_unsubscribed_line_gets_nothing_more() -> None:
    board = Board()
    line = board.subscribe(9)
    board.deliver(says("x"))
    board.unsubscribe(line)
    board.unsubscribe(line)
    board.deliver(says("y"))
    assert await anext(line, None) is None
    assert board.subscribers == 0
