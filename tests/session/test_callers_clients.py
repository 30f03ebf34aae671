"""Streams through the caller's HTTP client: lost, rotated, left early, cancelled."""

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
    kind: str, server: MixServer, session_id: str, **options: Any
) -> AsyncIterator[SessionStream]:
    """Open a stream through an HTTP client; check that the client is still usable afterwards."""
    network = server.network if server.in_memory else None
    async with callers_client(kind, network) as client:
        async with (
            Mix(server.url, http_client=client) as mix,
            mix.open_stream(session_id, **options) as session,
        ):
            yield session
        assert not client.is_closed
        # Every connection of the pool was returned or closed.
        pool = client._transport._pool
        assert all(each.is_idle() or each.is_closed() for each in pool.connections), pool


async def test_a_cut_in_the_middle_of_a_turn_is_recovered(
    api: Api, kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("It begins, "), Drop(), Pause(1), Say("and it ends.")))
        async with through(kind, server, server.create_session()) as session:
            with trio.fail_after(300):
                assert (await session.ask("go")).text == "It begins, and it ends."
                assert session.statistics().reconnects >= 1
                assert (await session.ask("something else")).text
        assert server.runs("go") == 1


async def test_a_rotation_interrupts_no_message(
    api: Api, kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("slow", Turn(Say("It takes "), Pause(700), Say("a while.")))
        options = {"max_connection_age": 100.0, "idle_timeout": None}
        server_side: list[int] = []

        async def note() -> None:
            await trio.lowlevel.checkpoint()
            server_side.append(server.open_streams)

        server.script("count", Turn(Do(note), Say("One.")))
        async with through(kind, server, server.create_session(), **options) as session:
            for _ in range(3):
                await trio.sleep(250)
                assert (await session.ask("count")).text == "One."
            assert session.statistics().rotations >= 3
            assert session.statistics().losses == 0
        assert server_side == [1, 1, 1]


async def test_bytes_without_an_event_keep_the_connection_alive(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0, heartbeat_interval=None) as server:
        comments: list[Step] = [Raw(b": still here\n"), Pause(20)] * 6
        server.script("slow", Turn(Say("It takes "), *comments, Say("a while.")))
        async with through(kind, server, server.create_session(), idle_timeout=30.0) as session:
            assert (await session.ask("slow")).text == "It takes a while."
            assert session.statistics().losses == 0


async def test_a_turn_longer_than_the_maximum_connection_age_completes(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("slow", Turn(Say("It takes "), Pause(620), Say("a while.")))
        async with through(kind, server, server.create_session()) as session:
            assert (await session.ask("slow")).text == "It takes a while."
            assert session.statistics().reconnects >= 1


async def test_turns_in_a_row_use_one_stream(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        async with through(kind, server, server.create_session()) as session:
            with trio.fail_after(20):
                for number in range(10):
                    assert (await session.ask(f"message {number}")).text
            assert session.statistics().connects == 1
        assert sum(isinstance(record, StreamOpened) for record in server.log) == 1


async def test_leaving_a_message_and_the_stream_early_closes_everything(
    api: Api, kind: str
) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("long", Turn(Say("It begins. "), Hang()))
        session_id = server.create_session()
        with trio.fail_after(20):
            async with through(kind, server, session_id) as session:
                async with session.send("long") as message:
                    async for event in message:
                        if isinstance(event, ev.ContentEvent):
                            break
                await server.wait_for(MessageFinished, text="long", how="cancelled")
            await server.wait_for(StreamEnded, session_id=session_id)
            await server.wait_until(lambda: server.open_streams == 0)
        gc.collect()  # a socket or generator that was not closed would warn here, which is an error


async def test_leaving_stream_events_early_closes_everything(kind: str) -> None:
    async with MixServer("async", pace=0.0) as server, callers_client(kind) as client:
        async with Mix(server.url, http_client=client) as mix:
            session_id = server.create_session()
            for reads in (0, 1):
                with trio.fail_after(10):
                    async with mix.streaming.stream_events(session_id=session_id) as events:
                        for _ in range(reads):
                            assert isinstance(await anext(events), ev.ConnectedEvent)
                    await server.wait_for(StreamEnded, count=reads + 1)
        gc.collect()


async def test_cancelling_the_caller_cancels_the_turn_on_the_server(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("long", Turn(Hang()))
        async with through(kind, server, server.create_session()) as session:
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.ask, "long")
                    await server.wait_for(MessageRun, text="long")
                    nursery.cancel_scope.cancel()
                await server.wait_for(MessageFinished, text="long", how="cancelled")
                assert (await session.ask("short")).text
        gc.collect()


async def test_cancelled_at_any_checkpoint_everything_is_closed(api: Api, kind: str) -> None:
    async with MixServer(api, pace=0.0) as server:
        server.script("work", Turn(Say("All done.")))
        session_id = server.create_session()

        async def ask() -> None:
            async with through(kind, server, session_id) as session:
                await session.ask("work")

        await trio.testing.wait_all_tasks_blocked()  # the server has started its tasks
        sweep = await cancel_at_every_checkpoint(ask)
        assert sweep.checkpoints >= 5
        gc.collect()


async def test_a_server_that_does_not_return_ends_the_stream(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        async with through(kind, server, server.create_session()) as session:
            await session.ask("hello")
            await server.stop()
            with pytest.raises(errors.ReconnectFailed):
                async with session.subscribe() as everything:
                    async for _ in everything:
                        pass
            await server.start()


async def test_a_stream_fails_if_the_caller_closes_the_http_client(
    kind: str, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        client = callers_client(kind, server.network)
        async with (
            Mix(server.url, http_client=client) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            await client.aclose()
            with trio.fail_after(2000), pytest.raises(errors.TrioMixError, match="closed"):
                await session.ask("hello")
