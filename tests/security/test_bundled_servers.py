"""Attacks on the bundled servers (`MixServer`, `record`, `replay`) over real sockets."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import traceback
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs
import pytest
import trio

from tests.support.raw_server import Peer, serve
from tests.support.wire_client import Wire, connect
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium
from trio_mix.testing import (
    FaultProxy,
    MixServer,
    Recorder,
    Replay,
    RequestReceived,
    TunnelOpened,
    record,
    replay,
)
from trio_mix.testing.net._guard import RequestGuard
from trio_mix.testing.recording import _exchange_recorder, _recorder, _replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.wire_client import Reply
    from trio_mix.testing import Api

Bundled = MixServer | Recorder | Replay
NEW = b'{"title": "planted", "browserMode": "local-browser-service"}'
SIMPLE = {"Content-Type": "text/plain"}  # what a page may send without asking first


async def request(
    server: Bundled,
    host: str,
    *,
    method: str = "GET",
    target: str = "/health",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    async with await connect(server) as stream:
        wire = Wire(stream)
        await wire.send(method, target, body, {"Host": host, **(headers or {})})
        return await wire.reply()


def authority(server: Bundled) -> str:
    return urlsplit(server.url).netloc


def port(server: Bundled) -> int | None:
    return urlsplit(server.url).port


@attrs.frozen
class Scene:
    """The real server, and the three bundled servers that an attacker may reach."""

    real: MixServer
    exposed: tuple[Bundled, ...]


@asynccontextmanager
async def open_scene(folder: Path, **options: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(MixServer())
        async with record(real, folder / "first.jsonl") as recorder:
            await request(recorder, authority(recorder))
        seen = len(real.requests())
        server = await stack.enter_async_context(MixServer(**options))
        again = await stack.enter_async_context(record(real, folder / "more.jsonl", **options))
        replayed = await stack.enter_async_context(replay(folder / "first.jsonl", **options))
        assert seen == 1
        yield Scene(real, (server, again, replayed))


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


async def test_the_log_is_bounded_in_bytes() -> None:
    async with MixServer(log_bytes=1_000_000) as server:
        for number in range(40):
            body = b'{"title": "%d%s"}' % (number, b"x" * 100_000)
            reply = await request(
                server, authority(server), method="POST", target="/api/sessions", body=body
            )
            assert reply.status == 400
        kept = [entry for entry in server.log if isinstance(entry, RequestReceived)]
        assert sum(len(entry.body) for entry in kept) <= 1_000_000
        assert kept
        assert kept[-1].body.startswith(b'{"title": "39')


async def test_a_body_without_end_is_answered_and_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recorder, "MAX_BODY", 100_000)
    monkeypatch.setattr(_replay, "MAX_BODY", 100_000)
    async with open_scene(tmp_path) as scene, MixServer(max_upload=100_000) as small:
        for server in (small, *scene.exposed[1:]):
            sent = 0
            async with await connect(server) as stream:
                head = f"POST /api/sessions HTTP/1.1\r\nHost: {authority(server)}\r\n"
                await stream.send_all(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
                    while sent < 500_000_000:
                        await stream.send_all(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                        sent += 65536
            assert sent < 100_000_000, type(server)
        assert len(scene.real.requests()) == 1


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_body_that_is_nested_too_deep_is_refused_and_breaks_no_server(api: Api) -> None:
    body = b"[" * 200_000
    async with MixServer(api) as server:
        session = server.create_session()
        for path in ("sessions", f"sessions/{session}/messages", f"stream/{session}/message"):
            async with await connect(server) as stream:
                head = (
                    f"POST /api/{path} HTTP/1.1\r\nHost: {authority(server)}\r\n"
                    f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await stream.send_all(head.encode() + body)
                answer = b"".join([bytes(data) async for data in stream])
            assert answer.startswith(b"HTTP/1.1 4"), (path, answer)


async def test_a_body_over_the_limit_is_not_forwarded_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recorder, "MAX_BODY", 1000)
    async with open_scene(tmp_path) as scene:
        recorder = scene.exposed[1]
        reply = await request(
            recorder, authority(recorder), method="POST", target="/api/sessions", body=b"x" * 2000
        )
        assert reply.status == 413
        assert len(scene.real.requests()) == 1


async def test_what_a_recorder_holds_back_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange_recorder, "MAX_HELD", 100_000)
    size = 3_000_000
    secret = "sk-" + "s" * 40

    async def flood(peer: Peer) -> None:
        if await peer.request() is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
            await peer.send(head.encode() + (secret + "x").encode())
            for _ in range(size // 1000 - 1):
                await peer.send(b"y" * 1000)
            await peer.send(b"z" * (size - (size // 1000 - 1) * 1000 - len(secret) - 1))

    async with trio.open_nursery() as nursery:
        upstream = await serve(nursery, flood)
        async with record(upstream.url, tmp_path / "r.jsonl") as recorder:
            reply = await request(recorder, authority(recorder))
        nursery.cancel_scope.cancel()
    assert len(reply.body) == size
    text = (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert secret not in text
    (exchange,) = replay(tmp_path / "r.jsonl").recording.exchanges
    assert exchange.end == "cut"


async def test_a_recording_is_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with MixServer() as real:
        session_id = real.create_session("t" * 10_000)
        async with record(real, path, max_size=100_000) as recorder:
            for _ in range(30):
                target = f"/api/sessions/{session_id}"
                assert (await request(recorder, authority(recorder), target=target)).status == 200
            assert recorder.full
    assert 50_000 < path.stat().st_size <= 100_000
    assert 3 < len(replay(path).recording.exchanges) < 15  # what was recorded can be read


async def test_what_a_replay_reports_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_replay, "MAX_UNEXPECTED", 10)
    async with open_scene(tmp_path) as scene:
        server = scene.exposed[2]
        assert isinstance(server, Replay)
        for number in range(15):
            reply = await request(
                server,
                authority(server),
                method="POST",
                target="/health",
                body=b"%d" % number + b"x" * 10_000,
            )
            assert reply.status == 410
            assert len(reply.body) < 2_000
        assert len(server.unexpected) == 10


# -- Files --------------------------------------------------------------------------------------


async def test_a_recording_is_private_when_it_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old")
    path.chmod(0o644)
    async with MixServer() as real:
        with path.open() as other:  # another user, who had the old file open
            async with record(real, path) as recorder:
                await request(recorder, authority(recorder))
            assert other.read() == "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1


async def test_a_recording_follows_a_link_and_is_private(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "r.jsonl"
    target.write_text("old")
    target.chmod(0o666)
    path.symlink_to(target)
    async with MixServer() as real, record(real, path) as recorder:
        await request(recorder, authority(recorder))
    assert path.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "trio_mix_recording" in target.read_text()


async def test_a_device_is_written_and_not_replaced() -> None:
    before = os.stat("/dev/null")
    async with MixServer() as real, record(real, "/dev/null") as recorder:
        await request(recorder, authority(recorder))
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


# -- Secrets in addresses -----------------------------------------------------------------------


async def test_secrets_of_a_query_are_in_no_file_and_no_timeline(tmp_path: Path) -> None:
    queries = (
        "token=sesame-1",
        "token='sesame-1'",
        "token=first;sesame-1",
        "%74oken=sesame-1",
        "api_key=sesame-1",
        "a=1&access_token=sesame-1&b=2",
        "Token=sesame-1",
        "x=token=sesame-1",
        *("key=sesame-1", "auth=sesame-1", "jwt=sesame-1", "pwd=sesame-1", "pass=sesame-1"),
        *("sig=sesame-1", "X-Amz-Signature=sesame-1", "bearer=sesame-1"),
    )
    path = tmp_path / "r.jsonl"
    async with MixServer() as real, record(real, path) as recorder:
        for query in queries:
            await request(recorder, authority(recorder), target=f"/health?{query}")
        assert len(real.requests()) == len(queries)  # the real server receives them unchanged
        for query, entry in zip(queries, real.requests(), strict=True):
            assert "sesame-1" in str(dict(entry.query)), query
            assert "sesame" not in repr(entry), query
        assert "sesame" not in real.timeline
    assert "sesame" not in path.read_text(encoding="utf-8")


def test_errors_do_not_show_the_password_of_a_url(tmp_path: Path) -> None:
    urls = (
        "ftp://me:sesame@host",
        "http://host:sesame",
        "http://[sesame",
        "https://me:sesame@host",
    )
    for url in urls:
        with pytest.raises(ValueError, match="needs") as failed:
            FaultProxy(url)
        assert "sesame" not in "".join(traceback.format_exception_only(failed.value)), url
        assert failed.value.__cause__ is failed.value.__context__ is None
    for url in (*urls, "http://me:se@sesame:x@host:80", "http://host/?token=sesame"):
        with pytest.raises(ValueError, match="record") as failed:
            record(url, tmp_path / "r.jsonl")
        assert "sesame" not in "".join(traceback.format_exception_only(failed.value)), url
        assert failed.value.__cause__ is failed.value.__context__ is None
