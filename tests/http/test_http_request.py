"""Requests over real sockets, in each of the three ways to make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
import trio
import trio.testing

from tests.support.raw_server import LAST_CHUNK, OK, Peer, answering, chunk, serve
from trio_mix._http import ERROR_BODY_LIMIT, Http
from trio_mix.errors import ConfigurationError, ConnectionFailed, RequestTimeout, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.timeout(30)


async def test_a_response_has_status_headers_and_body(http: Http, nursery: trio.Nursery) -> None:
    answer = b"HTTP/1.1 201 Created\r\nX-A: 1\r\nX-B: b\r\nx-a: 2\r\nContent-Length: 5\r\n\r\nhello"
    server = await serve(nursery, answering(answer))
    response = await http.request(
        "GET", f"{server.url}/a%2Fb?q=1", headers={"X-Mine": "yes"}, timeout=5
    )
    assert response.status_code == 201
    assert response.headers["x-a"] == "1, 2"
    assert response.headers["x-b"] == "b"
    assert response.body == b"hello"
    assert not response.truncated
    assert response.url == f"{server.url}/a%2Fb?q=1"
    (request,) = server.requests
    assert (request.method, request.target) == ("GET", "/a%2Fb?q=1")
    assert request.headers["x-mine"] == "yes"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["accept-encoding"] == "identity"


async def test_each_kind_of_body_is_read(http: Http, nursery: trio.Nursery) -> None:
    for answer in [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoobar",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunk(b"foo")
        + chunk(b"bar")
        + LAST_CHUNK,
        b"HTTP/1.1 200 OK\r\n\r\nfoobar",
        b"HTTP/1.0 200 OK\r\n\r\nfoobar",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfoobar",
    ]:
        server = await serve(nursery, answering(answer, hang_up=True))
        response = await http.request("GET", server.url, headers={}, timeout=5)
        assert response.body == b"foobar"


async def test_responses_of_204_and_304_have_no_body(http: Http, nursery: trio.Nursery) -> None:
    for status in [b"204 No Content", b"304 Not Modified"]:
        server = await serve(nursery, answering(b"HTTP/1.1 " + status + b"\r\nX: y\r\n\r\n"))
        response = await http.request("DELETE", server.url, headers={}, timeout=5)
        assert response.body == b""


async def test_bytes_are_sent_with_their_length(http: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(OK))
    for content in (b"payload", b"", None):
        await http.request("POST", server.url, headers={}, content=content, timeout=5)
    assert [request.body for request in server.requests] == [b"payload", b"", b""]
    assert [request.headers["content-length"] for request in server.requests] == ["7", "0", "0"]


async def test_an_iterable_body_is_sent_in_chunks(http: Http, nursery: trio.Nursery) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    server = await serve(nursery, answering(OK))
    await http.request("POST", server.url, headers={}, content=pieces(), timeout=5)
    assert server.requests[0].body == b"onetwo"
    assert server.requests[0].headers["transfer-encoding"] == "chunked"


async def test_on_sent_is_called_once_after_the_request_and_before_the_response(
    http: Http, nursery: trio.Nursery
) -> None:
    sent = trio.Event()
    calls = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        await sent.wait()
        await peer.send(OK)

    def on_sent() -> None:
        calls.append(1)
        sent.set()

    server = await serve(nursery, handler)
    await http.request(
        "POST", server.url, headers={}, content=b"x" * 100, timeout=5, on_sent=on_sent
    )
    assert calls == [1]


@pytest.mark.parametrize("status", [b"200 OK", b"500 Oh"])
async def test_a_body_over_the_limit_is_read_only_in_part(
    http: Http, nursery: trio.Nursery, status: bytes
) -> None:
    size = 64 * 2**20  # more than all socket buffers on the way
    written = 0
    over = trio.Event()

    async def handler(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (status, size))
        try:
            while written < size:
                await peer.send(b"x" * 65536)
                written += 65536
        finally:
            over.set()

    server = await serve(nursery, handler)
    response = await http.request(
        "GET", server.url, headers={}, timeout=20, max_body=ERROR_BODY_LIMIT
    )
    assert response.truncated
    assert response.body == b"x" * ERROR_BODY_LIMIT
    await over.wait()
    assert written < size


async def test_a_body_of_exactly_the_limit_is_complete(http: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(OK))
    response = await http.request("GET", server.url, headers={}, timeout=5, max_body=2)
    assert (response.body, response.truncated) == (b"ok", False)


# Failures


async def test_a_refused_connection_has_sent_nothing(http: Http) -> None:
    with pytest.raises(ConnectionFailed, match="127.0.0.1:1/") as caught:
        await http.request("POST", "http://127.0.0.1:1/", headers={}, timeout=5)
    assert caught.value.sent is False


async def test_a_name_that_does_not_resolve_has_sent_nothing(http: Http) -> None:
    with pytest.raises(ConnectionFailed) as caught:
        await http.request("POST", "http://nowhere.invalid/", headers={}, timeout=20)
    assert caught.value.sent is False


async def test_a_silent_server_is_a_timeout_of_a_request_that_was_sent(
    http: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    server = await serve(nursery, handler)
    with pytest.raises(RequestTimeout, match=r"0\.5 s") as caught:
        await http.request("POST", server.url, headers={}, timeout=0.5)
    assert caught.value.sent is True


async def test_a_response_that_breaks_off_is_a_failure_of_a_request_that_was_sent(
    http: Http, nursery: trio.Nursery
) -> None:
    for answer in [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"cut"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ncu",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"this is not HTTP\r\n\r\n",
    ]:
        server = await serve(nursery, answering(answer, hang_up=True))
        with pytest.raises(ConnectionFailed) as caught:
            await http.request("GET", server.url, headers={}, timeout=5)
        assert caught.value.sent is True
        assert caught.value.request.url == server.url


async def test_an_invalid_url_is_a_configuration_error(http: Http) -> None:
    for url in ["", "nonsense", "/path", "ftp://127.0.0.1/", "http://", "http://[::1/", "//host/x"]:
        with trio.testing.assert_checkpoints(), pytest.raises(ConfigurationError, match="URL"):
            await http.request("GET", url, headers={}, timeout=5)


async def test_an_invalid_header_is_named_and_its_value_is_not_shown(http: Http) -> None:
    for name, value, shown in [
        ("X-Key", "secret\r\nX-Other: 1", "'X-Key'"),
        ("X-Key", "secret\n", "'X-Key'"),
        ("X-Key", "secret\0", "'X-Key'"),
        ("X-Key", "secret\u20ac", "'X-Key'"),
        ("X Key", "secret", "'X…'"),
        ("X-Key\r\n", "secret", "'X-Key…'"),
        ("X-Key: secret", "", "'X-Key…'"),
        ("Bearer secret", "", "'Bearer…'"),
        ("", "secret", "'…'"),
    ]:
        with pytest.raises(ConfigurationError) as caught:
            await http.request("GET", "http://127.0.0.1:1/", headers={name: value}, timeout=5)
        assert shown in str(caught.value)
        assert "secret" not in str(caught.value)


async def test_user_info_is_sent_as_authorization_and_never_shown(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(OK))
    url = f"http://me:s%40cret@127.0.0.1:{server.port}/x"
    response = await http.request("GET", url, headers={}, timeout=5)
    assert server.requests[0].headers["authorization"] == "Basic bWU6c0BjcmV0"
    assert "cret" not in response.url
    with pytest.raises(ConnectionFailed) as caught:
        await http.request("GET", "http://me:s%40cret@127.0.0.1:1/x", headers={}, timeout=5)
    assert "cret" not in str(caught.value) + repr(caught.value.request)


async def test_a_closed_client_raises(own: Http) -> None:
    await own.aclose()
    await own.aclose()
    with trio.testing.assert_checkpoints(), pytest.raises(UsageError, match="closed"):
        await own.request("GET", "http://127.0.0.1:1/", headers={}, timeout=5)
    client = httpx.AsyncClient()
    await client.aclose()
    with pytest.raises(UsageError, match="http_client"):
        await Http(client).request("GET", "http://127.0.0.1:1/", headers={}, timeout=5)


async def test_a_request_is_a_checkpoint(http: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(OK))
    for _ in range(2):  # the second time on a connection that is there
        with trio.testing.assert_checkpoints():
            await http.request("GET", server.url, headers={}, timeout=5)
