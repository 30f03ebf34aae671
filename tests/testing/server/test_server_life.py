"""Starting, stopping, restarting, dropped streams, and the log."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tests.support.wire_client import CutError, call, connect, open_frames, send
from trio_mix import Mix
from trio_mix.errors import ConfigurationError, MessageInterrupted, SessionNotFound
from trio_mix.testing import (
    Api,
    Do,
    FaultProxy,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    RequestReceived,
    Restart,
    Say,
    ServerStarted,
    ServerStopped,
    StreamEnded,
    StreamOpened,
    Turn,
    WaitFor,
)

EVERY: list[Api] = ["pipeline-oldest", "pipeline", "blocking", "async"]


@pytest.mark.parametrize("api", EVERY)
async def test_leaving_the_server_ends_its_streams_and_turns(api: Api) -> None:
    async with MixServer(api) as server:
        server.script("go", Turn(Hang()))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames, trio.open_nursery() as nursery:
            if api == "blocking":
                nursery.start_soon(_send_in_vain, server, session_id)
            else:
                await send(server, session_id, "go")
            await server.wait_until(lambda: server.running_turns == 1)
            await server.stop()
            await frames.rest()
            assert frames.ended == "cut"
    assert (server.open_streams, server.running_turns, server.connections) == (0, 0, 0)
    assert (await server.wait_for(MessageFinished)).how == "killed"
    assert server.runs("go") == 1


async def _send_in_vain(server: MixServer, session_id: str) -> None:
    with pytest.raises(CutError):
        await send(server, session_id, "go")


async def test_a_stopped_server_refuses_connections_and_restarts_at_the_same_address() -> None:
    async with MixServer() as server:
        url, session_id = server.url, server.create_session()
        await server.stop()
        await server.stop()  # does nothing
        with pytest.raises(OSError, match="connect"):
            await connect(server)
        await server.start()
        assert server.url == url
        assert (await call(server, "GET", f"/api/sessions/{session_id}")).status == 200
        await server.restart(keep_sessions=False)
        assert (await call(server, "GET", f"/api/sessions/{session_id}")).status == 404
        assert server.create_session() != session_id
        with pytest.raises(RuntimeError):
            await server.start()


async def test_a_stopped_server_in_memory_refuses_connections_too() -> None:
    async with MixServer(listen=False) as server:
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await connect(server)
        await server.start()
        assert (await call(server, "GET", "/health")).status == 200


@pytest.mark.parametrize("listen", [True, False])
async def test_a_restart_can_reset_connections(listen: bool) -> None:
    server = MixServer(listen=listen)
    async with server, open_frames(server, server.create_session()) as frames:
        await server.restart(how="reset")
        await frames.rest()
        assert frames.ended == "reset"


async def test_a_restart_can_be_an_upgrade_to_another_generation() -> None:
    async with MixServer("pipeline", listen=False) as server:
        session_id = server.create_session()
        assert (await send(server, session_id, "hello")).json["status"] == "broadcasted"
        await server.restart(api="async")
        assert (server.api, server.version) == ("async", "0.11.4")
        assert (await send(server, session_id, "hello")).status == 202
        await server.restart(version="0.10.0")
        assert (server.api, server.version) == ("async", "0.10.0")
        with pytest.raises(ConfigurationError, match="0.6.9"):
            await server.restart(api="pipeline", version="0.7.0")
    async with MixServer("pipeline", replay=True, listen=False) as server:
        with pytest.raises(ConfigurationError, match="replay=True"):
            await server.restart(api="pipeline-oldest")


async def test_an_exception_of_the_body_is_raised_unchanged() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with MixServer():
            raise error
    assert caught.value is error


async def test_an_outer_deadline_is_not_mistaken_for_a_failure(autojump_clock: MockClock) -> None:
    with trio.move_on_after(5) as scope:
        async with MixServer(listen=False) as server:
            server.script("go", Turn(Hang()))
            await send(server, server.create_session(), "go")
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_an_exception_of_the_body_wins_over_an_outer_cancellation() -> None:
    error = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught, trio.CancelScope() as scope:
        async with MixServer(listen=False) as server:
            server.script("go", Turn(Hang()))
            await send(server, server.create_session(), "go")
            scope.cancel()
            raise error
    assert caught.value is error


async def test_consecutive_servers_can_use_different_ids() -> None:
    ids = []
    for prefix in ("", "a-", "b-"):
        async with MixServer(listen=False, id_prefix=prefix) as server:
            ids += [server.create_session(), server.create_session()]
    assert ids[:3] == ["session-1", "session-2", "session-a-1"]
    assert len(set(ids)) == 6


async def test_a_server_can_be_entered_once() -> None:
    async with MixServer(listen=False) as server:
        with pytest.raises(RuntimeError, match="once"):
            await server.__aenter__()


async def test_a_server_outside_its_with_cannot_start() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await MixServer().start()


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    async with MixServer() as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            async with MixServer(port=port):
                pass


async def test_only_the_named_sessions_streams_are_dropped() -> None:
    async with MixServer() as server:
        one, two = server.create_session(), server.create_session()
        async with open_frames(server, one) as first, open_frames(server, two) as second:
            assert await server.drop_streams(one) == 1
            assert await first.rest() == []
            assert first.ended == "cut"
            server.emit(two, "marker", {})
            assert (await second.next()).event == "marker"
            assert server.open_streams == 1


async def test_waiting_finds_past_and_future_records() -> None:
    async with MixServer(listen=False) as server:
        session_id = server.create_session()
        async with trio.open_nursery() as nursery:
            found: list[int] = []

            async def wait() -> None:
                record = await server.wait_for(StreamOpened, count=2, session_id=session_id)
                found.append(record.connection)

            nursery.start_soon(wait)
            for _ in range(2):
                await wait_all_tasks_blocked()
                assert found == []
                async with open_frames(server, session_id, "7"):
                    pass
        assert found == [2]
        first = await server.wait_for(StreamOpened)
        assert (first.connection, first.last_event_id) == (1, "7")
        ended = await server.wait_for(lambda record: isinstance(record, StreamEnded))
        assert isinstance(ended, StreamEnded)
        assert ended.how == "client"


async def test_the_log_counts_runs_and_hides_headers_and_bodies() -> None:
    async with MixServer("blocking", listen=False) as server:
        session_id = server.create_session()
        for _ in range(2):
            await send(server, session_id, "hi")
        headers = {"Authorization": "Bearer sesame"}
        await call(server, "GET", "/health?page=value", headers=headers)
        assert server.runs() == server.runs("hi", session_id) == 2
        assert server.runs("other") == 0
        assert (await server.wait_for(MessageRun, count=2)).times == 2
        (request,) = server.requests("GET", "/health")
        assert request.headers["authorization"] == "Bearer sesame"
        assert request.query == {"page": "value"}
        assert "sesame" not in server.timeline
        assert "sesame" not in repr(server.log)
        assert "> GET /health?page=value\n" in server.timeline
        assert "the agent runs 'hi' (run 2)" in server.timeline


async def test_the_timeline_joins_consecutive_frames_in_one_line(
    autojump_clock: MockClock,
) -> None:
    async with MixServer(listen=False) as server:
        server.script("go", Turn(Say("x" * 30, deltas=30)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.until("complete")
        lines = [line for line in server.timeline.split("\n") if "content" in line]
    assert len(lines) == 1
    assert lines[0].endswith("content x30, complete")


async def test_the_log_can_be_bounded() -> None:
    async with MixServer("blocking", listen=False, log_limit=10, pace=0) as server:
        server.create_session()
        for _ in range(50):
            await call(server, "GET", "/health")
        assert 10 <= len(server.log) <= 21
        for _ in range(30):
            await send(server, "session-1", "hi")
        assert server.runs("hi") == 30


async def test_a_message_run_by_the_server_is_sent_to_all_streams() -> None:
    async with MixServer("pipeline") as server:
        server.script("foreign", Turn(Say("from elsewhere")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            server.run_message(session_id, "foreign")
            assert (await frames.until("complete"))[-1].data["content"] == "from elsewhere"


async def test_requests_share_a_connection_and_invalid_http_is_a_400() -> None:
    async with MixServer() as server:
        request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        async with await connect(server) as stream:
            for _ in range(3):
                await stream.send_all(request)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 OK\r\n")
            assert server.connections == 1
            await stream.send_all(b"\x00\x01 garbage\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 400")
            assert await stream.receive_some() == b""


async def test_a_client_that_expects_100_continue_receives_it() -> None:
    async with MixServer("pipeline") as server, await connect(server) as stream:
        await stream.send_all(
            b"POST /api/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 100")
        await stream.send_all(b'{"title":"x"}')
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 201")


async def test_the_response_to_a_send_can_follow_the_events(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False, answer_delay=5) as server:
        go = trio.Event()
        server.script("go", Turn(Say("x"), WaitFor(go)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames, trio.open_nursery() as nursery:
            start = trio.current_time()
            nursery.start_soon(send, server, session_id, "go")
            await frames.until("content")
            assert trio.current_time() == start
            go.set()
        assert trio.current_time() - start == pytest.approx(5)
        assert len([r for r in server.log if isinstance(r, RequestReceived)]) == 2


def test_a_port_out_of_range_is_refused_at_once() -> None:
    for port in (-1, 65536, 99999):
        with pytest.raises(ValueError, match=f"between 0 .* and 65535, not {port}"):
            MixServer(port=port)
        with pytest.raises(ValueError, match=f"not {port}"):
            FaultProxy("http://localhost:8088", port=port)


@pytest.mark.parametrize("listen", [True, False])
async def test_concurrent_restarts_run_one_after_another(listen: bool) -> None:
    async with MixServer(listen=listen) as server:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(server.restart)
        started = [record for record in server.log if isinstance(record, ServerStarted)]
        assert len(started) == 4
        async with Mix(server.url, network=server.network) as mix:
            assert await mix.sessions.list() == []


async def test_a_stop_during_a_restart_ends_in_either_state() -> None:
    async with MixServer(listen=False) as server:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.restart)
                nursery.start_soon(server.stop)
            await server.restart()
        async with Mix(server.url, network=server.network) as mix:
            assert await mix.sessions.list() == []


async def test_a_cancelled_restart_does_not_disturb_another_one() -> None:
    async with MixServer(listen=False) as server, trio.open_nursery() as nursery:
        with trio.fail_after(10):
            nursery.start_soon(server.restart)
            with trio.CancelScope() as scope:
                scope.cancel()
                await server.restart()
            await server.wait_for(ServerStarted, count=2)


async def test_a_turn_that_restarts_its_own_server_is_an_error_and_not_a_deadlock() -> None:
    with pytest.raises(RuntimeError, match="another task"):
        async with MixServer(listen=False) as server:
            session = server.create_session()
            server.script("go", Turn(Do(server.restart)))
            server.run_message(session, "go")
            with trio.fail_after(10):
                await server.wait_until(lambda: bool(server.failures))


async def test_a_cancelled_start_can_be_repeated() -> None:
    async with MixServer() as server:
        await server.stop()
        with trio.CancelScope() as scope:
            scope.cancel()
            await server.start()
        assert scope.cancelled_caught
        await server.start()


async def test_a_step_restarts_the_server_in_the_middle_of_a_turn(
    autojump_clock: MockClock,
) -> None:
    for keep in (True, False):
        async with (
            MixServer(listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
        ):
            server.script("go", Turn(Say("It began"), Restart(keep_sessions=keep, seconds=5)))
            async with mix.open_stream(server.create_session()) as session:
                with pytest.raises(MessageInterrupted if keep else SessionNotFound):
                    await session.ask("go")
            (_, stopped, again) = [
                record for record in server.log if isinstance(record, ServerStarted | ServerStopped)
            ]
            assert again.time - stopped.time == pytest.approx(5)
