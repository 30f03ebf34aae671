"""Iterating is fair to other tasks, and the reader is fair to consumers that iterate."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
from trio.testing import assert_checkpoints

from tests.support.raw_server import SSE_HEAD, chunk, serve
from trio_mix import Mix
from trio_mix import events as ev
from trio_mix._rest._event_stream import _EVENTS_BETWEEN_CHECKPOINTS
from trio_mix._session._buffers import (
    EVENTS_BETWEEN_CHECKPOINTS,
    EventBuffer,
    MessageBuffer,
    SubscriberBuffer,
)
from trio_mix.errors import ReconnectFailed
from trio_mix.sse import ReconnectPolicy, open_event_source
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from tests.support.raw_server import Peer
    from trio_mix import SessionStream

BOUND = 64
# Between two turns of another task: Trio shuffles who is first in each of its rounds.
SEEN = 2 * BOUND


async def longest_run(take: Callable[[], Awaitable[object]], count: int) -> int:
    """Take so many events; return how many came in a row without another task's turn."""
    longest = taken = 0

    async def other() -> None:
        nonlocal longest, taken
        while True:
            longest, taken = max(longest, taken), 0
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await trio.lowlevel.checkpoint()
        for _ in range(count):
            await take()
            taken += 1
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return longest


def test_the_documented_bound_is_that_of_the_code() -> None:
    assert EVENTS_BETWEEN_CHECKPOINTS == _EVENTS_BETWEEN_CHECKPOINTS == BOUND


@pytest.mark.parametrize(
    "make", [EventBuffer, lambda: MessageBuffer(999), lambda: SubscriberBuffer(999)]
)
async def test_other_tasks_run_at_least_every_64_events(
    make: Callable[[], EventBuffer[ev.Event]],
) -> None:
    buffer = make()
    for _ in range(500):
        buffer.put([ev.HeartbeatEvent()])
    assert 2 <= await longest_run(buffer.__anext__, 500) <= SEEN


async def test_a_task_that_was_woken_takes_no_more_than_that_either() -> None:
    buffer: EventBuffer[ev.Event] = EventBuffer()
    runs: list[int] = []

    async def consume() -> None:
        runs.append(await longest_run(buffer.__anext__, 300))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        for _ in range(300):
            buffer.put([ev.HeartbeatEvent()])
    assert 2 <= runs[0] <= SEEN


async def test_each_event_of_a_batch_is_a_point_of_cancellation() -> None:
    buffer: EventBuffer[ev.Event] = EventBuffer()
    for _ in range(100):
        buffer.put([ev.HeartbeatEvent()])
    taken = 0
    with trio.CancelScope() as scope:
        while True:
            await anext(buffer, None)
            taken += 1
            if taken == 10:
                scope.cancel()
    assert (taken, len(buffer)) == (10, 90)


async def test_a_single_event_is_a_full_checkpoint_each_time() -> None:
    buffer: EventBuffer[ev.Event] = EventBuffer()
    for _ in range(5):
        buffer.put([ev.HeartbeatEvent()])
        with assert_checkpoints():
            await anext(buffer, None)


async def test_iterating_a_message_lets_others_run() -> None:
    async with MixServer(slow_reader_limit=None) as server, Mix(server.url) as mix:
        server.script("go", Turn(Say("x" * 300, deltas=300)))
        async with (
            mix.open_stream(server.create_session(), message_buffer=1000) as session,
            session.send("go") as message,
        ):
            state = message._opened()
            with trio.fail_after(10):
                await state.over.wait()
            waiting = len(state.buffer)
            assert waiting > SEEN
            run = await longest_run(message.__anext__, waiting)
    assert 2 <= run <= SEEN


# -- bursts ----------------------------------------------------------------------------------

EVENTS = 30_000
TOOL = '{"type":"tool_execution_start","toolCallId":"t","toolName":"n","progress":"%d"}'
TURN = [
    ("user_message_created", '{"messageId":"u","content":"go"}'),
    ("content", '{"content":"","assistantMessageId":"a"}'),
    ("tool_use_start", '{"id":"t","name":"n","assistantMessageId":"a"}'),
    *(("tool_execution_start", TOOL % number) for number in range(EVENTS)),
    ("complete", '{"done":true,"content":"","messageId":"a"}'),
]


async def burst(peer: Peer, posted: trio.Event) -> None:
    """Serve a stream on which a whole turn comes at once when a message is posted."""
    while (request := await peer.request()) is not None:
        if request.method == "POST":
            posted.set()
            await peer.send(
                b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                b"Content-Length: 2\r\n\r\n{}"
            )
        elif request.target.startswith("/stream"):
            hello = b'id: 1\nevent: connected\ndata: {"sessionId":"s"}\n\n'
            await peer.send(SSE_HEAD + chunk(hello))
            await posted.wait()
            frames = [
                f"id: {number}\nevent: {name}\ndata: {data}\n\n"
                for number, (name, data) in enumerate(TURN, 2)
            ]
            await peer.send(chunk("".join(frames).encode()))
        else:
            await peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def session_with_a_burst(message_buffer: int = 1024) -> AsyncIterator[SessionStream]:
    async with trio.open_nursery() as nursery:
        posted = trio.Event()
        server = await serve(nursery, lambda peer: burst(peer, posted))
        with trio.fail_after(30):
            async with (
                Mix(server.url, api="async") as mix,
                mix.open_stream("s", message_buffer=message_buffer) as session_id,
            ):
                yield session_id
        nursery.cancel_scope.cancel()


async def count(events: AsyncIterable[ev.Event], until: type[ev.Event]) -> int:
    """Iterate, and do nothing else; return the number of events, or fail at a gap."""
    number = 0
    async for event in events:
        number += 1
        assert not isinstance(event, ev.StreamGapEvent), f"a gap after {number} events: {event}"
        if isinstance(event, until):
            break
    return number


@pytest.mark.parametrize("size", [1, 10, 1000])
async def test_consumers_that_only_iterate_get_every_event_of_a_burst(size: int) -> None:
    async def subscribe() -> None:
        async with session_id.subscribe(buffer=size) as everything:
            subscribed.set()
            counts.append(await count(everything, ev.CompleteEvent))

    counts: list[int] = []
    subscribed = trio.Event()
    async with session_with_a_burst(size) as session_id, trio.open_nursery() as nursery:
        nursery.start_soon(subscribe)
        await subscribed.wait()
        async with session_id.send("go") as message:
            counts.append(await count(message, ev.CompleteEvent))
    assert counts == [len(TURN)] * 2


async def test_ask_is_never_too_slow() -> None:
    async with session_with_a_burst() as session_id:
        reply = await session_id.ask("go")
        assert len(reply.tool_calls) == 1


async def test_an_idle_consumer_delays_no_other() -> None:
    async with (
        session_with_a_burst() as session_id,
        session_id.subscribe(buffer=10) as idle,
        session_id.send("go") as message,
    ):
        assert await count(message, ev.CompleteEvent) == len(TURN)
        first = await anext(idle)
    assert isinstance(first, ev.StreamGapEvent)
    assert first.missed == len(TURN) - 10


async def test_a_consumer_that_yields_after_each_event_gets_all_of_them() -> None:
    """As one that prints each event."""
    async with session_with_a_burst() as session_id, session_id.send("go") as message:
        number = 0
        async for _ in message:
            number += 1
            await trio.lowlevel.checkpoint()
    assert number == len(TURN)


async def two_turns(peer: Peer, posts: list[trio.Event]) -> None:
    """Serve two turns without ids; much of the first comes late, in one read with its end."""

    def frame(name: str, data: str) -> str:
        return f"event: {name}\ndata: {data}\n\n"

    while (request := await peer.request()) is not None:
        if request.method == "POST":
            next(post for post in posts if not post.is_set()).set()
            await peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                b'Content-Length: 15\r\n\r\n{"status":"ok"}'
            )
        elif request.target.startswith("/stream"):
            await peer.send(SSE_HEAD + chunk(frame("connected", '{"sessionId":"s"}').encode()))
            await posts[0].wait()
            end = frame("complete", '{"done":true,"content":"one"}')
            late = frame("content", '{"content":"late "}') * 1_000
            large = frame("content", '{"content":"%s"}' % ("x" * 10_000))
            await peer.send(chunk((end + late + large + "event: heartbeat\nda").encode()))
            await posts[1].wait()
            two = 'ta: {"type":"ping"}\n\n' + frame("content", '{"content":"two"}')
            await peer.send(
                chunk((two + frame("complete", '{"done":true,"content":"two"}')).encode())
            )
        else:
            await peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")


async def test_a_message_is_sent_after_all_that_was_read_before_it_is_passed_on() -> None:
    async def subscribe() -> None:
        async with session.subscribe(buffer=100) as everything:
            subscribed.set()
            async for _ in everything:
                await trio.lowlevel.checkpoint()

    subscribed, posts = trio.Event(), [trio.Event(), trio.Event()]
    async with trio.open_nursery() as nursery:
        server = await serve(nursery, lambda peer: two_turns(peer, posts))
        with trio.fail_after(30):
            async with Mix(server.url, api="pipeline") as mix, mix.open_stream("s") as session:
                nursery.start_soon(subscribe)
                await subscribed.wait()
                assert (await session.ask("one")).text == "one"
                assert (await session.ask("two")).text == "two"
                nursery.cancel_scope.cancel()


class AtHand(httpx.AsyncByteStream):
    """A body whose bytes are there: reading it lets nobody run."""

    def __init__(self, chunks: int, frame: bytes) -> None:
        self.chunks, self.frame = chunks, frame

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'event: connected\ndata: {"sessionId": "s"}\n\n'
        for _ in range(self.chunks):
            yield self.frame


def client_with(chunks: int, frame: bytes) -> httpx.AsyncClient:
    headers = {"content-type": "text/event-stream"}
    return httpx.AsyncClient(
        transport=httpx.MockTransport(
            lambda _: httpx.Response(200, headers=headers, stream=AtHand(chunks, frame))
        )
    )


@pytest.mark.parametrize("at_once", [1, 10])
async def test_a_callers_client_that_has_all_at_hand_lets_others_run_as_often(at_once: int) -> None:
    frames = b'event: heartbeat\ndata: {"type": "ping"}\n\n' * at_once
    async with (
        client_with(500 // at_once, frames) as client,
        Mix("http://x", http_client=client) as mix,
    ):
        async with mix.streaming.stream_events(session_id="s") as events:
            assert 2 <= await longest_run(events.__anext__, 500) <= SEEN
        async with open_event_source("http://x/", http_client=client) as source:
            assert 2 <= await longest_run(source.__anext__, 500) <= SEEN


async def test_bytes_that_make_no_event_let_others_run_too() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with client_with(1000, b": a comment\n\n") as client:
        policy = ReconnectPolicy(max_elapsed_time=0.0)
        async with open_event_source("http://x/", http_client=client, reconnect=policy) as source:
            await anext(source)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(other)
                with pytest.raises(ReconnectFailed):
                    await anext(source)
                nursery.cancel_scope.cancel()
    assert turns >= 1000 // SEEN
