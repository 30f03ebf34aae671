"""The frames of a stream, for each generation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import pytest
import trio

from tests.support.wire_client import Frames, Wire, call, connect, open_frames, send
from trio_mix.testing import Api, Fail, MixServer, RateLimit, Say, Think, Turn, UseTool, UseTools

if TYPE_CHECKING:
    from trio.testing import MockClock

TURN = Turn(Think("Hm.", deltas=1), Say("Hi there", deltas=["Hi ", "there"]))
EVERY: list[Api] = ["pipeline-oldest", "pipeline", "blocking", "async"]


async def _turn(server: MixServer, turn: Turn, *last: str) -> str:
    """Return the raw frames of one message's turn, without `connected`."""
    server.script("go", turn)
    session_id = server.create_session()
    with trio.fail_after(10):
        async with open_frames(server, session_id) as frames, trio.open_nursery() as nursery:
            nursery.start_soon(send, server, session_id, "go")
            got = await frames.until(*last or ("complete",))
    return "\n\n".join(frame.raw for frame in got)


async def test_an_async_server_sends_message_ids_on_every_event() -> None:
    async with MixServer("async") as server:
        assert await _turn(server, TURN) == (
            "id: 2\n"
            "event: user_message_created\n"
            'data: {"type":"user_message_created","messageId":"user-1","content":"go"}\n'
            "retry: 30000\n\n"
            "id: 3\n"
            "event: thinking\n"
            'data: {"type":"thinking","content":"Hm.","assistantMessageId":"assistant-1"}\n'
            "retry: 30000\n\n"
            "id: 4\n"
            "event: content\n"
            'data: {"type":"content","content":"Hi ","assistantMessageId":"assistant-1"}\n'
            "retry: 30000\n\n"
            "id: 5\n"
            "event: content\n"
            'data: {"type":"content","content":"there","assistantMessageId":"assistant-1"}\n'
            "retry: 30000\n\n"
            "id: 6\n"
            "event: complete\n"
            'data: {"type":"complete","content":"Hi there","done":true,"messageId":"assistant-1",'
            '"reasoning":"Hm.","reasoningDuration":40}\n'
            "retry: 30000"
        )


@pytest.mark.parametrize("api", ["pipeline", "blocking"])
async def test_older_servers_send_the_message_id_on_complete_only(api: Api) -> None:
    async with MixServer(api) as server:
        assert await _turn(server, TURN) == (
            'id: 2\nevent: thinking\ndata: {"type":"thinking","content":"Hm."}\nretry: 30000\n\n'
            'id: 3\nevent: content\ndata: {"type":"content","content":"Hi "}\nretry: 30000\n\n'
            'id: 4\nevent: content\ndata: {"type":"content","content":"there"}\nretry: 30000\n\n'
            "id: 5\nevent: complete\n"
            'data: {"type":"complete","content":"Hi there","done":true,"messageId":"assistant-1",'
            '"reasoning":"Hm.","reasoningDuration":40}\n'
            "retry: 30000"
        )


async def test_the_oldest_servers_send_no_ids_no_retry_and_no_deltas() -> None:
    async with MixServer("pipeline-oldest") as server:
        assert await _turn(server, TURN) == (
            "event: complete\n"
            'data: {"type":"complete","content":"Hi there","done":true,"messageId":"assistant-1",'
            '"reasoning":"Hm."}'
        )


async def test_the_oldest_servers_send_tools_without_their_execution_several_frames_a_chunk() -> (
    None
):
    async with MixServer("pipeline-oldest") as server:
        server.script("go", Turn(UseTool("glob", {"pattern": "*"}), Say("Done")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await server.wait_until(lambda: server.open_streams == 1)
            for name in ("one", "two"):
                server.emit(session_id, name, {})
            chunk = await frames.wire.next_event()
            assert isinstance(chunk, h11.Data)
            assert chunk.data == b"event: one\ndata: {}\n\nevent: two\ndata: {}\n\n"
            await send(server, session_id, "go")
            got = await frames.until("complete")
    assert [(frame.event, frame.data["status"]) for frame in got[:-1]] == [
        ("tool", "completed"),
        ("tool", "completed"),
        ("tool", "completed"),
    ]
    assert [frame.data["input"] for frame in got[:-1]] == ["", "", '{"pattern":"*"}']


async def test_the_oldest_servers_take_post_for_a_stream() -> None:
    async with MixServer("pipeline-oldest") as server:
        stream = await connect(server)
        async with stream:
            wire = Wire(stream)
            await wire.send("POST", f"/stream?sessionId={server.create_session()}", b"", {})
            assert (await wire.head()).status_code == 200
            assert (await Frames(wire).next()).event == "connected"


@pytest.mark.parametrize("api", EVERY)
async def test_the_response_is_chunked_event_stream_and_ends_with_a_final_chunk(api: Api) -> None:
    async with MixServer(api) as server:
        session_id = server.create_session()
        async with await connect(server) as stream:
            await stream.send_all(
                f"GET /stream?sessionId={session_id} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
            )
            await server.wait_until(lambda: server.open_streams == 1)
            await server.drop_streams(how="close")
            raw = b""
            with trio.fail_after(5):
                while not raw.endswith(b"0\r\n\r\n"):
                    raw += await stream.receive_some()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream" in head.lower()
    assert b"transfer-encoding: chunked" in head.lower()
    frame = b'event: connected\ndata: {"sessionId":"session-1"}\n'
    if api != "pipeline-oldest":
        frame = b"id: 1\n" + frame + b"retry: 30000\n"
    frame += b"\n"
    assert body == b"%x\r\n%s\r\n0\r\n\r\n" % (len(frame), frame)


async def test_json_is_compact_utf8_with_html_characters_escaped() -> None:
    async with MixServer("pipeline") as server:
        raw = await _turn(server, Turn(Say("<b> & ä\u2028\n", deltas=1)))
    assert 'data: {"type":"content","content":"\\u003cb\\u003e \\u0026 ä\\u2028\\n"}' in raw


async def test_ids_restart_on_each_connection_and_nothing_is_replayed() -> None:
    async with MixServer("async") as server:
        await _turn(server, TURN)
        async with open_frames(server, "session-1", "6", connected=False) as frames:
            first = await frames.next()
            server.emit("session-1", "marker", {})
            second = await frames.next()
    assert (first.id, first.event) == ("1", "connected")
    assert (second.id, second.event) == ("2", "marker")


async def test_errors_have_a_short_retry_or_their_own() -> None:
    async with MixServer("pipeline") as server:
        raw = await _turn(server, Turn(Fail("failed to process events: boom")), "error")
        assert raw == (
            'id: 2\nevent: error\ndata: {"error":"failed to process events: boom"}\nretry: 750'
        )
        raw = await _turn(server, Turn(Fail("wait", "rate", retry_after=1500)), "error")
        assert raw.endswith('{"error":"wait","type":"rate","retryAfter":1500}\nretry: 1500')


async def test_an_async_server_sends_each_failure_twice(autojump_clock: MockClock) -> None:
    for delay in (0.0, 5.0):
        async with MixServer("async", listen=False, error_delay=delay) as server:
            server.script("go", Turn(Fail("boom")))
            session_id = server.create_session()
            async with open_frames(server, session_id) as frames:
                await send(server, session_id, "go")
                await frames.until("error")
                first = trio.current_time()
                assert (await frames.next()).data == {"error": "boom"}
                assert trio.current_time() - first == pytest.approx(delay)


async def test_a_rate_limit_ends_the_turn_on_pipeline_servers_only(
    autojump_clock: MockClock,
) -> None:
    turn = Turn(RateLimit(60), Say("at last"))
    async with MixServer("pipeline", listen=False) as server:
        raw = await _turn(server, turn, "rate_limit_error")
        assert '"retryAfter":60' in raw
        assert raw.endswith("retry: 60")
        await server.wait_until(lambda: server.running_turns == 0)
    for limit, pause in ((RateLimit(6), 6), (RateLimit(60, pause=3), 3)):
        async with MixServer("async", listen=False) as server:
            start = trio.current_time()
            raw = await _turn(server, Turn(limit, Say("at last")), "complete")
            assert trio.current_time() - start == pytest.approx(pause, abs=1)
            assert raw.index("rate_limit_error") < raw.index("at last")


async def test_tool_events_repeat_on_pipeline_servers() -> None:
    turn = Turn(UseTool("glob", {"pattern": "*"}), Say("Done"))
    async with MixServer("pipeline") as server:
        server.script("go", turn)
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.until("complete")
    tools = [frame.data for frame in got if frame.event == "tool"]
    assert [(tool["input"], tool["status"]) for tool in tools] == [
        ("", "running"),
        ("", "completed"),
        ('{"pattern":"*"}', "completed"),
    ]
    assert {tool["id"] for tool in tools} == {"call-1"}
    assert [frame.event for frame in got if frame.event != "tool"] == [
        "tool_execution_start",
        "tool_execution_complete",
        "content",
        "complete",
    ]


async def test_parallel_tools_repeat_all_calls_so_far() -> None:
    turn = Turn(UseTools(UseTool("glob", "A"), UseTool("grep", "B")))
    async with MixServer("pipeline") as server:
        raw = await _turn(server, turn)
    names = [line.split('"name":"')[1][:4] for line in raw.split("\n") if '"type":"tool",' in line]
    assert names == ["glob"] * 3 + ["glob", "grep"] * 3


async def test_an_async_server_streams_the_parameters_of_a_tool() -> None:
    turn = Turn(Say("Look:"), UseTool("Glob", '{"p":"*"}', success=False), Say("Done"))
    async with MixServer("async") as server:
        server.script("go", turn)
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.until("complete")
    assert [frame.event for frame in got] == [
        "user_message_created",
        "content",
        "tool_use_start",
        "tool_use_parameter_delta",
        "tool_use_parameter_delta",
        "tool_use_parameter_delta",
        "tool_use_parameter_streaming_complete",
        "tool_execution_start",
        "tool_execution_complete",
        "content",
        "complete",
    ]
    deltas = [f.data["input"] for f in got if f.event == "tool_use_parameter_delta"]
    assert "".join(deltas) == '{"p":"*"}'
    assert got[8].data["success"] is False
    assert got[7].data["toolName"] == got[8].data["toolName"] == ""
    assert got[7].data["progress"] == "Executing Glob tool"
    rounds = [frame.data.get("assistantMessageId") for frame in got]
    assert rounds[1] == rounds[6] == "assistant-1"  # a tool call ends the round
    assert rounds[9] == "assistant-2"
    assert got[-1].data["messageId"] == "assistant-2"
    assert got[-1].data["content"] == "Done"


async def test_older_async_servers_have_the_older_tool_events() -> None:
    async with MixServer("async", version="0.9.0") as server:
        raw = await _turn(server, Turn(UseTool("glob", {"pattern": "*"})))
    assert "event: tool\n" in raw
    assert "event: tool_parameter_delta\n" in raw
    assert "tool_use" not in raw


@pytest.mark.parametrize("api", EVERY)
async def test_an_unknown_session_is_an_error_event_and_the_stream_ends(api: Api) -> None:
    async with MixServer(api) as server:
        async with open_frames(server, "nobody", connected=False) as frames:
            got = await frames.rest()
        reply = await call(server, "GET", "/stream?sessionId=nobody")
    why = "session not found: nobody"
    if api == "pipeline-oldest":
        why = "Failed to set session: session not found: sql: no rows in result set"
    assert [(frame.event, frame.data) for frame in got] == [("error", {"error": why})]
    assert frames.ended == "clean"
    assert ("content-length" in reply.headers) == (api == "pipeline-oldest")


async def test_an_unknown_session_can_be_a_404_as_the_specification_says() -> None:
    async with MixServer("async", unknown_session="404") as server:
        reply = await call(server, "GET", "/stream?sessionId=nobody")
    assert reply.status == 404
    assert reply.json["error"]["type"] == "not_found"


async def test_a_missing_session_id_is_a_400_without_a_body_except_on_the_oldest() -> None:
    async with MixServer("async") as server:
        reply = await call(server, "GET", "/stream")
        assert (reply.status, reply.body) == (400, b"")
    async with MixServer("pipeline-oldest") as server:
        reply = await call(server, "GET", "/stream")
        assert reply.status == 200
        assert reply.body.startswith(b"event: error\ndata: ")
