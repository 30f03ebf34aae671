"""JSON-RPC at ``/rpc`` on the bundled server of the oldest generation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.wire_client import call, open_frames
from trio_mix.testing import (
    AskPermission,
    CancelRequested,
    MessageFinished,
    MixServer,
    Pause,
    Say,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOT_FOUND, BAD_PARAMETER, INTERNAL, APPLICATION = -32601, -32602, -32603, -32000


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer("pipeline-oldest", listen=False, pace=0.0) as server:
        yield server


async def ask(server: MixServer, method: object, **params: object) -> Any:
    """Make a request that must succeed, and return its result."""
    body = {"method": method, "params": params, "id": 7}
    reply = await call(server, "POST", "/rpc", body)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json["id"] == 7
    assert "error" not in reply.json, reply.json
    return reply.json["result"]


async def refusal(server: MixServer, method: object, **params: object) -> tuple[int, str]:
    """Make a request that must fail, and return the code and the text of its error."""
    reply = await call(server, "POST", "/rpc", {"method": method, "params": params, "id": "a"})
    assert (reply.status, reply.json["id"]) == (200, "a")
    assert "result" not in reply.json
    return reply.json["error"]["code"], reply.json["error"]["message"]


async def test_sessions_are_created_listed_read_forked_and_deleted(server: MixServer) -> None:
    assert await ask(server, "sessions.list") is None
    made = await ask(server, "sessions.create", title="Demo", workingDirectory="/srv/demo")
    counters = ("userMessageCount", "assistantMessageCount", "toolCallCount", "promptTokens")
    names = {"id", "title", "createdAt", "workingDirectory", *counters, "completionTokens", "cost"}
    assert set(made) == names
    session = made["id"]
    assert await ask(server, "sessions.get", id=session) == made
    await ask(server, "messages.send", sessionId=session, content="hi")
    await ask(server, "messages.send", sessionId=session, content="again")
    fork = await ask(server, "sessions.fork", sourceSessionId=session, messageIndex=2)
    assert fork["title"] == "Forked Session"
    rows = await ask(server, "messages.list", sessionId=fork["id"])
    assert [row["role"] for row in rows] == ["user", "assistant"]
    assert [row["id"] for row in await ask(server, "sessions.list")] == [session, fork["id"]]
    await ask(server, "sessions.delete", id=fork["id"])
    assert [row["id"] for row in await ask(server, "sessions.list")] == [session]


async def test_the_current_session_cannot_be_deleted(server: MixServer) -> None:
    code, text = await refusal(server, "sessions.current")
    assert (code, text) == (APPLICATION, "No current session selected")
    first, second = server.create_session(), server.create_session()
    await ask(server, "sessions.select", id=first)
    assert (await ask(server, "sessions.current"))["id"] == first
    refused = await refusal(server, "sessions.delete", id=first)
    assert refused == (APPLICATION, "Cannot delete the currently active session")
    async with open_frames(server, second):
        await ask(server, "sessions.delete", id=first)
    assert (await ask(server, "sessions.current"))["id"] == second


async def test_stored_rows_have_a_content_and_their_tool_calls(server: MixServer) -> None:
    session = server.create_session()
    server.script("look", Turn(UseTool("glob", {"pattern": "*"}), Say("One file.")))
    answer = await ask(server, "messages.send", sessionId=session, content="look")
    rows = await ask(server, "messages.list", sessionId=session)
    assert [(row["role"], row["content"]) for row in rows] == [
        ("user", "look"),
        ("assistant", ""),
        ("tool", ""),
        ("assistant", "One file."),
    ]
    assert [call["name"] for call in rows[1]["toolCalls"]] == ["glob"]
    assert all("toolCalls" not in row for row in (rows[0], rows[2], rows[3]))
    assert answer == {
        "id": rows[3]["id"],
        "sessionId": "",
        "role": "user",
        "content": "look",
        "response": "One file.",
    }
    history = await ask(server, "messages.history", limit=1, offset=0)
    assert [(row["role"], row["content"]) for row in history] == [("user", "look")]
    assert await ask(server, "messages.list", sessionId="nobody") is None


async def test_a_turn_is_cancelled_and_its_permission_answered(server: MixServer) -> None:
    session = server.create_session()
    server.script("long", Turn(Say("It takes "), Pause(20), Say("time.")))
    server.script("may I", Turn(AskPermission("bash", then=[Say("Done.")])))
    async with open_frames(server, session) as frames:
        server.run_message(session, "long")
        await trio.testing.wait_all_tasks_blocked()
        answer = await ask(server, "agent.cancel", sessionId=session)
        assert answer == {"status": "cancelled", "sessionId": session}
        await server.wait_for(MessageFinished)
        assert [each.running for each in server.log if isinstance(each, CancelRequested)] == [1]
        server.run_message(session, "may I")
        while (frame := await frames.next()).event != "permission":
            pass
        granted = await ask(server, "permission.grant", id=frame.data["id"])
        assert (granted["status"], granted["id"]) == ("granted", frame.data["id"])
        while (frame := await frames.next()).event != "complete":
            pass
        assert frame.data["content"] == "Done."
    # What is unknown is answered with a success as well.
    assert (await ask(server, "permission.deny", id="nobody"))["status"] == "denied"
    assert (await ask(server, "agent.cancel", sessionId="nobody"))["status"] == "cancelled"


async def test_commands_mcp_servers_and_credentials(server: MixServer) -> None:
    commands = await ask(server, "commands.list")
    assert {"help", "session"} <= {each["name"] for each in commands}
    shown = await ask(server, "commands.get", name="help")
    assert shown == next(each for each in commands if each["name"] == "help")
    assert [each["name"] for each in await ask(server, "mcp.list")] == ["broken", "docs"]
    for method in ("auth.apikey", "auth.login"):
        assert (await ask(server, method, apiKey="k"))["status"] == "success"


async def test_every_error_is_answered_with_200_and_its_code(server: MixServer) -> None:
    session = server.create_session()
    for method, params, expected in (
        ("sessions.export", {}, (NOT_FOUND, "Method not found: sessions.export")),
        ("sessions.get", {}, (BAD_PARAMETER, "Missing required parameter: id")),
        ("messages.list", {"sessionId": 5}, (BAD_PARAMETER, "Invalid params: sessionId")),
        ("sessions.fork", {"sourceSessionId": session}, (BAD_PARAMETER, "messageIndex must be")),
        ("auth.login", {"authCode": "a#b"}, (INTERNAL, "OAuth flow not found")),
        ("auth.login", {}, (BAD_PARAMETER, "authCode or apiKey")),
        ("sessions.get", {"id": "nobody"}, (APPLICATION, "no rows in result set")),
        ("sessions.delete", {"id": "nobody"}, (APPLICATION, "no rows in result set")),
        ("sessions.select", {"id": "nobody"}, (APPLICATION, "no rows in result set")),
        ("commands.get", {"name": "nothing"}, (APPLICATION, "Command not found: nothing")),
    ):
        code, text = await refusal(server, method, **params)
        assert code == expected[0], method
        assert expected[1] in text, method
    reply = await call(server, "POST", "/rpc", b"{no JSON")
    assert (reply.status, reply.json["error"]["code"]) == (200, -32700)


async def test_without_json_rpc_nothing_but_streams_and_messages_is_served() -> None:
    async with MixServer("pipeline-oldest", jsonrpc=False, listen=False) as server:
        reply = await call(server, "POST", "/rpc", {"method": "sessions.list", "id": 1})
        assert reply.body.startswith(b"Mix HTTP JSON-RPC Server\nPath: /rpc\n")
    async with MixServer("pipeline") as server:
        assert (await call(server, "POST", "/rpc", {})).status == 404
