"""Accounts, preferences, tools, commands, files, fork and rewind of the bundled server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.wire_client import call, send
from trio_mix.testing import Api, MessageFinished, MixServer, Say, Turn

BODY = (
    b'--xyz\r\nContent-Disposition: form-data; name="note"\r\n\r\nhi\r\n'
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\n0123\r\n456\r\n--xyz--\r\n"
)
MULTIPART = {"Content-Type": "multipart/form-data; boundary=xyz"}
CALLBACK = {"type": "send_message", "toolName": "Bash", "messageContent": "check it"}


OPERATIONS: list[tuple[str, str, object, int, int]] = [
    # method, path, body, status of the newest pipeline server, status of the newest async server
    ("GET", "/api/auth/status", None, 200, 200),
    ("GET", "/api/auth/validate", None, 200, 200),
    ("POST", "/api/auth/api-key", {"provider": "openai", "api_key": "k"}, 200, 200),
    ("POST", "/api/auth/api-key", {"provider": "nobody", "api_key": "k"}, 400, 400),
    ("POST", "/api/auth/api-key", {"provider": "openai"}, 400, 400),
    ("POST", "/api/auth/oauth/anthropic", None, 200, 200),
    ("POST", "/api/auth/oauth/gemini", None, 400, 400),
    ("DELETE", "/api/auth/brave", None, 200, 200),
    ("DELETE", "/api/auth/nobody", None, 400, 400),
    ("GET", "/health/auth", None, 404, 200),
    ("POST", "/internal/auth/refresh-tokens", None, 404, 200),
    ("GET", "/api/preferences", None, 200, 404),
    ("POST", "/api/preferences", {"main_agent_max_tokens": 9}, 200, 404),
    ("POST", "/api/preferences", {"main_agent_max_tokens": "9"}, 400, 404),
    ("POST", "/api/preferences", {"preferred_provider": "nobody"}, 400, 404),
    ("POST", "/api/preferences", {"colour": "red"}, 400, 404),
    ("POST", "/api/preferences/reset", None, 200, 404),
    ("GET", "/api/preferences/providers", None, 200, 404),
    ("GET", "/api/tools/status", None, 200, 200),
    ("GET", "/api/tools/credentials-status", None, 404, 200),
    ("GET", "/api/tools", None, 404, 200),
    ("GET", "/api/commands", None, 200, 200),
    ("GET", "/api/commands/help", None, 200, 200),
    ("GET", "/api/commands/nonsense", None, 404, 404),
    ("GET", "/api/mcp", None, 200, 200),
    ("GET", "/api/system/info", None, 404, 200),
]


async def test_each_generation_has_its_operations() -> None:
    for method, target, body, pipeline, newest in OPERATIONS:
        statuses: dict[Api, int] = {"pipeline": pipeline, "async": newest}
        for api, status in statuses.items():
            async with MixServer(api) as server:
                reply = await call(server, method, target, body)
            assert reply.status == status, (api, method, target, body)


async def test_messages_are_accepted_once_a_key_is_stored() -> None:
    async with MixServer("async", provider_key=False, pace=0) as server:
        session_id = server.create_session()
        assert (await call(server, "GET", "/api/auth/validate")).json["valid"] is False
        assert (await send(server, session_id, "hi")).status == 401
        key = {"provider": "anthropic", "api_key": "sesame"}
        await call(server, "POST", "/api/auth/api-key", key)
        assert (await call(server, "GET", "/api/auth/validate")).json["valid"] is True
        assert (await send(server, session_id, "hi")).status == 202
        await server.wait_for(MessageFinished)
        await call(server, "DELETE", "/api/auth/anthropic")
        status = (await call(server, "GET", "/api/auth/status")).json["providers"]["anthropic"]
        assert (status["authenticated"], status["auth_method"]) == (False, "none")
        assert "sesame" not in server.timeline


async def test_an_oauth_flow_needs_the_state_that_it_started_with() -> None:
    async with MixServer("async") as server:
        begun = (await call(server, "POST", "/api/auth/oauth/anthropic")).json
        assert begun["state"] in begun["auth_url"]
        back = {"provider": "anthropic", "code": "c", "state": begun["state"]}
        wrong = await call(server, "POST", "/api/auth/oauth-callback", {**back, "state": "x"})
        assert wrong.status == 400
        done = await call(server, "POST", "/api/auth/oauth-callback", back)
        assert (done.status, done.json["provider"]) == (200, "anthropic")
        health = (await call(server, "GET", "/health/auth")).json
        assert health["providers"]["anthropic"]["status"] == "active"


async def test_preferences_are_changed_and_reset() -> None:
    async with MixServer("pipeline") as server:
        path = "/api/preferences"
        changed = await call(server, "POST", path, {"main_agent_model": "other"})
        assert changed.json["main_agent_model"] == "other"
        shown = (await call(server, "GET", path)).json
        assert shown["preferences"]["main_agent_model"] == "other"
        assert "anthropic" in shown["available_providers"]
        await call(server, "POST", f"{path}/reset")
        shown = (await call(server, "GET", path)).json
        assert shown["preferences"]["main_agent_model"] != "other"


@pytest.mark.parametrize("api", ["pipeline", "async"])
async def test_files_are_uploaded_listed_read_and_deleted(api: Api) -> None:
    async with MixServer(api) as server:
        path = f"/api/sessions/{server.create_session()}/files"
        made = await call(server, "POST", f"{path}/upload", BODY, MULTIPART)
        assert (made.status, made.json["name"], made.json["size"]) == (201, "a b.txt", 9)
        assert made.json["url"].endswith("/a b.txt")
        assert (await call(server, "GET", path)).json == [made.json]
        got = await call(server, "GET", f"{path}/a%20b.txt")
        assert (got.body, got.headers["content-type"]) == (b"0123\r\n456", "text/plain")
        part = await call(server, "GET", f"{path}/a%20b.txt", headers={"Range": "bytes=2-3"})
        assert (part.status, part.body) == (206, b"23")
        assert part.headers["content-range"] == "bytes 2-3/9"
        rest = await call(server, "GET", f"{path}/a%20b.txt", headers={"Range": "bytes=6-"})
        assert rest.body == b"456"
        past = await call(server, "GET", f"{path}/a%20b.txt", headers={"Range": "bytes=9-"})
        assert past.status == 416
        assert (await call(server, "DELETE", f"{path}/a%20b.txt")).status == 204
        for method in ("GET", "DELETE"):
            assert (await call(server, method, f"{path}/a%20b.txt")).status == 404


async def test_bad_uploads_names_and_thumbnails_are_refused() -> None:
    async with MixServer(max_upload=1000) as server:
        path = f"/api/sessions/{server.create_session()}/files"
        for body, headers in (
            (b"{}", {"Content-Type": "application/json"}),
            (BODY, {"Content-Type": "multipart/form-data"}),
            (BODY.replace(b'"file"', b'"data"'), MULTIPART),
        ):
            assert (await call(server, "POST", f"{path}/upload", body, headers)).status == 400
        large = BODY.replace(b"0123", b"0" * 2000)
        assert (await call(server, "POST", f"{path}/upload", large, MULTIPART)).status == 413
        await call(server, "POST", f"{path}/upload", BODY, MULTIPART)
        image = BODY.replace(b"a b.txt", b"i.png")
        await call(server, "POST", f"{path}/upload", image, MULTIPART)
        statuses = [
            (await call(server, "GET", f"{path}/{target}")).status
            for target in ("i.png?thumb=w100", "i.png?thumb=big", "a%20b.txt?thumb=100", "a%2Fb")
        ]
        assert statuses == [200, 400, 400, 400]
        gone = await call(server, "GET", "/api/sessions/nobody/files")
        assert gone.status == 404


async def _two_messages(server: MixServer) -> tuple[str, list[dict[str, Any]]]:
    server.script("one", Turn(Say("first")))
    server.script("two", Turn(Say("second")))
    session_id = server.create_session()
    for text in ("one", "two"):
        target = f"/api/sessions/{session_id}/messages"
        await call(server, "POST", target, {"text": text})
        await server.wait_for(MessageFinished, text=text)
    return session_id, server.stored(session_id)


async def test_a_fork_has_the_messages_up_to_the_index() -> None:
    async with MixServer("pipeline") as server:
        session_id, rows = await _two_messages(server)
        path = f"/api/sessions/{session_id}/fork"
        made = await call(server, "POST", path, {"messageIndex": 1})
        assert (made.status, made.json["title"]) == (201, "Forked Session")
        copied = server.stored(made.json["id"])
        assert [row["userInput"] for row in copied] == ["one", rows[1]["assistantResponse"]]
        assert copied[0]["id"] != rows[0]["id"]
        for index in (-1, 99, "0"):
            assert (await call(server, "POST", path, {"messageIndex": index})).status == 400
        assert (await call(server, "POST", path, {"title": "x"})).status == 400


@pytest.mark.parametrize("api", ["pipeline", "async"])
async def test_a_rewind_keeps_the_messages_up_to_the_named_one(api: Api) -> None:
    async with MixServer(api) as server:
        session_id, rows = await _two_messages(server)
        path = f"/api/sessions/{session_id}"
        await call(server, "POST", f"{path}/files/upload", BODY, MULTIPART)
        body = {"messageId": rows[1]["id"], "cleanupMedia": False}
        done = await call(server, "POST", f"{path}/rewind", body)
        assert (done.status, done.json["userMessageCount"]) == (200, 1)
        assert server.stored(session_id) == rows[:2]
        assert len((await call(server, "GET", f"{path}/files")).json) == 1
        await call(server, "POST", f"{path}/rewind", {"messageId": rows[0]["id"]})
        assert (await call(server, "GET", f"{path}/files")).json == []
        missing = await call(server, "POST", f"{path}/rewind", {"messageId": "nobody"})
        assert missing.status == 404
        assert (await call(server, "POST", f"{path}/rewind", {})).status == 400


async def test_callbacks_are_stored_with_the_session() -> None:
    async with MixServer("async") as server:
        path = f"/api/sessions/{server.create_session()}"
        done = await call(server, "PATCH", f"{path}/callbacks", {"callbacks": [CALLBACK]})
        assert (done.status, done.json["callbacks"]) == (200, [CALLBACK])
        assert (await call(server, "GET", path)).json["callbacks"] == [CALLBACK]
        assert (await call(server, "PATCH", f"{path}/callbacks", {})).status == 400
        bad = {"callbacks": [{"toolName": "Bash", "type": "magic"}]}
        assert (await call(server, "PATCH", f"{path}/callbacks", bad)).status == 400
