"""Redirects: followed to the same origin, and otherwise an error that says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.raw_server import OK, SSE_HEAD, Peer, RawServer, answering, serve
from trio_mix import Mix, RetryConfig, errors
from trio_mix.sse import ReconnectPolicy, open_event_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trio

    from trio_mix._http import Http

pytestmark = pytest.mark.timeout(30)

ONCE = RetryConfig(strategy="none")


def redirect(to: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_a_redirect_of_a_get_to_the_same_origin_is_followed(
    http: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await peer.send(OK if request.target == "/new" else redirect("/new"))

    server = await serve(nursery, handler)
    response = await http.request("GET", f"{server.url}/old", headers={"X-Key": "k"}, timeout=5)
    assert (response.status_code, response.url) == (200, f"{server.url}/new")
    assert [request.headers["x-key"] for request in server.requests] == ["k", "k"]


async def test_a_redirect_to_another_origin_is_not_followed(
    http: Http, nursery: trio.Nursery
) -> None:
    other = await serve(nursery, answering(OK))
    for target in (other.url, f"http://localhost:{other.port}/", "https://127.0.0.1/", "http://["):
        server = await serve(nursery, answering(redirect(target)))
        response = await http.request("GET", server.url, headers={"X-Key": "k"}, timeout=5)
        assert response.status_code == 302
        assert response.headers["location"] == target
    assert other.connections == 0


async def test_a_location_in_utf_8_or_latin_1_is_followed(
    http: Http, nursery: trio.Nursery
) -> None:
    for target in ("/n\u00e9".encode(), "/n\u00e9".encode("latin-1"), b"/n%C3%A9"):
        moved = b"HTTP/1.1 307 Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % target

        async def handler(peer: Peer, moved: bytes = moved) -> None:
            while (request := await peer.request()) is not None:
                await peer.send(OK if request.target == "/n%C3%A9" else moved)

        server = await serve(nursery, handler)
        response = await http.request("GET", f"{server.url}/old", headers={}, timeout=5)
        assert (response.status_code, target) == (200, target)


async def moving(nursery: trio.Nursery, status: int, answer: bytes = OK) -> RawServer:
    """Serve a redirect to /new for any other path."""

    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await peer.send(answer if request.target == "/new" else redirect("/new", status))

    return await serve(nursery, handler)


async def test_a_307_or_308_of_a_post_is_followed_with_its_body(
    http: Http, nursery: trio.Nursery
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    for status in (307, 308):
        bodies: list[tuple[Any, bytes]] = [(b"body", b"body"), (None, b""), (pieces, b"onetwo")]
        for content, sent in bodies:
            server = await moving(nursery, status)
            response = await http.request(
                "POST", f"{server.url}/old", headers={"X-Key": "k"}, content=content, timeout=5
            )
            assert (response.status_code, response.url) == (200, f"{server.url}/new")
            assert response.remedy == ""
            assert [(each.method, each.body) for each in server.requests] == [("POST", sent)] * 2
            assert server.requests[1].headers["x-key"] == "k"


async def test_a_redirect_that_is_not_followed_says_why(http: Http, nursery: trio.Nursery) -> None:
    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    cases: list[tuple[str, bytes, Any, str]] = [
        ("POST", redirect("/new", 302), b"x", "HTTP 302 would turn POST into GET"),
        ("POST", redirect("/new", 307), once(), "the body cannot be sent again"),
        ("POST", redirect("http://elsewhere.test/x?token=secret", 308), b"x", "another origin"),
        ("GET", redirect("https://127.0.0.1/"), None, "another origin (https://127.0.0.1)"),
        ("GET", redirect("ftp://127.0.0.1/"), None, "cannot be followed"),
        ("GET", redirect("/again"), None, "5 redirects"),
        ("GET", b"HTTP/1.1 302 Hm\r\nContent-Length: 0\r\n\r\n", None, "no Location"),
    ]
    for method, answer, content, words in cases:
        server = await serve(nursery, answering(answer))
        response = await http.request(method, server.url, headers={}, content=content, timeout=5)
        assert words in response.remedy
        assert "secret" not in response.remedy
        assert len(server.requests) == (6 if words == "5 redirects" else 1)


async def test_errors_of_operations_and_streams_name_the_reason(nursery: trio.Nursery) -> None:
    for answer, words in (
        (redirect("http://elsewhere.test/x", 308), "another origin (http://elsewhere.test)"),
        (redirect("/again", 308), "5 redirects"),
        (b"HTTP/1.1 308 Hm\r\nContent-Length: 0\r\n\r\n", "no Location"),
    ):
        server = await serve(nursery, answering(answer))
        async with Mix(server.url, retries=ONCE) as mix:
            for call in (
                mix.sessions.list,
                lambda mix=mix: mix.sessions.create(title="x"),
                lambda mix=mix: mix.streaming.stream_events(session_id="s"),
            ):
                with pytest.raises(errors.MixDefaultError) as caught:
                    await call()
                assert words in str(caught.value)
            with pytest.raises(errors.MixDefaultError) as caught:
                async with mix.open_stream("s"):
                    pytest.fail("it was opened")
            assert words in str(caught.value)
        with pytest.raises(errors.MixDefaultError) as caught:
            async with open_event_source(server.url, reconnect=ReconnectPolicy()):
                pytest.fail("it was opened")
        assert words in str(caught.value)


async def test_a_message_and_a_file_follow_a_redirect_to_the_same_origin(
    nursery: trio.Nursery,
) -> None:
    head = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n"
    server = await moving(nursery, 308, head % 2 + b"{}")
    async with Mix(server.url, retries=ONCE) as mix:
        assert (await mix.request("POST", "/api/sessions", json={"title": "x"})).status == 201
    assert server.requests[0].body == server.requests[1].body != b""
    info = b'{"name": "a.txt", "size": 5, "modified": "2026-01-01T00:00:00Z", "isDir": false}'
    server = await moving(nursery, 307, head % len(info) + info)
    async with Mix(server.url, retries=ONCE) as mix:
        await mix.files.upload(id="s", file=b"bytes", filename="a.txt")
        with pytest.raises(errors.MixDefaultError, match="the body cannot be sent again"):
            await mix.files.upload(id="s", file=once(), filename="a.txt")
    assert [b"bytes" in each.body for each in server.requests] == [True, True, True]


async def once() -> AsyncIterator[bytes]:
    yield b"bytes"


async def test_an_event_stream_follows_a_redirect_of_a_post(nursery: trio.Nursery) -> None:
    server = await moving(nursery, 307, SSE_HEAD)
    async with open_event_source(f"{server.url}/old", method="POST", content=b"query") as source:
        assert source.state == "connected"
    assert [each.body for each in server.requests] == [b"query"] * 2


async def test_a_redirect_loop_ends_after_five_redirects(http: Http, nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(redirect("/again")))
    response = await http.request("GET", server.url, headers={}, timeout=5)
    assert response.status_code == 302
    assert len(server.requests) == 6
