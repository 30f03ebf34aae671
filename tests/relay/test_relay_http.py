"""HTTP of the relay: limits in bytes and time, keep-alive, bodies, errors of handlers."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_mix.relay._connection import StreamConnection
from trio_mix.relay._exchange import Exchange, HttpLimits, Takeover
from trio_mix.relay._http import serve_connection
from trio_mix.relay._problem import Problem
from trio_mix.testing.net._memory import MemoryStream, memory_pipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from trio_mix.relay._connection import ServerConnection

LIMITS = HttpLimits(json_size=1000, head_size=4096)
GET = b"GET /x?a=1&a=1&b HTTP/1.1\r\nHost: relay\r\n\r\n"


async def echo(exchange: Exchange) -> None:
    """Answer with what was received."""
    head = exchange.head
    body = await exchange.read_body()
    seen = {"method": head.method, "path": head.path, "body": body.decode("latin-1")}
    await exchange.respond(200, json.dumps(seen).encode())


@asynccontextmanager
async def connected(
    handler: Callable[[Exchange], Awaitable[Takeover | None]] = echo, limits: HttpLimits = LIMITS
) -> AsyncIterator[MemoryStream]:
    """Return the client's end of a connection that is being served."""
    client, server = memory_pipe()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, StreamConnection(server), handler, limits)
        yield client
        await client.aclose()


async def receive_response(client: MemoryStream) -> tuple[int, dict[str, str], bytes]:
    """Return one response with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await client.receive_some()
        assert more, f"the connection was closed after {data!r}"
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    while len(body) < int(headers["content-length"]):
        body += await client.receive_some()
    return int(first.split()[1]), headers, body


async def receive_end(client: MemoryStream) -> bytes:
    data = b""
    while more := await client.receive_some():
        data += more
    return data


async def test_a_connection_serves_one_request_after_another() -> None:
    async with connected() as client:
        await client.send_all(GET + b"POST /y HTTP/1.1\r\nHost: r\r\nContent-Length: 2\r\n\r\nhi")
        status, _, body = await receive_response_of(client, 2)
        assert (status, json.loads(body)["body"]) == (200, "hi")
        await client.send_all(GET)
        assert (await receive_response(client))[0] == 200


async def receive_response_of(
    client: MemoryStream, number: int
) -> tuple[int, dict[str, str], bytes]:
    """Return the last of several pipelined responses."""
    data = b""
    while data.count(b"\r\n\r\n") < number or not data.endswith(b"}"):
        data += await client.receive_some()
    head, _, body = data[data.rindex(b"HTTP/1.1") :].partition(b"\r\n\r\n")
    return int(head.split()[1]), {}, body


async def test_a_head_that_arrives_byte_by_byte_is_a_head() -> None:
    async with connected() as client:
        for at in range(len(GET)):
            await client.send_all(GET[at : at + 1])
        status, _, body = await receive_response(client)
        assert (status, json.loads(body)["path"]) == (200, "/x")


BAD = {
    b"GARBAGE\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 9000: 431,
    b"GET /?" + b"&".join(b"%d=" % n for n in range(1001)) + b" HTTP/1.1\r\nHost: a\r\n\r\n": 400,
}


async def test_a_malformed_request_gets_one_error_response_and_the_end() -> None:
    limits = HttpLimits(head_size=8000)
    for data, expected in BAD.items():
        async with connected(limits=limits) as client:
            await client.send_all(data)
            status, headers, body = await receive_response(client)
            assert status == expected, data
            assert headers["connection"] == "close"
            assert json.loads(body)["error"]["code"] == expected
            await client.send_eof()
            assert await receive_end(client) == b""


async def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    async with connected() as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
        status, headers, body = await receive_response(client)
        assert (status, headers["connection"]) == (413, "close")
        assert json.loads(body)["error"]["code"] == 413


async def test_a_chunked_body_is_counted_as_it_arrives() -> None:
    async with connected() as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            await client.send_all(b"190\r\n" + b"x" * 400 + b"\r\n")
        assert (await receive_response(client))[0] == 413


async def test_a_client_that_expects_100_continue_gets_it_when_its_body_is_wanted() -> None:
    async with connected() as client:
        await client.send_all(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await client.receive_some()).startswith(b"HTTP/1.1 100")
        await client.send_all(b"ok")
        assert json.loads((await receive_response(client))[2])["body"] == "ok"


async def test_slow_clients_are_answered_with_408_or_closed(autojump_clock: object) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    for sent, status in ((b"GET / HT", b"408"), (head + b"half", b"408"), (b"", b"")):
        async with connected() as client:
            await client.send_all(sent)
            answer = await receive_end(client)
            assert answer.split(b" ")[1:2] == [status] * bool(status), sent
    async with connected() as client:  # an idle connection is closed after a response, too
        await client.send_all(GET)
        await receive_response(client)
        assert await receive_end(client) == b""


async def test_a_client_that_takes_no_byte_loses_its_connection(autojump_clock: object) -> None:
    written = 0

    async def endless(exchange: Exchange) -> None:
        nonlocal written
        await exchange.start(200, [])
        while True:
            await exchange.write(b"x" * 10_000)
            written += 1

    client, server = memory_pipe()
    await client.send_all(GET)
    with trio.fail_after(1000):
        await serve_connection(StreamConnection(server), endless, LIMITS)
    assert written < 10


async def test_what_a_handler_raises_is_a_response_and_the_connection_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(exchange: Exchange) -> None:
        if exchange.head.path == "/problem":
            raise Problem(422, "no", headers=[("Retry-After", "3")])
        if exchange.head.path == "/defect":
            raise KeyError("secret")
        await exchange.respond(204)

    async with connected(fail) as client:
        await client.send_all(b"GET /problem HTTP/1.1\r\nHost: a\r\n\r\n")
        status, headers, body = await receive_response(client)
        assert (status, headers["retry-after"]) == (422, "3")
        assert json.loads(body)["error"] == {
            "code": 422,
            "message": "no",
            "type": "validation_error",
        }
        with caplog.at_level(logging.CRITICAL, "trio_mix.relay"):
            await client.send_all(b"GET /defect HTTP/1.1\r\nHost: a\r\n\r\n")
            status, _, body = await receive_response(client)
        assert status == 500
        assert b"secret" not in body
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await client.receive_some()).startswith(b"HTTP/1.1 204")


async def test_a_takeover_gets_the_connection_after_the_head() -> None:
    async def take(exchange: Exchange) -> Takeover:
        await exchange.start(200, [("Content-Type", "text/event-stream")])

        async def serve(connection: ServerConnection) -> None:
            await connection.send_all(b"mine")

        return serve

    async with connected(take) as client:
        await client.send_all(GET)
        data = await receive_end(client)
        assert data.endswith(b"\r\n\r\nmine")
        assert b"Transfer-Encoding: chunked" in data


async def test_a_client_that_leaves_cancels_what_waits_for_it() -> None:
    outcome: list[object] = []

    async def wait(exchange: Exchange) -> None:
        try:
            outcome.append(await exchange.run_while_connected(trio.sleep_forever))
        finally:
            outcome.append("ended")
        raise trio.BrokenResourceError

    async with connected(wait) as client:
        await client.send_all(GET)
    assert outcome == [None, "ended"]


async def test_head_and_http_1_0_are_answered_by_their_rules() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.start(200, [])
        await exchange.write(b"body")
        await exchange.finish()

    for request, chunked, body in (
        (b"HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", True, b""),
        (b"GET / HTTP/1.0\r\n\r\n", False, b"body"),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            True,
            b"4\r\nbody\r\n0\r\n\r\n",
        ),
    ):
        async with connected(stream) as client:
            await client.send_all(request)
            head, _, rest = (await receive_end(client)).partition(b"\r\n\r\n")
            assert (b"chunked" in head, rest) == (chunked, body), request


async def test_a_header_that_is_not_ascii_is_passed_on() -> None:
    async def name_file(exchange: Exchange) -> None:
        headers = [("Content-Disposition", 'inline; filename="\u00fc.png"')]
        await exchange.respond(200, b"x", "image/png", headers)

    async with connected(name_file) as client:
        await client.send_all(GET)
        data = await client.receive_some()
    assert b'filename="\xfc.png"' in data


async def test_a_connection_that_is_not_kept_is_closed_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for request in (
        GET.replace(b"Host", b"Connection: close\r\nHost"),
        b"POST /x HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ):
        async with connected() as client:
            before = trio.current_time()
            await client.send_all(request)
            while await client.receive_some():
                pass
            assert trio.current_time() == before, request
