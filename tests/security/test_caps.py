"""Endless responses are not read without a limit, and servers listen on loopback by default.

Other limits are tested with their packages: those of bodies in ``tests/http`` and ``tests/rest``,
of events in ``tests/sse``, of requests in ``tests/testing``, of the tunnel in ``tests/browser``.
Shell commands (``!``) are in ``tests/session/test_structured_concurrency.py``.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.callers_clients import KINDS, callers_client
from tests.support.planted import KEY
from tests.support.raw_server import OK, SSE_HEAD, Peer, answering, chunk, serve
from trio_mix import Mix, ReconnectPolicy, RequestOptions, RetryConfig, errors
from trio_mix.sse import open_event_source
from trio_mix.testing import FaultProxy, MixServer, record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

ONCE = RetryConfig(strategy="none")
IMPATIENT = ReconnectPolicy(max_elapsed_time=0.0)
_STATUS = b"HTTP/1.1 200 OK\r\n"


class Flood:
    """A server that sends a beginning, and then the same piece until the connection is closed."""

    def __init__(self, beginning: bytes, piece: bytes) -> None:
        self._beginning = beginning
        self._piece = piece * (1 + 16_000 // len(piece))
        self.sent = 0

    async def __call__(self, peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.send(self._beginning)
            while True:
                await peer.send(self._piece)
                self.sent += len(self._piece)


HEADS = {
    "one header without end": Flood(_STATUS + b"X-Long: ", b"x"),
    "headers without end": Flood(_STATUS, b"X-Many: x\r\n"),
    "a status line without end": Flood(b"HTTP/1.1 200 ", b"OK"),
    "a name without end": Flood(_STATUS, b"X"),
    "chunked framing without end": Flood(SSE_HEAD, b"1"),
    "trailers without end": Flood(SSE_HEAD + b"0\r\n", b"X-Many: x\r\n"),
}


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("what", ["a call", "a stream"])
async def test_endless_heads_and_framing_are_aborted(
    kind: str, what: str, nursery: trio.Nursery
) -> None:
    flood = HEADS[kind]
    flood.sent = 0
    server = await serve(nursery, flood)
    with trio.fail_after(20):
        async with Mix(server.url, retries=ONCE) as mix:
            with pytest.raises((errors.ConnectionFailed, errors.ReconnectFailed)):
                if what == "a call":
                    await mix.sessions.list(options=RequestOptions(timeout=15.0))
                else:
                    async with mix.open_stream("s", reconnect=IMPATIENT):
                        raise AssertionError("opened")
    assert flood.sent < 20_000_000, "the size of the kernel's buffers, and little more"


async def test_endless_interim_responses_are_refused(nursery: trio.Nursery) -> None:
    server = await serve(nursery, Flood(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"))
    with trio.fail_after(20):
        async with Mix(server.url, retries=ONCE) as mix:
            with pytest.raises(errors.ConnectionFailed, match="informational"):
                await mix.sessions.list()


async def test_an_endless_event_ends_a_session_stream_at_max_event_size(
    nursery: trio.Nursery,
) -> None:
    async def handler(peer: Peer) -> None:
        if await peer.request() is not None:
            await peer.send(SSE_HEAD + chunk(b'event: connected\ndata: {"sessionId":"s"}\n\n'))
            while True:
                await peer.send(chunk(b"data: " + b"x" * 8000))

    server = await serve(nursery, handler)
    with trio.fail_after(20):
        async with Mix(server.url, api="async", retries=ONCE) as mix:
            with pytest.raises(errors.ProtocolError, match="max_event_size"):
                async with mix.open_stream("s", max_event_size=100_000) as session:
                    async with session.subscribe() as everything:
                        async for _ in everything:
                            pass


# -- redirects -------------------------------------------------------------------------------


def _moved(to: str) -> bytes:
    return f"HTTP/1.1 307 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def _source(mix: Mix, url: str, client: Any) -> None:
    del mix
    address = url.replace("//", f"//user:{KEY}@")
    async with open_event_source(address, reconnect=IMPATIENT, http_client=client) as source:
        await anext(source)


async def _stream(mix: Mix, url: str, client: Any) -> None:
    del url, client
    async with mix.open_stream("s", reconnect=IMPATIENT):
        pass


CALLS: dict[str, Callable[[Mix, str, Any], Awaitable[object]]] = {
    "a query": lambda mix, _url, _client: mix.sessions.list(),
    "a change": lambda mix, _url, _client: mix.sessions.create(title="x"),
    "a key": lambda mix, _url, _client: mix.authentication.store_api_key(
        api_key=KEY, provider="openai"
    ),
    "a stream": _stream,
    "any server's events": _source,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("client", ["own", *KINDS])
async def test_credentials_never_follow_a_redirect_to_another_origin(
    client: str, call: str, nursery: trio.Nursery
) -> None:
    other = await serve(nursery, answering(OK))
    for elsewhere in (other.url, f"http://localhost:{other.port}"):
        server = await serve(nursery, answering(_moved(f"{elsewhere}/x")))
        passed = None if client == "own" else callers_client(client)
        if passed is not None:
            passed.follow_redirects = True  # the caller may need it for other requests
        headers = {"Authorization": f"Bearer {KEY}", "Cookie": f"sid={KEY}"}
        with trio.fail_after(20):
            async with Mix(server.url, headers=headers, http_client=passed, retries=ONCE) as mix:
                with pytest.raises(errors.TrioMixError):
                    await CALLS[call](mix, server.url, passed)
            if passed is not None:
                await passed.aclose()
        assert KEY in str(server.requests) or "Basic" in str(server.requests)
    assert other.connections == 0


# -- addresses ------------------------------------------------------------------------------


async def test_server_proxy_and_recorder_bind_loopback_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound: list[str] = []
    opened = trio.open_tcp_listeners

    async def noting(*args: Any, **options: Any) -> list[trio.SocketListener]:
        listeners = await opened(*args, **options)
        bound.extend(listener.socket.getsockname()[0] for listener in listeners)
        return listeners

    monkeypatch.setattr(trio, "open_tcp_listeners", noting)
    async with (
        MixServer() as server,
        FaultProxy(server) as proxy,
        record(server, tmp_path / "recording") as recorder,
    ):
        assert len({server.url, proxy.url, recorder.url}) == 3
    assert len(bound) == 3
    assert all(ipaddress.ip_address(address).is_loopback for address in bound)


async def test_another_address_is_bound_only_if_it_is_passed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bound: list[object] = []
    opened = trio.open_tcp_listeners

    async def noting(*args: Any, **options: Any) -> list[trio.SocketListener]:
        bound.append(options["host"])
        return await opened(*args, **{**options, "host": "127.0.0.1"})

    monkeypatch.setattr(trio, "open_tcp_listeners", noting)
    async with MixServer(host="0.0.0.0") as server:  # noqa: S104 - it is not bound
        async with FaultProxy(server, host="::"):
            pass
    assert bound == ["0.0.0.0", "::"]  # noqa: S104
