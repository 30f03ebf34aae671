"""Sending messages to blocking and async servers."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Literal

import pytest
import trio

from tests.support.wire_client import CutError, Reply, call, open_frames, send
from trio_mix.testing import (
    Api,
    CancelRequested,
    Fail,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    Say,
    Turn,
    UseTool,
    WaitFor,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_an_async_server_accepts_and_runs_a_message_without_streams() -> None:
    async with MixServer("async") as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        reply = await send(server, session_id, "go")
        assert (reply.status, reply.json) == (
            202,
            {"status": "processing", "sessionId": session_id},
        )
        await server.wait_for(MessageFinished, how="complete")
        assert [row["role"] for row in server.stored(session_id)] == ["user", "assistant"]


async def test_a_blocking_server_responds_at_the_end_of_the_turn_and_sends_events_meanwhile() -> (
    None
):
    async with MixServer("blocking") as server:
        go = trio.Event()
        server.script("go", Turn(Say("early ", deltas=1), WaitFor(go), Say("late", deltas=1)))
        session_id = server.create_session()
        replies: list[Reply] = []

        async def post() -> None:
            replies.append(await send(server, session_id, "go"))

        async with open_frames(server, session_id) as frames, trio.open_nursery() as nursery:
            nursery.start_soon(post)
            assert (await frames.next()).data["content"] == "early "
            assert replies == []
            go.set()
            await frames.until("complete")
    assert replies[0].status == 200
    assert replies[0].json == {
        "id": "assistant-1",
        "sessionId": "",
        "role": "user",
        "userInput": "go",
        "assistantResponse": "early late",
    }


@pytest.mark.parametrize("api", ["blocking", "async"])
async def test_overlapping_messages_all_run_and_every_event_is_sent_twice_meanwhile(
    api: Api,
) -> None:
    async with MixServer(api) as server:
        go = trio.Event()
        server.script("one", Turn(WaitFor(go), Say("first", deltas=1)))
        server.script("two", Turn(Say("second", deltas=1)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames, trio.open_nursery() as nursery:
            nursery.start_soon(send, server, session_id, "one")
            await server.wait_until(lambda: server.running_turns == 1)
            answer = await send(server, session_id, "two")
            await server.wait_for(MessageFinished, text="two")
            go.set()
            await server.wait_for(MessageFinished, text="one")
            server.emit(session_id, "end", {})
            got = await frames.until("end")
    if api == "blocking":
        assert (answer.json["userInput"], answer.json["assistantResponse"]) == ("two", "second")
    texts = [frame.data.get("content") for frame in got if frame.event in ("content", "complete")]
    assert texts == ["second", "second", "second", "second", "first", "first"]
    assert [int(frame.id or 0) for frame in got] == list(range(2, len(got) + 2))


@pytest.mark.parametrize("options", [{"double_events": False}, {"replay": True}])
async def test_events_are_not_doubled_on_request_and_where_ids_continue(
    options: dict[str, Any],
) -> None:
    async with MixServer("async", **options) as server:
        go = trio.Event()
        server.script("one", Turn(WaitFor(go)))
        server.script("two", Turn(Say("second", deltas=1)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "one")
            await server.wait_until(lambda: server.running_turns == 1)
            await send(server, session_id, "two")
            await server.wait_for(MessageFinished, text="two")
            got = await frames.until("complete")
            go.set()
    events = [(frame.event, frame.raw.split("data: ")[1]) for frame in got]
    assert len(set(events)) == len(events)


@pytest.mark.parametrize("api", ["blocking", "async"])
async def test_the_end_of_one_of_two_turns_makes_the_other_deaf_to_cancel(api: Api) -> None:
    async with MixServer(api) as server, trio.open_nursery() as nursery:
        go = trio.Event()
        server.script("one", Turn(Hang()))
        server.script("two", Turn(WaitFor(go)))
        session_id = server.create_session()
        path = f"/api/sessions/{session_id}/cancel"
        for text in ("one", "two"):
            nursery.start_soon(_send_unanswered, server, session_id, text)
            await server.wait_for(MessageRun, text=text)
        go.set()
        await server.wait_for(MessageFinished, text="two", how="complete")
        assert (await call(server, "POST", path)).status == 200
        assert (await server.wait_for(CancelRequested)).running == 0
        assert server.running_turns == 1
        server.script("three", Turn(Hang()))
        nursery.start_soon(_send_unanswered, server, session_id, "three")
        await server.wait_until(lambda: server.running_turns == 2)
        await call(server, "POST", path)
        await server.wait_for(MessageFinished, text="three", how="cancelled")
        assert server.running_turns == 1
        await server.stop()


@pytest.mark.parametrize("api", ["pipeline", "blocking", "async"])
@pytest.mark.parametrize("how", [None, "error", "context", "complete"])
async def test_a_turn_that_is_cancelled_while_a_tool_runs_ends_in_one_of_several_ways(
    api: Api, how: Literal["error", "context", "complete"] | None
) -> None:
    async with MixServer(api, cancelled_tool=how) as server, trio.open_nursery() as nursery:
        server.script("go", Turn(Say("before", deltas=1), UseTool("glob", steps=[Hang()])))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            nursery.start_soon(_send_unanswered, server, session_id, "go")
            await frames.until("tool_execution_start")
            await call(server, "POST", f"/api/sessions/{session_id}/cancel")
            last = await frames.next()
        await server.wait_for(MessageFinished, how="cancelled")
        export = await call(server, "GET", f"/api/sessions/{session_id}/export")
    if how == "complete":
        assert (last.event, last.data["content"], last.data["done"]) == ("complete", "before", True)
    elif how == "error" or (how is None and api == "pipeline"):
        assert (last.event, last.data) == ("error", {"error": "request cancelled by user"})
    else:
        assert (last.event, last.data) == ("error", {"error": "context canceled"})
    assert export.json["messages"][-1]["finishReason"] == "canceled"


@pytest.mark.parametrize(("options", "latency"), [({}, 0.05), ({"cancel_latency": 0.5}, 0.5)])
async def test_the_end_of_a_turn_follows_the_answer_to_a_cancel_request_after_its_latency(
    options: dict[str, Any], latency: float, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, **options) as server:
        server.script("go", Turn(Hang()))
        session_id = server.create_session()
        await send(server, session_id, "go")
        begun = trio.current_time()
        await call(server, "POST", f"/api/sessions/{session_id}/cancel")
        assert trio.current_time() == begun
        await server.wait_for(MessageFinished, how="cancelled")
        assert trio.current_time() - begun == pytest.approx(latency)


async def _send_unanswered(server: MixServer, session_id: str, text: str) -> None:
    with contextlib.suppress(CutError):
        await send(server, session_id, text)


async def test_an_async_server_runs_two_messages_at_once() -> None:
    async with MixServer("async") as server:
        server.script("go", Turn(Hang()))
        session_id = server.create_session()
        await send(server, session_id, "go")
        await send(server, session_id, "go")
        await server.wait_until(lambda: server.running_turns == 2)
        assert server.runs("go") == 2


@pytest.mark.parametrize("api", ["blocking", "async"])
async def test_the_pipeline_path_is_a_404_of_the_router_on_other_servers(api: Api) -> None:
    async with MixServer(api) as server:
        session_id = server.create_session()
        reply = await call(server, "POST", f"/stream/{session_id}/message", {"content": "{}"})
    assert (reply.status, reply.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert reply.body == b"404 page not found\n"


async def test_an_async_server_refuses_invalid_bodies() -> None:
    bodies: list[tuple[object, str]] = [
        ({"text": "hi", "media": []}, 'unknown field "media"'),
        ({"text": ""}, "text is required"),
        ({}, "text is required"),
        ({"text": 5}, "text must be a string"),
        ({"text": "hi", "thinking_level": "huge"}, "thinking_level"),
        ({"text": "hi", "max_steps": 0}, "max_steps"),
        ({"text": "hi", "plan_mode": "yes"}, "plan_mode"),
        (b"nonsense", "Invalid JSON"),
        (b"[]", "Invalid JSON"),
    ]
    async with MixServer("async") as server:
        path = f"/api/sessions/{server.create_session()}/messages"
        for body, message in bodies:
            reply = await call(server, "POST", path, body)
            assert (reply.status, reply.json["error"]["code"]) == (400, 400), body
            assert message in reply.json["error"]["message"], body


async def test_thinking_level_and_max_steps_are_async_only() -> None:
    more: dict[str, Any] = {"thinking_level": "medium", "max_steps": 3}
    async with MixServer("async") as server:
        assert (await send(server, server.create_session(), "hi", **more)).status == 202
    async with MixServer("blocking") as server:
        assert (await send(server, server.create_session(), "hi", **more)).status == 400


async def test_slash_commands_are_answered_in_the_response_only() -> None:
    async with MixServer("async") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            reply = await send(server, session_id, "/help")
            assert reply.status == 200
            assert (reply.json["id"], reply.json["sessionId"]) == ("cmd-help", "")
            assert reply.json["userInput"] == "/help"
            assert "/help" in reply.json["assistantResponse"]
            assert (await send(server, session_id, "/nonsense")).status == 404
            server.emit(session_id, "marker", {})
            assert (await frames.next()).event == "marker"


@pytest.mark.parametrize(("version", "status"), [("0.7.4", 500), ("0.11.4", 404)])
async def test_sending_to_an_unknown_session(version: str, status: int) -> None:
    async with MixServer("async", version=version) as server:
        assert (await send(server, "nobody", "hi")).status == status


async def test_without_a_key_a_message_is_refused_in_the_response_and_on_the_stream() -> None:
    async with MixServer("async", provider_key=False) as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            reply = await send(server, session_id, "hi")
            assert (reply.status, reply.json["error"]["type"]) == (401, "unauthorized")
            assert (await frames.next()).data["type"] == "authentication_error"
        assert server.runs() == 0


async def test_plan_mode_appends_to_the_text_of_the_message() -> None:
    async with MixServer("async", plan_mode_text=" [plan]") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "hi", plan_mode=True)
            assert (await frames.next()).data["content"] == "hi [plan]"
        assert server.runs("hi") == 1


async def test_a_failed_turn_of_a_blocking_server_is_a_500() -> None:
    async with MixServer("blocking") as server:
        server.script("go", Turn(Fail("boom")))
        reply = await send(server, server.create_session(), "go")
    assert (reply.status, reply.json["error"]["message"]) == (500, "boom")


@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_cancels_the_turn_only_on_older_servers(cancels: bool) -> None:
    async with MixServer("async", cancel_on_disconnect=cancels) as server:
        go = trio.Event()
        server.script("go", Turn(WaitFor(go)))
        session_id = server.create_session()
        async with open_frames(server, session_id):
            await send(server, session_id, "go")
            await server.wait_until(lambda: server.running_turns == 1)
        if not cancels:
            await server.wait_until(lambda: server.open_streams == 0)
            go.set()
        ending = await server.wait_for(MessageFinished)
    assert ending.how == ("cancelled" if cancels else "complete")


async def test_stored_rows_grow_while_the_turn_runs() -> None:
    async with MixServer("async") as server:
        first, second = trio.Event(), trio.Event()
        server.script(
            "go",
            Turn(
                Say("one ", deltas=1),
                WaitFor(first),
                Say("two", deltas=1),
                UseTool("Glob", steps=[WaitFor(second)]),
                Say("end", deltas=1),
            ),
        )
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.until("content")
            path = f"/api/sessions/{session_id}"
            rows = (await call(server, "GET", f"{path}/messages")).json
            assert [row.get("assistantResponse") for row in rows] == [None, "one "]
            export = (await call(server, "GET", f"{path}/export")).json["messages"]
            assert "finishReason" not in export[-1]
            first.set()
            await frames.until("tool_execution_start")
            rows = (await call(server, "GET", f"{path}/messages")).json
            assert rows[-1]["assistantResponse"] == "one two"
            assert rows[-1]["toolCalls"][0]["finished"] is False
            second.set()
            await frames.until("complete")
            rows = (await call(server, "GET", f"{path}/messages")).json
            assert rows[1]["toolCalls"][0]["finished"] is True
            assert [row["role"] for row in rows] == ["user", "assistant", "tool", "assistant"]
            assert rows[3]["assistantResponse"] == rows[3]["userInput"] == "end"
            export = (await call(server, "GET", f"{path}/export")).json["messages"]
    reasons = [row.get("finishReason") for row in export]
    assert reasons == ["stop", "tool_use", "stop", "end_turn"]
    assert (export[2]["role"], export[2]["content"]) == ("tool", "")
    (exported,) = export[1]["toolCalls"]
    assert exported["type"] == ""
    assert "result" not in exported
    assert all("." not in row["createdAt"] + row["updatedAt"] for row in export)


async def test_results_of_tools_are_stored_where_the_script_or_the_server_wants_them() -> None:
    for scripted, everywhere, stored in (("x", False, "x"), (None, True, "done")):
        async with MixServer("async", tool_results=everywhere) as server:
            server.script("go", Turn(UseTool("Glob", result=scripted, success=False)))
            session_id = server.create_session()
            await send(server, session_id, "go")
            await server.wait_for(MessageFinished, how="complete")
            path = f"/api/sessions/{session_id}"
            rows = (await call(server, "GET", f"{path}/messages")).json
            export = (await call(server, "GET", f"{path}/export")).json["messages"]
        assert rows[1]["toolCalls"][0]["result"] == stored
        assert export[1]["toolCalls"][0]["result"] == stored
        assert rows[1]["toolCalls"][0]["isError"] is True


@pytest.mark.parametrize("api", ["pipeline", "blocking", "async"])
async def test_a_failed_turn_leaves_an_empty_row_with_the_reason_canceled(api: Api) -> None:
    async with MixServer(api) as server:
        server.script("go", Turn(Fail("boom")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.until("error")
        export = await call(server, "GET", f"/api/sessions/{session_id}/export")
    last = export.json["messages"][-1]
    assert (last["role"], last["content"], last["finishReason"]) == ("assistant", "", "canceled")
