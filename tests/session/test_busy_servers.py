"""A server that is busy with another message is retried; it never runs a message twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, ReconnectPolicy, errors
from trio_mix.testing import (
    Hang,
    MessageLost,
    MixServer,
    Pause,
    Say,
    Turn,
    assert_ran_once,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix.testing import Api


@pytest.fixture(params=["pipeline", "pipeline-oldest"])
async def server(
    request: pytest.FixtureRequest, autojump_clock: MockClock
) -> AsyncIterator[MixServer]:
    api: Api = request.param
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("long", Turn(Say("It takes "), Pause(20), Say("time.")))
        server.script("endless", Turn(Hang()))
        server.script("go", Turn(Say("Here I am.")))
        yield server


def client(server: MixServer) -> Mix:
    return Mix(server.url, network=server.network)


async def test_a_busy_server_is_retried_and_runs_the_message_once(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with client(server) as mix, mix.open_stream(session_id) as session:
        await session.ask("hello")
        server.run_message(session_id, "long")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(120):
            reply = await session.ask("go")
    assert reply.text == "Here I am."
    assert reply.resent
    assert server.runs("go") == 1
    assert any(isinstance(record, MessageLost) for record in server.log)


async def test_a_message_fails_if_the_server_stays_busy_for_longer_than_the_policy_allows(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    policy = ReconnectPolicy(max_elapsed_time=30.0)
    async with client(server) as mix, mix.open_stream(session_id, reconnect=policy) as session:
        await session.ask("hello")
        server.run_message(session_id, "endless")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        with trio.fail_after(60), pytest.raises(errors.AgentError, match="currently processing"):
            await session.ask("go")
        assert 10 < trio.current_time() - began < 45
    assert server.runs("go") == 0


async def test_a_message_cancelled_while_the_server_is_busy_does_not_run(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with client(server) as mix, mix.open_stream(session_id) as session:
        server.run_message(session_id, "long")
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(5) as scope:
            await session.ask("go")
        assert scope.cancelled_caught
        await trio.sleep(60)
        with trio.fail_after(120):
            assert (await session.ask("and now?")).text
    assert server.runs("go") == 0


@pytest.mark.parametrize("server", ["pipeline"], indirect=True)
async def test_a_message_that_another_stream_runs_is_not_sent_again(
    server: MixServer, autojump_clock: MockClock
) -> None:
    """Both streams of a session try; which one receives "busy" is random."""
    for _ in range(12):
        session_id = server.create_session()
        before = server.runs("go")
        async with (
            client(server) as other,
            other.open_stream(session_id),
            client(server) as mix,
            mix.open_stream(session_id) as session,
        ):
            with trio.fail_after(120):
                assert (await session.ask("go")).text == "Here I am."
        assert server.runs("go") == before + 1


async def test_a_message_that_the_other_stream_runs_and_stores_late_is_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("pipeline", listen=False, row_lag=1.5) as server,
        Mix(server.url, network=server.network) as mix,
        Mix(server.url, network=server.network) as other,
    ):
        server.script("go", Turn(Pause(2), Say("Done.")))
        for _ in range(10):  # which stream runs it is chance
            session_id = server.create_session()
            async with other.open_stream(session_id), mix.open_stream(session_id) as session:
                await session.ask("hello")
                await trio.sleep(5)
                assert (await session.ask("go")).text == "Done."
                await trio.sleep(30)
            assert_ran_once(server, "go", session_id)
