"""Health, sessions, stored messages and cancel over REST on the bundled server."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.wire_client import call, open_frames, send
from trio_mix.testing import Api, MessageFinished, MixServer, Pause, Say, SubAgent, Turn

if TYPE_CHECKING:
    from trio.testing import MockClock

NEW = {"title": "Demo", "browserMode": "local-browser-service"}


async def test_health_reports_the_version() -> None:
    versions: dict[Api, str] = {"pipeline": "0.6.9", "blocking": "0.7.3", "async": "0.11.4"}
    for api, version in versions.items():
        async with MixServer(api) as server:
            reply = await call(server, "GET", "/health")
        assert (reply.status, reply.json["version"]) == (200, version)
        datetime.fromisoformat(reply.json["timestamp"])


async def test_a_version_must_belong_to_its_generation() -> None:
    async with MixServer("pipeline", version="0.6.4") as server:
        assert (await call(server, "GET", "/health")).json["version"] == "0.6.4"
    for api, version in (("pipeline", "0.7.0"), ("async", "0.7.3"), ("async", "new")):
        with pytest.raises(ValueError, match=r"version|generation"):
            MixServer(api, version=version)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="api must be one of"):
        MixServer("soap")  # type: ignore[arg-type]


async def test_the_oldest_servers_answer_every_unknown_path_with_200_and_plain_text() -> None:
    async with MixServer("pipeline-oldest") as server:
        path = f"/api/sessions/{server.create_session()}"
        for method, target in (
            ("GET", "/health"),
            ("POST", "/api/sessions"),
            ("GET", f"{path}/export"),
            ("POST", f"{path}/cancel"),
            ("DELETE", path),
            ("PUT", "/stream"),
        ):
            reply = await call(server, method, target)
            text = f"Mix HTTP JSON-RPC Server\nPath: {target}\nMethod: {method}\n"
            assert (reply.status, reply.body.decode()) == (200, text)
            assert reply.headers["content-type"] == "text/plain"
        assert server.create_session() == "session-2"


async def test_every_response_has_a_date_by_the_servers_clock(autojump_clock: MockClock) -> None:
    async with MixServer(listen=False) as server:
        first = await call(server, "GET", "/health")
        await trio.sleep(3600)
        missing = await call(server, "GET", "/api/sessions/nobody")
    dates = [parsedate_to_datetime(reply.headers["date"]) for reply in (first, missing)]
    assert dates[1] - dates[0] == timedelta(hours=1)
    health = datetime.fromisoformat(first.json["timestamp"])
    assert abs(health - dates[0]) < timedelta(seconds=1)


async def test_a_wrong_method_is_a_405_of_the_router() -> None:
    async with MixServer() as server:
        reply = await call(server, "PUT", "/health")
    assert (reply.status, reply.body) == (405, b"Method Not Allowed\n")


async def test_sessions_are_created_listed_read_and_deleted() -> None:
    async with MixServer("pipeline") as server:
        made = await call(server, "POST", "/api/sessions", {"title": "Demo"})
        assert made.status == 201
        assert set(made.json) == {
            "id",
            "title",
            "createdAt",
            "userMessageCount",
            "assistantMessageCount",
            "toolCallCount",
            "promptTokens",
            "completionTokens",
            "cost",
        }
        path = f"/api/sessions/{made.json['id']}"
        assert (await call(server, "GET", path)).json == made.json
        assert (await call(server, "GET", "/api/sessions")).json == [made.json]
        gone = await call(server, "DELETE", path)
        assert (gone.status, gone.body) == (204, b"")
        for method, target in (("GET", path), ("DELETE", path), ("GET", f"{path}/messages")):
            missing = await call(server, method, target)
            assert (missing.status, missing.json["error"]["type"]) == (404, "not_found")


async def test_the_newest_servers_require_a_browser_mode_and_return_it() -> None:
    async with MixServer("async") as server:
        refused = await call(server, "POST", "/api/sessions", {"title": "Demo"})
        assert refused.status == 400
        assert "browserMode" in refused.json["error"]["message"]
        made = await call(server, "POST", "/api/sessions", NEW)
        assert made.status == 201
        assert made.json["browserMode"] == "local-browser-service"
        assert made.json["sessionType"] == "main"


async def test_older_servers_refuse_the_browser_mode_as_unknown() -> None:
    versions: dict[Api, str] = {"pipeline": "0.6.9", "async": "0.9.0"}
    for api, version in versions.items():
        async with MixServer(api, version=version) as server:
            refused = await call(server, "POST", "/api/sessions", NEW)
        assert refused.status == 400, api
        assert 'unknown field "browserMode"' in refused.json["error"]["message"]


async def test_an_invalid_session_is_a_400() -> None:
    bodies: list[object] = [
        {},
        {"title": ""},
        {"title": "x", "promptMode": "shout"},
        {**NEW, "browserMode": "lynx"},
        {**NEW, "browserMode": "remote-cdp-websocket"},
        {**NEW, "sessionType": "subagent"},
        {**NEW, "callbacks": [{"type": "bash_script"}]},
        {**NEW, "callbacks": [{"type": "magic", "toolName": "Bash"}]},
        b"{",
    ]
    async with MixServer("async") as server:
        for body in bodies:
            assert (await call(server, "POST", "/api/sessions", body)).status == 400, body


async def test_created_and_deleted_sessions_are_announced_on_every_stream() -> None:
    async with MixServer("async") as server:
        one, two = server.create_session("one"), server.create_session("two")
        async with open_frames(server, one) as first, open_frames(server, two) as second:
            made = await call(server, "POST", "/api/sessions", NEW)
            for frames in (first, second):
                frame = await frames.next()
                assert frame.event == "session_created"
                assert frame.data["sessionId"] == made.json["id"]
                assert frame.data["title"] == "Demo"
                assert isinstance(frame.data["createdAt"], int)
            await call(server, "DELETE", f"/api/sessions/{made.json['id']}")
            for frames in (first, second):
                assert (await frames.next()).data["sessionId"] == made.json["id"]
            await call(server, "DELETE", f"/api/sessions/{two}")
            assert (await second.next()).event == "session_deleted"
            assert await second.rest() == []


async def test_sessions_are_not_announced_before_0_6_9() -> None:
    async with MixServer("pipeline", version="0.6.4") as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await call(server, "POST", "/api/sessions", {"title": "x"})
            server.emit(session_id, "marker", {})
            assert (await frames.next()).event == "marker"
        reply = await call(server, "GET", f"/api/sessions/{session_id}/export")
        assert (reply.status, reply.headers["content-type"][:10]) == (404, "text/plain")


async def test_history_lists_the_messages_of_all_sessions_newest_first() -> None:
    async with MixServer("async") as server:
        for text in ("one", "two"):
            await send(server, server.create_session(), text)
            await server.wait_for(MessageFinished, text=text)
        rows = (await call(server, "GET", "/api/messages/history")).json
        assert [row["userInput"] for row in rows if row["role"] == "user"] == ["two", "one"]
        page = (await call(server, "GET", "/api/messages/history?limit=1&offset=1")).json
        assert page == rows[1:2]
        for bad in ("limit=0", "limit=1001", "offset=-1", "limit=x"):
            assert (await call(server, "GET", f"/api/messages/history?{bad}")).status == 400


async def test_the_cancel_endpoint_can_be_missing_or_answer_by_the_specification() -> None:
    async with MixServer(cancel_endpoint=False) as server:
        path = f"/api/sessions/{server.create_session()}/cancel"
        assert (await call(server, "POST", path)).body == b"404 page not found\n"
    async with MixServer(cancel_answer="spec") as server:
        path = f"/api/sessions/{server.create_session()}/cancel"
        assert (await call(server, "POST", path)).json == {"cancelled": True}
        assert (await call(server, "POST", "/api/sessions/nobody/cancel")).status == 404


async def test_a_session_id_may_contain_any_character_when_encoded() -> None:
    async with MixServer() as server:
        server.create_session(session_id="a/b?c ä")
        reply = await call(server, "GET", "/api/sessions/a%2Fb%3Fc%20%C3%A4")
        assert reply.json["id"] == "a/b?c ä"
        async with open_frames(server, "a%2Fb%3Fc%20%C3%A4"):
            assert server.open_streams == 1


async def test_a_sub_agents_session_is_listed_only_on_request() -> None:
    async with MixServer("async") as server:
        server.script("go", Turn(SubAgent(Say("inner")), Say("outer")))
        session_id = server.create_session()
        await send(server, session_id, "go")
        await server.wait_for(MessageFinished)
        assert len((await call(server, "GET", "/api/sessions")).json) == 1
        every = (await call(server, "GET", "/api/sessions?includeSubagents=true")).json
        inner = every[1]
        assert (inner["sessionType"], inner["parentSessionId"]) == ("subagent", session_id)
        assert inner["parentToolCallId"] == "call-1"
        rows = (await call(server, "GET", f"/api/sessions/{inner['id']}/messages")).json
        assert rows[-1]["assistantResponse"] == "inner"


async def test_the_next_responses_can_be_replaced() -> None:
    async with MixServer() as server:
        server.answer_next("/health", 503, headers={"Retry-After": "7"}, body=b"busy", times=2)
        for _ in range(2):
            reply = await call(server, "GET", "/health")
            assert (reply.status, reply.headers["retry-after"]) == (503, "7")
            assert reply.body == b"busy"
        assert (await call(server, "GET", "/health")).status == 200


async def test_a_body_over_the_limit_is_refused() -> None:
    async with MixServer(max_upload=100) as server:
        reply = await call(server, "POST", "/api/sessions", {"title": "x" * 1000})
    assert (reply.status, reply.json["error"]["code"]) == (413, 413)


async def test_rows_that_lag_are_read_as_they_were(autojump_clock: MockClock) -> None:
    apis: tuple[Api, ...] = ("async", "pipeline-oldest")
    for api in apis:
        async with MixServer(api, listen=False, pace=0.0, row_lag=2.5) as server:
            server.script("go", Turn(Say("One. "), Pause(1), Say("Two.")))
            session_id = server.create_session()

            async def texts(
                server: MixServer = server, session_id: str = session_id
            ) -> tuple[list[str], ...]:
                if server.api == "pipeline-oldest":
                    body = {"method": "messages.list", "params": {"sessionId": session_id}, "id": 1}
                    rows = (await call(server, "POST", "/rpc", body)).json.get("result") or []
                    return ([row["content"] for row in rows],) * 2
                path = f"/api/sessions/{session_id}"
                export = (await call(server, "GET", f"{path}/export")).json["messages"]
                rows = (await call(server, "GET", f"{path}/messages")).json
                return [row["content"] for row in export], [row["userInput"] for row in rows]

            server.run_message(session_id, "go")
            await trio.sleep(2)
            assert await texts() == ([], [])
            await trio.sleep(1)
            assert await texts() == (["go", "One. "],) * 2
            await trio.sleep(1)
            assert await texts() == (["go", "One. Two."],) * 2
            assert len(server.stored(session_id)) == 2
