"""Attacks on the bundled servers (`MixServer`, `record`, `replay`) over real sockets."""

from __future__ import annotations

import json
import tempfile
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.bundled_servers import authority, open_scene, port, request
from tests.support.raw_server import Peer, serve
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium
from trio_mix.testing import (
    MixServer,
    TunnelOpened,
)
from trio_mix.testing.net._guard import RequestGuard

if TYPE_CHECKING:
    from pathlib import Path


NEW = b'{"title": "planted", "browserMode": "local-browser-service"}'
SIMPLE = {"Content-Type": "text/plain"}  # what a page may send without asking first


# -- Host and Origin ----------------------------------------------------------------------------


async def test_a_rebound_name_reaches_no_server(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        for server in scene.exposed:
            for host in (
                f"evil.example:{port(server)}",
                "evil.example",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "evil.example@127.0.0.1",
                "[::1].evil.example",
                f"0.0.0.0:{port(server)}",  # reaches loopback, and browsers do not know it
                f"[::]:{port(server)}",
                "192.0.2.7",
                "",
            ):
                reply = await request(server, host)
                assert reply.status == 403, (type(server), host)
                assert b"Host" in reply.body
                assert reply.headers["connection"] == "close"
        assert len(scene.real.requests()) == 1


async def test_a_page_of_another_origin_reaches_no_server(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        for server in scene.exposed:
            attacks: list[tuple[str, str, bytes | None, dict[str, str]]] = [
                ("POST", "/api/sessions", NEW, {"Origin": "http://evil.example", **SIMPLE}),
                ("POST", "/api/sessions", NEW, {"Origin": "null", **SIMPLE}),
                # Another port of the same machine is another origin.
                ("POST", "/api/sessions", NEW, {"Origin": "http://localhost:1", **SIMPLE}),
                ("POST", "/api/sessions", NEW, {"Origin": f"https://{authority(server)}"}),
                ("OPTIONS", "/api/sessions", None, {"Origin": "http://evil.example"}),
                # An image, a script, a link: no Origin, but the browser says where it is from.
                ("GET", "/api/sessions", None, {"Sec-Fetch-Site": "cross-site"}),
                ("GET", "/api/sessions", None, {"Sec-Fetch-Site": "same-site"}),
                ("GET", "/stream?sessionId=s", None, {"Origin": "http://evil.example"}),
                # An old browser, or one that does not take the address for loopback.
                ("GET", "/api/sessions", None, {"User-Agent": "Mozilla/5.0 (X11) Safari/605"}),
            ]
            for method, target, body, headers in attacks:
                reply = await request(
                    server,
                    authority(server),
                    method=method,
                    target=target,
                    headers=headers,
                    body=body,
                )
                assert reply.status == 403, (type(server), method, target, headers)
                assert b"origin" in reply.body
                assert "access-control-allow-origin" not in reply.headers
        assert len(scene.real.requests()) == 1
        assert scene.exposed[0].log[-1].status == 403  # type: ignore[union-attr]
    recorded = (tmp_path / "more.jsonl").read_text(encoding="utf-8")
    assert "planted" not in recorded


async def test_a_websocket_of_another_origin_opens_no_tunnel() -> None:
    async with MixServer() as server:
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        upgrade |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        reply = await request(
            server,
            authority(server),
            target=f"/api/v1/tunnel/cdp/session/{server.create_session()}?token=x",
            headers={**upgrade, "Origin": "http://evil.example"},
        )
        assert reply.status == 403
        assert not [entry for entry in server.log if isinstance(entry, TunnelOpened)]


async def test_programs_and_the_servers_own_pages_are_served(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        server, recorder, _ = scene.exposed
        for each in (server, recorder):
            own = authority(each)
            for host, headers in (
                (own, {}),
                (f"localhost:{port(each)}", {}),
                (f"LOCALHOST.:{port(each)}", {}),
                ("app.localhost", {}),
                ("[::1]:9000", {}),  # a forwarded port
                ("127.0.0.2", {}),
                (own, {"User-Agent": "curl/8.5.0"}),
                (own, {"User-Agent": "Mozilla/5.0 WindowsPowerShell/5.1"}),
                (own, {"Origin": f"http://{own}"}),
                (own, {"Sec-Fetch-Site": "same-origin"}),
                (own, {"Sec-Fetch-Site": "none"}),  # typed by the user
            ):
                reply = await request(each, host, headers=headers)
                assert reply.status == 200, (type(each), host, headers)


async def test_hosts_and_origins_can_be_allowed(tmp_path: Path) -> None:
    allowed: dict[str, Any] = {
        "allowed_hosts": ["mix.lan"],
        "allowed_origins": ["http://localhost:5173"],
    }
    async with open_scene(tmp_path, **allowed) as scene:
        server, recorder, _ = scene.exposed
        for each in (server, recorder):
            assert (await request(each, "mix.lan:80")).status == 200
            assert (await request(each, "other.lan")).status == 403
            for origin, status in (("http://localhost:5173", 200), ("http://localhost:5174", 403)):
                headers = {"Origin": origin, "Sec-Fetch-Site": "same-site"}
                reply = await request(each, authority(each), headers=headers)
                assert reply.status == status, (type(each), origin)


def test_a_server_on_the_network_has_its_addresses_and_its_name() -> None:
    guard = RequestGuard("devbox.lan", [], [])
    for host in (
        "devbox.lan:8088",
        "192.0.2.7:8088",
        "[2001:db8::1]:8088",
        "localhost",
        "127.0.0.1",
    ):
        assert guard.refusal({"host": host}) is None, host
    for host in ("evil.example", "0.0.0.0:8088", "[::]", "devbox.lan.evil.example"):
        assert guard.refusal({"host": host}) is not None, host


PAGE = """<!doctype html><title>evil</title><script>
const bases = %s;
const report = [];
const wait = promise => Promise.race([promise, new Promise(done => setTimeout(done, 1500, "-"))]);
const attempt = async (name, promise) => {
  let outcome;
  try { outcome = await wait(promise); } catch (error) { outcome = "refused"; }
  report.push(name + ": " + outcome);
};
addEventListener("load", async () => {
  for (const [name, base] of Object.entries(bases)) {
    const body = JSON.stringify({title: "planted", browserMode: "local-browser-service"});
    await attempt(name + " post", fetch(base + "/api/sessions",
      {method: "POST", mode: "no-cors", headers: {"Content-Type": "text/plain"}, body}));
    await attempt(name + " read", fetch(base + "/api/sessions").then(reply => reply.text()));
    await attempt(name + " json", fetch(base + "/api/sessions",
      {method: "POST", headers: {"Content-Type": "application/json"}, body}));
    const image = new Image(); image.src = base + "/api/sessions?image";
    const frame = document.createElement("iframe");
    frame.src = base + "/api/sessions?frame"; document.body.append(frame);
    const stream = new EventSource(base + "/stream?sessionId=session-1");
    const socket = new WebSocket(base.replace("http", "ws") +
      "/api/v1/tunnel/cdp/session/session-1?token=x");
    const form = document.createElement("form");
    form.method = "post"; form.enctype = "text/plain"; form.target = "sink";
    form.action = base + "/api/sessions"; document.body.append(form); form.submit();
    await attempt(name + " stream", new Promise(done => stream.onmessage = done));
    stream.close(); socket.close();
  }
  await fetch("/report", {method: "POST", body: report.join("\\n")});
});
</script><body><iframe name=sink></iframe></body>"""


async def test_a_real_browser_gets_nothing_through(tmp_path: Path) -> None:
    try:
        program = find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium")
    async with open_scene(tmp_path) as scene, trio.open_nursery() as nursery:
        scene.real.create_session()
        server, recorder, _ = scene.exposed
        assert isinstance(server, MixServer)
        server.create_session()
        bases = {
            "server": server.url,
            "recorder": recorder.url,
            "rebound server": f"http://evil.example:{port(server)}",
            "rebound recorder": f"http://evil.example:{port(recorder)}",
        }
        reported = trio.Event()
        reports: list[str] = []

        async def page(peer: Peer) -> None:
            asked = await peer.request()
            if asked is not None and asked.target == "/report":
                reports.append(asked.body.decode())
                await peer.send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                reported.set()
            elif asked is not None:
                text = (PAGE % json.dumps(bases)).encode()
                lines = ["HTTP/1.1 200 OK", "Content-Type: text/html", "Connection: close"]
                lines += [f"Content-Length: {len(text)}", "", ""]
                await peer.send("\r\n".join(lines).encode() + text)

        evil = await serve(nursery, page)
        # The browser's helpers may still write into the profile when it is removed.
        profiles = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with profiles as profile, trio.fail_after(90):
            options = ["--headless", "--no-sandbox", "--disable-gpu"]
            options += ["--host-resolver-rules=MAP *.example 127.0.0.1"]
            command = [program, *options, f"--user-data-dir={profile}"]
            command.append(f"http://page.example:{evil.port}/")
            async with trio.open_nursery() as browser:
                browser.start_soon(
                    partial(trio.run_process, command, capture_stdout=True, capture_stderr=True)
                )
                await reported.wait()
                browser.cancel_scope.cancel()
        report = reports[0]  # a browser may send a request again that got no answer
        assert "rebound recorder stream: -" in report  # the page ran to its end
        assert "planted" not in report
        assert "session-1" not in report
        assert len(scene.real.requests()) == 1, scene.real.timeline
        assert len(server._backend.live) == 1, server.timeline
        assert not [entry for entry in server.log if isinstance(entry, TunnelOpened)]
        nursery.cancel_scope.cancel()


# -- Bounds -------------------------------------------------------------------------------------
