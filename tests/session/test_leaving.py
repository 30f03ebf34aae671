"""Leaving a message early: what the server is asked, and what the next message gets."""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Hooks, Mix, ReconnectPolicy
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    Emit,
    Hang,
    MixServer,
    Pause,
    PermissionAnswered,
    Say,
    Turn,
    assert_ran_once,
)

if TYPE_CHECKING:
    from trio_mix import Message
    from trio_mix.hooks import BeforeRequestContext
    from trio_mix.testing import Api

LONG = Turn(Say("It begins. "), Hang())
SHORT = Turn(Say("Here "), Pause(0.2), Say("I am."))


@pytest.mark.parametrize("latency", [0.02, 0.5, 0.9, 1.5])
@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_leave_close_open_again_and_send_gets_the_new_messages_reply(
    api: Api, latency: float, autojump_clock: trio.testing.MockClock
) -> None:
    """As a web handler does whose client has gone away and comes again."""
    async with (
        MixServer(api, listen=False, cancel_latency=latency) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("long", LONG)
        server.script("short", SHORT)
        session_id = server.create_session()
        async with mix.open_stream(session_id) as session, session.send("long") as message:
            async for _ in message:
                break
        began = trio.current_time()
        async with mix.open_stream(session_id) as session:
            reply = await session.ask("short")
            assert (reply.text, reply.doubts) == ("Here I am.", ())
        assert trio.current_time() - began < 3
        assert_ran_once(server, "short", session_id)


@pytest.mark.parametrize("reopen", [True, False])
@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_late_cancel_request_for_a_turn_that_has_ended_does_not_end_the_next_one(
    api: Api, reopen: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async def cancel_late(ctx: BeforeRequestContext) -> None:
        if ctx.operation == "messages.cancel_processing":
            await trio.sleep(0.3)

    hooks = Hooks(before_request=cancel_late)
    async with (
        MixServer(api, listen=False) as server,
        Mix(server.url, network=server.network, hooks=hooks) as mix,
        AsyncExitStack() as stack,
    ):
        server.script("first", Turn(Say("It begins. "), Pause(0.2), Say("It ends.")))
        server.script("second", Turn(Say("Here "), Pause(1), Say("I am.")))
        session_id = server.create_session()
        session = await stack.enter_async_context(mix.open_stream(session_id))
        async with session.send("first") as message:
            async for _ in message:
                break
        if reopen:
            await stack.aclose()
            session = await stack.enter_async_context(mix.open_stream(session_id))
        assert (await session.ask("second")).text == "Here I am."
        assert len(server.requests("POST", f"/api/sessions/{session_id}/cancel")) == 1


async def test_no_trace_of_a_left_message_delays_or_marks_the_next_one_on_the_oldest_servers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The rows of a turn that was cancelled do not show it there; its client knows it."""
    for latency, again in itertools.product((0.02, 0.5, 1.5), (True, False)):
        async with (
            MixServer("pipeline-oldest", listen=False, cancel_latency=latency) as server,
            Mix(server.url, network=server.network) as mix,
            AsyncExitStack() as stack,
        ):
            server.script("thinks", Turn(Pause(1000), Say("Hm.")))
            server.script("short", SHORT)
            session_id = server.create_session()
            opened = partial(mix.open_stream, session_id, reconnect=ReconnectPolicy(max_interval=1))
            session = await stack.enter_async_context(opened())
            await session.ask("short")
            with trio.move_on_after(1):
                await session.ask("thinks")
            if again:
                await stack.aclose()
                session = await stack.enter_async_context(opened())
            began = trio.current_time()
            for _ in range(2):
                reply = await session.ask("short")
                assert (reply.text, reply.doubts) == ("Here I am.", ())
            assert trio.current_time() - began < 5


async def test_a_message_that_was_cut_and_left_is_not_waited_for_on_the_oldest_servers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Its end comes on no stream, and no row shows it; but the server has cancelled it."""
    async with (
        MixServer("pipeline-oldest", listen=False, ghost_runs=True) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("thinks", Turn(Pause(1000), Say("Hm.")))
        server.script("short", SHORT)
        async with mix.open_stream(server.create_session()) as session:
            await session.ask("short")
            with trio.move_on_after(3):
                async with session.send("thinks"):
                    await trio.sleep(1)
                    await server.drop_streams()
                    await trio.sleep_forever()
            began = trio.current_time()
            assert (await session.ask("short")).text == "Here I am."
            assert trio.current_time() - began < 20


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_leaving_waits_for_the_end_of_the_turn_for_a_second_at_most(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    for latency, longest in ((0.3, 0.35), (4.0, 1.05)):
        async with (
            MixServer(api, listen=False, cancel_latency=latency) as server,
            Mix(server.url, network=server.network) as mix,
        ):
            server.script("long", LONG)
            async with mix.open_stream(server.create_session()) as session:
                async with session.send("long") as message:
                    async for _ in message:
                        break
                    began = trio.current_time()
                assert min(latency, 1) <= trio.current_time() - began <= longest


async def test_leaving_takes_no_time_where_the_server_cannot_cancel(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer(listen=False, cancel_endpoint=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("long", LONG)
        async with mix.open_stream(server.create_session()) as session:
            async with session.send("long") as message:
                async for _ in message:
                    break
                began = trio.current_time()
            assert trio.current_time() - began < 0.1


async def test_a_cancellation_by_somebody_else_is_the_messages_own_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Also on a stream that has left a message before: that one's end has come."""
    async with (
        MixServer(listen=False, cancel_latency=0.1) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("long", LONG)
        session_id = server.create_session()
        async with mix.open_stream(session_id) as session:
            for _ in range(2):
                async with session.send("long") as message:
                    async for _ in message:
                        break
            async with session.send("long") as message:
                async for _ in message:
                    break
                await mix.messages.cancel_processing(id=session_id)
                with trio.fail_after(5), pytest.raises(Exception, match="cancelled by user"):
                    await message.wait()


async def test_an_open_permission_request_is_denied_on_leaving(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Otherwise the session stays busy until the request times out on the server."""
    async with MixServer(listen=False) as server, Mix(server.url, network=server.network) as mix:
        server.script("run", Turn(AskPermission("bash", then=[Say("It ran.")])))
        server.script("short", SHORT)
        async with mix.open_stream(server.create_session()) as session:
            async with session.send("run") as message:
                async for event in message:
                    if isinstance(event, ev.PermissionEvent):
                        break
            began = trio.current_time()
            assert (await session.ask("short")).text == "Here I am."
            assert trio.current_time() - began < 3
        answers = [each for each in server.log if isinstance(each, PermissionAnswered)]
        assert len(answers) == 1


async def test_a_request_that_is_repeated_is_put_to_the_policy_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked = []

    async def policy(request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(request.permission_id)
        await trio.sleep(1)
        return True

    async with (
        MixServer(listen=False, slow_reader_limit=None) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        request = {"id": "p1", "sessionId": "s", "toolName": "bash", "action": "execute"}
        repeated = Emit("permission", {**request, "description": "ls", "params": {}})
        server.script("run", Turn(*[repeated] * 3000, Pause(2), Say("It ran.")))
        async with mix.open_stream(server.create_session(), on_permission=policy) as session:
            assert (await session.ask("run")).text == "It ran."
    assert asked == ["p1"]


async def test_a_message_after_one_that_another_stream_still_runs_is_not_queued_there_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No row of the oldest servers shows that the cancelled turn has ended."""
    async with (
        MixServer("pipeline-oldest", listen=False, cancel_latency=30) as server,
        Mix(server.url, network=server.network) as mix,
        Mix(server.url, network=server.network) as other,
    ):
        server.script("long", LONG)
        server.script("short", SHORT)
        for reopen in [False, True] * 6:  # which stream runs a message is chance
            session_id = server.create_session()
            async with other.open_stream(session_id), AsyncExitStack() as stack:
                session = await stack.enter_async_context(mix.open_stream(session_id))
                async with session.send("long"):
                    await trio.sleep(2)
                if reopen:
                    await stack.aclose()
                    session = await stack.enter_async_context(mix.open_stream(session_id))
                assert (await session.ask("short")).text == "Here I am."
                await trio.sleep(60)
            assert_ran_once(server, "short", session_id)
