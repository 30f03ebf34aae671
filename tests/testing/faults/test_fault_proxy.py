"""The fault proxy, over sockets and in memory."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.wire_client import CutError, call, connect, open_frames, send
from trio_mix.testing import (
    Answer,
    Corrupt,
    Cut,
    FaultPlan,
    FaultProxy,
    MixServer,
    Refuse,
    Rule,
    Say,
    Split,
    Stall,
    StreamEnded,
    Throttle,
    Turn,
)

both = pytest.mark.parametrize("listen", [True, False], ids=["sockets", "memory"])


async def _whole(server: MixServer, proxy: FaultProxy) -> bytes:
    """Return the bytes received of a stream that is closed after one event."""
    session_id = server.create_session()
    async with await connect(proxy) as stream:
        request = f"GET /stream?sessionId={session_id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await stream.send_all(request.encode())
        with trio.move_on_after(30) as reading:
            await server.wait_until(lambda: server.open_streams == 1)
            server.emit(session_id, "marker", {"text": "x" * 50})
            await server.drop_streams(session_id, "close")
        assert not reading.cancelled_caught
        return await _read(stream)


async def _read(stream: trio.abc.Stream) -> bytes:
    got = b""
    try:
        while not got.endswith(b"0\r\n\r\n") and (data := await stream.receive_some()):
            got += data
    except trio.BrokenResourceError:
        got += b"<reset>"
    return got


@both
async def test_without_faults_bytes_are_forwarded_unchanged_and_counted(listen: bool) -> None:
    async with MixServer("blocking", listen=listen) as server, FaultProxy(server) as proxy:
        assert (proxy.url == server.url) != listen
        server.script("go", Turn(Say("through")))
        session_id = server.create_session()
        reply = await send(server, session_id, "go", via=proxy)
        assert reply.json["assistantResponse"] == "through"
        await proxy.wait_until(lambda: proxy.statistics().open == 0)
        statistics = proxy.statistics()
    assert (statistics.connections, statistics.faults, statistics.by_kind) == (1, 0, {})
    assert statistics.bytes_up >= 100
    assert statistics.bytes_down > 100


@both
async def test_a_cut_occurs_at_the_exact_byte(listen: bool) -> None:
    async with MixServer(listen=listen) as server:
        async with FaultProxy(server) as proxy:
            whole = await _whole(server, proxy)
            assert len(whole) > 290
        session_id = server.create_session()
        for number, at in enumerate((1, 17, 150, 290), 2):
            async with FaultProxy(server, FaultPlan(Rule(Cut(at)))) as proxy:
                async with await connect(proxy) as stream:
                    head = f"GET /stream?sessionId={session_id} HTTP/1.1"
                    await stream.send_all(f"{head}\r\nHost: localhost\r\n\r\n".encode())
                    await server.wait_until(lambda: server.open_streams == 1)
                    server.emit(session_id, "marker", {"text": "x" * 50})
                    got = await _read(stream)
                assert len(got) == at
                assert proxy.statistics().by_kind == {"Cut": 1}
                assert proxy.log[0].request == "GET /stream"
                assert proxy.log[0].connection == 1
            await server.wait_for(StreamEnded, count=number)


@both
async def test_a_cut_at_zero_forwards_the_request_and_no_response(listen: bool) -> None:
    plan = FaultPlan(Rule(Cut(0)))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        with pytest.raises(CutError):
            await send(server, server.create_session(), "Hello", via=proxy)
        await server.wait_until(lambda: server.runs("Hello") == 1)


@both
async def test_a_cut_on_the_way_up_keeps_the_request_from_the_server(listen: bool) -> None:
    for at in (0, 20, 90):
        plan = FaultPlan(Rule(Cut(at, "up", "reset")))
        async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
            with pytest.raises((CutError, trio.BrokenResourceError)):
                await send(server, server.create_session(), "Hello", via=proxy)
            await proxy.wait_until(lambda: proxy.statistics().open == 0)
            assert server.requests() == []
            assert proxy.statistics().bytes_up == at


@both
async def test_a_reset_is_a_reset_for_the_client(listen: bool) -> None:
    plan = FaultPlan(Rule(Cut(200, how="reset")))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        assert (await _whole_or_less(server, proxy)).endswith(b"<reset>")


async def _whole_or_less(server: MixServer, proxy: FaultProxy) -> bytes:
    session_id = server.create_session()
    async with await connect(proxy) as stream:
        request = f"GET /stream?sessionId={session_id} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        await stream.send_all(request.encode())
        return await _read(stream)


@both
async def test_a_client_can_be_lost_without_the_server_noticing(listen: bool) -> None:
    plan = FaultPlan(Rule(Cut(150, server_notices=False)))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        assert len(await _whole_or_less(server, proxy)) == 150
        await wait_all_tasks_blocked()
        assert server.open_streams == 1
        server.emit("session-1", "marker", {})
        await server.drop_streams()
        await proxy.wait_until(lambda: proxy.statistics().open == 0)


@both
async def test_bytes_can_be_forwarded_one_by_one(listen: bool) -> None:
    plan = FaultPlan(Rule(Split(1)))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        whole = await _whole(server, proxy)
        assert b"marker" in whole
        assert whole.endswith(b"0\r\n\r\n")
        assert proxy.statistics().by_kind == {"Split": 1}


@both
async def test_bytes_can_be_corrupted_in_place(listen: bool) -> None:
    async with MixServer(listen=listen) as server:
        async with FaultProxy(server) as proxy:
            right = await _whole(server, proxy)
        at = right.index(b"marker")
        plan = FaultPlan(Rule(Corrupt(at, 6, 0x20)))
        async with FaultProxy(server, plan) as proxy:
            wrong = await _whole(server, proxy)
            assert proxy.statistics().by_kind == {"Corrupt": 1}
    assert wrong[at : at + 6] == b"MARKER"
    assert wrong[at + 6 :] == right[at + 6 :]


async def test_a_stall_delays_the_following_bytes(autojump_clock: MockClock) -> None:
    plan = FaultPlan(Rule(Stall(200, 40.0)))
    async with MixServer(listen=False) as server, FaultProxy(server, plan) as proxy:
        session_id = server.create_session()
        start = trio.current_time()
        async with open_frames(proxy, session_id, connected=False) as frames:
            assert (await frames.next()).event == "connected"
            assert trio.current_time() - start == pytest.approx(40)


async def test_a_stall_without_end_keeps_the_connection_open(autojump_clock: MockClock) -> None:
    plan = FaultPlan(Rule(Stall(200)))
    async with MixServer(listen=False) as server, FaultProxy(server, plan) as proxy:
        async with await connect(proxy) as stream:
            await stream.send_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            got = b""
            with trio.move_on_after(3600):
                while True:
                    got += await stream.receive_some()
            assert len(got) <= 200
            assert proxy.statistics().open == 1
        await proxy.wait_until(lambda: proxy.statistics().open == 0)


async def test_a_throttle_limits_the_rate(autojump_clock: MockClock) -> None:
    plan = FaultPlan(Rule(Throttle(10.0)))
    async with MixServer(listen=False) as server, FaultProxy(server, plan) as proxy:
        start = trio.current_time()
        await call(proxy, "GET", "/health")
        taken = trio.current_time() - start
        assert taken == pytest.approx(proxy.statistics().bytes_down / 10, rel=0.05)


@both
async def test_a_connection_can_be_refused_and_the_next_one_not(listen: bool) -> None:
    plan = FaultPlan(Rule(Refuse(), connections=[1]))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        with pytest.raises((CutError, trio.BrokenResourceError)):
            await call(proxy, "GET", "/health")
        assert (await call(proxy, "GET", "/health")).status == 200
        assert len(server.requests()) == 1


@both
async def test_the_proxy_can_answer_instead_of_the_server(listen: bool) -> None:
    busy = Answer(503, (("Retry-After", "7"),), b"busy")
    plan = FaultPlan(Rule(busy, path="/health", connections=[1]))
    async with MixServer(listen=listen) as server, FaultProxy(server, plan) as proxy:
        reply = await call(proxy, "GET", "/health")
        assert (reply.status, reply.headers["retry-after"], reply.body) == (503, "7", b"busy")
        assert server.requests() == []
        assert (await call(proxy, "GET", "/health")).status == 200


@both
async def test_an_unplugged_proxy_refuses_connections_and_keeps_open_ones(listen: bool) -> None:
    async with MixServer(listen=listen) as server, FaultProxy(server) as proxy:
        url, session_id = proxy.url, server.create_session()
        async with open_frames(proxy, session_id) as frames:
            await proxy.unplug()
            with pytest.raises(OSError, match="connect"):
                await connect(proxy)
            server.emit(session_id, "marker", {})
            assert (await frames.next()).event == "marker"
            await proxy.plug_in()
            assert proxy.url == url
            assert (await call(proxy, "GET", "/health")).status == 200


@both
async def test_drop_closes_all_open_connections(listen: bool) -> None:
    async with MixServer(listen=listen) as server, FaultProxy(server) as proxy:
        session_id = server.create_session()
        async with open_frames(proxy, session_id) as frames:
            assert await proxy.drop("reset") == 1
            assert await frames.rest() == []
            assert frames.ended == "reset"
        await server.wait_for(StreamEnded, how="client")


@both
async def test_a_connection_ends_for_the_client_as_the_server_ended_it(
    listen: bool,
) -> None:
    async with MixServer(listen=listen) as server, FaultProxy(server) as proxy:
        for how, ended in (("close", "clean"), ("cut", "cut"), ("reset", "reset")):
            async with open_frames(proxy, server.create_session()) as frames:
                await server.drop_streams(how=how)  # type: ignore[arg-type]
                assert await frames.rest() == []
                assert frames.ended == ended


@both
async def test_without_a_server_the_connection_ends(listen: bool) -> None:
    async with MixServer(listen=listen) as server, FaultProxy(server) as proxy:
        await server.stop()
        with pytest.raises((CutError, trio.BrokenResourceError)):
            await call(proxy, "GET", "/health")


async def test_an_exception_of_the_body_is_raised_unchanged_by_the_proxy() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with MixServer() as server, FaultProxy(server.url) as proxy:
            async with await connect(proxy):
                raise error
    assert caught.value is error


def test_only_plain_http_is_accepted() -> None:
    with pytest.raises(ValueError, match="http://"):
        FaultProxy("https://example.com")
