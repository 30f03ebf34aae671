"""The oldest servers answer 200 and plain text on every path that they do not know.

A success that is not JSON means "no such operation" there: a session's messages cannot be read, a
turn cannot be cancelled, and nothing was deleted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import MixServer, Pause, Say, Step, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

not_yet = pytest.mark.xfail(reason="plain text counts as a failed reading", strict=True)


@pytest.fixture
async def server(autojump_clock: MockClock) -> AsyncIterator[MixServer]:
    async with MixServer("pipeline-oldest", catch_all=True, listen=False, pace=0.0) as server:
        server.script("long", Turn(Say("It takes "), Pause(20), Say("time.")))
        server.script("go", Turn(Say("Here I am.")))
        yield server


@not_yet
async def test_a_busy_server_is_waited_for_and_runs_the_message_once(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with (
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(session_id) as session,
    ):
        server.run_message(session_id, "long")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(120):
            reply = await session.ask("go")
    assert (reply.text, reply.resent) == ("Here I am.", True)
    assert server.runs("go") == 1


@not_yet
async def test_an_operation_that_does_not_exist_is_called_once(
    server: MixServer, autojump_clock: MockClock
) -> None:
    steps: list[Step] = [step for _ in range(20) for step in (UseTool("glob"), Pause(50))]
    server.script("go", Turn(*steps, Say("Done.")))
    async with (
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        await session.ask("hello")
        before = len(server.requests("GET", "/api/"))
        assert (await session.ask("go")).text == "Done."
        await trio.sleep(3600)
        assert len(server.requests("GET", "/api/")) == before


async def test_a_turn_that_cannot_be_cancelled_is_not_reported_as_cancelled(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with Mix(server.url, network=server.network) as mix:
        with pytest.raises(errors.MixError):
            await mix.messages.cancel_processing(id=session_id)


@pytest.mark.xfail(reason="any success counts where nothing is due in the body", strict=True)
async def test_a_session_that_cannot_be_deleted_is_not_reported_as_deleted(
    server: MixServer, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with Mix(server.url, network=server.network) as mix:
        with pytest.raises(errors.MixError):
            await mix.sessions.delete(id=session_id)
