"""Events travel in batches through all layers: the size of the batches makes no difference."""

from __future__ import annotations

import itertools
import math
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.support.event_makers import router_for
from tests.support.messages import message_state
from trio_mix._session._buffers import EventBuffer, MessageBuffer
from trio_mix._session._controller import StreamController
from trio_mix._session._dispatcher import EventDispatcher
from trio_mix._session._reader import Reader
from trio_mix._session._refusals import SessionRefusals
from trio_mix._session._send_queue import SendQueue
from trio_mix._turns._history import History
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._turn import Input
from trio_mix.sse import ServerSentEvent, StreamState
from trio_mix.sse._supervisor import Events

if TYPE_CHECKING:
    from random import Random

    from trio_mix import events as ev
    from trio_mix._session._message_state import MessageState


def buffered(buffer: EventBuffer[ev.Event]) -> list[ev.Event]:
    if isinstance(buffer, MessageBuffer):
        buffer._join()
    return [*buffer._received, *(buffer._sent or ())]


class Source:
    """A supervised source that is not read."""

    last_event_id = ""
    bytes_received = 0
    on_bytes: object = None
    has_more = False
    id_cleared = False


class Unlimited(EventDispatcher):
    """A dispatcher whose consumers take batches of any size."""

    def _set_buffers(self) -> None:
        super()._set_buffers()
        self.batch_limit = sys.maxsize


async def _no_look_up(session_id: str) -> None:
    raise AssertionError(session_id)


class World(StreamController):
    """Reader, router, dispatcher and a message, without tasks or sockets."""

    def __init__(self, mark: int, ids: bool | None) -> None:
        self.ended: list[str] = []
        self.router = TurnRouter(attrs.evolve(router_for("async").traits, ids=ids))
        self.dispatcher = Unlimited(self.router, lambda state: self.ended.append(state.turn.text))
        self.gap_due = ""
        self.stored = SimpleNamespace(history=History())  # type: ignore[assignment]
        self.reader = Reader(
            self,
            Source(),  # type: ignore[arg-type]
            self.dispatcher,
            SendQueue(),
            refusals=SessionRefusals("s", _no_look_up),
            connect_timeout=1,
            idle_timeout="auto",
            max_connection_age=None,
            last_event_id=None,
        )
        self.reader.state = StreamState.CONNECTED
        self.reader._opened = True
        self.reader.replay_filter.opened()
        self.reader.replay_filter.connected("1")
        self.buffers = [self.dispatcher.subscribe(3), self.dispatcher.subscribe(10**6)]
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
        self.gap_due = "lost"
        if self.dispatcher.current is not None:
            self.dispatcher.current.gap_unreported = True
        self.reader.replay_filter.opened()
        self.reader.replay_filter.connected(connected_id)

    def seen(self) -> list[object]:
        return [
            [buffered(buffer) for buffer in self.buffers],
            [buffer._missed for buffer in self.buffers],
            [buffered(state.buffer) for state in self.messages],
            [state.buffer.overflowed for state in self.messages],
            [state.builder.build() for state in self.messages],
            [state.started.is_set() for state in self.messages],
            [repr(state.failure) for state in self.messages],
            [(state.turn.phase, state.turn.events, state.turn.ended_by) for state in self.messages],
            self.ended,
            self.reader.events,
            self.reader.source.last_event_id,
            self.reader.replay_filter.mark,
            self.reader.replay_filter.duplicates,
            vars(self.reader._idle),
            self.gap_due,
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
def test_batches_of_any_size_give_the_same_result(
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
                await whole.reader._take(Events(came))
                for frame in came:
                    await single.reader._take(Events([frame]))
                while came:
                    size = cuts.randint(1, 9)
                    await odd.reader._take(Events(came[:size]))
                    del came[:size]
            assert whole.seen() == single.seen()
            assert odd.seen() == single.seen()

    trio.run(main, clock=MockClock())


def test_a_batch_does_not_hide_that_a_replay_has_filled_the_gap() -> None:
    async def main() -> None:
        world = World(1000, None)
        world.send()

        async def read(*ids: str) -> None:
            data = payload("content", "m1")
            await world.reader._take(
                Events([ServerSentEvent(id=one, event="content", data=data) for one in ids])
            )

        data = payload("user_message_created", "")
        first = ServerSentEvent(id="2", event="user_message_created", data=data)
        await world.reader._take(Events([first]))
        await read("3", "4")
        world.lose("9")
        await read("9")  # inherited: it is not known yet whether ids go on
        assert world.gap_due
        await read("4")  # a replay: they do
        assert world.gap_due
        await read("10", "11")
        assert not world.gap_due
        assert not world.messages[0].gap_unreported

    trio.run(main)


def test_nothing_is_given_up_before_all_that_was_read_is_passed_on() -> None:
    async def main() -> None:
        reader = World(1, None).reader
        reader._expires = 1.0
        assert reader._next_deadline() == 1.0
        reader.source.has_more = True
        assert reader._next_deadline() == math.inf
        reader.source.has_more, reader._passing_on = False, True
        assert reader._next_deadline() == math.inf

    trio.run(main)
