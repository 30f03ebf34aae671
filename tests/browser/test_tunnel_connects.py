"""How a tunnel connects: its handshake, refusals, and browsers that are missing."""

from __future__ import annotations

import json
import logging
import traceback
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.devtools_kit import POLICY, TOKEN, open_bench
from trio_mix import Mix
from trio_mix.browser import BrowserGone, TunnelRefused, open_tunnel
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    SessionNotFound,
)
from trio_mix.testing import TunnelOpened

if TYPE_CHECKING:
    from tests.support.devtools_kit import Bench


PATH = "/api/v1/tunnel/cdp/session/"


async def test_the_token_and_the_clients_headers_are_only_in_the_handshake(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_bench(headers=lambda: {"X-Key": "s3cret", "Host": "evil"}) as bench:
        async with bench.tunnel(ping_interval=0.01) as tunnel:
            await bench.end.command("X.y")
            (request,) = bench.server.requests("GET", PATH)
            assert request.query == {"token": TOKEN}
            assert request.headers["x-key"] == "s3cret"
            assert request.headers["host"] == bench.server.url.removeprefix("http://")
            assert request.headers["user-agent"].startswith("trio-mix/")
            seen = f"{tunnel!r} {tunnel.url} {tunnel.statistics()} {bench.server.timeline}"
            seen += repr(bench.server.log)
        assert [name for name, _ in bench.browser.handshakes[0] if name == b"x-key"] == []
    for secret in (TOKEN, "sesame", "s3cret"):
        assert secret not in seen
        assert secret not in caplog.text


async def test_a_balancers_cookie_is_sent_in_the_handshake(bench: Bench) -> None:
    sticky = {"Set-Cookie": "node=7; Path=/"}
    bench.server.answer_next("/api/sessions", 200, headers=sticky, body=b"[]")
    await bench.mix.sessions.list()
    async with bench.tunnel():
        (handshake,) = bench.server.requests("GET", "/api/v1/tunnel/cdp")
    assert handshake.headers["cookie"] == "node=7"


async def test_a_token_function_is_called_at_every_connect(bench: Bench) -> None:
    tokens = iter(["one", "two", "three"])

    async def token() -> str:
        await trio.lowlevel.checkpoint()
        return next(tokens)

    async with bench.tunnel(token=token) as tunnel:
        await bench.server.restart()
        await bench.server.wait_for(TunnelOpened, count=2)
        await tunnel.wait_connected()
    sent = [request.query["token"] for request in bench.server.requests("GET", PATH)]
    assert sent[0] == "one"
    assert sent[-1] in ("two", "three")


async def test_a_token_is_required(bench: Bench) -> None:
    for token in ("", None, 5):
        with pytest.raises(ConfigurationError, match="the token is"):
            bench.tunnel(token=token)
        with pytest.raises(ConfigurationError, match="the token is"):
            async with bench.tunnel(token=lambda token=token: token):
                pass


async def test_invalid_options_are_refused_by_name(bench: Bench) -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"connect_timeout": 0}, "connect_timeout=0"),
        ({"command_timeout": -1}, "command_timeout=-1"),
        ({"ping_interval": float("nan")}, "ping_interval=nan"),
        ({"max_answer_size": 10}, "max_answer_size=10"),
        ({"session": ""}, "session_id"),
        ({"cdp_url": "localhost:9222"}, "cdp_url"),
        ({"cdp_url": "ftp://localhost"}, "cdp_url"),
        ({"cdp_url": "ws://user:secret@"}, "cdp_url"),
    ]
    for options, expected in cases:
        with pytest.raises(ConfigurationError, match=expected) as caught:
            bench.tunnel(**options)
        assert "secret" not in str(caught.value)


async def test_a_refused_tunnel_is_not_retried(bench: Bench) -> None:
    cases = [(401, "Check the token"), (403, "Check the token"), (404, "0.7.4"), (400, "message")]
    for count, (status, expected) in enumerate(cases, 1):
        bench.server.answer_next(PATH, status, body=f"no: {TOKEN}".encode())
        with pytest.raises(TunnelRefused, match=expected) as caught:
            async with bench.tunnel():
                pass
        error = caught.value
        assert error.status_code == status
        assert error.session_id == bench.session
        assert f"HTTP {status}" in str(error)
        assert len(bench.server.requests("GET", PATH)) == count
        shown = "".join(traceback.format_exception(error)) + error.body + error.url
        assert TOKEN not in shown
        assert "no: ***" in shown


async def test_an_answer_without_an_upgrade_is_refused(bench: Bench) -> None:
    bench.server.answer_next(PATH, 200, body=b"<html>")
    with pytest.raises(TunnelRefused, match="does not speak WebSocket"):
        async with bench.tunnel():
            pass


async def test_an_unknown_session_is_session_not_found(bench: Bench) -> None:
    with pytest.raises(SessionNotFound, match="session not found: nobody") as caught:
        async with bench.tunnel(session="nobody"):
            pass
    assert caught.value.session_id == "nobody"


async def test_a_busy_server_is_retried(bench: Bench) -> None:
    headers = {"Retry-After": "0"}
    for status in (408, 425, 429, 500, 503):
        bench.server.answer_next(PATH, status, headers=headers, times=2)
        async with bench.tunnel() as tunnel:
            statistics = tunnel.statistics()
        assert (statistics.attempts, statistics.connects, statistics.losses) == (3, 1, 2)
        assert statistics.last_loss == f"HTTP {status}"


async def test_no_server_is_a_failed_connection() -> None:
    async with open_bench() as bench:
        await bench.server.stop()
        with pytest.raises(ConnectionFailed, match="open_tunnel") as caught:
            async with bench.tunnel(connect_timeout=0.2):
                pass
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


async def test_the_error_for_a_missing_browser_names_the_remedy(bench: Bench) -> None:
    for url in ("ws://127.0.0.1:9/devtools/browser/key", "http://127.0.0.1:9/key"):
        with pytest.raises(BrowserGone, match="launch_chromium") as caught:
            async with bench.tunnel(cdp_url=url):
                pass
        assert caught.value.browser.endswith("://127.0.0.1:9")
        assert "key" not in str(caught.value)


async def test_an_http_address_is_queried_for_the_websocket(bench: Bench) -> None:
    version = json.dumps({"webSocketDebuggerUrl": bench.browser.url}).encode()
    bench.server.answer_next("/json/version", 200, body=version)
    async with bench.tunnel(cdp_url=f"{bench.server.url}/"):
        assert "result" in await bench.end.command("X.y")


async def test_an_http_address_that_is_not_a_browsers_is_an_error(bench: Bench) -> None:
    for body in (b"", b"{}", b"[]", b"<html>", b'{"webSocketDebuggerUrl": "x"}'):
        bench.server.answer_next("/json/version", 200, body=body)
        with pytest.raises(BrowserGone, match="is not that of a browser's DevTools"):
            async with bench.tunnel(cdp_url=bench.server.url):
                pass


async def test_a_websocket_that_refuses_is_not_a_browser(bench: Bench) -> None:
    with pytest.raises(BrowserGone, match="answered HTTP 404"):
        async with bench.tunnel(cdp_url=f"ws{bench.server.url[4:]}/nothing"):
            pass


async def test_credentials_in_the_servers_url_are_sent_in_the_handshake(bench: Bench) -> None:
    url = bench.server.url.replace("://", "://me:pass%20word@")
    async with Mix(url) as mix:
        async with open_tunnel(
            mix, bench.session, token=TOKEN, cdp_url=bench.browser.url, policy=POLICY
        ) as tunnel:
            (request,) = bench.server.requests("GET", PATH)
            assert request.headers["authorization"] == "Basic bWU6cGFzcyB3b3Jk"
            assert "pass" not in f"{tunnel!r}{tunnel.url}"
