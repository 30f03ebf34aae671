"""Compressed responses, although no compression was requested: decoded, or named in the error."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.callers_clients import KINDS, callers_client
from tests.support.raw_server import LAST_CHUNK, Peer, RawServer, answering, chunk, serve
from trio_mix import Mix, ReconnectPolicy, RetryConfig, errors
from trio_mix._http._encoding import ContentDecoder, ContentError, decoder_of
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    import trio

    from trio_mix._http import Http

pytestmark = pytest.mark.timeout(30)

ONCE = RetryConfig(strategy="none")
TEXT = b"a body that is compressed, " * 1000


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("X-GZIP", gzip.compress),
    ("identity, gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("gzip", lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:])),
]


def head(coding: str, length: int | None = None, status: str = "200 OK", kind: str = "") -> bytes:
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    kind = kind or "application/octet-stream"
    text = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Encoding: {coding}\r\n{framing}"
    return text.encode() + b"\r\n\r\n"


async def compressed(
    nursery: trio.Nursery, coding: str, body: bytes, status: str = "200 OK", kind: str = ""
) -> RawServer:
    return await serve(nursery, answering(head(coding, len(body), status, kind) + body))


# The decoder


def decoded(coding: str, data: bytes, at: list[int]) -> bytes:
    decoder = decoder_of(coding)
    assert isinstance(decoder, ContentDecoder)
    marks = sorted({min(mark, len(data)) for mark in at} | {0, len(data)})
    found = b""
    for begin, end in pairwise(marks):
        piece = decoder.feed(data[begin:end])
        while True:
            assert len(piece) <= 64 * 1024
            found += piece
            if not decoder.pending:
                break
            piece = decoder.feed(b"")
    decoder.finish()
    return found


@given(st.binary(max_size=3000), st.lists(st.integers(0, 3000), max_size=10))
def test_a_body_is_decoded_however_it_is_cut(data: bytes, at: list[int]) -> None:
    for coding, compress in CODINGS:
        assert decoded(coding, compress(data), at) == data


def test_a_body_that_ends_early_or_is_invalid_is_an_error() -> None:
    for coding, compress in CODINGS:
        whole = compress(TEXT)
        for data in (whole[:-9], whole[:40], b"xx" + whole[2:], b"\x00" * 50):
            with pytest.raises(ContentError):
                decoded(coding, data, [])


def test_an_empty_body_needs_no_header_of_its_coding() -> None:
    for coding in ("gzip", "deflate"):
        assert decoded(coding, b"", []) == b""


def test_only_gzip_and_deflate_are_decoded() -> None:
    for coding in ("", "identity", "Identity, identity"):
        assert decoder_of(coding) is None
    for coding in ("br", "zstd", "compress", "gzip, gzip", "gzip;q=1"):
        assert decoder_of(coding) == coding


# Requests and streams


async def test_requests_and_streams_return_the_decoded_body(
    http: Http, nursery: trio.Nursery
) -> None:
    for coding, compress in CODINGS:
        server = await compressed(nursery, coding, compress(TEXT))
        for _ in range(2):
            response = await http.request("GET", server.url, headers={}, timeout=5)
            assert response.body == TEXT
            assert not {"content-encoding", "content-length"} & set(response.headers)
        assert server.requests[0].headers["accept-encoding"] == "identity"
        assert server.connections == 1
        stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
        assert await stream.read_all(10**6) == (TEXT, False)
        await stream.aclose()


async def test_pieces_are_decoded_as_they_arrive(http: Http, nursery: trio.Nursery) -> None:
    received: list[bytes] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(head("gzip"))
        compressor = zlib.compressobj(wbits=31)
        for piece in (b"one", b"two"):
            data = compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
            for byte in data:
                await peer.send(chunk(bytes([byte])))
            while b"".join(received)[-3:] != piece:
                await trio_checkpoint()
        await peer.send(chunk(compressor.flush()) + LAST_CHUNK)
        await peer.closed()

    server = await serve(nursery, handler)
    stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
    while piece := await stream.receive(5):
        received.append(piece)
    assert b"".join(received) == b"onetwo"
    await stream.aclose()


async def trio_checkpoint() -> None:
    import trio.testing

    await trio.testing.wait_all_tasks_blocked(0.0001)


async def test_a_small_body_that_grows_a_thousandfold_takes_bounded_memory(
    http: Http, nursery: trio.Nursery
) -> None:
    bomb = gzip.compress(b"\0" * 2**26)
    assert len(bomb) < 2**17
    server = await compressed(nursery, "gzip", bomb)
    response = await http.request("GET", server.url, headers={}, timeout=20, max_body=1000)
    assert (len(response.body), response.truncated) == (1000, True)
    stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
    tracemalloc.start()
    size = 0
    while piece := await stream.receive(5):
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 2**26
    assert peak < 2**20
    await stream.aclose()


async def test_empty_members_of_gzip_end_nothing(http: Http, nursery: trio.Nursery) -> None:
    empty = gzip.compress(b"")
    for body in (empty * 5 + gzip.compress(TEXT) + empty, gzip.compress(TEXT) + empty * 5):
        server = await compressed(nursery, "gzip", body)
        response = await http.request("GET", server.url, headers={}, timeout=5)
        assert response.body == TEXT


async def test_content_that_decompresses_to_nothing_is_bounded(
    http: Http, nursery: trio.Nursery
) -> None:
    empty = b"\x00\x00\x00\xff\xff"  # a block of deflate without content
    for coding, start, more in [
        ("gzip", b"", gzip.compress(b"") * 3000),
        ("gzip", gzip.compress(b"[]"), bytes(60_000)),
        ("deflate", b"\x78\x9c", empty * 12_000),
    ]:
        sent = 0

        async def handler(
            peer: Peer, coding: str = coding, start: bytes = start, more: bytes = more
        ) -> None:
            nonlocal sent
            await peer.request()
            await peer.send(head(coding) + (chunk(start) if start else b""))
            while True:
                sent += len(more)
                await peer.send(chunk(more))

        server = await serve(nursery, handler)
        with pytest.raises(errors.ConnectionFailed, match="decompress to nothing"):
            await http.request("GET", server.url, headers={}, timeout=20)
        assert sent < 2**25  # that much fits into the buffers of the sockets


async def test_a_compressed_body_that_is_cut_or_invalid_is_a_failure(
    http: Http, nursery: trio.Nursery
) -> None:
    whole = gzip.compress(TEXT)
    for body, words in ((whole[:-9], "ends before"), (b"no gzip at all", "gzip")):
        server = await compressed(nursery, "gzip", body)
        with pytest.raises(errors.ConnectionFailed, match=words) as caught:
            await http.request("GET", server.url, headers={}, timeout=5)
        assert caught.value.sent


# Every way in


@pytest.fixture(params=["own", *KINDS])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[object]:
    client = None if request.param == "own" else callers_client(request.param)
    yield client
    if client is not None:
        await client.aclose()


async def test_json_files_and_events_are_decoded(
    client: object, nursery: trio.Nursery, tmp_path: Path
) -> None:
    for coding, compress in CODINGS:
        server = await compressed(nursery, coding, compress(b'{"status": "ok"}'))
        async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
            assert (await mix.system.health_check()).status == "ok"
            assert (await mix.request("GET", "/health")).json() == {"status": "ok"}
        server = await compressed(nursery, coding, compress(TEXT))
        async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
            assert await mix.files.get(id="s", filename="x") == TEXT
            await mix.files.download(id="s", filename="x", to=tmp_path / "x")
            assert (tmp_path / "x").read_bytes() == TEXT
        body = compress(b'id: 1\nevent: connected\ndata: {"sessionId": "s"}\n\n')
        server = await compressed(nursery, coding, body, kind="text/event-stream")
        async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
            async with mix.streaming.stream_events(session_id="s") as events:
                assert [event.id async for event in events] == ["1"]
            async with mix.open_stream("s") as session:
                assert session.state == "connected"
        async with open_event_source(server.url, http_client=client) as source:  # type: ignore[arg-type]  # pyright: ignore
            assert (await anext(source)).event == "connected"


async def test_a_refusal_is_decoded_too(client: object, nursery: trio.Nursery) -> None:
    body = gzip.compress(b'{"error": {"code": 404, "message": "no such thing", "type": "x"}}')
    server = await compressed(nursery, "gzip", body, "404 Not Found")
    async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
        with pytest.raises(errors.ErrorResponse, match="no such thing"):
            await mix.system.health_check()
        with pytest.raises(errors.ErrorResponse, match="no such thing"):
            await mix.files.get(id="s", filename="x")


async def test_any_other_coding_is_named_in_the_error(
    client: object, nursery: trio.Nursery, tmp_path: Path
) -> None:
    server = await compressed(nursery, "br", b"\x8b\x02\x80{}\x03", kind="text/event-stream")
    async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
        for call in (
            mix.system.health_check,
            lambda: mix.request("GET", "/health"),
            lambda: mix.files.get(id="s", filename="x"),
            lambda: mix.files.download(id="s", filename="x", to=tmp_path / "x"),
            lambda: mix.streaming.stream_events(session_id="s"),
        ):
            with pytest.raises((errors.ResponseValidationError, errors.ProtocolError)) as caught:
                await call()
            assert "'br'" in str(caught.value)
            assert "no compression was requested" in str(caught.value)
        assert not (tmp_path / "x").exists()
        with pytest.raises(errors.ProtocolError, match="'br'"):
            async with mix.open_stream("s", reconnect=ReconnectPolicy()):
                pytest.fail("it was opened")
    server = await compressed(nursery, "br", b"\x8b\x02\x80{}\x03", "500 Oh")
    async with Mix(server.url, http_client=client, retries=ONCE) as mix:  # type: ignore[arg-type]  # pyright: ignore
        with pytest.raises(errors.MixDefaultError, match="HTTP 500.*'br'"):
            await mix.system.health_check()
