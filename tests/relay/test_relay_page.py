"""The page over HTTP: its files, the cookie, and what pages of other origins cannot do with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.relay_running import open_relay
from tests.support.wire_client import call
from trio_mix.relay._grants import VERBS, Auth, new_token
from trio_mix.relay._page import Page
from trio_mix.testing import AskPermission, MixServer, Turn

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN = {"Host": "mix.test:8090", "Origin": "http://mix.test:8090"}
JSON = {"Content-Type": "application/json"}


async def test_every_file_has_its_type_and_the_headers_that_confine_it() -> None:
    types = {"html": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg"}
    async with MixServer("async") as server, open_relay(server, page=True) as relay:
        names = Page(None).names
        assert {"index.html", "main.js", "style.css"} <= set(names)
        for name in ["", *names]:
            got = await call(relay, "GET", f"/relay/page/{name}")
            assert got.status == 200, name
            kind = types[(name or "index.html").rpartition(".")[2]]
            assert got.headers["content-type"].startswith(kind)
            assert got.headers["x-content-type-options"] == "nosniff"
            assert got.headers["x-frame-options"] == "DENY"
            policy = got.headers["content-security-policy"]
            for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
                assert rule in policy
            assert "unsafe" not in policy
            again = await call(
                relay, "GET", f"/relay/page/{name}", headers={"If-None-Match": got.headers["etag"]}
            )
            assert (again.status, again.body) == (304, b"")
        for wrong in ("nothing.js", "..%2f_page.py", "_page.py", "index.html/x", "__init__.py"):
            got = await call(relay, "GET", f"/relay/page/{wrong}")
            assert got.status in (400, 404), wrong
        start = await call(relay, "GET", "/", headers={"Accept": "text/html"})
        assert (start.status, start.headers["location"]) == (307, "/relay/page/")


def test_no_file_has_an_inline_script_or_style_or_makes_html_of_a_text() -> None:
    page = Page(None)
    for name in page.names:
        text = page._files[name][0].decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )
        assert re.findall(r"https?://[^\s\"']*", text) in ([], ["http://www.w3.org/2000/svg"]), name
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=", text)


async def test_without_the_option_there_is_no_page() -> None:
    async with MixServer("async") as server, open_relay(server) as relay:
        assert (await call(relay, "GET", "/relay/page/")).status == 404
        assert (await call(relay, "POST", "/relay/page/cookie", b"{}", JSON)).status == 404


@pytest.fixture
def token(tmp_path: Path) -> str:
    return new_token(tmp_path / "tokens.toml", sessions=None, verbs=VERBS, subject="ada")


async def test_a_token_becomes_a_cookie_of_this_relay_that_no_script_can_read(
    token: str, tmp_path: Path
) -> None:
    auth = Auth.tokens(tmp_path / "tokens.toml")
    async with MixServer("async") as server, open_relay(server, page=True, auth=auth) as relay:
        body = f'{{"token": "{token}"}}'.encode()
        got = await call(relay, "POST", "/relay/page/cookie", body, {**ORIGIN, **JSON})
        assert got.status == 204
        cookie = got.headers["set-cookie"]
        assert cookie.startswith(f"mix_relay_8090={token}; ")
        assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
        with_cookie = {**ORIGIN, "Cookie": cookie.partition(";")[0]}
        assert (await call(relay, "GET", "/api/sessions", headers=with_cookie)).status == 200
        elsewhere = {"Host": "mix.test:9000", "Cookie": cookie.partition(";")[0]}
        assert (await call(relay, "GET", "/api/sessions", headers=elsewhere)).status == 401

        out = await call(relay, "DELETE", "/relay/page/cookie", headers=with_cookie)
        assert out.status == 204
        assert out.headers["set-cookie"].startswith("mix_relay_8090=; ")
        assert out.headers["set-cookie"].endswith("; Max-Age=0")
        https = {**ORIGIN, **JSON, "Origin": "https://mix.test:8090"}
        secure = await call(relay, "POST", "/relay/page/cookie", body, https)
        assert secure.headers["set-cookie"].endswith("; Secure")
        deep = b'{"x": ' + b"[" * 8000
        for wrong, status in (
            (b'{"token": "no"}', 401),
            (b"{}", 400),
            (deep, 400),
            (b"[" * 9000, 413),
        ):
            refused = await call(relay, "POST", "/relay/page/cookie", wrong, {**ORIGIN, **JSON})
            assert refused.status == status
            assert "set-cookie" not in refused.headers


async def test_a_cookie_does_nothing_for_a_page_of_another_origin(
    token: str, tmp_path: Path
) -> None:
    auth = Auth.tokens(tmp_path / "tokens.toml")
    async with MixServer("async") as server, open_relay(server, page=True, auth=auth) as relay:
        session_id = server.create_session()
        cookie = {"Host": "mix.test:8090", "Cookie": f"mix_relay_8090={token}"}
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}
        path = f"/api/sessions/{session_id}/cancel"
        origins: tuple[dict[str, str], ...] = (
            {"Origin": "http://mix.test:3000"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "same-site"},
            {},  # every browser names the origin
        )
        for origin in origins:
            for method, target, more in (
                ("POST", path, JSON),
                ("DELETE", f"/api/sessions/{session_id}", {}),
                ("POST", "/relay/page/cookie", JSON),
                ("DELETE", "/relay/page/cookie", {}),
                ("GET", "/relay/ws", upgrade),
                ("GET", f"/api/v1/tunnel/cdp/session/{session_id}", upgrade),
            ):
                body = b"{}" if method == "POST" else b""
                got = await call(relay, method, target, body, {**cookie, **origin, **more})
                assert got.status == 403, (origin, method, target)
        own = {**cookie, **ORIGIN, **JSON}
        assert (await call(relay, "POST", path, b"{}", own)).status == 200
        assert not server.requests("DELETE", f"/api/sessions/{session_id}")


async def test_a_file_of_the_agent_runs_no_script_in_the_page_s_origin() -> None:
    async with MixServer("async") as server, open_relay(server, page=True) as relay:
        session_id = server.create_session()
        async with relay.client() as mix:
            page = b"<script>alert(1)</script>"
            await mix.files.upload(id=session_id, file=page, filename="evil.html")
        got = await call(relay, "GET", f"/api/sessions/{session_id}/files/evil.html")
        assert got.status == 200
        assert got.headers["content-security-policy"] == "sandbox"
        assert got.headers["x-content-type-options"] == "nosniff"


async def test_the_activity_shows_sessions_that_work_and_those_that_ask(
    token: str, tmp_path: Path
) -> None:
    path = tmp_path / "tokens.toml"
    auth = Auth.tokens(path)
    async with MixServer("async") as server, open_relay(server, page=True, auth=auth) as relay:
        session_id = server.create_session()
        server.script("go", Turn(AskPermission("bash")))
        other = new_token(path, sessions=["another"], verbs=["read"])
        owner = {"Authorization": f"Bearer {token}"}
        sent = await call(
            relay,
            "POST",
            f"/api/sessions/{session_id}/messages",
            b'{"text": "go"}',
            {**owner, **JSON},
        )
        async with relay.relay._hub.session(session_id) as feed:
            while not feed.open_requests(10**18):
                await feed.wait(feed.newest)
        got = (await call(relay, "GET", "/relay/sessions", headers=owner)).json["sessions"]
        assert got == [
            {"sessionId": session_id, "turn": sent.json["turnId"], "queued": 0, "requests": 1}
        ]
        other_headers = {"Authorization": f"Bearer {other}"}
        hidden = await call(relay, "GET", "/relay/sessions", headers=other_headers)
        assert hidden.json == {"sessions": []}
        assert (await call(relay, "GET", "/relay/sessions")).status == 401
