"""The raw event stream: one connection, events as they come, each kind of end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.cases import case
from tests.support.rest_kit import ONCE, answer, refusal, their_client
from trio_mix import events, funcs
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import BackoffStrategy, RequestOptions, RetryConfig
from trio_mix.errors import (
    ConnectionFailed,
    ErrorResponse,
    MixDefaultError,
    ProtocolError,
    RequestTimeout,
    StreamClosed,
)
from trio_mix.resources import Streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.rest_kit import Canned

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=latin-1\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
CONNECTED = b'id: 1\nevent: connected\ndata: {"sessionId": "s"}\nretry: 30000\n\n'
CONTENT = b'id: 2\nevent: content\ndata: {"content": "\xc3\xa9"}\n\n'


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture(params=["own", "httpx", "httpx2"])
async def core(request: pytest.FixtureRequest, server: Canned) -> AsyncIterator[MixCore]:
    theirs = their_client(request.param)
    async with MixCore(server.url, retries=ONCE, http_client=theirs) as it:
        yield it
    if theirs is not None:
        await theirs.aclose()


async def test_events_come_in_order_and_a_proper_end_ends_the_iteration(
    server: Canned, core: MixCore
) -> None:
    whole = CHUNKED + chunk(CONNECTED[:9]) + chunk(CONNECTED[9:] + CONTENT) + b"0\r\n\r\n"
    server.say(whole)
    async with Streaming(core).stream_events(session_id="s") as stream:
        seen = [event async for event in stream]
        assert stream.last_event_id == "2"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert seen == [
        events.ConnectedEvent(id="1", session_id="s"),
        events.ContentEvent(id="2", content="é"),
    ]
    headers = server.asked[0].headers
    assert headers["accept"] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["accept-encoding"] == "identity"
    assert "last-event-id" not in headers


async def test_a_cut_is_raised_once_after_the_events_that_came(
    server: Canned, core: MixCore
) -> None:
    server.say(
        CHUNKED.replace(b"chunked\r\n", b"chunked\r\nConnection: close\r\n") + chunk(CONNECTED)
    )
    async with Streaming(core).stream_events(session_id="s") as stream:
        assert isinstance(await anext(stream), events.ConnectedEvent)
        with pytest.raises(ConnectionFailed, match=r"streaming\.stream_events"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_an_error_before_connected_is_an_event_as_it_is_here(
    server: Canned, core: MixCore
) -> None:
    data = b'event: error\ndata: {"error": "no such session"}\n\n'
    server.say(CHUNKED + chunk(data) + b"0\r\n\r\n")
    async with Streaming(core).stream_events(session_id="s") as stream:
        assert [event async for event in stream] == [events.ErrorEvent(error="no such session")]


async def test_a_status_of_refusal_is_raised_on_entering(server: Canned, core: MixCore) -> None:
    server.say(refusal(404, "session not found", "not_found"))
    with pytest.raises(ErrorResponse, match="session not found"):
        async with Streaming(core).stream_events(session_id="s"):
            pytest.fail("entered")
    server.say(answer(400))
    with pytest.raises(MixDefaultError):
        await Streaming(core).stream_events(session_id="s")


NO_STREAMS = [
    (answer(200, {"hello": "tok-12345"}), r"application/json.*hello.*\*\*\*"),
    (answer(200, raw=b"<html>", headers={"Content-Type": "text/html"}), "text/html.*<html>"),
    (answer(200, raw=b"\x00\x01", headers={"Content-Type": "image/png"}), "image/png"),
    (answer(200, raw=b"x"), "content type is missing"),
]


async def test_what_is_no_event_stream_is_a_protocol_error_that_shows_what_came(
    server: Canned, core: MixCore
) -> None:
    options = RequestOptions(headers={"authorization": "Bearer tok-12345"})
    for response, shown in NO_STREAMS:
        server.say(response)
        with case(response), pytest.raises(ProtocolError, match=shown) as caught:
            await Streaming(core).stream_events(session_id="s", options=options)
        assert caught.value.session_id == "s"
        assert "tok-12345" not in str(caught.value)


async def test_204_says_not_to_come_back(server: Canned, core: MixCore) -> None:
    server.say(answer(204))
    with pytest.raises(StreamClosed, match="not to connect again"):
        await Streaming(core).stream_events(session_id="s")


async def test_a_second_reader_is_refused(server: Canned, core: MixCore) -> None:
    server.say(CHUNKED.replace(b"chunked\r\n", b"chunked\r\nContent-Length-Not: 1\r\n"))
    async with (
        Streaming(core).stream_events(session_id="s") as stream,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def first() -> None:
            await anext(stream)

        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError):
            await anext(stream)
        nursery.cancel_scope.cancel()


async def test_closing_wakes_the_reader(server: Canned, core: MixCore) -> None:
    server.say(CHUNKED.replace(b"chunked\r\n", b"chunked\r\nContent-Length-Not: 1\r\n"))
    woken = trio.Event()
    stream = await Streaming(core).stream_events(session_id="s")

    async def read() -> None:
        with pytest.raises(StreamClosed):
            await anext(stream)
        woken.set()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.aclose()
            await woken.wait()
        await stream.aclose()
        with pytest.raises(StreamClosed):
            await anext(stream)


async def test_silence_is_no_error_but_a_late_head_is(server: Canned, core: MixCore) -> None:
    stays_open = b"X-Content-Length: none\r\n"
    server.say(HEAD + stays_open)
    with trio.fail_after(5), pytest.raises(RequestTimeout):
        await Streaming(core).stream_events(session_id="s", options=RequestOptions(timeout=0.05))
    server.say(CHUNKED.replace(b"\r\n\r\n", b"\r\n" + stays_open + b"\r\n"))
    longer = RequestOptions(timeout=1)  # a loaded machine needs some time for the head
    async with Streaming(core).stream_events(session_id="s", options=longer) as stream:
        with trio.move_on_after(1.2) as scope:
            await anext(stream)
        assert scope.cancelled_caught


async def test_an_event_over_the_limit_is_a_protocol_error(server: Canned, core: MixCore) -> None:
    server.say(CHUNKED + chunk(CONNECTED) + chunk(b"data: " + b"x" * (17 * 2**20)) + b"0\r\n\r\n")
    async with Streaming(core).stream_events(session_id="s") as stream:
        assert isinstance(await anext(stream), events.ConnectedEvent)
        with pytest.raises(ProtocolError) as caught:
            await anext(stream)
        assert caught.value.session_id == "s"


async def test_connecting_is_retried_but_an_open_stream_is_not(
    server: Canned,
) -> None:
    cut = CHUNKED.replace(b"chunked\r\n", b"chunked\r\nConnection: close\r\n") + chunk(CONNECTED)
    server.say(refusal(503), refusal(500), cut)
    quick = RetryConfig(backoff=BackoffStrategy(initial_interval=0.001))
    async with MixCore(server.url, retries=quick) as core:
        async with Streaming(core).stream_events(session_id="s") as stream:
            await anext(stream)
            with pytest.raises(ConnectionFailed):
                await anext(stream)
    assert len(server.asked) == 3


async def test_the_function_gives_back_the_open_stream(server: Canned, core: MixCore) -> None:
    server.say(CHUNKED + chunk(CONNECTED) + b"0\r\n\r\n")
    match await funcs.streaming_stream_events(core, session_id="s"):
        case funcs.Ok(value=stream):
            async with stream:
                assert [event async for event in stream] == [
                    events.ConnectedEvent(id="1", session_id="s")
                ]
        case funcs.Err(error=error):
            pytest.fail(str(error))
    server.say(answer(200, raw=b"x"))
    result = await funcs.streaming_stream_events(core, session_id="s")
    assert isinstance(result, funcs.Err)
    assert isinstance(result.error, ProtocolError)


async def test_cancellation_loses_no_event(server: Canned, core: MixCore) -> None:
    many = b"".join(b'event: content\ndata: {"content": "%d"}\n\n' % i for i in range(500))
    server.say(CHUNKED + chunk(many) + b"0\r\n\r\n")
    seen: list[str] = []
    async with Streaming(core).stream_events(session_id="s") as stream:
        await anext(stream)
        for number in range(1, 500):
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(stream)
            assert scope.cancelled_caught
            event = await anext(stream)
            assert isinstance(event, events.ContentEvent)
            assert event.content == str(number)
            seen.append(event.content)
    assert len(seen) == 499


async def test_a_reader_of_a_full_buffer_lets_other_tasks_run(
    server: Canned, core: MixCore
) -> None:
    many = b"".join(b'event: content\ndata: {"content": "%d"}\n\n' % i for i in range(500))
    server.say(CHUNKED + chunk(many) + b"0\r\n\r\n")
    turns = 0

    async with (
        Streaming(core).stream_events(session_id="s") as stream,
        trio.open_nursery() as nursery,
    ):

        @nursery.start_soon
        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        await anext(stream)
        before, longest = turns, 0
        since = 0
        async for _ in stream:
            since = since + 1 if turns == before else 0
            before, longest = turns, max(longest, since)
        nursery.cancel_scope.cancel()
    # Twice 64, less one: Trio shuffles the order within each round of tasks.
    assert 0 < longest < 128


async def test_the_cursor_is_that_of_the_last_event_that_was_returned(
    server: Canned, core: MixCore
) -> None:
    five = b"".join(b"id: %d\ndata: {}\n\n" % number for number in range(1, 6))
    server.say(CHUNKED + chunk(five + b"id: 9\n\n") + b"0\r\n\r\n")
    async with Streaming(core).stream_events(session_id="s", last_event_id="0") as stream:
        assert stream.last_event_id == "0"
        for number in range(1, 6):
            await anext(stream)
            assert stream.last_event_id == str(number)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert stream.last_event_id == "9"
