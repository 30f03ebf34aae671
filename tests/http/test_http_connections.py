"""Connections: reused while alive, never leaked by cancellation, over TLS."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import httpcore
import httpx
import httpx2
import pytest
import trio
import trio.testing

from tests.support.callers_clients import KINDS, callers_client
from tests.support.raw_server import OK, SSE_HEAD, Peer, answering, chunk, memory_server, serve
from trio_mix import Mix
from trio_mix._http import Http, TrioBackend
from trio_mix.errors import ConnectionFailed, RequestTimeout

if TYPE_CHECKING:
    import ssl

pytestmark = pytest.mark.timeout(60)


async def test_requests_share_a_connection_while_it_is_alive(
    own: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(OK))
    for _ in range(5):
        await own.request("GET", server.url, headers={}, timeout=5)
    assert server.connections == 1


async def test_a_connection_that_cannot_be_used_again_is_closed(
    own: Http, nursery: trio.Nursery
) -> None:
    for answer in [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more",
        b"HTTP/1.1 204 No Content\r\n\r\nmore",
    ]:
        server = await serve(nursery, answering(answer))
        for _ in range(2):
            await own.request("GET", server.url, headers={}, timeout=5)
        assert server.connections == 2


async def test_an_idle_connection_that_the_server_has_closed_fails_no_request(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(OK, hang_up=True))
    for _ in range(3):
        response = await http.request("POST", server.url, headers={}, timeout=5)
        assert response.body == b"ok"
        with trio.fail_after(5):
            while server.open:
                await trio.testing.wait_all_tasks_blocked(0.001)
    assert server.connections == 3


async def test_a_connection_that_was_idle_for_long_is_not_used_again(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trio_mix._http._idle.MAX_IDLE_TIME", -1.0)
    http = Http()
    server = await serve(nursery, answering(OK))
    for _ in range(2):
        await http.request("GET", server.url, headers={}, timeout=5)
    assert server.connections == 2
    await http.aclose()


async def test_a_connection_is_not_used_beyond_the_servers_keep_alive(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    for keep_alive, idle, connections in [
        (b"timeout=1", 1.3, 2),
        (b"timeout=1", 0.5, 2),  # the server may already have closed it when the request arrives
        (b"timeout=3, max=100", 1.5, 1),
        (b"max=100, Timeout = 3", 2.5, 2),
        (b"timeout=100", 3.5, 1),
        (b"timeout=100", 4.5, 2),
        (b"timeout=5, max=0", 0.0, 2),
        (b"timeout=soon", 3.5, 1),
        (b"timeout=-1", 3.5, 1),
    ]:
        answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: %b\r\nContent-Length: 2\r\n\r\nok"
        server, http = memory_server(nursery, answering(answer % keep_alive))
        await http.request("GET", "http://host/", headers={}, timeout=5)
        await trio.sleep(idle)
        await http.request("POST", "http://host/", headers={}, timeout=5)
        assert server.connections == connections, (keep_alive, idle)
        await http.aclose()


async def test_only_a_few_idle_connections_are_kept(own: Http, nursery: trio.Nursery) -> None:
    barrier = trio.Event()

    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            if server.connections == 20:
                barrier.set()
            await barrier.wait()
            await peer.send(OK)

    server = await serve(nursery, handler)
    async with trio.open_nursery() as requests:
        for _ in range(20):
            requests.start_soon(get, own, server.url)
    with trio.fail_after(5):
        while server.open > 8:
            await trio.testing.wait_all_tasks_blocked(0.001)
    assert server.open == 8
    await own.aclose()
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def get(http: Http, url: str) -> None:
    response = await http.request("GET", url, headers={}, timeout=20)
    assert response.body == b"ok"


async def cancelled_rounds(http: Http, url: str, rounds: int) -> None:
    """Cancel twenty requests at each of their first checkpoints, round by round."""
    for turn in range(rounds):
        async with trio.open_nursery() as requests:
            for _ in range(20):
                requests.start_soon(get, http, url)
            for _ in range(turn % 12):
                await trio.lowlevel.checkpoint()
            requests.cancel_scope.cancel()


@pytest.mark.parametrize("which", ["own", "httpx2"])
async def test_cancelled_requests_leak_no_connection(which: str, nursery: trio.Nursery) -> None:
    # An httpx.AsyncClient of this size is full of dead connections after these rounds, and hangs.
    server = await serve(nursery, answering(OK))
    limits = httpx2.Limits(max_connections=10)
    async with httpx2.AsyncClient(limits=limits) as newer:
        http = Http() if which == "own" else Http(newer)
        await cancelled_rounds(http, server.url, 60)
        with trio.fail_after(10):
            await get(http, server.url)
        await http.aclose()
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    gc.collect()


async def test_a_stream_cancelled_at_any_checkpoint_leaves_no_connection(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(SSE_HEAD + chunk(b"x")))

    async def use() -> None:
        stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
        try:
            await stream.receive()
        finally:
            await stream.aclose()

    for checkpoints in range(40):
        async with trio.open_nursery() as inner:
            inner.start_soon(use)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            inner.cancel_scope.cancel()
    with trio.fail_after(5):
        await use()
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    gc.collect()


# TLS


@pytest.mark.parametrize("which", ["own", "httpx", "httpx2"])
async def test_requests_and_streams_work_over_tls(
    which: str,
    nursery: trio.Nursery,
    server_context: ssl.SSLContext,
    client_context: ssl.SSLContext,
) -> None:
    server = await serve(
        nursery, answering(OK, OK, SSE_HEAD + chunk(b"data")), ssl_context=server_context
    )
    async with (
        httpx.AsyncClient(verify=client_context) as older,
        httpx2.AsyncClient(verify=client_context) as newer,
    ):
        clients = {"httpx": Http(older), "httpx2": Http(newer)}
        http = clients.get(which) or Http(ssl_context=client_context)
        for _ in range(2):
            await get(http, server.url)
        assert server.connections == 1
        stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
        if which == "own":
            assert server.connections == 2
        else:
            assert await stream.receive(5) == b"data"
        await stream.aclose()
        await http.aclose()
    gc.collect()


async def test_an_untrusted_certificate_fails_before_anything_is_sent(
    own: Http, nursery: trio.Nursery, server_context: ssl.SSLContext
) -> None:
    server = await serve(nursery, answering(OK), ssl_context=server_context)
    with pytest.raises(ConnectionFailed, match="certificate") as caught:
        await own.request("GET", server.url, headers={}, timeout=5)
    assert caught.value.sent is False
    gc.collect()


async def test_a_handshake_that_never_ends_leaves_no_connection_and_sends_nothing(
    nursery: trio.Nursery,
) -> None:
    for backend in [None, httpcore.TrioBackend()]:
        for how in ["timeout", "cancel"]:
            own = Http(network_backend=backend)
            gone = trio.Event()

            async def handler(peer: Peer, gone: trio.Event = gone) -> None:
                await peer.closed()
                gone.set()

            server = await serve(nursery, handler)
            url = server.url.replace("http:", "https:")
            if how == "timeout":
                with pytest.raises(RequestTimeout) as caught:
                    await own.request("GET", url, headers={}, timeout=0.1)
                assert caught.value.sent is False
            else:
                with trio.move_on_after(0.1):
                    await own.request("GET", url, headers={}, timeout=5)
            with trio.fail_after(5):
                await gone.wait()
            gc.collect()


class HangingNetwork(httpcore.AsyncNetworkBackend):
    async def connect_tcp(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_connection_attempt_that_times_out_has_sent_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    http = Http(network_backend=HangingNetwork())
    for timed in (
        http.request("POST", "http://somewhere/", headers={}, timeout=30.0),
        http.open("POST", "http://somewhere/", headers={}, connect_timeout=30.0),
    ):
        start = trio.current_time()
        with pytest.raises(RequestTimeout, match="connecting") as caught:
            await timed
        assert caught.value.sent is False
        assert trio.current_time() - start == 30.0


class RedirectingNetwork(httpcore.AsyncNetworkBackend):
    """Connect to one local server, and record the hosts that were asked for."""

    def __init__(self, port: int) -> None:
        self.hosts: list[str] = []
        self._port = port

    async def connect_tcp(self, host: str, *_args: Any, **_options: Any) -> Any:
        self.hosts.append(host)
        return await TrioBackend().connect_tcp("127.0.0.1", self._port)


@pytest.mark.parametrize("which", ["own", *KINDS])
async def test_the_zone_of_an_ipv6_address_is_used_to_connect_and_not_sent(
    which: str, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(OK))
    network = RedirectingNetwork(server.port)
    client = None if which == "own" else callers_client(which, network)
    http = Http(client, network_backend=network)
    for url in ("http://[fe80::1%25eth0]:8088/x", "http://[fe80::1%eth0]:8088/x"):
        await get(http, url)
    assert set(network.hosts) == {"fe80::1%eth0"}
    assert {request.headers["host"] for request in server.requests} == {"[fe80::1]:8088"}
    async with Mix("http://[fe80::1%25eth0]:8088", http_client=client) as mix:
        assert mix.server_url == "http://[fe80::1%25eth0]:8088"
    await http.aclose()
    if client is not None:
        await client.aclose()


# Hooks of a client, and transports without tracing


async def test_a_body_that_a_hook_of_the_client_has_read_is_returned(
    nursery: trio.Nursery,
) -> None:
    async def read(response: httpx.Response) -> None:
        await response.aread()

    server = await serve(nursery, answering(OK))
    async with httpx.AsyncClient(event_hooks={"response": [read]}) as client:
        for _ in range(2):
            await get(Http(client), server.url)
    assert server.connections == 1


async def test_without_tracing_any_failure_except_to_connect_counts_as_sent() -> None:
    for failure, sent in [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("too slow"), False),
        (httpx.PoolTimeout("too many"), False),
        (httpx.ReadError("cut"), True),
        (httpx.ReadTimeout("silent"), True),
        (httpx.WriteError("cut"), True),
        (httpx.RemoteProtocolError("junk"), True),
    ]:

        def handler(request: httpx.Request, failure: Exception = failure) -> httpx.Response:
            raise failure

        async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
            with pytest.raises((ConnectionFailed, RequestTimeout)) as caught:
                await Http(client).request("POST", "http://host/", headers={}, timeout=5)
        assert caught.value.sent is sent
        assert isinstance(caught.value, RequestTimeout) == isinstance(
            failure, httpx.TimeoutException
        )


async def test_without_tracing_on_sent_is_called_when_the_response_arrives() -> None:
    calls: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        assert not calls
        return httpx.Response(200, text="ok")

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        response = await Http(client).request(
            "POST", "http://host/", headers={}, timeout=5, on_sent=lambda: calls.append(1)
        )
    assert response.body == b"ok"
    assert calls == [1]
