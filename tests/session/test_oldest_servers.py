"""The oldest servers have JSON-RPC instead of REST, and answer every other path with 200.

What is stored is read, a turn is cancelled and a permission request is answered by JSON-RPC.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.networks import PostCutter
from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    Complete,
    Drop,
    Fail,
    MessageFinished,
    MixServer,
    Pause,
    PermissionAnswered,
    Say,
    Step,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix.testing import Api


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer("pipeline-oldest", listen=False, pace=0.0) as server:
        server.script("long", Turn(Say("It takes "), Pause(20), Say("time.")))
        server.script("go", Turn(Say("Here I am.")))
        yield server


@pytest.fixture
async def mix(server: MixServer) -> AsyncIterator[Mix]:
    async with Mix(server.url, network=server.network) as mix:
        yield mix


async def test_a_cut_turn_is_recovered_from_the_stored_messages(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    server.script("cut", Turn(UseTool("glob"), Drop(), Pause(3), Say("All is well.")))
    async with mix.open_stream(server.create_session()) as session:
        await session.ask("hello")
        reply = await session.ask("cut")
        assert (reply.text, reply.recovered) == ("All is well.", True)
        assert [call.name for call in reply.tool_calls] == ["glob"]
        # These servers do not store whether a turn is over.
        assert reply.doubts == ("stored",)
        assert (await session.ask("go")).text == "Here I am."
    assert server.runs("cut") == 1


async def test_a_message_that_never_arrived_is_sent_again(
    server: MixServer, autojump_clock: MockClock
) -> None:
    network = PostCutter(server.network, arrives=False)
    async with (
        Mix(server.url, network=network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        await session.ask("hello")
        network.armed = True
        reply = await session.ask("go")
    assert (reply.text, reply.resent, reply.doubts) == ("Here I am.", True, ())
    assert server.runs("go") == 1


async def test_a_busy_server_is_waited_for_and_runs_the_message_once(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    session_id = server.create_session()
    async with mix.open_stream(session_id) as session:
        server.run_message(session_id, "long")
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(120):
            reply = await session.ask("go")
    assert (reply.text, reply.resent) == ("Here I am.", True)
    assert server.runs("go") == 1


async def test_a_turn_that_is_left_is_cancelled(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    async with mix.open_stream(server.create_session()) as session:
        with trio.move_on_after(5):
            await session.ask("long")
        assert (await session.ask("go")).text == "Here I am."
    ends = [(each.text, each.how) for each in server.log if isinstance(each, MessageFinished)]
    assert ends == [("long", "cancelled"), ("go", "complete")]


async def test_permission_requests_are_answered(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    server.script("ask", Turn(AskPermission("bash", then=[Say("Done.")])))

    async def policy(request: ev.PermissionEvent, message: object) -> bool:
        del message
        return request.tool_name == "bash"

    async with mix.open_stream(server.create_session(), on_permission=policy) as session:
        assert (await session.ask("ask")).text == "Done."
        server.script("ask", Turn(AskPermission("rm", then=[Say("Gone.")])))
        assert (await session.ask("ask")).text != "Gone."
    answers = [each.answer for each in server.log if isinstance(each, PermissionAnswered)]
    assert answers == ["granted", "denied"]


async def test_the_first_request_for_stored_messages_shows_that_there_is_no_rest(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    steps: list[Step] = [step for _ in range(20) for step in (UseTool("glob"), Pause(50))]
    server.script("go", Turn(*steps, Say("Done.")))
    async with mix.open_stream(server.create_session()) as session:
        await session.ask("hello")
        before = len(server.requests("GET", "/api/"))
        assert (await session.ask("go")).text == "Done."
        await trio.sleep(3600)
        assert len(server.requests("GET", "/api/")) == before


async def test_a_session_exists_as_long_as_its_scope_unless_it_is_the_only_one(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    async with mix.open_session(title="First") as session:
        first = session.session_id
        assert (await session.ask("go")).text == "Here I am."
    # The server refuses to delete the session of the last stream, and there is no other.
    assert [each.id for each in await mix.sessions.list()] == [first]
    with pytest.raises(errors.ErrorResponse, match="currently active"):
        await mix.sessions.delete(id=first)
    for _ in range(3):
        async with mix.open_session(title="Next") as session:
            assert (await session.ask("go")).text == "Here I am."
    assert [each.id for each in await mix.sessions.list()] == [first]
    spare = server.create_session()
    await mix.sessions.delete(id=first)
    assert [each.id for each in await mix.sessions.list()] == [spare]


async def test_without_json_rpc_nothing_is_reported_as_done(autojump_clock: MockClock) -> None:
    async with (
        MixServer("pipeline-oldest", jsonrpc=False, listen=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session_id = server.create_session()
        with pytest.raises(errors.NoSuchOperation):
            await mix.messages.cancel_processing(id=session_id)
        with pytest.raises(errors.NoSuchOperation):
            await mix.sessions.delete(id=session_id)
        with pytest.raises(errors.NoSuchOperation):
            await mix.permissions.grant(id="permission-1")
        assert server.create_session() == "session-2"


async def _grant(request: ev.PermissionEvent, message: object) -> bool:
    del request, message
    return True


async def test_permission_requests_are_answered_after_a_turn_whose_rows_show_no_end(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    """A turn that the stream has seen end is over, whatever is stored of it."""
    server.script("ask", Turn(AskPermission("bash", then=[Say("Done.")])))
    odd = {
        "ends without text": Turn(UseTool("glob")),
        "ends with a tool": Turn(Say("I look. "), UseTool("glob")),
        "fails after a long silence": Turn(UseTool("glob"), Pause(150), Fail("boom")),
        "fails": Turn(UseTool("glob"), Fail("boom")),
    }
    for name, turn in odd.items():
        server.script(name, turn)
        async with mix.open_stream(server.create_session(), on_permission=_grant) as session:
            with suppress(errors.AgentError):
                assert (await session.ask(name)).doubts == ()
            for _ in range(3):
                reply = await session.ask("ask")
                assert (name, reply.text, reply.doubts) == (name, "Done.", ())
    answers = {each.answer for each in server.log if isinstance(each, PermissionAnswered)}
    assert answers == {"granted"}


async def test_text_before_a_tool_is_in_the_reply_and_is_no_doubt(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    """No event has it: these servers send the text of the last message only."""
    look = UseTool("glob")
    scripts = {
        "I look. Done.": Turn(Say("I look. "), look, Say("Done.")),
        "I look. Again. Done.": Turn(Say("I look. "), look, Say("Again. "), look, Say("Done.")),
        "Nothing": Turn(Say("Nothing"), look, Say("")),
    }
    async with mix.open_stream(server.create_session()) as session:
        for text, turn in scripts.items():
            server.script(text, turn)
            for _ in range(2):
                async with session.send(text) as message:
                    deltas = [delta async for delta in message.text_deltas()]
                    reply = await message.wait()
                assert (reply.text, reply.doubts, "".join(deltas)) == (text, (), text)


async def test_a_command_after_a_failed_turn_does_not_delay_the_next_stream(
    server: MixServer, mix: Mix, autojump_clock: MockClock
) -> None:
    server.script("fails", Turn(UseTool("glob"), Fail("boom")))
    for command in ("/help", "!ls"):
        session_id = server.create_session()
        async with mix.open_stream(session_id) as session:
            with pytest.raises(errors.AgentError):
                await session.ask("fails")
            for _ in range(3):
                async with session.send(command, allow_shell=True) as message:
                    await message.wait()
        async with mix.open_stream(session_id) as session:
            with trio.fail_after(30):
                for _ in range(2):
                    assert (await session.ask("go")).doubts == ()


async def test_stored_rows_that_are_behind_the_events_do_not_shorten_a_reply(
    autojump_clock: MockClock,
) -> None:
    said = Turn(Say("Do "), Pause(1), Say("not delete it."))
    used = Turn(Say("Let me see. "), UseTool("glob"), Pause(1), Say("Done."))
    servers: tuple[tuple[Api, str | None], ...] = (
        ("pipeline-oldest", None),
        ("pipeline", "0.6.4"),  # without an export there are no finish reasons
        ("pipeline", None),
    )
    for api, version in servers:
        for lag in (0.01, 0.1, 0.5, 2.0):
            async with (
                MixServer(api, version=version, listen=False, pace=0.0, row_lag=lag) as server,
                Mix(server.url, network=server.network) as mix,
                mix.open_stream(server.create_session()) as session,
            ):
                server.script("say", said)
                server.script("use", used)
                for text, expected in (
                    ("say", "Do not delete it."),
                    ("use", "Let me see. Done."),
                    ("say", "Do not delete it."),
                ):
                    with trio.fail_after(60):
                        reply = await session.ask(text)
                    assert (reply.text, reply.doubts) == (expected, ()), (api, version, lag)


async def test_stored_rows_that_may_be_behind_do_not_confirm_a_text_that_its_end_lacks(
    autojump_clock: MockClock,
) -> None:
    servers: tuple[tuple[Api, str | None], ...] = (("pipeline-oldest", None), ("pipeline", "0.6.4"))
    say: list[Step] = [Say("Do "), Pause(1), Say("not delete it.")]
    for api, version in servers:
        for content in (None, ""):
            for steps in (say, [UseTool("glob"), *say]):
                async with (
                    MixServer(api, version=version, listen=False, pace=0.0, row_lag=0.1) as server,
                    Mix(server.url, network=server.network) as mix,
                    mix.open_stream(server.create_session()) as session,
                ):
                    server.script("go", Turn(*steps, Complete(data={"content": content})))
                    server.script("use", Turn(UseTool("glob"), Complete(data={"content": content})))
                    reply = await session.ask("go")
                    assert reply.incomplete, (api, steps)
                    if api == "pipeline":
                        assert reply.text.endswith("not delete it.")
                    reply = await session.ask("use")
                    assert (reply.text, reply.doubts) == ("", ()), api
