"""The tunnel in the bundled server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio_websocket import ConnectionClosed, open_websocket_url
from wsproto import ConnectionType, WSConnection
from wsproto.events import Request

from tests.support.devtools_kit import open_bench
from trio_mix import Mix
from trio_mix.testing import MixServer, TunnelClosed, TunnelOpened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock
    from trio_websocket import WebSocketConnection

    from tests.support.devtools_kit import Bench
    from trio_mix.testing import Api


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    with trio.fail_after(30):
        async with MixServer() as server:
            yield server


def url(server: MixServer, session: str) -> str:
    return f"ws{server.url[4:]}/api/v1/tunnel/cdp/session/{session}?token=t"


async def call(server: MixServer, method: str, path: str, body: object = None) -> tuple[int, Any]:
    async with Mix(server.url) as mix:
        response = await mix._caller.http.request(
            method,
            mix._caller.defaults.url_for(path),
            headers={},
            content=None if body is None else json.dumps(body).encode(),
            timeout=60,
        )
    text = response.body.decode()
    return response.status_code, json.loads(text) if text.startswith("{") else text


async def answer(socket: WebSocketConnection, **outcome: object) -> Any:
    message = json.loads(await socket.get_message())
    await socket.send_message(json.dumps({"id": message["id"], **outcome}))
    return message


async def test_older_generations_have_no_tunnel() -> None:
    generations: tuple[Api, ...] = ("blocking", "pipeline", "pipeline-oldest")
    for api in generations:
        async with MixServer(api) as server:
            session = server.create_session()
            for method, path in (
                ("GET", f"/api/v1/tunnel/cdp/session/{session}?token=t"),
                ("GET", "/api/v1/tunnel/active"),
                ("POST", f"/api/v1/tunnel/test-command/{session}"),
            ):
                status, text = await call(server, method, path)
                if api == "pipeline-oldest":  # which answers every unknown path so
                    assert (status, text.split("\n")[0]) == (200, "Mix HTTP JSON-RPC Server")
                else:
                    assert status == 404


async def test_a_tunnel_needs_a_token_and_a_session(server: MixServer) -> None:
    session = server.create_session()
    for rest, status in ((session, 401), (f"{session}?token=", 401), ("nobody?token=t", 404)):
        assert (await call(server, "GET", f"/api/v1/tunnel/cdp/session/{rest}"))[0] == status


async def test_an_incomplete_handshake_is_refused(server: MixServer) -> None:
    path = f"/api/v1/tunnel/cdp/session/{server.create_session()}?token=t"
    assert (await call(server, "GET", path))[0] == 426
    async with await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2])) as raw:
        head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        await raw.send_all(f"{head}Connection: Upgrade\r\n\r\n".encode())
        assert (await raw.receive_some()).startswith(b"HTTP/1.1 400")
    assert not server.browser_tunnels


async def test_open_tunnels_are_listed(server: MixServer) -> None:
    assert await call(server, "GET", "/api/v1/tunnel/active") == (
        200,
        {"active_tunnels": [], "count": 0},
    )
    session = server.create_session()
    async with open_websocket_url(url(server, session)):
        await server.wait_for(TunnelOpened)
        assert await call(server, "GET", "/api/v1/tunnel/active") == (
            200,
            {"active_tunnels": [session], "count": 1},
        )
    await server.wait_for(TunnelClosed)
    assert (await call(server, "GET", "/api/v1/tunnel/active"))[1]["count"] == 0


async def test_a_test_command_is_passed_on_and_answered(server: MixServer) -> None:
    session = server.create_session()
    path = f"/api/v1/tunnel/test-command/{session}"
    got: list[tuple[int, Any]] = []
    async with open_websocket_url(url(server, session)) as socket, trio.open_nursery() as nursery:

        async def ask() -> None:
            body = {"id": 7, "method": "X.y", "params": {"a": 1}}
            got.append(await call(server, "POST", path, body))

        nursery.start_soon(ask)
        message = await answer(socket, result={"b": 2})
        assert message == {"id": 7, "method": "X.y", "params": {"a": 1}}
    assert got == [(200, {"id": 7, "result": {"b": 2}})]


async def test_an_invalid_test_command_is_refused(server: MixServer) -> None:
    path = f"/api/v1/tunnel/test-command/{server.create_session()}"
    bodies: list[object] = [{}, {"method": 5}, {"method": "X.y", "params": []}, {"x": 1}]
    for body in bodies:
        assert (await call(server, "POST", path, body))[0] == 400


async def test_a_test_command_needs_an_open_tunnel(server: MixServer) -> None:
    path = f"/api/v1/tunnel/test-command/{server.create_session()}"
    assert (await call(server, "POST", path, {"method": "X.y"}))[0] == 404


async def test_a_test_command_whose_tunnel_ends_is_a_502(server: MixServer) -> None:
    session = server.create_session()
    path = f"/api/v1/tunnel/test-command/{session}"
    async with trio.open_nursery() as nursery, open_websocket_url(url(server, session)) as socket:

        async def ask() -> None:
            assert (await call(server, "POST", path, {"method": "X.y"}))[0] == 502

        nursery.start_soon(ask)
        await socket.get_message()


async def test_a_message_over_ten_megabytes_ends_the_tunnel(server: MixServer) -> None:
    async with open_websocket_url(url(server, server.create_session())) as socket:
        await socket.send_message('{"type": "browser_log", "x": "' + "x" * (10 * 2**20) + '"}')
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1009
        # trio-websocket's client leaves the socket open where the other side has closed first.
        await socket._stream.aclose()
    assert (await server.wait_for(TunnelClosed)).reason == "too large"


async def test_a_command_times_out_after_thirty_seconds_and_an_unanswered_ping_after_five(
    autojump_clock: MockClock, bench_in_memory: Bench
) -> None:
    bench = bench_in_memory
    bench.browser.answers["X.y"] = None
    async with bench.tunnel(command_timeout=1000):
        start = trio.current_time()
        path = f"/api/v1/tunnel/test-command/{bench.session}"
        response = await bench.mix._caller.http.request(
            "POST",
            bench.mix._caller.defaults.url_for(path),
            headers={},
            content=b'{"method": "X.y"}',
            timeout=None,
        )
        assert response.status_code == 504
        assert trio.current_time() - start == pytest.approx(30)
    # A peer that reads and sends nothing.
    path = f"/api/v1/tunnel/cdp/session/{bench.session}?token=t"
    stream = bench.server.network.connect()
    start = trio.current_time()
    await stream.send_all(_handshake(path))
    while await stream.receive_some():
        pass
    assert trio.current_time() - start == pytest.approx(35)
    closed = await bench.server.wait_for(TunnelClosed, count=2)
    assert closed.reason == "ping"


def _handshake(path: str) -> bytes:
    protocol = WSConnection(ConnectionType.CLIENT)
    return protocol.send(Request(host="mix.test", target=path))


@pytest.fixture
async def bench_in_memory() -> AsyncIterator[Bench]:
    async with open_bench(listen=False) as bench:
        yield bench


async def test_importing_trio_mix_does_not_import_websockets() -> None:
    program = "import sys, trio_mix; sys.exit('trio_websocket' in sys.modules)"
    done = await trio.run_process(
        [sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0
