"""Responses that arrive while the body of a request is being sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import httpx
import httpx2
import pytest
import trio
import trio.testing

from tests.support.raw_server import OK, Peer, memory_server, serve
from trio_mix._http import ERROR_BODY_LIMIT, Http
from trio_mix.errors import ConnectionFailed, RequestTimeout

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.timeout(60)

REFUSAL = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig"


class _Endless:
    """A body that does not end. No generator: a sending that ends would leave it open."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return b"x" * 2**16


def _refusing(answer: bytes) -> Callable[[Peer], Awaitable[None]]:
    """Return a handler that refuses a body, and then neither reads nor closes."""

    async def refuse(peer: Peer) -> None:
        await peer.stream.receive_some(1000)
        await peer.send(answer)
        await trio.sleep_forever()

    return refuse


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_refusal_ends_the_sending_to_a_server_that_reads_no_further(
    scheme: str,
    nursery: trio.Nursery,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
) -> None:
    http = Http(ssl_context=client_context)
    large = REFUSAL.replace(b"Length: 3", b"Length: 99999999") + b"x" * 2**18
    for answer in (REFUSAL, b"HTTP/1.1 100 Continue\r\n\r\n" + REFUSAL, large):
        context = server_context if scheme == "https" else None
        server = await serve(nursery, _refusing(answer), ssl_context=context)
        for content in (_Endless, b"x" * 2**25):
            with trio.fail_after(10):
                response = await http.request(
                    "POST", server.url, headers={}, content=content, timeout=None
                )
            assert response.status_code == 413
            assert response.body[:3] == b"big"
            assert len(response.body) == (ERROR_BODY_LIMIT if answer == large else 3)
        assert server.connections == 2
    await http.aclose()


async def test_a_refusal_whose_body_does_not_end_has_what_has_arrived_of_it(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    del autojump_clock
    for answer in (
        REFUSAL.replace(b"Content-Length: 3", b"X: y"),  # only a close would end it
        REFUSAL.replace(b"Length: 3", b"Length: 9"),
    ):
        server, http = memory_server(nursery, _refusing(answer))
        response = await http.request(
            "POST", "http://a", headers={}, content=_Endless, timeout=None
        )
        assert (response.status_code, response.body) == (413, b"big")
        assert "content-length" not in response.headers
        assert server.connections == 1


async def test_a_refusal_whose_body_is_cut_off_has_what_has_arrived_of_it(
    own: Http, nursery: trio.Nursery
) -> None:
    async def cut(peer: Peer) -> None:
        await peer.stream.receive_some(1000)
        await peer.send(REFUSAL.replace(b"Length: 3", b"Length: 9"))
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        await trio.sleep_forever()

    server = await serve(nursery, cut)
    response = await own.request("POST", server.url, headers={}, content=_Endless, timeout=None)
    assert (response.status_code, response.body) == (413, b"big")


async def test_a_refused_body_of_a_redirect_is_sent_to_the_new_address(
    own: Http, nursery: trio.Nursery
) -> None:
    async def redirect(peer: Peer) -> None:
        head = await peer.stream.receive_some(1000)
        if head.startswith(b"POST /new"):
            await peer.send(REFUSAL)
        else:
            await peer.send(b"HTTP/1.1 307 X\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
        await trio.sleep_forever()

    server = await serve(nursery, redirect)
    with trio.fail_after(10):
        response = await own.request("POST", server.url, headers={}, content=_Endless, timeout=None)
    assert (response.status_code, response.url) == (413, f"{server.url}/new")


async def test_a_body_that_was_accepted_early_is_sent_to_its_end(
    own: Http, nursery: trio.Nursery
) -> None:
    accepted = trio.Event()
    received = bytearray()

    async def accept(peer: Peer) -> None:
        received.extend(await peer.stream.receive_some(1000))
        await peer.send(OK)
        accepted.set()
        while not received.endswith(b"last\r\n0\r\n\r\n"):
            received.extend(await peer.stream.receive_some(65536))

    async def content() -> AsyncIterator[bytes]:
        yield b"first"
        await accepted.wait()
        await trio.testing.wait_all_tasks_blocked()
        yield b"last"

    server = await serve(nursery, accept)
    response = await own.request("POST", server.url, headers={}, content=content, timeout=None)
    assert (response.status_code, response.body) == (200, b"ok")
    assert received.count(b"last") == 1


async def test_what_ends_the_sending_is_raised_as_it_is(own: Http, nursery: trio.Nursery) -> None:
    async def failing() -> AsyncIterator[bytes]:
        yield b"x" * 2**16
        raise LookupError("the file is gone")

    async def leave(peer: Peer) -> None:
        await peer.stream.receive_some(1000)

    server = await serve(nursery, _refusing(b""))
    with pytest.raises(LookupError, match="the file is gone"):
        await own.request("POST", server.url, headers={}, content=failing, timeout=None)
    with trio.move_on_after(0.001) as scope:
        await own.request("POST", server.url, headers={}, content=_Endless, timeout=None)
    assert scope.cancelled_caught
    server = await serve(nursery, leave)
    with pytest.raises(ConnectionFailed, match="sending the request") as caught:
        await own.request("POST", server.url, headers={}, content=_Endless, timeout=None)
    assert caught.value.sent


async def test_a_response_to_a_body_that_is_refused_is_returned_despite_the_failed_write(
    own: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        # Only the sending side is closed: closing both would reset the connection.
        await peer.stream.receive_some(1000)
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        assert isinstance(peer.stream, trio.SocketStream)
        await peer.stream.send_eof()
        await peer.closed()

    server = await serve(nursery, handler)
    response = await own.request("POST", server.url, headers={}, content=b"x" * 2**22, timeout=5)
    assert (response.status_code, response.body) == (413, b"big")


async def test_httpx_sends_all_of_a_refused_body_until_the_timeout(nursery: trio.Nursery) -> None:
    # httpcore reads no response before it has written the request: see docs/how-to/proxies.md.
    server = await serve(nursery, _refusing(REFUSAL))
    async with httpx.AsyncClient() as older, httpx2.AsyncClient() as newer:
        for client in (older, newer):
            with pytest.raises(RequestTimeout, match="sending the request"):
                await Http(client).request(
                    "POST", server.url, headers={}, content=_Endless, timeout=0.2
                )
