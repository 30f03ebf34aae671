"""What the campaign found, as plain stories: gaps, silence, doubt, answers that get lost."""

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
        session = server.create_session(session_id="s")
        async with mix.open_stream(session, on_permission=policy) as stream:  # type: ignore[arg-type]
            with trio.fail_after(3000):
                yield server, proxy, stream


async def _deltas(stream: SessionStream, text: str) -> tuple[str, Message]:
    async with stream.send(text) as message:
        return "".join([delta async for delta in message.text_deltas()]), message


@pytest.mark.parametrize("api", REST)
async def test_text_that_a_gap_took_from_a_turn_that_goes_on_is_filled_in(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, stream):
        server.script(
            "go",
            Turn(
                *(Say("One "), Drop(), Say("two. "), UseTool("glob"), Say("Three ")),
                *(Pause(5), Say("four. "), UseTool("glob"), Say("Five.")),
            ),
        )
        joined, message = await _deltas(stream, "go")
        assert message.reply.text == joined == "One two. Three four. Five."
        assert message.reply.final_text == "Five."
        assert not message.reply.incomplete


@pytest.mark.parametrize("api", REST)
async def test_text_that_cannot_be_filled_in_is_said_to_be_incomplete(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, stream):
        server.script("go", Turn(Say("One "), Drop(), Say("two "), Pause(5), Say("three.")))
        async with stream.send("go") as message:
            await message.__anext__()
            server.answer_next("/api/sessions/s/export", 503, times=1000)
            reply = await message.wait()
        assert reply.incomplete
        assert reply.text.startswith("One ")
        server.answer_next("/nowhere", 503)
        assert not (await stream.ask("and now?")).incomplete


async def test_a_turn_that_ran_while_there_was_no_connection_is_not_taken_for_silent(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, proxy, stream):
        server.script("go", Turn(Say("One "), Pause(130), Say("two.")))
        async with stream.send("go") as message:
            async for _ in message:
                break
            await proxy.unplug()
            await proxy.drop()
            await trio.sleep(100)
            await proxy.plug_in()
            assert (await message.wait()).text == "One two."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", REST)
async def test_a_turn_that_is_heard_again_after_a_cut_may_be_silent_for_long(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, stream):
        server.script("go", Turn(Say("a "), Drop(), Pause(5), Say("b "), Pause(400), Say("c")))
        assert (await stream.ask("go")).text == "a b c"


async def test_a_post_that_is_still_open_is_a_sign_of_life(autojump_clock: MockClock) -> None:
    async with scene("blocking") as (server, _, stream):
        server.script("go", Turn(Say("a "), Drop(), UseTool("bash", steps=[Pause(400)]), Say("b")))
        assert (await stream.ask("go")).text == "a b"


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_post_that_was_given_up_and_arrives_later_runs_once(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, proxy, stream):
        await stream.ask("hello")
        await trio.sleep(10)  # an idle connection is not used again
        proxy.plan = FaultPlan(Rule(Stall(100, 200.0, "up"), method="POST"))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await stream.ask("go")
        assert caught.value.outcome == "unknown"
        await trio.sleep(100)
        assert server.runs("go") == 1


async def test_a_failure_that_is_answered_after_the_turn_ran_is_no_refusal(
    autojump_clock: MockClock,
) -> None:
    async with scene("blocking") as (server, _, stream):
        server.script("go", Turn(Say("I begin. "), Drop(), Fail("it broke")))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await stream.ask("go")
        assert caught.value.outcome == "gone"
        assert isinstance(caught.value.__cause__, errors.MessageRejected)
        assert (await stream.ask("and now?")).text


async def test_events_of_an_answered_turn_that_come_late_reach_no_other_message(
    autojump_clock: MockClock,
) -> None:
    rule = Rule(Throttle(200.0), path="/stream", method="GET", connections=[1])
    async with scene("blocking", rule) as (server, _, stream):
        for name in ("first", "second"):
            words = [f"{name}{number} " for number in range(30)]
            server.script(name, Turn(Say("".join(words), deltas=words)))
        for name in ("first", "second"):
            joined, message = await _deltas(stream, name)
            assert joined == message.reply.text
            assert message.reply.text.split() == [f"{name}{number}" for number in range(30)]


@pytest.mark.parametrize("replay", [False, True])
async def test_an_error_of_a_cut_turn_that_comes_very_late_reaches_no_other_message(
    replay: bool, autojump_clock: MockClock
) -> None:
    """Errors bear no ids, and the connection that was made again may be slow as well."""
    async with (
        MixServer(listen=False, pace=0.0, replay=replay) as server,
        FaultProxy(server, FaultPlan()) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as stream,
    ):
        await stream.ask("hello")
        server.script("long", Turn(Say("It begins. "), Hang()))
        proxy.plan = FaultPlan(Rule(Stall(300, 30.0), path="/stream", method="GET"))
        with trio.fail_after(1000):
            async with stream.send("long") as message:
                await message.__anext__()
                await proxy.drop()
                while stream.state.value == "connected":
                    await trio.lowlevel.checkpoint()
                await stream.wait_connected()
            assert (await stream.ask("short")).text
            assert (await stream.ask("short")).text


@pytest.mark.parametrize("lost", [Cut(0), Cut(10, "up"), Answer(503)])
async def test_an_answer_to_a_permission_request_that_is_lost_is_given_again(
    lost: Cut | Answer, autojump_clock: MockClock
) -> None:
    async def grant(_request: PermissionEvent, _message: Message) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    rule = Rule(lost, path="/api/permissions/", connections=[1])
    async with scene("async", rule, policy=grant) as (server, proxy, stream):
        server.script("run", Turn(Pause(10), AskPermission("bash", then=[Say("It ran.")])))
        assert (await stream.ask("run")).text == "It ran."
        assert proxy.log


async def test_a_permission_that_is_answered_too_late_does_not_fail_the_message(
    autojump_clock: MockClock,
) -> None:
    async def grant(_request: PermissionEvent, _message: Message) -> bool:
        await trio.sleep(40)
        return True

    async with scene("async", policy=grant) as (server, _, stream):
        server.script(
            "run", Turn(AskPermission("bash", otherwise=[Say("Denied. "), Pause(60), Say("So.")]))
        )
        assert (await stream.ask("run")).text == "Denied. So."


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_cancel_that_is_lost_is_sent_again(api: Api, autojump_clock: MockClock) -> None:
    rule = Rule(Cut(10, "up"), path="/api/sessions/s/cancel", connections=[1])
    async with scene(api, rule) as (server, _, stream):
        server.script("long", Turn(Say("It begins. "), Hang()))
        async with stream.send("long") as message:
            async for _ in message:
                await trio.sleep(10)  # the cancel gets a connection of its own
                break
        assert (await stream.ask("short")).text
        finished = [record for record in server.log if isinstance(record, MessageFinished)]
        assert (finished[0].text, finished[0].how) == ("long", "cancelled")


async def test_a_foreign_turn_that_begins_after_a_cut_is_not_taken_for_ours(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, _, stream):
        server.script("go", Turn(Drop(), Say("ours")))
        server.script("theirs", Turn(Say("somebody else's")))

        async def interfere() -> None:
            await stream.wait_connected()
            server.run_message("s", "theirs")

        async with trio.open_nursery() as nursery:
            async with stream.send("go") as message:
                while stream.state.value == "connected":
                    await trio.lowlevel.checkpoint()
                nursery.start_soon(interfere)
                reply = await message.wait()
        assert reply.text == "ours"


async def test_a_refused_message_is_not_taken_for_the_next_one_with_its_text(
    autojump_clock: MockClock,
) -> None:
    async with scene("pipeline") as (server, _, stream):
        server.script("go", Turn(Say("One "), Drop(), Say("two.")))
        await stream.ask("hello")
        server.answer_next("/stream/s/message", 400, body=b"no")
        with pytest.raises(errors.MessageRejected):
            await stream.ask("go")
        assert (await stream.ask("go")).text == "One two."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_caller_cancelled_in_the_middle_of_the_post_leaves_at_once_and_cancels(
    api: Api, autojump_clock: MockClock
) -> None:
    """What cancels the caller reaches the stream's own tasks, too."""
    async with MixServer(api, listen=False, pace=0.0, answer_delay=0.2) as server:
        server.script("hang", Turn(Hang()))
        session = server.create_session()
        with trio.CancelScope() as scope:

            async def give_up() -> None:
                await server.wait_for(MessageRun, text="hang")
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up)
                async with (
                    Mix(server.url, network=server.network, api=api) as mix,  # type: ignore[arg-type]
                    mix.open_stream(session) as stream,
                ):
                    await stream.ask("hang")
        assert scope.cancelled_caught
        assert trio.current_time() < 1.0
        with trio.fail_after(5):
            await server.wait_for(MessageFinished, text="hang", how="cancelled")


async def test_a_server_that_replays_is_not_asked_for_what_it_stored(
    autojump_clock: MockClock,
) -> None:
    """Also where the replay takes a moment: until it is known whether there is one."""
    rule = Rule(Stall(300, 0.6), path="/stream", method="GET", connections=[2])
    async with (
        MixServer(listen=False, pace=0.0, replay=True) as server,
        FaultProxy(server, FaultPlan(rule)) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as stream,
    ):
        await stream.ask("hello")
        asked = len(server.requests("GET", "/api/sessions/s"))
        server.script("go", Turn(Say("One "), Drop(), Say("two.")))
        server.script("long", Turn(Say("One "), Drop(), Say("two"), Pause(20), Say(".")))
        with trio.fail_after(1000):
            for text in ("go", "long"):
                reply = await stream.ask(text)
                assert (reply.text, reply.recovered) == ("One two.", False)
        assert len(server.requests("GET", "/api/sessions/s")) == asked


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_turn_whose_events_came_is_never_sent_again_though_its_rows_are_gone(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, _, stream):
        await stream.ask("hello")
        rows = server._backend.live["s"].row.rows

        async def forget() -> None:
            rows.clear()
            await trio.lowlevel.checkpoint()

        server.script("go", Turn(Say("One "), Do(forget), Drop(), Hang()))
        with pytest.raises(errors.MessageInterrupted) as caught:
            await stream.ask("go")
        assert caught.value.outcome == "unknown"
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_message_whose_post_is_still_under_way_is_not_sent_again(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, proxy, stream):
        await stream.ask("hello")
        await trio.sleep(10)  # an idle connection is not used again
        proxy.plan = FaultPlan(Rule(Stall(100, 20.0, "up"), method="POST", connections=[1]))
        async with trio.open_nursery() as nursery:

            async def drop() -> None:
                await trio.sleep(1)
                await server.drop_streams()

            nursery.start_soon(drop)
            assert (await stream.ask("go")).text
        await trio.sleep(100)
        assert server.runs("go") == 1


async def test_a_cut_reply_that_the_rows_do_not_say_is_all_is_said_to_be_incomplete(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("pipeline", version="0.6.4", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as stream,
    ):
        server.script("go", Turn(Say("One two."), Drop()))
        with trio.fail_after(1000):
            reply = await stream.ask("go")
        assert (reply.text, reply.recovered, reply.incomplete) == ("One two.", True, True)
