"""Two clients that use one session at the same time: a reply is right, or marked as doubtful.

In memory, with the autojump clock.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import Drop, Emit, Fail, MixServer, Pause, Say, Think, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix import Reply, SessionStream
    from trio_mix.testing import Api, Step


def random_turn(name: str, rng: random.Random) -> Turn:
    steps: list[Step] = []
    rounds = rng.randrange(1, 4)
    for number in range(rounds):
        steps.append(Pause(rng.choice([0, 0.1, 0.3])))
        if rng.random() < 0.3:
            steps.append(Think(f"{name} thinks"))
        steps.append(Say(f"{name} word{number} " * rng.randrange(1, 4)))
        if number < rounds - 1:
            steps.append(UseTool("glob"))
    return Turn(*steps)


def text_of(turn: Turn) -> str:
    return "".join(step.text for step in turn.steps if isinstance(step, Say))


async def replies(
    api: Api, rng: random.Random, *, names_users: bool | None = None
) -> list[tuple[str, Reply]]:
    """Return the text that each reply of two clients must have, and the reply."""
    found: list[tuple[str, Reply]] = []
    async with MixServer(api, listen=False, pace=0.0, names_users=names_users) as server:
        session_id = server.create_session()

        async def client(name: str) -> None:
            async with (
                Mix(server.url, network=server.network) as mix,
                mix.open_stream(session_id) as session,
            ):
                for number in range(3):
                    await trio.sleep(rng.choice([0, 0, 0.05, 0.2, 1]))
                    turn = random_turn(f"{name}{number}", rng)
                    server.script(f"{name}{number}", turn)
                    try:
                        found.append((text_of(turn), await session.ask(f"{name}{number}")))
                    except errors.AgentError:
                        # A stream that is closed cancels what it runs for another one.
                        assert api == "pipeline"

        with trio.fail_after(3600):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client, "x")
                nursery.start_soon(client, "y")
        assert all(server.runs(f"{name}{number}") <= 1 for name in "xy" for number in range(3))
    return found


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_wrong_reply_is_marked(api: Api, autojump_clock: trio.testing.MockClock) -> None:
    right = 0
    for seed in range(15):
        for text, reply in await replies(api, random.Random(seed)):
            right += reply.text == text
            assert reply.text == text or (reply.incomplete and reply.doubts), (seed, text, reply)
            if api == "pipeline":  # its rows show which answer belongs to which message
                assert reply.text == text
    assert right >= 40


@pytest.mark.parametrize("api", ["pipeline", "pipeline-oldest"])
async def test_a_message_that_another_stream_ran_does_not_cancel_the_next_one_there(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    """A stream of a pipeline server that is closed cancels what another stream runs."""
    async with MixServer(api, listen=False, pace=0.0) as server:
        session_id = server.create_session()

        async def client(name: str, session: SessionStream) -> None:
            for number in range(4):
                text = f"{name}{number}"
                server.script(text, Turn(Pause(0.3), Say(f"Re: {text}")))
                assert (await session.ask(text)).text == f"Re: {text}"

        async with (
            Mix(server.url, network=server.network) as one,
            Mix(server.url, network=server.network) as two,
            one.open_stream(session_id) as first,
            two.open_stream(session_id) as second,
        ):
            with trio.fail_after(3600):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(client, "x", first)
                    nursery.start_soon(client, "y", second)
            assert len(server.requests("GET", "/stream")) == 2
            assert all(server.runs(f"{name}{number}") == 1 for name in "xy" for number in range(4))


async def test_a_wrong_reply_of_a_blocking_server_that_names_only_questions_is_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No id shows whose text or whose end comes; the HTTP response names the last message."""
    for seed in range(6):
        for text, reply in await replies("blocking", random.Random(seed), names_users=True):
            assert reply.text == text or (reply.incomplete and reply.doubts), (seed, text, reply)
            assert text.endswith(reply.final_text), (seed, text, reply)


async def test_the_answer_of_a_blocking_server_replaces_doubled_text(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for names_users in (False, True):
        async with MixServer("blocking", listen=False, pace=0.0, names_users=names_users) as server:
            server.script("theirs", Turn(Pause(0.5), Say("Theirs is longer "), Pause(2), Say("!")))
            server.script("ours", Turn(Pause(1), Say("Ours "), Pause(0.1), Say("all.")))
            session_id = server.create_session()
            async with (
                Mix(server.url, network=server.network) as mix,
                Mix(server.url, network=server.network) as other,
                mix.open_stream(session_id) as session,
                other.open_stream(session_id) as session_of_the_other,
                trio.open_nursery() as nursery,
            ):
                await session.ask("hello")
                await session_of_the_other.ask("hello")
                nursery.start_soon(session_of_the_other.ask, "theirs")
                reply = await session.ask("ours")
                assert reply.text == "Ours all."


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_turns_one_after_the_other_leave_no_doubt(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as one,
            Mix(server.url, network=server.network) as two,
            one.open_stream(session_id) as first,
        ):
            for number in range(5):
                turn = random_turn(str(number), random.Random(number))
                server.script(f"go {number}", turn)
                reply = await first.ask(f"go {number}")
                assert (reply.text, reply.doubts, reply.incomplete) == (text_of(turn), (), False)
                async with two.open_stream(session_id) as second:
                    server.script(f"and {number}", turn)
                    reply = await second.ask(f"and {number}")
                assert (reply.text, reply.doubts, reply.incomplete) == (text_of(turn), (), False)


async def test_the_doubled_text_of_an_overlapping_turn_is_replaced_by_the_stored_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Ids tell the turns apart, but each event comes as often as turns run."""
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("theirs", Turn(Say("Theirs begins, "), Pause(2), Say("and ends.")))
        server.script("ours", Turn(Say("Ours "), UseTool("glob"), Pause(0.1), Say("all.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
        ):
            await session.ask("hello")
            await mix.messages.send(id=session_id, text="theirs")
            await trio.sleep(1)
            reply = await session.ask("ours")
            assert (reply.text, reply.doubts) == ("Ours all.", ("shared",))


@pytest.mark.parametrize("api", ["blocking", "async"])
async def test_another_clients_error_does_not_end_a_message(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    """The answer to the POST, or the stored messages, show that its turn goes on."""
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("theirs", Turn(Say("Theirs. "), Pause(0.5), Fail("theirs has failed")))
        server.script("ours", Turn(Pause(0.2), Say("Ours, "), Pause(20), Say("all of it.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            Mix(server.url, network=server.network) as other,
            mix.open_stream(session_id) as session,
            other.open_stream(session_id) as session_of_the_other,
            trio.open_nursery() as nursery,
        ):
            await session.ask("hello")
            await session_of_the_other.ask("hello")

            async def ask_theirs() -> None:
                with pytest.raises(errors.AgentError, match="theirs has failed"):
                    await session_of_the_other.ask("theirs")

            nursery.start_soon(ask_theirs)
            await trio.sleep(0.1)
            reply = await session.ask("ours")
            assert reply.final_text == "Ours, all of it."
            assert reply.text == reply.final_text or "shared" in reply.doubts


async def test_a_message_that_failed_as_another_one_began_ends_before_that_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The first text of the other turn does not show that ours goes on."""
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("ours", Turn(Say("Ours."), Pause(1), Fail("ours has failed")))
        theirs = (Pause(1), Say("Theirs, "), UseTool("glob"), Say("and more. "), Pause(90))
        server.script("theirs", Turn(*theirs, Say("The end.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s")) as session,
            trio.open_nursery() as nursery,
        ):

            async def run_theirs() -> None:
                await trio.sleep(0.5)
                server.run_message("s", "theirs")

            nursery.start_soon(run_theirs)
            with pytest.raises(errors.AgentError, match="ours has failed"):
                await session.ask("ours")
            assert server.running_turns, "theirs"


async def test_an_error_is_looked_up_among_the_stored_messages_once_another_client_was_heard(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It names no message, and on a slow connection it may be that of an earlier turn."""
    async with MixServer("async", listen=False, pace=0.0) as server:
        stray = Emit("error", {"error": "another turn has failed"})
        server.script("fails", Turn(Say("One. "), Fail("it broke")))
        server.script("goes on", Turn(Say("One. "), stray, Pause(1), Say("Two.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s")) as session,
        ):
            await session.ask("hello")
            server.run_message("s", "another client's")
            await trio.sleep(1)
            for text, doubts in (("fails", ()), ("goes on", ("shared",))):
                with pytest.raises(errors.AgentError) as caught:
                    await session.ask(text)
                assert caught.value.partial is not None
                assert caught.value.partial.doubts == doubts


async def test_text_that_is_not_stored_is_marked_in_the_partial_reply_of_a_message_that_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer("blocking", listen=False, pace=0.0, names_users=False) as server:
        theirs = Emit("content", {"type": "content", "content": "theirs"})
        server.script("hello", Turn(theirs, Drop(), Fail("it broke")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            await session.ask("before")
            with pytest.raises(errors.MessageInterrupted) as caught:
                await session.ask("hello")
            partial = caught.value.partial
            assert partial is not None
            assert (partial.text, partial.doubts) == ("theirs", ("gap", "shared"))


async def test_an_error_after_a_loss_without_replay_may_be_that_of_a_turn_that_began_unseen(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        stray = Emit("error", {"error": "another turn has failed"})
        ours = (Say("One "), Drop(), Pause(2), Say("two "))
        server.script("goes on", Turn(*ours, stray, Pause(1), Say("three.")))
        server.script("fails", Turn(*ours, Fail("it broke")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            for text, doubted in (("goes on", True), ("fails", False)):
                with pytest.raises(errors.AgentError) as caught:
                    await session.ask(text)
                assert caught.value.partial is not None
                assert ("shared" in caught.value.partial.doubts) is doubted


async def test_a_message_that_failed_beside_a_longer_turn_ends_before_that(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("theirs", Turn(UseTool("bash", steps=[Pause(200)]), Say("Theirs.")))
        server.script("ours", Turn(Pause(0.2), Say("Ours, "), Pause(1), Fail("ours has failed")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            Mix(server.url, network=server.network) as other,
            mix.open_stream(session_id, settle_timeout=1000) as session,
            other.open_stream(session_id, settle_timeout=1000) as session_of_the_other,
            trio.open_nursery() as nursery,
        ):
            await session.ask("hello")
            await session_of_the_other.ask("hello")
            nursery.start_soon(session_of_the_other.ask, "theirs")
            await trio.sleep(0.1)
            with pytest.raises(errors.AgentError, match="ours has failed") as caught:
                await session.ask("ours")
            assert server.running_turns
            assert caught.value.partial is not None
            assert "shared" in caught.value.partial.doubts


async def test_the_partial_reply_of_a_message_that_failed_beside_a_later_turn_is_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The events of blocking servers name no turn: only the stored messages show the other one."""
    for begins, doubts in ((0.5, ("shared",)), (60, ())):
        async with MixServer("blocking", listen=False, pace=0.0) as server:
            server.script("theirs", Turn(Say("Theirs."), Pause(10)))
            server.script("ours", Turn(Say("Ours, "), Pause(2), Fail("ours has failed")))
            session_id = server.create_session()
            async with (
                Mix(server.url, network=server.network) as mix,
                Mix(server.url, network=server.network) as other,
                mix.open_stream(session_id) as session,
                other.open_stream(session_id) as session_of_the_other,
                trio.open_nursery() as nursery,
            ):
                await session.ask("hello")
                await session_of_the_other.ask("hello")

                async def ask_theirs(
                    ask: Callable[[str], Awaitable[Reply]] = session_of_the_other.ask,
                    begins: float = begins,
                ) -> None:
                    await trio.sleep(begins)
                    await ask("theirs")

                nursery.start_soon(ask_theirs)
                with pytest.raises(errors.AgentError, match="failed") as caught:
                    await session.ask("ours")
                assert caught.value.partial is not None
                assert caught.value.partial is not None
                assert caught.value.partial.doubts == doubts


async def test_an_error_on_the_stream_of_a_message_that_another_stream_runs_is_not_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Each stream of a pipeline server runs each message, and only one of them succeeds."""
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        server.script("ours", Turn(Say("Ours, "), Pause(20), Say("all of it.")))
        server.script("theirs", Turn(Fail("theirs has failed")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            Mix(server.url, network=server.network) as other,
            mix.open_stream(session_id) as session,
            other.open_stream(session_id) as session_of_the_other,
        ):
            for _ in range(8):  # which stream runs a message is chance
                with suppress(errors.AgentError, errors.MessageInterrupted):
                    await session_of_the_other.ask("theirs")
                reply = await session.ask("ours")
                assert (reply.text, reply.incomplete) == ("Ours, all of it.", False)


async def test_the_tool_calls_of_a_blocking_server_are_compared_with_the_stored_ones_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Nothing else shows that they are not another client's, and the text agrees."""
    call = {"type": "tool", "id": "theirs", "name": "ls", "input": "{}", "status": "completed"}
    ran = {"type": "tool_execution_complete", "toolCallId": "theirs", "success": True}
    theirs = (Emit("tool", call), Emit("tool_execution_complete", ran))
    async with MixServer("blocking", listen=False, pace=0.0, names_users=False) as server:
        server.script("text", Turn(Say("Ours.")))
        server.script("tool", Turn(UseTool("glob"), Say("Ours.")))
        server.script("theirs", Turn(*theirs, Pause(1), Say("Ours.")))
        session_id = server.create_session()
        path = f"/api/sessions/{session_id}/export"
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
        ):
            await session.ask("before")
            cases = (
                ("text", False, 0, 0, ()),
                ("tool", False, 1, 1, ()),
                ("tool", True, 1, 1, ()),
                ("theirs", False, 1, 0, ("shared",)),
            )
            for text, fails, readings, calls, doubts in cases:
                if fails:
                    server.answer_next(path, 503)
                before = len(server.requests("GET", path))
                reply = await session.ask(text)
                found = (len(reply.tool_calls), reply.text, reply.doubts)
                assert found == (calls, "Ours.", doubts), text
                assert len(server.requests("GET", path)) - before == readings, (text, fails)
