"""Turns whose events are missing although no connection was lost: each of them ends.

In memory, with the autojump clock.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Do,
    Drop,
    Fail,
    Hang,
    MessageFinished,
    MixServer,
    Pause,
    Say,
    Step,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api

WITH_FINISH_REASONS: tuple[Api, ...] = ("async", "pipeline")
ACCEPTING: tuple[Api, ...] = ("async", "pipeline", "pipeline-oldest")


@asynccontextmanager
async def scene(
    api: Api, *, settle_timeout: float = 60.0, **options: Any
) -> AsyncIterator[tuple[MixServer, SessionStream]]:
    options = {"max_connection_age": None, "heartbeat_interval": 45.0} | options
    async with (
        MixServer(api, listen=False, pace=0.0, **options) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session_id = server.create_session(session_id="s")
        async with mix.open_stream(session_id, settle_timeout=settle_timeout) as session:
            with trio.fail_after(36_000):
                yield server, session


def readings(server: MixServer) -> int:
    return len(server.requests("GET", "/api/sessions/s")) + len(server.requests(path="/rpc"))


async def test_a_message_without_user_message_created_gets_its_reply(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Say("Here "), UseTool("glob"), Say("I am.")))
        server.lose_events("user_message_created", 1)
        began = trio.current_time()
        reply = await session.ask("go")
        assert reply.text == "Here I am."
        assert reply.recovered
        assert trio.current_time() - began < 30
        assert server.runs("go") == 1
        assert not (await session.ask("and now?")).recovered


async def test_a_long_turn_without_user_message_created_is_complete(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        steps: list[Step] = [
            Say("One. "),
            UseTool("glob"),
            Pause(200),
            Say("Two. "),
            UseTool("glob"),
        ]
        server.script("go", Turn(*steps, Pause(20), Say("Three.")))
        server.lose_events("user_message_created", 1)
        async with session.send("go") as message:
            joined = "".join([delta async for delta in message.text_deltas()])
        assert joined == message.reply.text == "One. Two. Three."
        assert server.runs("go") == 1


@pytest.mark.parametrize("delay", [0.0, 30.0])
async def test_a_server_that_never_sends_user_message_created_is_supported(
    delay: float, autojump_clock: MockClock
) -> None:
    """With a delay, ``complete`` arrives before the 202 of the POST."""
    async with scene("async", answer_delay=delay) as (server, session):
        server.lose_events("user_message_created")
        server.script("go", Turn(Say("Here "), UseTool("glob"), Say("I am.")))
        for _ in range(3):
            began = trio.current_time()
            assert (await session.ask("go")).text == "Here I am."
            assert trio.current_time() - began < delay + 30
        assert server.runs("go") == 3


@pytest.mark.parametrize("api", ACCEPTING)
async def test_an_error_that_looks_like_a_repetition_ends_its_message(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api, answer_delay=1.0) as (server, session):
        server.script(
            "go",
            Turn(Fail("the model is overloaded", times=2)),
            Turn(Fail("the model is overloaded", times=1)),
        )
        for _ in range(4):  # the first shows that errors are repeated, the second's is not
            with pytest.raises((errors.AgentError, errors.MessageInterrupted)) as caught:
                await session.ask("go")
            assert "overloaded" in f"{caught.value}{caught.value.__cause__}"
        assert server.runs("go") == 4
        server.script("and now?", Turn(Say("Yes.")))
        assert (await session.ask("and now?")).text == "Yes."


@pytest.mark.parametrize("api", WITH_FINISH_REASONS)
async def test_a_lost_complete_is_recovered_from_the_stored_messages(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Say("Here "), UseTool("glob"), Say("I am.")))
        server.lose_events("complete", 1)
        began = trio.current_time()
        reply = await session.ask("go")
        assert reply.text == "Here I am."
        assert reply.recovered
        assert not reply.incomplete
        assert 60 <= trio.current_time() - began < 90
        assert (await session.ask("and now?")).text


@pytest.mark.parametrize("version", ["0.6.4"])
async def test_without_finish_reasons_recovery_takes_longer_and_the_reply_is_incomplete(
    version: str, autojump_clock: MockClock
) -> None:
    async with scene("pipeline", version=version) as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Say("Here I am.")))
        server.lose_events("complete", 1)
        began = trio.current_time()
        reply = await session.ask("go")
        assert (reply.text, reply.recovered, reply.incomplete) == ("Here I am.", True, True)
        assert 300 <= trio.current_time() - began < 500
        assert (await session.ask("and now?")).text


async def test_a_silent_turn_ends_as_unknown_where_nothing_can_be_read(
    autojump_clock: MockClock,
) -> None:
    async with scene("pipeline-oldest", jsonrpc=False) as (server, session_id):
        server.script("go", Turn(Say("Hm."), Pause(7000), Say("Done.")))
        began = trio.current_time()
        with pytest.raises(errors.MessageInterrupted, match="no event of it") as caught:
            await session_id.ask("go")
        assert caught.value.outcome == "unknown"
        assert 300 <= trio.current_time() - began <= 420


@pytest.mark.parametrize("api", ACCEPTING)
async def test_a_silent_running_turn_is_waited_for_and_rarely_read(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, session):
        steps: list[Step] = [
            Think("Hm."),
            Pause(500),
            UseTool("bash", steps=[Pause(7000)]),
            Say("Done."),
        ]
        server.script("go", Turn(*steps))
        await session.ask("hello")
        before = readings(server)
        reply = await session.ask("go")
        assert (reply.text, reply.recovered) == ("Done.", False)
        assert readings(server) - before <= 7500 / 60 + 2


@pytest.mark.parametrize("api", ACCEPTING)
async def test_no_message_is_read_while_a_turn_shows_signs_of_life(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, session):
        await session.ask("hello")
        before = readings(server)
        steps: list[Step] = [step for _ in range(20) for step in (UseTool("glob"), Pause(50))]
        server.script("go", Turn(*steps, Say("Done.")))
        assert (await session.ask("go")).text == "Done."
        await trio.sleep(3600)
        # Only the stored messages of a pipeline server show whose the end is.
        assert readings(server) == before + (api != "async")


async def test_an_accepted_turn_without_a_stored_row_is_unknown(
    autojump_clock: MockClock,
) -> None:
    """The server stored another text than was sent: this alone is no reason to send it again."""
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Hang()))
        server.lose_events("user_message_created", 1)
        async with session.send("go") as message:
            await server.wait_until(lambda: len(server.stored("s")) > 2)
            live = server._backend.live["s"]
            live.row.rows[-1].text = "something else"
            began = trio.current_time()
            with pytest.raises(
                errors.MessageInterrupted, match="connection was not lost"
            ) as caught:
                await message.wait()
        assert caught.value.outcome == "unknown"
        assert 60 <= trio.current_time() - began < 700
        assert server.runs("go") == 1


async def test_a_server_that_cannot_be_asked_leaves_no_message_waiting_forever(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.answer_next("/api/sessions/s/export", 503, times=100_000)
        server.script("go", Turn(Say("Here I am.")))
        server.lose_events("user_message_created", 1)
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "unknown"


async def test_a_turn_whose_error_was_lost_is_interrupted(autojump_clock: MockClock) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Say("Here "), Fail("no more money")))
        server.lose_events("error")
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "gone"
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Here "


async def test_a_connection_lost_during_a_silent_turn_is_recovered_as_usual(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Say("One. "), Pause(240), Say("Two.")))
        async with session.send("go") as message:
            gaps = 0
            first = await message.__anext__()
            assert isinstance(first, ev.UserMessageCreatedEvent)
            await trio.sleep(200)
            await server.drop_streams()
            async for event in message:
                gaps += isinstance(event, ev.StreamGapEvent)
        assert message.reply.text == "One. Two."
        assert gaps == 1


@pytest.mark.parametrize("api", ACCEPTING)
async def test_leaving_a_silent_message_ends_its_turn(api: Api, autojump_clock: MockClock) -> None:
    async with scene(api) as (server, session):
        server.script("go", Turn(Hang()))
        with trio.move_on_after(500):
            await session.ask("go")
        await server.wait_for(MessageFinished, text="go")
        assert (await session.ask("hello")).text


async def test_the_end_of_another_client_s_turn_is_not_taken_for_this_one(
    autojump_clock: MockClock,
) -> None:
    """The other turn ends while this one waits to begin."""
    async with scene("async") as (server, session):
        await session.ask("hello")
        going = trio.Event()

        async def go() -> None:
            going.set()

        server.script("theirs", Turn(Do(go), Pause(10), Say("For the other client.")))
        server.script("go", Turn(Pause(40), Say("For this client.")))
        server.run_message("s", "theirs")
        await going.wait()
        reply = await session.ask("go")
        assert (reply.text, reply.recovered) == ("For this client.", False)


@pytest.mark.parametrize("api", WITH_FINISH_REASONS)
async def test_a_failed_turn_without_any_event_is_gone_by_its_stored_row(
    api: Api, autojump_clock: MockClock
) -> None:
    async with scene(api) as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Fail("no more money")))
        server.lose_events("error")
        began = trio.current_time()
        with pytest.raises(errors.MessageInterrupted) as caught:
            await session.ask("go")
        assert caught.value.outcome == "gone"
        assert 60 <= trio.current_time() - began < 100


async def test_a_turn_that_is_not_stored_is_unknown_and_not_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.script("go", Turn(Hang()))
        server.lose_events("user_message_created", 1)
        async with session.send("go") as message:
            await server.wait_until(lambda: len(server.stored("s")) > 2)
            server._backend.live["s"].row.rows.pop()
            began = trio.current_time()
            with pytest.raises(errors.MessageInterrupted):
                await message.wait()
        assert 120 <= trio.current_time() - began < 200
        assert server.runs("go") == 1


async def test_a_short_settle_timeout_shortens_the_recovery(autojump_clock: MockClock) -> None:
    async with scene("async", settle_timeout=1.0) as (server, session):
        await session.ask("hello")
        server.lose_events("complete", 1)
        began = trio.current_time()
        assert (await session.ask("how are you?")).recovered
        assert trio.current_time() - began < 5


@pytest.mark.parametrize("ending", [Say("two."), Fail("no more money")])
async def test_a_turn_that_continued_after_a_loss_ends_even_if_its_end_is_lost(
    ending: Step, autojump_clock: MockClock
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        server.answer_next("/api/sessions/s/export", 404, body=b"no", times=10_000)
        server.script("go", Turn(Say("One "), Drop(), Pause(10), UseTool("glob"), ending))
        server.lose_events("complete", 1)
        server.lose_events("error")
        began = trio.current_time()
        reply = await session.ask("go")
        # Without finish reasons, a turn that failed looks like one that ended with its tool call.
        text = "One " if isinstance(ending, Fail) else "One two."
        assert (reply.text, reply.recovered, reply.incomplete) == (text, True, True)
        assert 300 <= trio.current_time() - began < 1000


async def test_a_turn_that_continues_after_a_loss_is_rarely_read(
    autojump_clock: MockClock,
) -> None:
    async with scene("async") as (server, session):
        await session.ask("hello")
        before = readings(server)
        working = [step for _ in range(100) for step in (UseTool("glob"), Pause(20))]
        server.script("go", Turn(Say("One "), Drop(), Pause(10), *working, Say("two.")))
        reply = await session.ask("go")
        assert (reply.text, reply.incomplete) == ("One two.", False)
        assert readings(server) - before <= 2000 / 60 + 10
