"""Timeouts, in memory, on the autojump clock."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.devtools_kit import open_bench
from trio_mix import ReconnectPolicy, StreamState
from trio_mix.browser import BrowserGone
from trio_mix.errors import ReconnectFailed, RequestTimeout
from trio_mix.testing import TunnelClosed, TunnelMessage, TunnelOpened, memory_pipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from tests.support.devtools_kit import Bench
    from trio_mix.testing import BrowserTunnel


# The clock must be an argument of each test: pytest-trio does not find it in fixtures.
@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench(listen=False) as bench:
        yield bench


async def test_an_unanswered_command_is_an_error_before_the_server_times_out(
    bench: Bench, autojump_clock: MockClock
) -> None:
    bench.browser.answers["X.y"] = None
    async with bench.tunnel() as tunnel:
        await trio.sleep(10)
        start = trio.current_time()
        answer: Any = await bench.end.command("X.y", session_id="S", timeout=30)
        assert trio.current_time() - start == pytest.approx(28)
        assert "did not answer X.y within 28 s" in answer["error"]["message"]
        # A late answer of the browser is dropped.
        await bench.browser.answer(0, {"result": {}})
        await bench.end.command("X.z", session_id="S")
        statistics = tunnel.statistics()
        assert (statistics.timeouts, statistics.dropped, statistics.pending) == (1, 1, 0)
        assert not any(isinstance(record, TunnelMessage) for record in bench.server.log)


async def test_a_browser_that_never_answers_does_not_block_later_commands(
    bench: Bench, autojump_clock: MockClock
) -> None:
    bench.browser.answers["Browser.slow"] = None
    async with bench.tunnel(), trio.open_nursery() as nursery:
        start = trio.current_time()
        nursery.start_soon(bench.end.command, "Browser.slow")
        await bench.browser.wait_asked(1)
        await trio.sleep(20)
        # Without a session, and behind a method that is not known yet.
        answer = await bench.end.command("Browser.quick")
        assert answer["result"] == {"did": "Browser.quick"}
        assert trio.current_time() - start == pytest.approx(28)


async def test_pings_keep_an_idle_tunnel_open_for_hours(
    bench: Bench, autojump_clock: MockClock
) -> None:
    async with bench.tunnel() as tunnel:
        await trio.sleep(3 * 3600)
        assert tunnel.statistics().connects == 1
        assert "result" in await bench.end.command("X.y", session_id="S")


async def test_the_tunnel_reconnects_if_a_ping_is_not_answered(
    bench: Bench, autojump_clock: MockClock
) -> None:
    stuck: list[trio.abc.Stream] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        stream = await bench.connect(host, port)
        if host != "browser.test" and not stuck:
            stuck.append(Stuck(stream))
            return stuck[0]
        return stream

    async with bench.tunnel(connect=connect, ping_interval=30, ping_timeout=20) as tunnel:
        Stuck.deaf = True
        start = trio.current_time()
        await bench.server.wait_for(TunnelOpened, count=2)
        # The connection was stable, so the next one is made almost at once.
        assert trio.current_time() - start == pytest.approx(50, abs=0.2)
        await tunnel.wait_connected()
        assert tunnel.statistics().last_loss == "a ping was not answered for 20 s"


async def test_a_server_that_reads_nothing_loses_the_connection_at_a_bound(
    bench: Bench, autojump_clock: MockClock
) -> None:
    unread: list[Unread] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        stream = await bench.connect(host, port)
        if host != "browser.test" and not unread:
            unread.append(Unread(stream))
            return unread[0]
        return stream

    bench.browser.answers["X.y"] = {"result": {"a": "x" * 50_000}}
    options = {"max_answer_size": 100_000, "max_queue_size": 1_000_000}
    async with bench.tunnel(connect=connect, **options) as tunnel:
        unread[0].stopped = True
        async with trio.open_nursery() as nursery:
            for _ in range(60):
                nursery.start_soon(_ask, bench.end)
            await bench.server.wait_for(TunnelOpened, count=2)
            nursery.cancel_scope.cancel()
        assert "did not read the answers" in (tunnel.statistics().last_loss or "")
        await tunnel.wait_connected()
        assert "result" in await bench.end.command("X.y", session_id="S")


async def test_a_lost_browser_ends_the_tunnel_also_if_its_last_answers_exceed_the_bound(
    bench: Bench, autojump_clock: MockClock
) -> None:
    unread: list[Unread] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        stream = await bench.connect(host, port)
        if host != "browser.test" and not unread:
            unread.append(Unread(stream))
            return unread[0]
        return stream

    bench.browser.answers |= {"X.y": {"result": {"a": "x" * 2000}}, "X.z": None}
    async with trio.open_nursery() as nursery:
        with pytest.raises(BrowserGone):
            async with bench.tunnel(connect=connect, max_answer_size=2500, max_queue_size=2500):
                unread[0].stopped = True
                nursery.start_soon(_ask, bench.end)
                for _ in range(5):
                    nursery.start_soon(_ask, bench.end, "X.z")
                await bench.browser.wait_asked(6)
                await bench.browser.sockets[0].aclose()
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def test_an_answer_that_is_sent_while_the_bound_is_exceeded_is_no_error(
    bench: Bench, autojump_clock: MockClock
) -> None:
    unread: list[Unread] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        stream = await bench.connect(host, port)
        if host != "browser.test" and not unread:
            unread.append(Unread(stream, finish=True))
            return unread[0]
        return stream

    bench.browser.answers["X.y"] = {"result": {"a": "x" * 2000}}
    options = {"max_answer_size": 2500, "max_queue_size": 2500}
    async with bench.tunnel(connect=connect, **options) as tunnel, trio.open_nursery() as nursery:
        unread[0].stopped = True
        for _ in range(3):
            nursery.start_soon(_ask, bench.end)
        await bench.server.wait_for(TunnelOpened, count=2)
        nursery.cancel_scope.cancel()
        assert "did not read the answers" in (tunnel.statistics().last_loss or "")


async def _ask(end: BrowserTunnel, method: str = "X.y") -> None:
    with contextlib.suppress(Exception):
        await end.command(method, session_id="S")


class Unread(trio.abc.Stream):
    """A connection whose other end reads nothing once ``stopped`` is set.

    With ``finish``, the first send after that returns normally when the connection is closed.
    """

    def __init__(self, stream: trio.abc.Stream, *, finish: bool = False) -> None:
        self.stopped = False
        self._finish = finish
        self._closed = trio.Event()
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.stopped:
            finish, self._finish = self._finish, False
            with trio.CancelScope(shield=finish):
                await self._closed.wait()
            return
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        self._closed.set()
        await self._stream.aclose()


class Stuck(trio.abc.Stream):
    """A connection that stops delivering data once ``deaf`` is set."""

    deaf = False

    def __init__(self, stream: trio.abc.Stream) -> None:
        Stuck.deaf = False
        self._stream = stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        if not self.deaf:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        if self.deaf:
            await trio.sleep_forever()
        return bytes(data)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_a_server_that_never_answers_the_handshake_is_a_timeout(
    bench: Bench, autojump_clock: MockClock
) -> None:
    async def connect(host: str, port: int) -> trio.abc.Stream:
        if host == "browser.test":
            return await bench.connect(host, port)
        await trio.lowlevel.checkpoint()
        mine, theirs = memory_pipe()
        kept.append(theirs)
        return mine

    kept: list[trio.abc.Stream] = []
    start = trio.current_time()
    with pytest.raises(RequestTimeout, match="no answer within 10 s"):
        async with bench.tunnel(connect=connect):
            pass
    assert trio.current_time() - start == pytest.approx(10)


async def test_a_browser_that_never_answers_the_handshake_is_an_error(
    bench: Bench, autojump_clock: MockClock
) -> None:
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        mine, theirs = memory_pipe()
        kept.append(theirs)
        return mine

    kept: list[trio.abc.Stream] = []
    with pytest.raises(BrowserGone, match="no answer within 3 s"):
        async with bench.tunnel(connect=connect, connect_timeout=3):
            pass


async def test_a_browser_that_answers_no_command_is_an_error(
    bench: Bench, autojump_clock: MockClock
) -> None:
    bench.browser.answers["Target.createBrowserContext"] = None
    start = trio.current_time()
    with pytest.raises(BrowserGone, match="did not open a tab within 3 s"):
        async with bench.tunnel(connect_timeout=3):
            pass
    assert trio.current_time() - start == pytest.approx(3)


async def test_a_lost_server_is_retried_for_the_time_of_the_policy(
    bench: Bench, autojump_clock: MockClock
) -> None:
    policy = ReconnectPolicy(initial_interval=1, max_interval=8, max_elapsed_time=100)
    async with bench.tunnel(reconnect=policy) as tunnel:
        await trio.sleep(60)
        await bench.server.stop()
        await trio.sleep(80)
        assert tunnel.state is StreamState.RECONNECTING
        await bench.server.start()
        await tunnel.wait_connected()
        assert 10 < tunnel.statistics().attempts < 100
        await trio.sleep(60)
        await bench.server.stop()
        start = trio.current_time()
        with pytest.raises(ReconnectFailed):
            await tunnel.wait_closed()
        assert trio.current_time() - start == pytest.approx(100, abs=10)


async def test_retry_after_is_obeyed(bench: Bench, autojump_clock: MockClock) -> None:
    async with bench.tunnel(reconnect=ReconnectPolicy()) as tunnel:
        headers = {"Retry-After": "30"}
        bench.server.answer_next("/api/v1/tunnel", 503, headers=headers)
        await trio.sleep(60)
        start = trio.current_time()
        bench.end.end("going away", 1001)
        await bench.server.wait_for(TunnelClosed)
        await bench.server.wait_for(TunnelOpened, count=2)
        assert trio.current_time() - start == pytest.approx(30, abs=1.5)
        assert tunnel.statistics().attempts == 3
