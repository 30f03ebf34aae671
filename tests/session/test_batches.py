"""A read's events go through all layers at once: it must come to the same as one by one."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING
from unittest.mock import patch

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.event_makers import router_for, tool
from tests.support.messages import message_state
from trio_mix import events as ev
from trio_mix._session import _buffers
from trio_mix._session._buffers import EventBuffer, MessageBuffer, SubscriberBuffer
from trio_mix._session._controller import StreamController
from trio_mix._session._dispatcher import EventDispatcher
from trio_mix._session._message_state import MessageState
from trio_mix._session._reader import Reader, ReaderHost
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._router import Input, TurnRouter, WireTraits
from trio_mix._wire._events import PendingContent, PendingThinking
from trio_mix.errors import ConsumerTooSlow
from trio_mix.sse import ServerSentEvent, StreamState
from trio_mix.sse._decoder import Columns

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    import pytest

    from trio_mix._turns._router import Delta, RunDelta
    from trio_mix.events import Event

# -- each layer ------------------------------------------------------------------------------


def says(text: str, message: str | None, parent: str | None = None) -> Delta:
    return ev.ContentEvent(content=text, assistant_message_id=message, parent_tool_call_id=parent)


def thinks(text: str, message: str | None) -> Delta:
    return ev.ThinkingEvent(content=text, assistant_message_id=message)


texts = st.sampled_from(["", "x", "yz"])
message_ids = st.sampled_from(["m1", "m1", "m2", None])
runs: st.SearchStrategy[list[Delta]] = st.one_of(
    st.builds(
        lambda said, message, parent: [says(text, message, parent) for text in said],
        st.lists(texts, min_size=1, max_size=9),
        message_ids,
        st.sampled_from([None, None, "call"]),
    ),
    st.builds(
        lambda said, message: [thinks(text, message) for text in said],
        st.lists(texts, min_size=1, max_size=9),
        message_ids,
    ),
)


def waiting(line: EventBuffer) -> list[object]:
    return [item.event() if type(item) in _buffers._MADE_LATE else item for item in line._line]  # type: ignore[union-attr]


def late(run: list[Delta]) -> list[RunDelta]:
    """Return a run as it comes from frames that are decoded at once."""
    return [
        (PendingContent if isinstance(event, ev.ContentEvent) else PendingThinking)(
            id=event.id,
            content=event.content,
            assistant_message_id=event.assistant_message_id,
            parent_tool_call_id=event.parent_tool_call_id,
        )
        for event in run
    ]


@given(
    acts=st.lists(st.one_of(runs, runs, runs, st.builds(tool, st.just("c"))), max_size=9),
    end=st.integers(0, 40),
    size=st.integers(1, 6),
    kind=st.sampled_from([MessageBuffer, MessageBuffer, SubscriberBuffer, lambda _: EventBuffer()]),
    limit=st.sampled_from([4, 8, 2**20]),
    lately=st.sampled_from([list, late]),
)
@settings(max_examples=300)
def test_a_run_that_is_put_at_once_stands_as_if_put_one_by_one(
    acts: list[list[Delta] | Event],
    end: int,
    size: int,
    kind: Callable[[int], EventBuffer],
    limit: int,
    lately: Callable[[list[Delta]], list[RunDelta]],
) -> None:
    fast, slow = kind(size), kind(size)
    with patch.object(_buffers, "MERGED_CHARACTERS", limit):
        for number, act in enumerate(acts):
            if number == end:
                fast.close()
                slow.close()
            if isinstance(act, list):
                if not fast.put_run(lately(act)):
                    for event in act:
                        fast.put(event)
                for event in act:
                    slow.put(event)
            else:
                fast.put(act)
                slow.put(act)
            assert waiting(fast) == waiting(slow)
            for name in ("overflowed", "_missed", "_reasons", "_closed"):
                assert getattr(fast, name, None) == getattr(slow, name, None)


def test_a_run_that_overflows_leaves_what_each_of_it_would() -> None:
    def left(deliver: Callable[[MessageState, list[Delta]], None]) -> tuple[object, ...]:
        state = message_state(TurnRouter(WireTraits()).register("go"), 1)
        for number in range(_buffers.HARD_LIMIT_FACTOR):
            state.take(tool(str(number)))
        deliver(state, [says("a", "m"), says("b", "m")])
        assert isinstance(state.failure, ConsumerTooSlow)
        assert state.failure.partial is not None
        return state.failure.partial.text, state.partial().text, len(state.buffer)

    assert left(MessageState.take_run) == left(lambda state, run: [*map(state.take, run)].clear())


def test_a_run_is_merged_at_once_where_the_line_is_full() -> None:
    line = MessageBuffer(2)
    assert line.put_run([says(text, "m") for text in "abcd"])
    assert line.put_run(late([says(text, "m") for text in "ef"]))
    assert waiting(line) == [says("a", "m"), says("bcdef", "m")]
    assert not line.put_run([says("other", "n")])


@given(st.lists(st.one_of(runs, st.builds(tool, st.just("c"))), max_size=8))
def test_a_run_adds_to_the_reply_what_each_of_it_would(acts: list[list[Delta] | Event]) -> None:
    fast, slow = ReplyBuilder(), ReplyBuilder()
    for act in acts:
        if isinstance(act, list):
            for event in act:
                slow.feed(event)
            if act[0].parent_tool_call_id is None:
                fast.feed_run(late(act) if len(act) % 2 else act)
            else:
                for event in act:
                    fast.feed(event)
        else:
            fast.feed(act)
            slow.feed(act)
    assert vars(fast) == vars(slow)


# -- all of them, from the frames on ---------------------------------------------------------


class Source:
    """A supervised source that nobody reads from."""

    last_event_id = ""
    bytes_received = 0
    on_bytes: object = None
    has_more = False


class World(StreamController):
    """Reader, router, switchboard and a message, without tasks or sockets."""

    def __init__(self, mark: int, ids: bool | None) -> None:
        self.ended: list[str] = []
        self.router = TurnRouter(attrs.evolve(router_for("async").traits, ids=ids))
        self.dispatcher = EventDispatcher(
            self.router, lambda state: self.ended.append(state.turn.text)
        )
        self._gap_due = ""
        self.reader = Reader(
            self,
            Source(),  # type: ignore[arg-type]
            session_id="s",
            url="u",
            connect_timeout=1,
            idle_timeout="auto",
            max_connection_age=None,
            last_event_id=None,
        )
        self.reader.state = StreamState.CONNECTED
        self.reader.replay_filter.opened()
        self.reader.replay_filter.connected("1")
        self.lines = [self.dispatcher.subscribe(3), self.dispatcher.subscribe(10**6)]
        self.messages: list[MessageState] = []
        self.mark = mark

    def send(self) -> None:
        if self.dispatcher.current is None:
            state = message_state(self.router.register("go"), self.mark)
            self.messages.append(state)
            self.dispatcher.attach(state)
            self.dispatcher.step(state, Input.SENDING)

    def lose(self, connected_id: str = "") -> None:
        """Lose the connection, and have another at once."""
        self.router.lost()
        self._gap_due = "lost"
        if self.dispatcher.current is not None:
            self.dispatcher.current.cut = True
        self.reader.replay_filter.opened()
        self.reader.replay_filter.connected(connected_id)

    def seen(self) -> list[object]:
        return [
            [waiting(line) for line in self.lines],
            [line._missed for line in self.lines],
            [waiting(state.buffer) for state in self.messages],
            [state.buffer.overflowed for state in self.messages],
            [vars(state.builder) for state in self.messages],
            [state.started.is_set() for state in self.messages],
            [repr(state.failure) for state in self.messages],
            [getattr(state.failure, "partial", None) for state in self.messages],
            [(state.turn.phase, state.turn.events, state.turn.ended_by) for state in self.messages],
            self.ended,
            self.reader.events,
            self.reader.source.last_event_id,
            self.reader.replay_filter.mark,
            self.reader.replay_filter.duplicates,
            vars(self.reader._watch),
            self._gap_due,
        ]


def payload(kind: str, message: str) -> str:
    named = f', "assistantMessageId": "{message}"' if message else ""
    match kind:
        case "content" | "thinking":
            return f'{{"type": "{kind}", "content": "word "{named}}}'
        case "sub":
            return f'{{"type": "content", "content": "sub"{named}, "parentToolCallId": "t"}}'
        case "complete":
            return f'{{"type": "complete", "done": true, "messageId": "{message}"}}'
        case "user_message_created":
            return '{"messageId": "u", "content": "go"}'
        case "tool_use_start":
            return f'{{"type": "tool_use_start", "id": "t", "name": "n"{named}}}'
        case "error":
            return '{"error": "no luck"}'
        case "connected":
            return '{"sessionId": "s"}'
    return '{"type": "ping"}'


def in_columns(frames: list[ServerSentEvent]) -> Columns:
    return Columns(*zip(*((frame.id, frame.event, frame.data) for frame in frames), strict=True))


def segment(kind: str, message: str, times: int) -> list[tuple[str, str]]:
    return [(kind, message)] * times


SEGMENTS = st.one_of(
    *(
        st.builds(segment, st.just(kind), st.sampled_from(["m1", "m1", "m2", ""]), many)
        for kind, many in [
            *[("content", st.integers(1, 9))] * 4,
            ("thinking", st.integers(1, 5)),
            ("sub", st.integers(1, 3)),
            *[("user_message_created", st.just(1))] * 2,
            *((kind, st.just(1)) for kind in ("complete", "tool_use_start", "error", "torn")),
            *((kind, st.just(1)) for kind in ("heartbeat", "connected")),
        ]
    )
)
READS = st.lists(SEGMENTS, max_size=8).map(lambda parts: [one for part in parts for one in part])


@given(
    script=st.lists(st.one_of(READS, READS, st.sampled_from(["send", "lose"])), max_size=7),
    cuts=st.randoms(use_true_random=False),
    mark=st.sampled_from([1, 2, 5, 1000]),
    ids=st.sampled_from([None, True, False]),
    numbered=st.sampled_from(["numbers", "numbers", "none", "opaque", "restart"]),
)
@settings(max_examples=300, deadline=None)
def test_whatever_the_batching_the_same_comes_out(
    script: list[list[tuple[str, str]] | str],
    cuts: Random,
    mark: int,
    ids: bool | None,
    numbered: str,
) -> None:
    numbers = itertools.count(2)

    def made(kind: str, message: str) -> ServerSentEvent:
        number = next(numbers)
        frame_id = {"none": "", "opaque": f"id-{number}"}.get(numbered, str(number))
        name = "content" if kind == "sub" else kind
        return ServerSentEvent(id=frame_id, event=name, data=payload(kind, message))

    async def main() -> None:
        nonlocal numbers
        whole, single, odd = worlds = [World(mark, ids) for _ in range(3)]
        for act in ["send", *script]:
            if act == "send":
                for world in worlds:
                    world.send()
            elif act == "lose":
                if numbered == "restart":
                    numbers = itertools.count(2)
                for world in worlds:
                    world.lose()
            elif not isinstance(act, str):
                came = [made(kind, message) for kind, message in act]
                whole.reader._take(came)
                for frame in came:
                    single.reader._take([frame])
                while came:
                    size = cuts.randint(1, 9)
                    odd.reader._take(in_columns(came[:size]))
                    del came[:size]
            assert whole.seen() == single.seen()
            assert odd.seen() == single.seen()

    trio.run(main, clock=MockClock())


def test_a_run_does_not_hide_that_a_replay_has_filled_the_gap() -> None:
    async def main() -> None:
        world = World(1000, None)
        world.send()

        def read(*ids: str) -> None:
            data = payload("content", "m1")
            world.reader._take([ServerSentEvent(id=one, event="content", data=data) for one in ids])

        world.reader._take(
            [
                ServerSentEvent(
                    id="2", event="user_message_created", data=payload("user_message_created", "")
                )
            ]
        )
        read("3", "4")
        world.lose("9")
        read("")  # of no number: it is not known yet whether ids go on
        assert world._gap_due
        read("4")  # a replay: they do
        assert world._gap_due
        read("10", "11")
        assert not world._gap_due
        assert not world.messages[0].cut

    trio.run(main)


def test_nothing_is_given_up_while_there_is_more_of_what_was_read() -> None:
    async def main() -> None:
        reader = World(1, None).reader
        reader._expires = 1.0
        reader._host = ReaderHost()
        assert reader._next_deadline() == 1.0
        reader.source.has_more = True  # type: ignore[misc]
        assert reader._next_deadline() == math.inf

    trio.run(main)


def test_ordinary_text_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        world = World(1000, None)
        world.send()
        parts = ["user_message_created", *["content"] * 20, "complete"]
        came = [
            ServerSentEvent(id=str(number), event=kind, data=payload(kind, "m1"))
            for number, kind in enumerate(parts, start=2)
        ]
        one_by_one: list[Event] = []
        deliver = world.dispatcher.deliver

        def counted(event: Event) -> None:
            one_by_one.append(event)
            deliver(event)

        monkeypatch.setattr(world.dispatcher, "deliver", counted)
        world.reader._take(came)
        assert [type(event) for event in one_by_one] == [
            ev.UserMessageCreatedEvent,
            ev.ContentEvent,
            ev.CompleteEvent,
        ]
        assert world.messages[0].partial().text == "word " * 20
        one_by_one.clear()
        world = World(1000, None)
        deliver = world.dispatcher.deliver
        monkeypatch.setattr(world.dispatcher, "deliver", counted)
        world.reader._take(in_columns(came[1:-1]))
        assert len(one_by_one) == 1
        assert type(world.lines[1]._line[-1]) is PendingContent, "an event was made too early"

    trio.run(main)
