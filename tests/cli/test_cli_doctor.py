"""``doctor`` against every kind of Mix server, and against other servers."""

from __future__ import annotations

import json
import ssl
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from trio_mix import Mix, RetryConfig
from trio_mix.cli._client import Connection
from trio_mix.cli._errors import FAILED, NO_SERVER, OK, REFUSED, USAGE
from trio_mix.cli.doctor._examination import doctor
from trio_mix.cli.doctor._probe import Probe
from trio_mix.testing import MixServer, RequestReceived, StreamOpened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.command_line import OpenTerminal, RunCommand
    from trio_mix.testing import Api


async def examine(
    capsys: pytest.CaptureFixture[str],
    server: str,
    *,
    session: str | None = None,
    wait: float = 10.0,
    listen: float = 0.0,
) -> tuple[int, dict[str, dict[str, object]], dict[str, object]]:
    """Return the exit code, the findings by their names, and the whole report."""
    with trio.fail_after(30):
        code = await doctor(Connection(url=server), session, json=True, wait=wait, listen=listen)
    report = json.loads(capsys.readouterr().out)
    return code, {each["check"]: each for each in report["findings"]}, report


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_each_generation_is_recognised_without_problems(
    capsys: pytest.CaptureFixture[str], api: Api
) -> None:
    async with MixServer(api) as server:
        code, found, report = await examine(capsys, server.url)
        assert server.runs() == 0
        async with Mix(server.url) as mix:
            assert await mix.sessions.list() == []
    assert (code, report["sound"], report["generation"]) == (OK, True, api)
    assert report["version"] == server.version
    assert found["ids"]["measured"] == {"ids": ["2", "3"], "restart": True}
    assert found["replay"]["measured"] == {"replays": False}
    assert found["retry"]["measured"] == {"seconds": 30}
    assert found["heartbeat"]["verdict"] == "unknown"
    assert found["unknown-session"]["verdict"] == "note"


async def test_a_pipeline_server_without_session_events_is_measured_with_a_slash_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for version in ("0.6.4", "0.6.9"):
        async with MixServer("pipeline", version=version) as server:
            code, found, report = await examine(capsys, server.url)
        assert (code, report["generation"]) == (OK, "pipeline")
        assert found["ids"]["measured"] == {"ids": ["2", "3"], "restart": True}
        assert found["replay"]["measured"] == {"replays": False}


async def test_a_replay_differs_from_equal_events_that_are_new(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer("pipeline", version="0.6.4", replay=True) as server:
        _, found, _ = await examine(capsys, server.url)
    assert found["replay"]["measured"] == {"replays": True}
    assert found["ids"]["verdict"] == "ok"


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_server_that_follows_the_specification_is_ok(
    capsys: pytest.CaptureFixture[str], api: Api
) -> None:
    for connected_id in (True, False):
        server = MixServer(
            api, replay=True, connected_id=connected_id, cancel_answer="spec", unknown_session="404"
        )
        async with server:
            code, found, _ = await examine(capsys, server.url)
        assert code == OK
        for check in ("ids", "replay", "unknown-session", "cancel"):
            assert found[check]["verdict"] == "ok", found[check]


async def test_the_oldest_servers_are_measured_in_an_existing_session(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer("pipeline-oldest") as server:
        code, found, report = await examine(capsys, server.url)
        assert (code, report["generation"]) == (OK, "pipeline-oldest")
        assert found["json-rpc"]["measured"] == {"sessions": 0}
        assert "--session" in str(found["session"]["then"])
        session = server.create_session()
        code, found, _ = await examine(capsys, server.url, session=session)
        assert code == OK
        assert found["ids"]["found"] == "events have no id"
        assert found["retry"]["measured"] == {"seconds": None}
        assert found["replay"]["verdict"] == "note"
        assert server.stored(session) == []


async def test_an_oldest_server_without_json_rpc_cannot_recover_messages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer("pipeline-oldest", jsonrpc=False) as server:
        code, found, _ = await examine(capsys, server.url)
        assert (code, found["json-rpc"]["verdict"]) == (OK, "note")
        assert "lost ends with an error" in str(found["json-rpc"]["then"])


async def test_heartbeats_are_measured_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    async with MixServer(heartbeat_interval=0.05) as server:
        _, found, _ = await examine(capsys, server.url, listen=1.0)
    assert found["heartbeat"]["verdict"] == "ok"


async def test_a_server_without_a_key_is_bad_and_the_remedy_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer(provider_key=False) as server:
        code, found, _ = await examine(capsys, server.url)
    assert code == REFUSED
    assert found["credentials"]["verdict"] == "bad"
    assert "trio-mix auth set" in str(found["credentials"]["then"])
    assert found["replay"]["verdict"] == "note"


async def test_the_session_is_deleted_also_if_the_stream_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer() as server:
        server.answer_next("/stream", 500, times=100)
        code, found, _ = await examine(capsys, server.url)
        assert code == FAILED
        assert found["stream"]["verdict"] == "bad"
        async with Mix(server.url) as mix:
            assert await mix.sessions.list() == []


async def test_without_a_session_nothing_more_is_requested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer() as server:
        server.answer_next("/api/sessions", 403)
        code, found, _ = await examine(capsys, server.url)
        streams = [each for each in server.log if isinstance(each, RequestReceived)]
    assert code == REFUSED
    assert "generation" not in found
    assert not any(each.path == "/stream" for each in streams)


@asynccontextmanager
async def answering(
    response: bytes | None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve the same bytes to every client that sends something; None: no byte."""

    async def handler(stream: trio.SocketStream) -> None:
        try:
            await stream.receive_some(65536)
            if response is None:
                await trio.sleep_forever()
            else:
                await stream.send_all(response)
        except trio.BrokenResourceError:
            pass

    async def over_tls(stream: trio.SocketStream) -> None:
        assert tls is not None
        secure = trio.SSLStream(stream, tls, server_side=True)
        with pytest.raises(trio.BrokenResourceError):  # the client does not trust it
            await secure.do_handshake()

    async with trio.open_nursery() as nursery:
        listeners: list[trio.SocketListener] = await nursery.start(
            partial(trio.serve_tcp, over_tls if tls else handler, 0, host="127.0.0.1")
        )
        port = listeners[0].socket.getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


def http(status: str, *headers: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


OTHERS = (
    (http("200 OK", "Content-Type: text/html", body="<h1>Hi</h1>"), NO_SERVER, "not a Mix server"),
    (http("200 OK", "Content-Type: application/json", body="{}"), NO_SERVER, "not a Mix server"),
    (http("404 Not Found", body="no"), NO_SERVER, "not a Mix server"),
    (http("502 Bad Gateway", body="upstream"), NO_SERVER, "502"),
    (
        http("401 Unauthorized", 'WWW-Authenticate: Basic realm="g"'),
        REFUSED,
        "requires a login",
    ),
    (http("403 Forbidden"), REFUSED, "403"),
    (b"SSH-2.0-OpenSSH_9\r\n", NO_SERVER, "does not speak HTTP"),
)


async def test_other_servers_are_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    for response, code, hint in OTHERS:
        async with answering(response) as url:
            ended, found, _ = await examine(capsys, url)
        assert ended == code
        assert hint in str(found["server"]["found"])
        assert found["server"]["then"]


async def test_a_server_that_hangs_is_bad_after_the_wait_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with answering(None) as url:
        code, found, _ = await examine(capsys, url, wait=0.2)
    assert code == NO_SERVER
    assert "did not respond within 0.2 s" in str(found["server"]["found"])


async def test_an_untrusted_certificate_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with answering(b"", tls=context) as url:
        code, found, _ = await examine(capsys, url)
    assert code == NO_SERVER
    assert "TLS fails" in str(found["server"]["found"])
    assert "SSL_CERT_FILE" in str(found["server"]["then"])


async def test_a_refused_connection_and_an_invalid_address(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with MixServer() as server:
        url = server.url
    code, found, _ = await examine(capsys, url)
    assert code == NO_SERVER
    assert found["server"]["found"] == "the connection was refused: no server listens there"
    assert "trio-mix serve" in str(found["server"]["then"])
    code, found, _ = await examine(capsys, "localhost:1")
    assert code == USAGE
    assert found["server"]["verdict"] == "bad"


async def test_a_proxy_of_the_environment_is_named_and_blamed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run_command: RunCommand
) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    dead = f"http://user:pass-word@127.0.0.1:{port}"
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        url = "https://mix.test" if name == "HTTPS_PROXY" else "http://mix.test:8088"
        with monkeypatch.context() as patch:
            for other in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
                patch.delenv(other, raising=False)
                patch.delenv(other.lower(), raising=False)
            patch.setenv(name, dead)
            code, found, report = await examine(capsys, url)
            assert code == NO_SERVER
            shown = f"http://127.0.0.1:{port} ({name})"
            assert shown in str(found["proxy"]["found"])
            assert shown in str(found["server"]["found"])
            assert "NO_PROXY" in str(found["server"]["then"])
            assert "trio-mix serve" not in str(found["server"])
            ended = await run_command("sessions", "list", "--server", url)
            assert ended.code == NO_SERVER
            assert f"{shown}: the connection was refused" in ended.err
            assert "NO_PROXY" in ended.err
            assert "trio-mix serve" not in ended.err
            assert "pass-word" not in str(report) + ended.err


async def test_a_password_in_the_address_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async with MixServer() as server:
        url = server.url.replace("://", "://me:p4ssw0rd@")
        with trio.fail_after(30):
            assert await doctor(Connection(url=url), None, json=True, wait=10, listen=0) == OK
            assert await doctor(Connection(url=url), None, json=False, wait=10, listen=0) == OK
    shown = capsys.readouterr()
    assert "p4ssw0rd" not in shown.out + shown.err


async def test_the_command_writes_one_line_for_each_finding_and_the_result(
    run_command: RunCommand,
) -> None:
    async with MixServer() as server:
        done = await run_command("doctor", "--server-url", server.url)
    assert (done.code, done.err) == (0, "")
    assert done.lines[0] == f"doctor of {server.url}"
    words = [line.partition(": ")[0] for line in done.lines[1:]]
    assert set(words) <= {"ok", "note", "unknown", "result"}
    assert done.lines[-1].startswith("result: no problems")
    assert any(line.startswith("note: replay: ") and " -> " in line for line in done.lines)


@pytest.mark.parametrize("columns", [80, 50])
async def test_findings_fit_a_terminal_of_any_width(
    open_terminal: OpenTerminal, columns: int
) -> None:
    async with MixServer() as server:
        async with open_terminal("doctor", "--server", server.url, columns=columns) as terminal:
            await terminal.expect(f"doctor of {server.url}")
            await terminal.expect("✓ server")
            await terminal.expect("~ replay")
            await terminal.expect("→ an interrupted reply")
            await terminal.expect("no problems; ")
            assert await terminal.end() == 0


async def test_ctrl_c_deletes_the_session_of_the_doctor(open_terminal: OpenTerminal) -> None:
    async with MixServer() as server:
        args = ("doctor", "--heartbeat", "1000", "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect("unknown-session")
            await server.wait_for(StreamOpened, count=3)
            await terminal.type("\x03")
            assert await terminal.end() == 130
        async with Mix(server.url) as mix:
            assert await mix.sessions.list() == []


async def test_a_server_that_stops_keeps_the_findings_so_far(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MixServer() as server:

        async def gone(*_: object) -> None:
            await server.stop()
            async with Mix(server.url, retries=RetryConfig(strategy="none")) as mix:
                await mix.system.health_check()

        monkeypatch.setattr(Probe, "cancel", gone)
        code, found, _ = await examine(capsys, server.url)
    assert code == NO_SERVER
    assert found["examination"]["verdict"] == "bad"
    assert found["replay"]["verdict"] == "note"
    assert found["cleanup"]["verdict"] == "note"
