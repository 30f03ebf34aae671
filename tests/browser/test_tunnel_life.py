"""A tunnel that is connected: losses, closing, TLS."""

from __future__ import annotations

import ssl
import traceback
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.cancelling import outcome
from tests.support.devtools_kit import POLICY, QUICK, TOKEN, open_bench
from trio_mix import Mix, ReconnectPolicy, StreamState
from trio_mix.browser import TunnelRefused, open_tunnel
from trio_mix.errors import (
    ConnectionFailed,
    ReconnectFailed,
    SessionNotFound,
    StreamClosed,
    UsageError,
)
from trio_mix.testing import MixServer, TunnelClosed, TunnelOpened, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from tests.support.devtools_kit import Bench


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

    for each in (enter, enter_at_localhost):
        found = Counter([await outcome(each, number) for number in range(0, 120, 3)])
        assert set(found) <= {"Cancelled", "nothing"}, found
        assert found["Cancelled"] >= 3
