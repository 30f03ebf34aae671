"""Streamed responses: bytes as they arrive, ends distinguished from cuts, nothing leaked."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from tests.support.raw_server import LAST_CHUNK, SSE_HEAD, Peer, answering, chunk, serve
from trio_mix._http import Http
from trio_mix.errors import ConnectionFailed, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix._http import ResponseStream

pytestmark = pytest.mark.timeout(30)


async def opened(http: Http, url: str) -> ResponseStream:
    return await http.open("GET", url, headers={}, connect_timeout=5)


async def test_bytes_arrive_as_they_are_sent_and_a_complete_body_ends(
    http: Http, nursery: trio.Nursery
) -> None:
    go_on = trio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.send(chunk(b"first"))
        await go_on.wait()
        await peer.send(chunk(b"second") + LAST_CHUNK)
        await peer.closed()

    server = await serve(nursery, handler)
    stream = await opened(http, f"{server.url}/x")
    assert stream.status_code == 200
    assert stream.headers["content-type"] == "text/event-stream"
    assert stream.url == f"{server.url}/x"
    with trio.testing.assert_checkpoints():
        assert await stream.receive() == b"first"
    go_on.set()
    assert await stream.receive(5) == b"second"
    for _ in range(2):
        with trio.testing.assert_checkpoints():
            assert await stream.receive() == b""
    await stream.aclose()
    await stream.aclose()


async def test_body_bytes_that_arrive_with_the_head_are_not_lost(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(SSE_HEAD + chunk(b"early") + LAST_CHUNK))
    stream = await opened(http, server.url)
    assert await stream.read_all(1000) == (b"early", False)
    await stream.aclose()


async def test_the_framing_may_be_cut_anywhere(own: Http, nursery: trio.Nursery) -> None:
    data = SSE_HEAD + chunk(b"one") + chunk(b"x" * 20) + b"0\r\nTrailer: x\r\n\r\n"
    for size in [1, 2, 3, 7]:

        async def handler(peer: Peer, size: int = size) -> None:
            await peer.request()
            for start in range(0, len(data), size):
                await peer.send(data[start : start + size])
                await trio.testing.wait_all_tasks_blocked()
            await peer.closed()

        server = await serve(nursery, handler)
        stream = await opened(own, server.url)
        assert await stream.read_all(1000) == (b"one" + b"x" * 20, False)
        await stream.aclose()


async def test_a_body_that_is_cut_off_is_a_failure_and_not_an_end(
    http: Http, nursery: trio.Nursery
) -> None:
    for answer in [
        SSE_HEAD + chunk(b"data"),
        SSE_HEAD + b"64\r\ndata",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ndata",
    ]:
        server = await serve(nursery, answering(answer, hang_up=True))
        stream = await opened(http, server.url)
        assert await stream.receive() == b"data"
        with pytest.raises(ConnectionFailed) as caught:
            await stream.receive()
        assert caught.value.sent is True
        await stream.aclose()


async def test_a_read_that_takes_too_long_is_a_timeout(http: Http, nursery: trio.Nursery) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.closed()

    server = await serve(nursery, handler)
    stream = await opened(http, server.url)
    with pytest.raises(RequestTimeout, match=r"0\.02 s"):
        await stream.receive(0.02)
    await stream.aclose()


async def test_a_read_that_is_cancelled_or_times_out_loses_no_bytes(
    own: Http, nursery: trio.Nursery
) -> None:
    go_on = trio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunk(b"one") + b"3\r\nt")
        await go_on.wait()
        await peer.send(b"wo\r\n" + LAST_CHUNK)
        await peer.closed()

    server = await serve(nursery, handler)
    stream = await opened(own, server.url)
    got = b""
    while len(got) < 4:
        got += await stream.receive()
    with trio.move_on_after(0.01) as scope:
        await stream.receive()
    assert scope.cancelled_caught
    with pytest.raises(RequestTimeout):
        await stream.receive(0.01)
    go_on.set()
    rest, _ = await stream.read_all(100)
    assert got + rest == b"onetwo"
    await stream.aclose()


async def test_a_read_in_a_cancelled_scope_consumes_no_bytes(
    own: Http, nursery: trio.Nursery
) -> None:
    for early in [True, False]:

        async def handler(peer: Peer, early: bool = early) -> None:
            await peer.request()
            body = chunk(b"data") + LAST_CHUNK
            if early:
                await peer.send(SSE_HEAD + body)
            else:
                await peer.send(SSE_HEAD)
                await peer.send(body)
            await peer.closed()

        server = await serve(nursery, handler)
        stream = await opened(own, server.url)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive()
        assert scope.cancelled_caught
        assert await stream.read_all(100) == (b"data", False)
        await stream.aclose()


async def test_a_read_after_a_cancelled_one_is_never_an_end(
    http: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.closed()

    server = await serve(nursery, handler)
    stream = await opened(http, server.url)
    with trio.move_on_after(0.01):
        await stream.receive()
    with pytest.raises((ConnectionFailed, RequestTimeout)):
        await stream.receive(0.01)
    await stream.aclose()


async def test_a_stream_that_is_left_early_leaves_no_socket_and_no_warning(
    http: Http, nursery: trio.Nursery
) -> None:
    for how in ["close", "cancel"]:
        for reads in [0, 1, 2]:
            gone = trio.Event()

            async def handler(peer: Peer, gone: trio.Event = gone) -> None:
                try:
                    await peer.request()
                    await peer.send(SSE_HEAD)
                    for _ in range(2):
                        await peer.send(chunk(b"x" * 10))
                        await trio.testing.wait_all_tasks_blocked()
                    await peer.closed()
                finally:
                    gone.set()

            server = await serve(nursery, handler)
            with trio.CancelScope() as scope:
                stream = await opened(http, server.url)
                try:
                    for _ in range(reads):
                        await stream.receive()
                    if how == "cancel":
                        scope.cancel()
                        await stream.receive()
                finally:
                    await stream.aclose()
            with trio.fail_after(5):
                await gone.wait()
            gc.collect()  # a socket or generator that is left warns here, which is an error


async def test_a_stream_has_its_own_connection_which_is_closed_with_it(
    own: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"))
    for _ in range(3):
        stream = await opened(own, server.url)
        assert await stream.read_all(10) == (b"x", False)
        await stream.aclose()
    assert server.connections == 3
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def test_closing_wakes_a_task_that_reads(http: Http, nursery: trio.Nursery) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.closed()

    async def read() -> None:
        with pytest.raises(ConnectionFailed):
            await stream.receive()
        woken.set()

    woken = trio.Event()
    server = await serve(nursery, handler)
    stream = await opened(http, server.url)
    nursery.start_soon(read)
    await trio.testing.wait_all_tasks_blocked(0.01)
    await stream.aclose()
    with trio.fail_after(5):
        await woken.wait()


async def test_closing_is_not_cancelled_and_raises_nothing(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(SSE_HEAD))
    stream = await opened(http, server.url)
    with trio.CancelScope() as scope:
        scope.cancel()
        await stream.aclose()
    assert not scope.cancelled_caught


async def test_the_head_must_arrive_in_time(http: Http, nursery: trio.Nursery) -> None:
    gone = trio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.closed()
        gone.set()

    server = await serve(nursery, handler)
    with pytest.raises(RequestTimeout) as caught:
        await http.open("GET", server.url, headers={}, connect_timeout=0.05)
    assert caught.value.sent is True
    with trio.fail_after(5):
        await gone.wait()
    gc.collect()


async def test_a_head_that_does_not_end_is_refused(own: Http, nursery: trio.Nursery) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await peer.send(b"X-Pad: " + b"x" * 1000 + b"\r\n")

    server = await serve(nursery, handler)
    with pytest.raises(ConnectionFailed):
        await opened(own, server.url)


async def test_informational_responses_without_end_are_refused(
    own: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        while True:
            await peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000)

    server = await serve(nursery, handler)
    with pytest.raises(ConnectionFailed, match="informational"):
        await opened(own, server.url)
    server = await serve(nursery, answering(b"HTTP/1.1 103 Early\r\n\r\n" * 50 + SSE_HEAD))
    await (await opened(own, server.url)).aclose()


async def test_streams_have_tcp_keep_alive(own: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(SSE_HEAD))
    stream = await opened(own, server.url)
    connection = stream._raw.connection  # type: ignore[attr-defined]  # pyright: ignore
    socket = connection.stream.get_extra_info("socket")
    assert socket.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE)
    await stream.aclose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of httpx
async def test_a_callers_body_that_never_waits_is_left_at_once() -> None:
    class Endless(httpx.AsyncByteStream):
        pieces = 0

        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                self.pieces += 1
                yield b"x" * 1000

    body = Endless()
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, stream=body))
    async with httpx.AsyncClient(transport=transport) as client:
        stream = await Http(client).open("GET", "http://host/", headers={}, connect_timeout=5)
        assert await stream.receive() == b"x" * 1000
        await stream.aclose()
    assert body.pieces < 5000
    gc.collect()
