"""Streams through a caller's client: cut, rotated, left early, cancelled; and nothing remains."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.support.callers_clients import KINDS, callers_client
from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Do,
    Drop,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    Pause,
    Raw,
    Say,
    StreamEnded,
    StreamOpened,
    Turn,
    cancel_at_every_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api, Step

APIS: tuple[Api, ...] = ("async", "blocking", "pipeline")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    api: Api = request.param
    return api


@asynccontextmanager
async def through(
    kind: str, server: MixServer, session: str, **options: Any
) -> AsyncIterator[SessionStream]:
    """A stream through a client of that kind, which is still open afterwards."""
    network = server.network if server.in_memory else None
    async with callers_client(kind, network) as client:
        async with (
            Mix(server.url, http_client=client) as mix,
            mix.open_stream(session, **options) as stream,
        ):
            yield stream
        assert not client.is_closed
        # Whatever the streams and the messages took from the client's pool is back or gone.
        pool = client._transport._pool
        assert all(each.is_idle() or each.is_closed() for each in pool.connections), pool


async def test_a_cut_in_the_middle_of_a_turn_is_recovered(
    api: Api, kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("It begins, "), Drop(), Pause(1), Say("and it ends.")))
        async with through(kind, server, server.create_session()) as stream:
            with trio.fail_after(300):
                assert (await stream.ask("go")).text == "It begins, and it ends."
                assert stream.statistics().reconnects >= 1
                assert (await stream.ask("something else")).text
        assert server.runs("go") == 1


async def test_a_rotation_breaks_no_message(api: Api, kind: str, autojump_clock: MockClock) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("slow", Turn(Say("It takes "), Pause(700), Say("a while.")))
        options = {"max_connection_age": 100.0, "idle_timeout": None}
        server_side: list[int] = []

        async def note() -> None:
            await trio.lowlevel.checkpoint()
            server_side.append(server.open_streams)

        server.script("count", Turn(Do(note), Say("One.")))
        async with through(kind, server, server.create_session(), **options) as stream:
            for _ in range(3):
                await trio.sleep(250)
                assert (await stream.ask("count")).text == "One."
            assert stream.statistics().rotations >= 3
            assert stream.statistics().losses == 0
        assert server_side == [1, 1, 1]


async def test_bytes_that_make_no_event_keep_the_connection(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0, heartbeat_interval=None) as server:
        comments: list[Step] = [Raw(b": still here\n"), Pause(20)] * 6
        server.script("slow", Turn(Say("It takes "), *comments, Say("a while.")))
        async with through(kind, server, server.create_session(), idle_timeout=30.0) as stream:
            assert (await stream.ask("slow")).text == "It takes a while."
            assert stream.statistics().losses == 0


async def test_a_turn_longer_than_a_connection_may_live_comes_through(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("slow", Turn(Say("It takes "), Pause(620), Say("a while.")))
        async with through(kind, server, server.create_session()) as stream:
            assert (await stream.ask("slow")).text == "It takes a while."
            assert stream.statistics().reconnects >= 1


async def test_turns_in_a_row_use_one_stream(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        async with through(kind, server, server.create_session()) as stream:
            with trio.fail_after(20):
                for number in range(10):
                    assert (await stream.ask(f"message {number}")).text
            assert stream.statistics().connects == 1
        assert sum(isinstance(record, StreamOpened) for record in server.log) == 1


async def test_leaving_a_message_and_the_stream_early_leaves_nothing(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("long", Turn(Say("It begins. "), Hang()))
        session = server.create_session()
        with trio.fail_after(20):
            async with through(kind, server, session) as stream:
                async with stream.send("long") as message:
                    async for event in message:
                        if isinstance(event, ev.ContentEvent):
                            break
                await server.wait_for(MessageFinished, text="long", how="cancelled")
            await server.wait_for(StreamEnded, session_id=session)
            await server.wait_until(lambda: server.open_streams == 0)
        gc.collect()  # a socket or generator that is left warns here, which is an error


async def test_the_plain_streaming_operation_left_early_leaves_nothing(kind: str) -> None:
    async with MixServer("async", pace=0.0) as server, callers_client(kind) as client:
        async with Mix(server.url, http_client=client) as mix:
            session = server.create_session()
            for reads in (0, 1):
                with trio.fail_after(10):
                    async with mix.streaming.stream_events(session_id=session) as events:
                        for _ in range(reads):
                            assert isinstance(await anext(events), ev.ConnectedEvent)
                    await server.wait_for(StreamEnded, count=reads + 1)
        gc.collect()


async def test_a_caller_that_is_cancelled_ends_the_servers_work(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("long", Turn(Hang()))
        async with through(kind, server, server.create_session()) as stream:
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(stream.ask, "long")
                    await server.wait_for(MessageRun, text="long")
                    nursery.cancel_scope.cancel()
                await server.wait_for(MessageFinished, text="long", how="cancelled")
                assert (await stream.ask("short")).text
        gc.collect()


async def test_cancelled_at_any_checkpoint_nothing_is_left_behind(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("work", Turn(Say("All done.")))
        session = server.create_session()

        async def ask() -> None:
            async with through(kind, server, session) as stream:
                await stream.ask("work")

        await trio.testing.wait_all_tasks_blocked()  # the server's tasks are all there
        sweep = await cancel_at_every_checkpoint(ask)
        assert sweep.checkpoints >= 5
        gc.collect()


async def test_a_server_that_is_gone_for_good_ends_the_stream(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        async with through(kind, server, server.create_session()) as stream:
            await stream.ask("hello")
            await server.stop()
            with pytest.raises(errors.ReconnectFailed):
                async with stream.subscribe() as everything:
                    async for _ in everything:
                        pass
            await server.start()


async def test_a_client_that_the_caller_closes_ends_the_stream_with_a_clear_error(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        client = callers_client(kind, server.network)
        async with (
            Mix(server.url, http_client=client) as mix,
            mix.open_stream(server.create_session()) as stream,
        ):
            await client.aclose()
            with trio.fail_after(2000), pytest.raises(errors.TrioMixError, match="closed"):
                await stream.ask("hello")
