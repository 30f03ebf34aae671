"""Connects, refusals, losses, closing."""

from __future__ import annotations

import json
import logging
import ssl
import traceback
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.devtools_kit import POLICY, QUICK, TOKEN, open_bench
from trio_mix import Mix, ReconnectPolicy, StreamState
from trio_mix.browser import BrowserGone, TunnelRefused, open_tunnel
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    ReconnectFailed,
    SessionNotFound,
    StreamClosed,
    UsageError,
)
from trio_mix.testing import MixServer, TunnelClosed, TunnelOpened, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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


@pytest.mark.parametrize("how", ["cut", "reset"])
async def test_the_tunnel_reconnects_to_a_restarted_server_and_drops_its_old_commands(
    bench: Bench, how: str
) -> None:
    bench.browser.answers["Old.x"] = None
    async with bench.tunnel() as tunnel, trio.open_nursery() as nursery:

        async def ask_in_vain() -> None:
            with pytest.raises(trio.BrokenResourceError):
                await bench.end.command("Old.x", id=1, session_id="S")

        nursery.start_soon(ask_in_vain)
        await bench.browser.wait_asked(1)
        await bench.server.restart(how="reset" if how == "reset" else "cut")
        await bench.server.wait_for(TunnelOpened, count=2)
        await bench.browser.answer(0, {"result": {"old": True}})
        answer = await bench.end.command("New.x", id=1, session_id="S")
        assert answer == {"id": 1, "result": {"did": "New.x"}}
        statistics = tunnel.statistics()
        assert statistics.connects == 2
        assert statistics.dropped == 1
        assert statistics.losses >= 1
        assert len(bench.browser.handshakes) == 1


async def test_a_session_that_is_missing_after_a_restart_ends_the_tunnel(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        await bench.server.restart(keep_sessions=False)
        with pytest.raises(SessionNotFound):
            await tunnel.wait_closed()
        with pytest.raises(SessionNotFound):
            await tunnel.wait_closed()


async def test_a_server_that_stays_unreachable_ends_the_tunnel(bench: Bench) -> None:
    policy = ReconnectPolicy(initial_interval=0.01, max_interval=0.02, max_elapsed_time=0.1)
    async with bench.tunnel(reconnect=policy) as tunnel:
        await bench.server.stop()
        with pytest.raises(ReconnectFailed, match="max_elapsed_time=0.1") as caught:
            await tunnel.wait_closed()
    assert caught.value.attempts > 1
    assert isinstance(caught.value.__cause__, ConnectionFailed)


async def test_a_replaced_tunnel_reconnects_with_back_off(bench: Bench) -> None:
    policy = ReconnectPolicy(initial_interval=60, max_elapsed_time=3600)
    async with bench.tunnel(reconnect=policy) as first:
        async with bench.tunnel():
            await bench.server.wait_for(TunnelClosed)
            while first.state is StreamState.CONNECTED:
                await trio.lowlevel.checkpoint()
            assert "1008" in (first.statistics().last_loss or "")


async def test_leaving_closes_both_connections(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        pass
    assert tunnel.state is StreamState.CLOSED
    assert (await bench.server.wait_for(TunnelClosed)).reason == "client"
    await bench.browser.wait_alone()
    await bench.server.wait_until(lambda: not bench.server.browser_tunnels)
    with pytest.raises(StreamClosed, match="is closed: open a new one"):
        await tunnel.wait_closed()
    with pytest.raises(UsageError, match="once"):
        async with tunnel:
            pass


async def test_the_bodys_exception_is_raised_unchanged(bench: Bench) -> None:
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:
        async with bench.tunnel():
            raise error
    assert caught.value is error
    assert error.__context__ is None
    with pytest.raises(KeyError) as caught:
        async with bench.tunnel() as tunnel:
            await bench.server.stop()
            await bench.browser.sockets[0].aclose()
            while tunnel.state is not StreamState.CLOSED:
                await trio.lowlevel.checkpoint()
            raise error
    assert caught.value is error


async def test_an_outer_cancellation_remains_one(bench: Bench) -> None:
    with trio.CancelScope() as scope:
        async with bench.tunnel():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await bench.browser.wait_alone()


async def test_an_exception_of_a_callers_function_is_raised_unchanged() -> None:
    error = LookupError("no headers today")

    def headers() -> dict[str, str]:
        raise error

    async with open_bench(headers=headers) as bench:
        with pytest.raises(LookupError) as caught:
            async with bench.tunnel():
                pass
    assert caught.value is error


@pytest.mark.parametrize("listen", [True, False], ids=["sockets", "memory"])
async def test_nothing_is_left_after_a_cancellation_at_any_checkpoint(listen: bool) -> None:
    async with open_bench(listen=listen) as bench:

        async def use() -> None:
            async with bench.tunnel() as tunnel:
                assert "result" in await bench.end.command("X.y", session_id="S")
                await tunnel.log(message="hello")

        async def check() -> None:
            with trio.fail_after(5):
                await bench.browser.wait_alone()
                await bench.server.wait_until(lambda: not bench.server.browser_tunnels)

        with trio.fail_after(100):
            sweep = await cancel_at_every_checkpoint(use, check=check)
        assert sweep.checkpoints > 5


async def _serve_tls(
    server: MixServer,
    context: ssl.SSLContext,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Terminate TLS in front of a server in memory."""

    async def pump(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
        try:
            while data := await source.receive_some():
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await trio.aclose_forcefully(sink)

    async def serve(stream: trio.abc.Stream) -> None:
        inside = server.network.connect()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pump, stream, inside)
            nursery.start_soon(pump, inside, stream)

    listeners = await trio.open_ssl_over_tcp_listeners(0, context, host="127.0.0.1")
    inner = listeners[0].transport_listener
    assert isinstance(inner, trio.SocketListener)
    task_status.started(_port_of(inner))
    await trio.serve_listeners(serve, listeners)


async def test_the_tunnel_to_an_https_server_uses_tls(bench: Bench) -> None:
    authority = trustme.CA()
    there, here = (ssl.create_default_context(purpose) for purpose in _PURPOSES)
    authority.issue_cert("localhost").configure_cert(there)
    authority.configure_trust(here)
    async with MixServer(listen=False) as server, trio.open_nursery() as nursery:
        port = await nursery.start(_serve_tls, server, there)
        session = server.create_session()
        async with Mix(f"https://localhost:{port}/") as mix:
            for context, works in ((here, True), (None, False)):
                tunnel = open_tunnel(
                    mix,
                    session,
                    token=TOKEN,
                    cdp_url=bench.browser.url,
                    policy=POLICY,
                    reconnect=QUICK,
                    ssl_context=context,
                    connect_timeout=10 if works else 0.3,
                )
                assert tunnel.url.startswith(f"wss://localhost:{port}/")
                if works:
                    async with tunnel:
                        assert "result" in await server.browser_tunnels[session].command("X.y")
                else:
                    with pytest.raises(ConnectionFailed, match="certificate"):
                        await tunnel.__aenter__()
        nursery.cancel_scope.cancel()


_PURPOSES = (ssl.Purpose.CLIENT_AUTH, ssl.Purpose.SERVER_AUTH)


async def test_credentials_in_the_servers_url_are_sent_in_the_handshake(bench: Bench) -> None:
    url = bench.server.url.replace("://", "://me:pass%20word@")
    async with Mix(url) as mix:
        async with open_tunnel(
            mix, bench.session, token=TOKEN, cdp_url=bench.browser.url, policy=POLICY
        ) as tunnel:
            (request,) = bench.server.requests("GET", PATH)
            assert request.headers["authorization"] == "Basic bWU6cGFzcyB3b3Jk"
            assert "pass" not in f"{tunnel!r}{tunnel.url}"


async def test_a_server_that_does_not_speak_websocket_is_a_failure_and_not_a_hang(
    bench: Bench,
) -> None:
    answers = (b"", b"garbage\r\n\r\n", b"HTTP/1.1 503 Busy\r\n\r\nno length")

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        serve = await nursery.start(trio.serve_tcp, handle, 0)
        port = _port_of(serve[0])
        async with Mix(f"http://localhost:{port}") as mix:
            for answer in answers:
                with pytest.raises((ConnectionFailed, TunnelRefused)) as caught:
                    async with open_tunnel(
                        mix,
                        "s",
                        token=TOKEN,
                        cdp_url=bench.browser.url,
                        policy=POLICY,
                        reconnect=QUICK,
                        connect_timeout=0.2,
                    ):
                        pass
                assert TOKEN not in "".join(traceback.format_exception(caught.value))
                if b"503" in answer:
                    assert "HTTP 503" in str(caught.value)
        nursery.cancel_scope.cancel()


def _port_of(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


async def test_opening_that_is_cancelled_raises_one_cancelled(bench: Bench) -> None:
    """Also while it connects, to the browser or to the server."""

    async def enter() -> None:
        async with bench.tunnel():
            await trio.lowlevel.checkpoint()

    async def enter_at_localhost() -> None:
        url = bench.browser.url.replace("127.0.0.1", "localhost")
        async with bench.tunnel(cdp_url=url):
            await trio.lowlevel.checkpoint()

    async def raised_by(enter: Callable[[], Awaitable[None]], checkpoints: int) -> str:
        name = "nothing"

        async def run() -> None:
            nonlocal name
            try:
                await enter()
            except BaseException as exc:
                name = type(exc).__name__
                raise
            finally:
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            for _ in range(checkpoints):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        return name

    for each in (enter, enter_at_localhost):
        found = Counter([await raised_by(each, number) for number in range(0, 120, 3)])
        assert set(found) <= {"Cancelled", "nothing"}, found
        assert found["Cancelled"] >= 3
