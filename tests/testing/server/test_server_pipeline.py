"""Pipeline servers, on which each open stream runs the messages."""

from __future__ import annotations

import json

import pytest
import trio

from tests.support.wire_client import CutError, call, open_frames, send
from trio_mix.testing import (
    Api,
    CancelRequested,
    Drop,
    Hang,
    MessageFinished,
    MessageLost,
    MixServer,
    Say,
    StreamEnded,
    Turn,
    UseTool,
    WaitFor,
)

BUSY = "failed to process events: session is currently processing another request"


async def test_a_message_sent_without_an_open_stream_is_accepted_and_lost() -> None:
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        reply = await send(server, session_id, "hi")
        assert (reply.status, reply.json) == (
            200,
            {"status": "broadcasted", "sessionId": session_id},
        )
        lost = await server.wait_for(MessageLost)
        assert json.loads(lost.text) == {"text": "hi"}
        assert server.runs() == 0
        assert server.stored(session_id) == []


async def test_messages_sent_back_to_back_run_one_after_another() -> None:
    async with MixServer("pipeline") as server:
        go = trio.Event()
        server.script("one", Turn(WaitFor(go), Say("first")))
        server.script("two", Turn(Say("second")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "one")
            await send(server, session_id, "two")
            go.set()
            first, second = await frames.until("complete"), await frames.until("complete")
    assert (first[-1].data["content"], second[-1].data["content"]) == ("first", "second")


async def test_the_queue_of_a_stream_holds_a_hundred_messages() -> None:
    async with MixServer("pipeline") as server:
        go = trio.Event()
        server.script("wait", Turn(WaitFor(go)))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "wait")
            await server.wait_until(lambda: server.running_turns == 1)
            for number in range(101):
                reply = await send(server, session_id, f"message {number}")
                assert reply.status == 200
            lost = await server.wait_for(MessageLost)
            assert "message 100" in lost.text
            go.set()


async def test_two_streams_both_run_a_message_and_one_reports_the_conflict() -> None:
    async with MixServer("pipeline") as server:
        go = trio.Event()
        server.script("go", Turn(WaitFor(go), Say("done")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as one, open_frames(server, session_id) as two:
            await send(server, session_id, "go")
            await server.wait_for(MessageLost, why=BUSY.removeprefix("failed to process events: "))
            go.set()
            server.emit(session_id, "end", {})
            got = [await one.until("complete", "error"), await two.until("complete", "error")]
    endings = sorted((frames[-1].event or "", frames[-1].data) for frames in got)
    assert endings[0][0] == "complete"
    assert endings[1] == ("error", {"error": BUSY})
    assert server.runs("go") == 1


async def test_a_stream_that_closes_cancels_the_turn_of_another_stream() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", Turn(Hang()))
        session_id = server.create_session()
        async with open_frames(server, session_id) as one:
            await send(server, session_id, "go")
            await server.wait_until(lambda: server.running_turns == 1)
            async with open_frames(server, session_id):
                pass
            got = await one.until("error")
    assert got[-1].data == {"error": "request cancelled by user"}


@pytest.mark.parametrize("api", ["pipeline-oldest", "pipeline"])
async def test_a_plain_answer_is_finished_and_stored_after_the_client_left(api: Api) -> None:
    async with MixServer(api) as server:
        go = trio.Event()
        server.script("go", Turn(WaitFor(go), Say("nobody hears this")))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "go")
            await server.wait_until(lambda: server.running_turns == 1)
        await server.wait_for(StreamEnded, how="client")
        assert server.running_turns == 1
        go.set()
        await server.wait_for(MessageFinished, how="complete")
        assert server.stored(session_id)[-1]["assistantResponse"] == "nobody hears this"


async def test_after_a_reconnect_the_old_turn_still_blocks_the_session() -> None:
    async with MixServer("pipeline") as server:
        go = trio.Event()
        server.script("old", Turn(WaitFor(go), Say("old")))
        server.script("new", Turn(Say("new")))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "old")
            await server.wait_until(lambda: server.running_turns == 1)
        await server.wait_for(StreamEnded)
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "new")
            assert (await frames.until("error"))[-1].data == {"error": BUSY}
            go.set()
            await server.wait_for(MessageFinished, text="old")
            await send(server, session_id, "new")
            assert (await frames.until("complete"))[-1].data["content"] == "new"


async def test_the_oldest_servers_have_a_busy_text_of_their_own() -> None:
    async with MixServer("pipeline-oldest") as server:
        server.script("old", Turn(Hang()))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "old")
            await server.wait_until(lambda: server.running_turns == 1)
        await server.wait_for(StreamEnded)
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "new")
            error = (await frames.until("error"))[-1].data["error"]
    assert error == "Failed to start agent: session is currently processing another request"


async def test_messages_queued_on_a_closed_stream_run_only_with_ghost_runs() -> None:
    for ghosts in (True, False):
        async with MixServer("pipeline", ghost_runs=ghosts) as server:
            go = trio.Event()
            server.script("one", Turn(WaitFor(go)))
            session_id = server.create_session()
            async with open_frames(server, session_id):
                await send(server, session_id, "one")
                await send(server, session_id, "two")
                await server.wait_until(lambda: server.running_turns == 1)
            await server.wait_for(StreamEnded)
            go.set()
            if ghosts:
                await server.wait_for(MessageFinished, text="two", how="complete")
            else:
                await server.wait_for(MessageLost, why="the stream was closed")
                assert server.runs("two") == 0


async def test_many_undelivered_tool_events_keep_the_session_busy_until_it_is_cancelled() -> None:
    async with MixServer("pipeline", stall_after=5) as server:
        go = trio.Event()
        server.script("go", Turn(WaitFor(go), UseTool("glob"), UseTool("grep"), Say("end")))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "go")
            await server.wait_until(lambda: server.running_turns == 1)
        await server.wait_for(StreamEnded)
        go.set()
        await trio.testing.wait_all_tasks_blocked()
        assert server.running_turns == 1
        await call(server, "POST", f"/api/sessions/{session_id}/cancel")
        await server.wait_for(MessageFinished, how="cancelled")


async def test_content_that_is_not_json_ends_the_stream_without_an_event() -> None:
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            body = {"content": "just text"}
            reply = await call(server, "POST", f"/stream/{session_id}/message", body)
            assert reply.status == 200
            assert await frames.rest() == []
            assert frames.ended == "clean"


@pytest.mark.parametrize("api", ["pipeline-oldest", "pipeline"])
async def test_a_text_that_is_no_string_ends_the_stream_without_an_event(api: Api) -> None:
    async with MixServer(api) as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            body = {"content": '{"text": 5}'}
            reply = await call(server, "POST", f"/stream/{session_id}/message", body)
            assert reply.status == 200
            assert await frames.rest() == []
        assert server.runs() == 0


async def test_empty_or_missing_content_is_a_400_in_plain_text() -> None:
    bodies: list[object] = [{"content": ""}, {}, {"content": None}, b"not json"]
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        for body in bodies:
            reply = await call(server, "POST", f"/stream/{session_id}/message", body)
            assert reply.status == 400, body
            assert reply.headers["content-type"].startswith("text/plain")


async def test_a_shell_command_is_answered_once_per_stream_and_not_run() -> None:
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as one, open_frames(server, session_id) as two:
            await send(server, session_id, "!touch /tmp/never")
            for frames in (one, two):
                answer = (await frames.until("complete"))[-1].data
                assert answer["content"].startswith("$ touch /tmp/never\n")
                assert "messageId" not in answer
        assert server.runs("!touch /tmp/never") == 2


async def test_slash_commands_are_answered_on_the_stream() -> None:
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "/help")
            assert "/help" in (await frames.until("complete"))[-1].data["content"]
            await send(server, session_id, "/nonsense now")
            error = (await frames.until("error"))[-1].data
            assert error == {"error": "unknown command: /nonsense"}


async def test_a_dropped_connection_has_no_final_chunk_and_the_turn_is_stored() -> None:
    async with MixServer("pipeline") as server:
        turn = Turn(Say("half ", deltas=1), Drop(), Say("and half", deltas=1))
        server.script("go", turn)
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.rest()
            assert frames.ended == "cut"
        await server.wait_for(MessageFinished, how="complete")
    assert [frame.data["content"] for frame in got] == ["half "]
    assert server.stored(session_id)[-1]["assistantResponse"] == "half and half"


async def test_a_reset_is_an_error_for_the_client() -> None:
    async with MixServer("pipeline") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            assert await server.drop_streams(how="reset") == 1
            with pytest.raises(CutError):
                await frames.next()
            assert frames.ended == "reset"


async def test_a_blocking_send_on_a_pipeline_server_sends_no_events() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            reply = await call(
                server, "POST", f"/api/sessions/{session_id}/messages", {"text": "go"}
            )
            assert reply.json["assistantResponse"] == "done"
            server.emit(session_id, "marker", {})
            assert (await frames.next()).event == "marker"
    async with MixServer("pipeline", rest_send=False) as server:
        session_id = server.create_session()
        reply = await call(server, "POST", f"/api/sessions/{session_id}/messages", {"text": "go"})
        assert (reply.status, reply.headers["content-type"][:10]) == (404, "text/plain")


async def test_a_cancelled_turn_ends_with_an_error_event_and_stores_the_partial_answer() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", Turn(Say("half", deltas=1), Hang()))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.until("content")
            reply = await call(server, "POST", f"/api/sessions/{session_id}/cancel")
            assert reply.json == {"status": "cancelled", "sessionId": session_id}
            assert (await frames.next()).data == {"error": "request cancelled by user"}
        assert (await server.wait_for(CancelRequested)).running == 1
        export = await call(server, "GET", f"/api/sessions/{session_id}/export")
    assert export.json["messages"][-1]["finishReason"] == "canceled"
    assert export.json["messages"][-1]["content"] == "half"
