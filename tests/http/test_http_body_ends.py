"""The end of sending a body: what was made for the sending is closed, the caller's is not."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self

import pytest
import trio
import trio.testing

from tests.support.raw_server import OK, Peer, answering, memory_server, serve
from trio_mix.errors import ConnectionFailed, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from trio_mix._http import Http
    from trio_mix._http._protocols import RepeatableContent

    Send = Callable[..., Awaitable[object]]

pytestmark = pytest.mark.timeout(60)

PIECE = b"x" * 2**18


class Body:
    """Makes generators, and records the steps of their cleanup."""

    def __init__(self, pieces: int | None = None, cleanup: float = 0) -> None:
        self.steps: list[str] = []
        self.sending = trio.Event()
        self._pieces = pieces
        self._cleanup = cleanup

    async def pieces(self) -> AsyncGenerator[bytes]:
        sent = 0
        try:
            while sent != self._pieces:
                self.sending.set()
                yield PIECE
                sent += 1
        finally:
            self.steps.append("cleanup")
            await trio.sleep(self._cleanup)
            self.steps.append("closed")

    def __aiter__(self) -> AsyncGenerator[bytes]:
        return self.pieces()


class Stream:
    """A stream that belongs to the caller: it can be closed, and must not be."""

    def __init__(self) -> None:
        self.closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return PIECE

    async def aclose(self) -> None:
        self.closed = True


async def _stuck(peer: Peer) -> None:
    await peer.stream.receive_some(1000)
    await trio.sleep_forever()


async def _leave(peer: Peer) -> None:
    await peer.stream.receive_some(1000)


async def _refuse(peer: Peer) -> None:
    await peer.stream.receive_some(1000)
    await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
    await trio.sleep_forever()


async def _cancelled(send: Send, body: Body) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(send, timeout=None))
        await body.sending.wait()
        nursery.cancel_scope.cancel()


async def _timed_out(send: Send, _: Body) -> None:
    with pytest.raises(RequestTimeout):
        await send(timeout=0.1)


async def _failed(send: Send, _: Body) -> None:
    with pytest.raises(ConnectionFailed):
        await send(timeout=None)


async def test_a_generator_is_closed_when_the_sending_ends_early(
    http: Http, nursery: trio.Nursery
) -> None:
    for handler, end in ((_stuck, _cancelled), (_stuck, _timed_out), (_leave, _failed)):
        server = await serve(nursery, handler)
        for kind in ("generator", "iterable", "function"):
            body = Body()
            contents: dict[str, RepeatableContent] = {
                "generator": body.pieces(),
                "iterable": body,
                "function": body.pieces,
            }
            send = partial(http.request, "POST", server.url, headers={}, content=contents[kind])
            await end(send, body)
            assert body.steps == ["cleanup", "closed"], (end, kind)


async def test_a_generator_is_closed_when_the_server_refuses_the_rest(
    own: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, _refuse)
    body = Body()
    response = await own.request(
        "POST", server.url, headers={}, content=body.pieces(), timeout=None
    )
    assert response.status_code == 413
    assert body.steps == ["cleanup", "closed"]


async def test_what_the_cleanup_of_a_generator_raises_is_raised(
    http: Http, nursery: trio.Nursery
) -> None:
    async def pieces() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield PIECE
        finally:
            raise LookupError("the cleanup failed")

    server = await serve(nursery, _leave)
    with pytest.raises(LookupError, match="the cleanup failed"):
        await http.request("POST", server.url, headers={}, content=pieces(), timeout=None)


async def test_a_stream_of_the_caller_stays_open(http: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, _leave)
    stream = Stream()
    with pytest.raises(ConnectionFailed):
        await http.request("POST", server.url, headers={}, content=stream, timeout=None)
    assert not stream.closed


async def test_a_generator_that_was_not_started_can_be_sent_again(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(OK))
    body = Body(pieces=2)
    content = body.pieces()
    with pytest.raises(ConnectionFailed):
        await http.request("POST", "http://127.0.0.1:9", headers={}, content=content, timeout=None)
    assert body.steps == []
    await http.request("POST", server.url, headers={}, content=content, timeout=None)
    assert server.requests[0].body == 2 * PIECE


async def test_a_cleanup_that_does_not_end_is_bounded(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    _, http = memory_server(nursery, _stuck)
    body = Body(cleanup=1e9)
    del autojump_clock
    send = partial(http.request, "POST", "http://a", headers={}, content=body.pieces())
    with trio.fail_after(60):
        await _cancelled(send, body)
    assert body.steps == ["cleanup"]
