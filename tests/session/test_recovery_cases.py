"""Recovery in cases that the campaign found: gaps, silence, lost and late responses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import (
    Answer,
    AskPermission,
    Cut,
    Do,
    Drop,
    Fail,
    FaultPlan,
    FaultProxy,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    Pause,
    Rule,
    Say,
    Stall,
    Throttle,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import Message, SessionStream
    from trio_mix.events import PermissionEvent
    from trio_mix.testing import Api

REST: tuple[Api, ...] = ("async", "blocking")


@asynccontextmanager
async def scene(
    api: Api, *rules: Rule, policy: object = None
) -> AsyncIterator[tuple[MixServer, FaultProxy, SessionStream]]:
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        FaultProxy(server, FaultPlan(*rules)) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
    ):
        session_id = server.create_session(session_id="s")
        async with mix.open_stream(session_id, on_permission=policy) as session:  # type: ignore[arg-type]
            with trio.fail_after(3000):
                yield server, proxy, session


async def _deltas(session: SessionStream, text: str) -> tuple[str, Message]:
    async with session.send(text) as message:
        return "".join([delta async for delta in message.text_deltas()]), message


@pytest.mark.parametrize("api", REST)
async def test_text_lost_in_a_gap_of_a_running_turn_is_read_from_the_stored_messages(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, session):
        server.script(
            "go",
            Turn(
                *(Say("One "), Drop(), Say("two. "), UseTool("glob"), Say("Three ")),
                *(Pause(5), Say("four. "), UseTool("glob"), Say("Five.")),
            ),
        )
        joined, message = await _deltas(session, "go")
        assert message.reply.text == joined == "One two. Three four. Five."
        assert message.reply.final_text == "Five."
        assert not message.reply.incomplete


@pytest.mark.parametrize("api", REST)
async def test_a_reply_whose_lost_text_cannot_be_read_is_incomplete(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, session):
        server.script("go", Turn(Say("One "), Drop(), Say("two "), Pause(5), Say("three.")))
        async with session.send("go") as message:
            await message.__anext__()
            server.answer_next("/api/sessions/s/export", 503, times=1000)
            reply = await message.wait()
        assert reply.incomplete
        assert reply.text.startswith("One ")
        # Nor can be known whether another turn has begun meanwhile.
        assert (await session.ask("and now?")).doubts == ("shared",)


async def test_the_time_without_a_connection_does_not_count_as_silence(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, proxy, session):
        server.script("go", Turn(Say("One "), Pause(130), Say("two.")))
        async with session.send("go") as message:
            async for _ in message:
                break
            await proxy.unplug()
            await proxy.drop()
            await trio.sleep(100)
            await proxy.plug_in()
            assert (await message.wait()).text == "One two."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", REST)
async def test_a_turn_with_events_after_the_loss_may_be_silent_for_long(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, session):
        server.script("go", Turn(Say("a "), Drop(), Pause(5), Say("b "), Pause(400), Say("c")))
        assert (await session.ask("go")).text == "a b c"


async def test_an_open_post_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with scene("blocking") as (server, _, session):
        server.script("go", Turn(Say("a "), Drop(), UseTool("bash", steps=[Pause(400)]), Say("b")))
        assert (await session.ask("go")).text == "a b"


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_post_that_timed_out_and_arrives_later_runs_once(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, proxy, session):
        await session.ask("hello")
        await trio.sleep(10)  # an idle connection is not used again
        proxy.plan = FaultPlan(Rule(Stall(100, 200.0, "up"), method="POST"))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "unknown"
        await trio.sleep(100)
        assert server.runs("go") == 1


async def test_an_error_response_after_the_turn_ran_is_not_a_rejection(
    autojump_clock: MockClock,
) -> None:
    async with scene("blocking") as (server, _, session):
        server.script("go", Turn(Say("I begin. "), Drop(), Fail("it broke")))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "gone"
        assert isinstance(caught.value.__cause__, errors.MessageRejected)
        assert (await session.ask("and now?")).text


async def test_late_events_of_an_answered_turn_reach_no_other_message(
    autojump_clock: MockClock,
) -> None:
    rule = Rule(Throttle(200.0), path="/stream", method="GET", connections=[1])
    async with scene("blocking", rule) as (server, _, session):
        for name in ("first", "second"):
            words = [f"{name}{number} " for number in range(30)]
            server.script(name, Turn(Say("".join(words), deltas=words)))
        for name in ("first", "second"):
            joined, message = await _deltas(session, name)
            assert joined == message.reply.text
            assert message.reply.text.split() == [f"{name}{number}" for number in range(30)]


@pytest.mark.parametrize("replay", [False, True])
async def test_a_late_error_of_an_interrupted_turn_reaches_no_other_message(
    replay: bool, autojump_clock: MockClock
) -> None:
    """Errors have no ids, and the new connection may be slow, too."""
    async with (
        MixServer(listen=False, pace=0.0, replay=replay) as server,
        FaultProxy(server, FaultPlan()) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        await session.ask("hello")
        server.script("long", Turn(Say("It begins. "), Hang()))
        proxy.plan = FaultPlan(Rule(Stall(300, 30.0), path="/stream", method="GET"))
        with trio.fail_after(1000):
            async with session.send("long") as message:
                await message.__anext__()
                await proxy.drop()
                while session.state.value == "connected":
                    await trio.lowlevel.checkpoint()
                await session.wait_connected()
            assert (await session.ask("short")).text
            assert (await session.ask("short")).text


@pytest.mark.parametrize("lost", [Cut(0), Cut(10, "up"), Answer(503)])
async def test_a_lost_answer_to_a_permission_request_is_sent_again(
    lost: Cut | Answer, autojump_clock: MockClock
) -> None:
    async def grant(_request: PermissionEvent, _message: Message) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    rule = Rule(lost, path="/api/permissions/", connections=[1])
    async with scene("async", rule, policy=grant) as (server, proxy, session):
        server.script("run", Turn(Pause(10), AskPermission("bash", then=[Say("It ran.")])))
        assert (await session.ask("run")).text == "It ran."
        assert proxy.log


async def test_a_late_answer_to_a_permission_request_does_not_fail_the_message(
    autojump_clock: MockClock,
) -> None:
    async def grant(_request: PermissionEvent, _message: Message) -> bool:
        await trio.sleep(40)
        return True

    async with scene("async", policy=grant) as (server, _, session):
        server.script(
            "run", Turn(AskPermission("bash", otherwise=[Say("Denied. "), Pause(60), Say("So.")]))
        )
        assert (await session.ask("run")).text == "Denied. So."


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_lost_cancel_request_is_sent_again(api: Api, autojump_clock: MockClock) -> None:
    rule = Rule(Cut(10, "up"), path="/api/sessions/s/cancel", connections=[1])
    async with scene(api, rule) as (server, _, session):
        server.script("long", Turn(Say("It begins. "), Hang()))
        async with session.send("long") as message:
            async for _ in message:
                await trio.sleep(10)  # the cancel request opens a connection
                break
        assert (await session.ask("short")).text
        finished = [record for record in server.log if isinstance(record, MessageFinished)]
        assert (finished[0].text, finished[0].how) == ("long", "cancelled")


async def test_another_client_s_turn_after_a_loss_is_not_taken_for_this_one(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, _, session):
        server.script("go", Turn(Drop(), Say("for me")))
        server.script("theirs", Turn(Say("for another client")))

        async def interfere() -> None:
            await session.wait_connected()
            server.run_message("s", "theirs")

        async with trio.open_nursery() as nursery:
            async with session.send("go") as message:
                while session.state.value == "connected":
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(interfere)
                reply = await message.wait()
        assert reply.text == "for me"


async def test_a_rejected_message_is_not_taken_for_the_next_one_with_the_same_text(
    autojump_clock: MockClock,
) -> None:
    async with scene("pipeline") as (server, _, session):
        server.script("go", Turn(Say("One "), Drop(), Say("two.")))
        await session.ask("hello")
        server.answer_next("/stream/s/message", 400, body=b"no")
        with pytest.raises(errors.MessageRejected):
            await session.ask("go")
        assert (await session.ask("go")).text == "One two."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_caller_cancelled_during_the_post_leaves_at_once_and_cancels_the_turn(
    api: Api, autojump_clock: MockClock
) -> None:
    """The cancellation of the caller also reaches the stream's tasks."""
    async with MixServer(api, listen=False, pace=0.0, answer_delay=0.2) as server:
        server.script("hang", Turn(Hang()))
        session_id = server.create_session()
        with trio.CancelScope() as scope:

            async def give_up() -> None:
                await server.wait_for(MessageRun, text="hang")
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up)
                async with (
                    Mix(server.url, network=server.network, api=api) as mix,  # type: ignore[arg-type]
                    mix.open_stream(session_id) as session,
                ):
                    await session.ask("hang")
        assert scope.cancelled_caught
        assert trio.current_time() < 1.0
        with trio.fail_after(5):
            await server.wait_for(MessageFinished, text="hang", how="cancelled")


async def test_the_stored_messages_of_a_server_that_replays_are_not_read(
    autojump_clock: MockClock,
) -> None:
    """Also if it takes a moment until it is known whether the server replays."""
    rule = Rule(Stall(300, 0.6), path="/stream", method="GET", connections=[2])
    async with (
        MixServer(listen=False, pace=0.0, replay=True) as server,
        FaultProxy(server, FaultPlan(rule)) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        await session.ask("hello")
        asked = len(server.requests("GET", "/api/sessions/s"))
        server.script("go", Turn(Say("One "), Drop(), Say("two.")))
        server.script("long", Turn(Say("One "), Drop(), Say("two"), Pause(20), Say(".")))
        with trio.fail_after(1000):
            for text in ("go", "long"):
                reply = await session.ask(text)
                assert (reply.text, reply.recovered) == ("One two.", False)
        assert len(server.requests("GET", "/api/sessions/s")) == asked


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_turn_that_had_events_is_not_sent_again_if_its_rows_were_deleted(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, session):
        await session.ask("hello")
        rows = server._backend.live["s"].row.rows

        async def forget() -> None:
            rows.clear()
            await trio.lowlevel.checkpoint()

        server.script("go", Turn(Say("One "), Do(forget), Drop(), Hang()))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "unknown"
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_message_whose_post_is_still_open_is_not_sent_again(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, proxy, session):
        await session.ask("hello")
        await trio.sleep(10)  # an idle connection is not used again
        proxy.plan = FaultPlan(Rule(Stall(100, 20.0, "up"), method="POST", connections=[1]))
        async with trio.open_nursery() as nursery:

            async def drop() -> None:
                await trio.sleep(1)
                await server.drop_streams()

            nursery.start_soon(drop)
            assert (await session.ask("go")).text
        await trio.sleep(100)
        assert server.runs("go") == 1


async def test_an_interrupted_reply_without_finish_reason_is_incomplete(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("pipeline", version="0.6.4", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        server.script("go", Turn(Say("One two."), Drop()))
        with trio.fail_after(1000):
            reply = await session.ask("go")
        assert (reply.text, reply.recovered, reply.incomplete) == ("One two.", True, True)
