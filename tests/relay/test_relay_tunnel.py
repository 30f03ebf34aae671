"""The browser tunnel's WebSocket through a relay."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import trio
from trio_websocket import open_websocket_url

from tests.support.wire_client import call
from trio_mix.relay import Relay, SqliteLog
from trio_mix.relay._grants import Auth, new_token
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.wire_client import Target

UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_the_tunnel_passes_through_with_manage_only(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    owner = new_token(tokens, sessions=None, verbs=["read", "manage"])
    reader = new_token(tokens, sessions=None, verbs=["read"])
    async with (
        MixServer("async") as server,
        Relay(server.url, log=SqliteLog(tmp_path / "relay.db"), auth=Auth.tokens(tokens)) as relay,
        trio.open_nursery() as nursery,
    ):
        url = await nursery.start(relay.serve, "127.0.0.1", 0)
        await relay.wait_ready()
        session_id = server.create_session()
        path = f"/api/v1/tunnel/cdp/session/{session_id}?token=browser"
        address = url.replace("http", "ws") + path
        for token, status in ((None, 401), (reader, 403)):
            headers = UPGRADE if token is None else {**UPGRADE, **bearer(token)}
            assert (await call(cast("Target", relay), "GET", path, None, headers)).status == status
        async with open_websocket_url(
            address, extra_headers=[(b"Authorization", f"Bearer {owner}".encode())]
        ) as websocket:
            with trio.fail_after(10):
                await server.wait_until(lambda: session_id in server.browser_tunnels)
                end = server.browser_tunnels[session_id]
                answers: list[dict[str, Any]] = []

                async def ask() -> None:
                    answers.append(await end.command("Browser.getVersion", None))

                async with trio.open_nursery() as asking:
                    asking.start_soon(ask)
                    command = json.loads(await websocket.get_message())
                    assert command["method"] == "Browser.getVersion"
                    large = {"a": "x" * 300_000}
                    answer = {"id": command["id"], "result": large}
                    await websocket.send_message(json.dumps(answer))
                assert answers[0]["result"] == large
        [opened] = server.requests("GET", "/api/v1/tunnel")
        assert dict(opened.query) == {"token": "browser"}
        assert owner not in repr(dict(opened.headers))
        nursery.cancel_scope.cancel()


async def test_a_page_of_another_origin_cannot_open_the_tunnel(tmp_path: Path) -> None:
    async with (
        MixServer("async") as server,
        Relay(server.url, log=SqliteLog(tmp_path / "relay.db")) as relay,
        trio.open_nursery() as nursery,
    ):
        url = await nursery.start(relay.serve, "127.0.0.1", 0)
        await relay.wait_ready()
        path = f"/api/v1/tunnel/cdp/session/{server.create_session()}?token=browser"
        for headers in (
            {"Origin": "https://evil.example"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            answer = await call(cast("Target", relay), "GET", path, None, {**UPGRADE, **headers})
            assert answer.status == 403, headers
        origin = [(b"Origin", url.encode())]
        async with open_websocket_url(url.replace("http", "ws") + path, extra_headers=origin):
            pass
        nursery.cancel_scope.cancel()
