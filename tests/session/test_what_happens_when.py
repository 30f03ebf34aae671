"""The rows of the docs page "What happens when…", for each generation.

In memory, with the autojump clock. The page names these tests: keep them in this module.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.networks import PostCutter
from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Do,
    Hang,
    MessageAccepted,
    MessageFinished,
    MessageRun,
    MixServer,
    Pause,
    Say,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api

WITH_REST = ("async", "blocking", "pipeline")
ALL = ("async", "blocking", "pipeline", "pipeline-oldest")


@asynccontextmanager
async def serving(api: str, **options: Any) -> AsyncIterator[MixServer]:
    async with MixServer(api, listen=False, pace=0.0, **options) as server:  # type: ignore[arg-type]
        server.script("go", Turn(Say("Here I am, all of me.")))
        server.script("long", Turn(Say("It begins. "), Hang()))
        yield server


@asynccontextmanager
async def streaming(
    server: MixServer, session_id: str, network: Any = None, **options: Any
) -> AsyncIterator[SessionStream]:
    async with (
        Mix(server.url, network=network or server.network) as mix,
        mix.open_stream(session_id, **options) as session,
    ):
        yield session


@pytest.mark.parametrize("api", ALL)
async def test_connection_lost_between_messages(api: Api, autojump_clock: MockClock) -> None:
    async with serving(api) as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            await session.ask("hello")
            await server.drop_streams()
            await trio.sleep(5)
            assert session.state.value == "connected"
            assert (await session.ask("go")).text == "Here I am, all of me."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_connection_lost_before_the_post(api: Api, autojump_clock: MockClock) -> None:
    """The message waits for the stream: without one, a pipeline server would drop it."""
    async with serving(api) as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            await session.ask("hello")
            await server.stop()
            await trio.sleep(0.01)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.ask, "go")
                await trio.sleep(20)
                assert server.runs("go") == 0
                await server.start()
            assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_connection_lost_during_the_post_which_arrived(
    api: Api, autojump_clock: MockClock
) -> None:
    async with serving(api) as server:
        session_id = server.create_session()

        async def until_it_runs() -> None:
            await server.wait_for(MessageRun, text="go")

        network = PostCutter(server.network, arrives=True, before_cut=until_it_runs)
        async with streaming(server, session_id, network) as session:
            await session.ask("hello")
            network.armed = True
            reply = await session.ask("go")
            assert reply.text == "Here I am, all of me."
            assert not reply.resent
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_connection_lost_during_the_post_which_never_arrived(
    api: Api, autojump_clock: MockClock
) -> None:
    async with serving(api) as server:
        session_id = server.create_session()
        network = PostCutter(server.network, arrives=False)
        async with streaming(server, session_id, network) as session:
            await session.ask("go")
            network.armed = True
            reply = await session.ask("go")
            assert reply.text == "Here I am, all of me."
            assert reply.resent
        assert server.runs("go") == 2  # the first "go", and the second one once


@pytest.mark.parametrize("api", ALL)
async def test_a_command_whose_post_was_cut_is_not_sent_again(
    api: Api, autojump_clock: MockClock
) -> None:
    """Servers run commands without storing them: that it is not stored proves nothing."""
    async with serving(api) as server:
        session_id = server.create_session()
        network = PostCutter(server.network, arrives=False)
        async with streaming(server, session_id, network) as session:
            await session.ask("go")
            asked = len(server.requests("POST"))
            for text in ("/help", "!make deploy"):
                network.armed = True
                with pytest.raises(errors.MessageInterrupted, match="it is a command") as caught:
                    await session.ask(text, allow_shell=True)
                assert caught.value.outcome == "unknown"
            sent = [r for r in server.requests("POST")[asked:] if "message" in r.path]
            assert not sent  # the network has lost both, and neither was sent again
            assert (await session.ask("go")).text


async def test_a_server_without_stored_messages_cannot_tell_whether_a_post_arrived(
    autojump_clock: MockClock,
) -> None:
    async with serving("pipeline-oldest", jsonrpc=False) as server:
        session_id = server.create_session()
        network = PostCutter(server.network, arrives=False)
        async with streaming(server, session_id, network) as session:
            await session.ask("hello")
            network.armed = True
            with pytest.raises(errors.MessageInterrupted, match="may have run") as caught:
                await session.ask("go")
            assert caught.value.outcome == "unknown"
        assert server.runs("go") == 0


@pytest.mark.parametrize("api", ALL)
async def test_connection_lost_after_the_post_before_any_event(
    api: Api, autojump_clock: MockClock
) -> None:
    async with serving(api) as server:

        async def lose() -> None:
            await server.drop_streams()

        server.script("lost", Turn(Pause(1), Say("Sent to no stream.")))
        session_id = server.create_session()
        async with streaming(server, session_id) as session, trio.open_nursery() as nursery:
            await session.ask("hello")

            async def cut() -> None:
                await server.wait_for(MessageAccepted, text="lost")
                await lose()

            nursery.start_soon(cut)
            assert (await session.ask("lost")).text == "Sent to no stream."
        assert server.runs("lost") == 1


@pytest.mark.parametrize("api", ALL)
async def test_server_restarted_between_messages(api: Api, autojump_clock: MockClock) -> None:
    async with serving(api) as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            await session.ask("hello")
            await server.restart()
            assert (await session.ask("go")).text == "Here I am, all of me."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_server_restarted_and_the_session_is_gone(
    api: Api, autojump_clock: MockClock
) -> None:
    async with serving(api) as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            await session.ask("hello")
            await server.restart(keep_sessions=False)
            with pytest.raises(errors.SessionNotFound):
                await session.ask("go")
            with pytest.raises(errors.SessionNotFound):
                await session.wait_connected()


@pytest.mark.parametrize("api", WITH_REST)
async def test_server_restarted_in_mid_turn(api: Api, autojump_clock: MockClock) -> None:
    async with serving(api) as server, trio.open_nursery() as nursery:

        async def crash() -> None:
            nursery.start_soon(server.restart)
            await trio.sleep_forever()

        server.script("crash", Turn(Say("It began"), Pause(0.1), Do(crash)))
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            with pytest.raises(errors.MessageInterrupted) as caught:
                await session.ask("crash")
            assert caught.value.partial is not None
            assert caught.value.partial.text.startswith("It began")
            assert (await session.ask("go")).text == "Here I am, all of me."
        assert server.runs("crash") == 1


async def test_an_oldest_server_restarted_in_mid_turn(autojump_clock: MockClock) -> None:
    """Nothing that it stores shows whether a text is complete."""
    async with serving("pipeline-oldest") as server, trio.open_nursery() as nursery:

        async def crash() -> None:
            nursery.start_soon(server.restart)
            await trio.sleep_forever()

        server.script("crash", Turn(Say("It began"), Pause(0.1), Do(crash)))
        server.script("crash at work", Turn(UseTool("bash", steps=[Do(crash)])))
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            reply = await session.ask("crash")
            assert (reply.text, reply.incomplete, reply.doubts) == ("It began", True, ("stored",))
            with pytest.raises(errors.MessageInterrupted) as caught:
                await session.ask("crash at work")
            assert caught.value.outcome == "gone"
            assert (await session.ask("go")).text == "Here I am, all of me."
        assert server.runs("crash") == server.runs("crash at work") == 1


@pytest.mark.parametrize("api", ALL)
async def test_caller_cancelled(api: Api, autojump_clock: MockClock) -> None:
    async with serving(api) as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            with trio.move_on_after(5):
                await session.ask("long")
            assert (await session.ask("go")).text == "Here I am, all of me."
        ends = [record.how for record in server.log if isinstance(record, MessageFinished)]
        assert ends == ["cancelled", "complete"]


async def test_caller_cancelled_on_a_server_that_cannot_cancel(autojump_clock: MockClock) -> None:
    """The next message waits until the turn is over."""
    async with serving("pipeline-oldest", jsonrpc=False) as server:
        server.script("slow", Turn(Pause(30), Say("Done at last.")))
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            with trio.move_on_after(5):
                await session.ask("slow")
            assert (await session.ask("go")).text == "Here I am, all of me."
        ends = [(r.text, r.how) for r in server.log if isinstance(r, MessageFinished)]
        assert ends == [("slow", "complete"), ("go", "complete")]


@pytest.mark.parametrize("api", WITH_REST)
async def test_consumer_slow(api: Api, autojump_clock: MockClock) -> None:
    """Nothing is lost at the mark; beyond the limit, only this message fails."""
    async with serving(api, slow_reader_limit=None) as server:
        text = "".join(f"word{number} " for number in range(500))
        server.script("flood", Turn(Say(text)))
        server.script("many", Turn(*[Do(trio.lowlevel.checkpoint)], *[_tool()] * 40, Say("x")))
        session_id = server.create_session()
        async with streaming(server, session_id, message_buffer=4) as session:
            async with session.send("flood") as message:
                await trio.sleep(10)
                deltas = [e.content async for e in message if isinstance(e, ev.ContentEvent)]
            assert "".join(deltas) == text
            assert len(deltas) < 20
            with pytest.raises(errors.ConsumerTooSlow, match="message_buffer"):
                async with session.send("many") as message:
                    await trio.sleep(10)
                    await message.wait()
            assert (await session.ask("go")).text == "Here I am, all of me."


def _tool() -> Any:
    from trio_mix.testing import UseTool

    return UseTool("glob", {"pattern": "*"})


async def test_a_subscriber_that_is_slow_sees_what_it_missed(autojump_clock: MockClock) -> None:
    async with serving("async", slow_reader_limit=None) as server:
        server.script("flood", Turn(Say("".join(f"word{number} " for number in range(100)))))
        session_id = server.create_session()
        async with streaming(server, session_id) as session:
            async with session.subscribe(buffer=10) as everything:
                await session.ask("flood")
                first = await everything.__anext__()
                assert isinstance(first, ev.StreamGapEvent)
                assert first.missed is not None
                rest = [await everything.__anext__() for _ in range(10)]
                assert isinstance(rest[-1], ev.CompleteEvent)
                assert first.missed + len(rest) == session.statistics().events - 1  # connected


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_second_client_on_the_session(api: Api, autojump_clock: MockClock) -> None:
    """Subscribers receive its turns, and messages never do."""
    async with serving(api) as server:
        server.script("theirs", Turn(Say("for the other client")))
        session_id = server.create_session()
        async with (
            streaming(server, session_id) as mine,
            streaming(server, session_id) as theirs,
            mine.subscribe() as everything,
        ):
            assert (await theirs.ask("theirs")).text == "for the other client"
            assert (await mine.ask("go")).text == "Here I am, all of me."
            seen: list[ev.Event] = []
            while sum(isinstance(event, ev.CompleteEvent) for event in seen) < 2:
                seen.append(await everything.__anext__())
            texts = "".join(e.content for e in seen if isinstance(e, ev.ContentEvent))
            assert texts == "for the other clientHere I am, all of me."


async def test_second_client_on_a_pipeline_session_is_waited_for(
    autojump_clock: MockClock,
) -> None:
    """Two streams of a session run each other's messages; a busy server is retried."""
    async with serving("pipeline") as server:
        session_id = server.create_session()
        async with streaming(server, session_id) as mine, streaming(server, session_id):
            outcome = ""
            with trio.fail_after(120):
                try:
                    outcome = (await mine.ask("go")).text
                except errors.AgentError as refused:
                    outcome = refused.event.error
            # Which of the two streams receives the events is random, on real servers too.
            assert outcome == "Here I am, all of me." or "currently processing" in outcome


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_process_killed(api: Api, autojump_clock: MockClock) -> None:
    """The server continues the turn of a client that is gone; the next client reads it."""
    async with serving(api) as server:
        server.script("slow", Turn(Pause(3), Say("Done without you.")))
        session_id = server.create_session()
        with trio.CancelScope() as life:
            async with streaming(server, session_id, cleanup_timeout=1e-9) as session:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(session.ask, "slow")
                    await server.wait_for(MessageRun, text="slow")
                    await server.drop_streams()  # its sockets are closed, no cancel is sent
                    server.answer_next("/api/sessions/", 503)
                    life.cancel()
        await server.wait_for(MessageFinished, text="slow")
        async with Mix(server.url, network=server.network) as mix:
            stored = await mix.messages.get_session(id=session_id)
        assert stored[-1].assistant_response == "Done without you."


def test_every_test_that_the_page_names_is_here() -> None:
    page = Path(__file__).parents[2] / "docs" / "explanation" / "what-happens-when.md"
    named = set(re.findall(r"`(test_\w+)`", page.read_text(encoding="utf-8")))
    assert len(named) > 12
    tickets = Path(__file__).with_name("test_tickets.py").read_text(encoding="utf-8")
    assert named <= {*globals(), *re.findall(r"def (test_\w+)", tickets)}
