"""Attach to the turn that runs now, of any client. In memory, with the autojump clock."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    CancelRequested,
    MessageFinished,
    MixServer,
    Say,
    Turn,
    UseTool,
    WaitFor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api

REST: tuple[Api, ...] = ("async", "blocking")


@asynccontextmanager
async def running(
    api: Api, *steps: object, policy: object = None
) -> AsyncIterator[tuple[MixServer, SessionStream]]:
    """A stream of a session in which another client's message runs."""
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("theirs", Turn(*steps))  # type: ignore[arg-type]
        session_id = server.create_session()
        server.run_message(session_id, "theirs")
        await server.wait_until(lambda: server.running_turns == 1)
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id, on_permission=policy) as session,  # type: ignore[arg-type]
        ):
            yield server, session


@pytest.mark.parametrize("api", REST)
async def test_the_reply_has_what_was_said_before(api: Api, autojump_clock: MockClock) -> None:
    more = trio.Event()
    steps = (Say("Before "), UseTool("glob"), WaitFor(more), Say("and after."))
    async with running(api, *steps) as (server, session):
        async with session.attach() as message:
            assert message.text == "theirs"
            more.set()
            seen = [event async for event in message]
        assert isinstance(seen[0], ev.StreamGapEvent)
        assert isinstance(seen[-1], ev.CompleteEvent)
        assert message.reply.text == "Before and after."
        assert [call.name for call in message.reply.tool_calls] == ["glob"]
        assert not message.reply.incomplete
        assert (await session.ask("and mine?")).text
        assert server.runs("theirs") == 1


@pytest.mark.parametrize("api", REST)
async def test_leaving_does_not_cancel_and_the_next_message_waits(
    api: Api, autojump_clock: MockClock
) -> None:
    more = trio.Event()
    async with running(api, Say("Before "), WaitFor(more), Say("and after.")) as (server, session):
        async with session.attach() as message:
            pass
        with pytest.raises(errors.MessageInterrupted, match="goes on") as caught:
            _ = message.reply
        assert caught.value.outcome == "unknown"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.ask, "mine")
            await trio.testing.wait_all_tasks_blocked()
            assert not server.runs("mine")
            more.set()
        names = [record.text for record in server.log if isinstance(record, MessageFinished)]
        assert names == ["theirs", "mine"]
        assert not [r for r in server.log if isinstance(r, CancelRequested)]


async def test_attaching_where_nothing_runs_is_a_usage_error(autojump_clock: MockClock) -> None:
    more = trio.Event()
    async with running("async", Say("Before "), WaitFor(more)) as (_, session):
        async with session.attach() as message:
            more.set()
            await message.wait()
        with pytest.raises(errors.UsageError, match="works on no message"):
            async with session.attach():
                pass
        async with session.send("mine"):
            with pytest.raises(errors.UsageError, match="this stream is sending"):
                async with session.attach():
                    pass
        assert (await session.ask("and now?")).text


async def test_permissions_of_another_clients_turn_are_not_put_to_the_policy(
    autojump_clock: MockClock,
) -> None:
    asked: list[object] = []

    def policy(request: object, message: object) -> bool:
        asked.append(request)
        return True

    more = trio.Event()
    steps = (Say("I would like to"), WaitFor(more), AskPermission("bash"), Say("Done."))
    async with running("async", *steps, policy=policy) as (_, session):
        async with session.attach() as message:
            more.set()
            async for event in message:
                if isinstance(event, ev.PermissionEvent):
                    await message.deny(event)
        assert not asked


async def test_the_ticket_of_an_attached_message_can_be_looked_up_later(
    autojump_clock: MockClock,
) -> None:
    more = trio.Event()
    async with running("async", Say("Before "), WaitFor(more), Say("and after.")) as (_, session):
        async with session.attach() as message:
            ticket = message.ticket
        assert ticket is not None
        assert (await session.look_up(ticket)).state == "running"
        more.set()
        await trio.sleep(1)  # on the fake clock
        outcome = await session.look_up(ticket)
        assert outcome.state == "finished"
        assert outcome.reply is not None
        assert outcome.reply.text == "Before and after."
