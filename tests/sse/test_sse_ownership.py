"""The supervisor under cancellation, drops and closing, at any moment."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_server import SSE_HEAD, Peer, answering, memory_server, serve
from tests.support.supervised import cancelled_after, events, frames, resuming, script, supervisor
from trio_mix._http import Http
from trio_mix.errors import ReconnectFailed, StreamClosed
from trio_mix.sse import ReconnectPolicy
from trio_mix.sse._supervisor import Events, Lost, Opened, Supervisor

if TYPE_CHECKING:
    from trio.testing import MockClock

pytestmark = pytest.mark.timeout(30)


async def test_cancelled_at_any_checkpoint_the_stream_continues_without_a_gap(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for most in [3, 7, 20, 45]:
        server, http = memory_server(nursery, resuming)
        source = supervisor(
            http, reconnect=ReconnectPolicy(initial_interval=0.01, max_elapsed_time=None)
        )
        got: list[str] = []
        turn = 0
        while len(got) < 20:
            turn += 1
            # Every third call is not cancelled: the autojump clock needs all tasks to wait.
            patient = turn % 3 == 0
            item = await (source.next() if patient else cancelled_after(turn % most, source.next))
            if isinstance(item, Events):
                got += [frame.data for frame in item.events]
        assert got == [str(number + 1) for number in range(len(got))]
        await source.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open == 0


async def test_cancelled_at_any_checkpoint_the_stream_can_be_closed_and_leaves_no_socket(
    nursery: trio.Nursery,
) -> None:
    server = await serve(nursery, resuming)
    http = Http()
    for checkpoints in range(60):
        source = supervisor(http, url=server.url, reconnect=ReconnectPolicy(initial_interval=0.001))

        async def use(source: Supervisor = source) -> None:
            while True:
                await source.next()

        await cancelled_after(checkpoints, use)
        await source.aclose()
    await http.aclose()
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    gc.collect()


async def test_a_wait_that_is_cancelled_continues_at_the_next_call(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, http = memory_server(nursery, script(b"HTTP/1.1 500 Oh\r\n\r\n", None))
    source = supervisor(http, reconnect=ReconnectPolicy(initial_interval=10.0))
    for _ in range(3):
        with trio.move_on_after(3) as scope:
            await source.next()
        assert scope.cancelled_caught
    assert isinstance(await source.next(), Opened)
    assert server.connect_times[1] - server.connect_times[0] == pytest.approx(10.0)


async def test_a_read_that_is_cancelled_keeps_the_connection(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await trio.sleep(10)
        for byte in events("a"):
            await peer.send(bytes([byte]))
            await trio.sleep(1)
        await peer.closed()

    server, http = memory_server(nursery, handler)
    source = supervisor(http)
    await source.next()
    item = None
    for _ in range(50):
        with trio.move_on_after(1.5):
            item = await source.next()
            break
    assert isinstance(item, Events)
    assert server.connections == 1


async def test_two_tasks_at_once_are_refused(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(None))
    source = supervisor(http)
    await source.next()
    nursery.start_soon(source.next)
    await trio.testing.wait_all_tasks_blocked()
    with trio.testing.assert_checkpoints(), pytest.raises(trio.BusyResourceError):
        await source.next()
    nursery.cancel_scope.cancel()


async def test_a_drop_between_two_calls_is_not_reported_and_the_next_call_connects(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for planned in [True, False]:
        server, http = memory_server(nursery, script(None))
        source = supervisor(http)
        await source.drop("nothing is there yet", planned=planned)
        await source.next()
        await source.drop("it is old", planned=planned)
        await trio.testing.wait_all_tasks_blocked()
        assert server.open == 0
        figures = source.statistics()
        assert (figures.state, figures.losses) == ("reconnecting", 1)
        assert figures.last_loss == "it is old"
        before = trio.current_time()
        assert isinstance(await source.next(), Opened)
        assert trio.current_time() - before == pytest.approx(0.0 if planned else 1.0)


async def test_a_drop_is_reported_by_the_call_that_it_wakes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for planned in [True, False]:
        _, http = memory_server(nursery, script(None))
        source = supervisor(http)
        await source.next()
        got: list[object] = []

        async def read(source: Supervisor, got: list[object]) -> None:
            got.append(await source.next())
            got.append(await source.next())

        nursery.start_soon(read, source, got)
        await trio.testing.wait_all_tasks_blocked()
        await source.drop("it is old", planned=planned)
        await trio.sleep(5)
        assert got[0] == Lost("it is old", planned=planned)
        assert isinstance(got[1], Opened)


async def test_events_that_came_together_with_a_drop_are_delivered_before_the_loss(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(None))
    source = supervisor(http)
    await source.next()
    stream = source._stream
    assert stream is not None

    async def receive(timeout: float | None = None) -> bytes:
        await source.drop("at the same time", planned=True)
        return b"data: a\n\n"

    monkey = pytest.MonkeyPatch()
    monkey.setattr(type(stream), "receive", lambda _, timeout=None: receive(timeout))
    assert await frames(source) == ["a"]
    monkey.undo()
    assert await source.next() == Lost("at the same time", planned=True)


async def test_a_drop_can_use_up_the_budget(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(None))
    source = supervisor(http, reconnect=ReconnectPolicy(max_elapsed_time=0.0))
    await source.next()
    await source.drop("enough", planned=False)
    with pytest.raises(ReconnectFailed, match="enough"):
        await source.next()


async def test_closing_wakes_the_call_under_way_at_any_moment(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for moment in ["connecting", "reading", "waiting"]:

        async def handler(peer: Peer, moment: str = moment) -> None:
            await peer.request()
            if moment == "reading":
                await peer.send(SSE_HEAD)
            if moment != "waiting":
                await peer.closed()

        server, http = memory_server(nursery, handler)
        source = supervisor(http, connect_timeout=None)
        if moment == "reading":
            await source.next()
        woken = trio.Event()

        async def wait(source: Supervisor, woken: trio.Event) -> None:
            with pytest.raises(StreamClosed):
                await source.next()
            woken.set()

        nursery.start_soon(wait, source, woken)
        await trio.testing.wait_all_tasks_blocked()
        await source.aclose()
        await woken.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert server.open == 0
        assert source.statistics().next_attempt_time is None


async def test_an_exception_of_the_headers_function_is_raised_and_the_next_call_connects(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(None))
    failures = [KeyError("no token"), OSError("no network")]

    def headers() -> dict[str, str]:
        if failures:
            raise failures.pop(0)
        return {}

    source = supervisor(http, headers=headers)
    with pytest.raises(KeyError):
        await source.next()
    with pytest.raises(OSError, match="no network"):
        await source.next()
    assert isinstance(await source.next(), Opened)


async def test_closing_and_dropping_are_not_cancelled(nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(SSE_HEAD))
    http = Http()
    source = supervisor(http, url=server.url)
    with trio.CancelScope() as scope:
        await source.next()
        scope.cancel()
        await source.drop("in a cancelled scope", planned=True)
        await source.aclose()
    assert not scope.cancelled_caught
    await http.aclose()
    gc.collect()
