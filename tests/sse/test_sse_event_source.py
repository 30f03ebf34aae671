"""`open_event_source` over real sockets, on its own connections and through two libraries."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio
import trio.testing

from tests.support.raw_server import LAST_CHUNK, SSE_HEAD, Peer, answering, chunk, serve
from tests.support.supervised import cancelled_after, events, resuming
from trio_mix.errors import (
    ConfigurationError,
    MixDefaultError,
    ProtocolError,
    ReconnectFailed,
    StreamClosed,
)
from trio_mix.sse import EventSource, ReconnectPolicy, ServerSentEvent, open_event_source

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.timeout(30)

QUICK = ReconnectPolicy(initial_interval=0.001, stable_after=0.0)


class Opener:
    """Opens event sources with one kind of client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    @asynccontextmanager
    async def __call__(self, url: str, **options: Any) -> AsyncGenerator[EventSource]:
        options.setdefault("reconnect", QUICK)
        async with open_event_source(url, http_client=self.client, **options) as source:
            yield source


@pytest.fixture(params=["own", "httpx", "httpx2"])
async def opener(request: pytest.FixtureRequest) -> AsyncGenerator[Opener]:
    if request.param == "own":
        yield Opener(None)
    elif request.param == "httpx":
        async with httpx.AsyncClient() as older:
            yield Opener(older)
    else:
        async with httpx2.AsyncClient() as newer:
            yield Opener(newer)


async def test_events_are_iterated_over_as_many_connections_as_it_takes(
    opener: Opener, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, resuming)
    got: list[str] = []
    async with opener(server.url) as source:
        assert source.state == "connected"
        assert source.url == server.url
        async for event in source:
            assert source.last_event_id == event.id == event.data
            got.append(event.data)
            if len(got) == 10:
                break
        assert source.statistics().reconnects == 3
    assert got == [str(number) for number in range(1, 11)]
    assert source.state == "closed"
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    gc.collect()


async def test_leaving_early_closes_the_connection_whatever_the_reason(
    opener: Opener, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + events("a", "b"))
        await peer.closed()

    server = await serve(nursery, handler)
    async with opener(server.url):
        pass
    async with opener(server.url) as source:
        assert (await anext(source)).data == "a"
    with pytest.raises(KeyError):
        async with opener(server.url) as source:
            await anext(source)
            raise KeyError
    with trio.move_on_after(0.05):
        async with opener(server.url) as source:
            async for _ in source:
                pass
    assert server.connections == 4
    with trio.fail_after(5):
        while server.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    gc.collect()


async def test_a_cancelled_wait_loses_no_event(opener: Opener, nursery: trio.Nursery) -> None:
    server = await serve(nursery, resuming)
    got: list[str] = []
    async with opener(server.url) as source:
        turn = 0
        while len(got) < 15:
            turn += 1
            event = await cancelled_after(
                1000 if turn % 3 == 0 else turn % 25, lambda: anext(source)
            )
            if event is not None:
                got.append(event.data)
    assert got == [str(number) for number in range(1, 16)]


async def test_two_tasks_that_iterate_at_once_are_refused(
    opener: Opener, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.closed()

    server = await serve(nursery, handler)
    async with opener(server.url) as source, trio.open_nursery() as inner:
        inner.start_soon(anext, source)
        await trio.testing.wait_all_tasks_blocked()
        with trio.testing.assert_checkpoints(), pytest.raises(trio.BusyResourceError):
            await anext(source)
        inner.cancel_scope.cancel()


async def test_closing_from_another_task_ends_the_iteration_with_an_error(
    opener: Opener, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await peer.closed()

    async def close() -> None:
        await trio.testing.wait_all_tasks_blocked(0.01)
        with trio.testing.assert_checkpoints():
            await source.aclose()

    server = await serve(nursery, handler)
    async with opener(server.url) as source:
        nursery.start_soon(close)
        with trio.fail_after(5):
            for _ in range(2):
                with pytest.raises(StreamClosed):
                    await anext(source)


async def test_an_unknown_path_fails_on_entry(opener: Opener, nursery: trio.Nursery) -> None:
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\ngone"
    server = await serve(nursery, answering(refusal))
    with pytest.raises(MixDefaultError, match="gone"):
        async with opener(server.url):
            pytest.fail("it was entered")
    gc.collect()


async def test_a_server_that_is_not_there_fails_when_the_policy_says_so(opener: Opener) -> None:
    policy = ReconnectPolicy(initial_interval=0.001, max_elapsed_time=0.02)
    with pytest.raises(ReconnectFailed, match="could not be opened"):
        async with opener("http://127.0.0.1:1/", reconnect=policy):
            pytest.fail("it was entered")


async def test_an_event_over_the_limit_ends_the_source(
    opener: Opener, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, answering(SSE_HEAD + events("a") + chunk(b"x" * 200)))
    async with opener(server.url, max_event_size=100) as source:
        assert (await anext(source)).data == "a"
        with pytest.raises(ProtocolError, match="max_event_size"):
            await anext(source)
        with pytest.raises(StreamClosed):
            await anext(source)


async def test_states_are_reported_while_the_source_is_iterated(
    opener: Opener, nursery: trio.Nursery
) -> None:
    server = await serve(nursery, resuming)
    states: list[str] = []
    async with opener(server.url, on_state=states.append) as source:
        for _ in range(4):
            await anext(source)
    assert states == ["connected", "reconnecting", "connected", "closed"]


async def test_invalid_times_are_refused() -> None:
    for value in [0, -1, float("nan"), float("inf")]:
        for name in ["connect_timeout", "idle_timeout"]:
            with pytest.raises(ConfigurationError, match=name):
                async with open_event_source("http://127.0.0.1:1/", **{name: value}):  # type: ignore[arg-type]  # pyright: ignore
                    pytest.fail("it was entered")


async def test_silence_beyond_the_idle_timeout_is_a_loss(
    opener: Opener, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        if peer.server.connections == 2:
            await peer.send(events("late"))
        await peer.closed()

    server = await serve(nursery, handler)
    async with opener(server.url, idle_timeout=0.05) as source:
        assert (await anext(source)).data == "late"
        assert source.statistics().last_loss == "idle: no byte arrived for 0.05 s"


async def test_the_last_event_id_is_that_of_the_last_event_returned(
    nursery: trio.Nursery,
) -> None:
    body = b"id: 1\ndata\n\nid: 2\ndata\n\nid: 3\n\n"

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunk(body))
        await peer.closed()

    server = await serve(nursery, handler)
    async with open_event_source(server.url, last_event_id="0") as source:
        seen = [source.last_event_id]
        for _ in range(2):
            await anext(source)
            seen.append(source.last_event_id)
        assert seen == ["0", "1", "2"]
        with trio.move_on_after(0.01):
            await anext(source)
        assert source.last_event_id == "3"  # of a block without data, which dispatches nothing


async def test_each_event_can_be_cancelled_and_other_tasks_run_in_between(
    nursery: trio.Nursery,
) -> None:
    body = chunk(b"data: x\n\n" * 1000) + LAST_CHUNK
    server = await serve(nursery, answering(SSE_HEAD + body))
    async with open_event_source(server.url) as source:
        await anext(source)
        with trio.CancelScope() as scope:
            scope.cancel()
            await anext(source)
        assert scope.cancelled_caught
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as inner:
            inner.start_soon(other)
            await trio.lowlevel.checkpoint()
            for _ in range(640):
                assert await anext(source) == ServerSentEvent(data="x")
            assert turns >= 9
            inner.cancel_scope.cancel()
