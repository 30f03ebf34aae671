"""A session that is at another turn when a message is to be sent."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from trio_mix import Mix, errors
from trio_mix.testing import (
    AskPermission,
    Fail,
    Hang,
    MessageAccepted,
    MessageFinished,
    MessageRun,
    MixServer,
    Pause,
    Say,
    Think,
    Turn,
    UseTool,
    assert_ran_once,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix import Message
    from trio_mix.events import PermissionEvent
    from trio_mix.testing import Api, Step

APIS: tuple[Api, ...] = ("async", "blocking", "pipeline")

OLD = Turn(
    Say("Old "),
    UseTool("glob"),
    Pause(3),
    Think("Hm."),
    Say("words "),
    Pause(20),
    UseTool("bash", steps=[Pause(30)]),
    Say("at last."),
)
NEW = Turn(Pause(0.5), Say("Our "), UseTool("glob"), Say("own."))


@asynccontextmanager
async def dead_process(server: MixServer, session_id: str, text: str) -> AsyncIterator[None]:
    """Send a message from a process that is killed at once; its turn goes on."""
    async with Mix(server.url, network=server.network) as mix, trio.open_nursery() as nursery:

        async def send() -> None:
            if server.api.startswith("pipeline"):
                await mix.streaming.send_streaming_message(
                    id=session_id, content=f'{{"text": "{text}"}}'
                )
            else:
                await mix.messages.send(id=session_id, text=text)

        async with mix.streaming.stream_events(session_id=session_id):
            nursery.start_soon(send)
            await server.wait_for(MessageRun, text=text)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def scene(api: Api, **options: Any) -> AsyncIterator[tuple[MixServer, Mix, str]]:
    async with (
        MixServer(api, listen=False, pace=0.0, **options) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("old", OLD)
        server.script("new", NEW)
        with trio.fail_after(36_000):
            yield server, mix, server.create_session()


@pytest.mark.parametrize("api", APIS)
async def test_a_turn_that_still_runs_when_the_stream_opens_is_waited_for(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        scene(api) as (server, mix, session_id),
        dead_process(server, session_id, "old"),
        mix.open_stream(session_id) as session,
    ):
        reply = await session.ask("new")
        assert (reply.text, reply.doubts, reply.recovered) == ("Our own.", (), False)
        assert_ran_once(server, "old", session_id)
        assert_ran_once(server, "new", session_id)


async def test_the_wait_is_visible_and_nothing_is_read_while_events_come(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene("async") as (server, mix, session_id):
        words: list[Step] = [Pause(0.5), Say("word ")]
        server.script("old", Turn(*words * 200))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.ask, "new")
                await trio.sleep(50)
                statistics = session.statistics()
                assert statistics.session_at_work
                readings = len(server.requests("GET", f"/api/sessions/{session_id}"))
                assert readings <= 2
                assert server.runs("new") == 0
            assert not session.statistics().session_at_work
            assert len(server.requests("GET", f"/api/sessions/{session_id}")) == readings + 1
        assert [r.name for r in caplog.records if "at work" in r.message] == ["trio_mix"]


@pytest.mark.parametrize("api", ["pipeline", "pipeline-oldest"])
async def test_a_message_that_was_refused_as_busy_is_sent_soon_after_the_other_turn(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with scene(api) as (server, mix, session_id):
        server.script("old", Turn(UseTool("bash", steps=[Pause(100)]), Say("Old.")))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            reply = await session.ask("new")
            ended = await server.wait_for(MessageFinished, text="old")
            began = await server.wait_for(MessageRun, text="new")
            assert reply.text.endswith("own.")
            assert began.time - ended.time < 11


@pytest.mark.parametrize("api", ["async", "pipeline-oldest"])
async def test_the_silence_of_another_turn_counts_from_the_first_reading_that_shows_it(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    """The stored messages of the oldest servers have no times."""
    async with scene(api) as (server, mix, session_id):
        server.script("old", Turn(UseTool("bash", steps=[Hang()])))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            with trio.move_on_after(50):
                await session.ask("too early")
            with trio.move_on_after(30):
                await session.ask("new")
            accepted = await server.wait_for(MessageAccepted, text="new")
            assert not server.runs("too early")
            assert accepted.time < 65


async def test_every_message_beside_a_silent_turn_is_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene("async") as (server, mix, session_id):
        server.script("old", Turn(UseTool("bash", steps=[Pause(200)]), Say("Old.")))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            for _ in range(2):
                assert "shared" in (await session.ask("new")).doubts
            await trio.sleep(800)
            assert (await session.ask("new")).doubts == ()


async def test_a_message_of_a_later_stream_beside_a_silent_turn_is_marked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene("async") as (server, mix, session_id):
        server.script("old", Turn(Pause(200), Say("Old.")))
        server.script("new", Turn(Say("Our own.")))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            for _ in range(2):
                await session.ask("new")
        for marked in (True, False):
            async with mix.open_stream(session_id) as session:
                reply = await session.ask("new")
            assert (reply.text, reply.incomplete) == ("Our own.", marked)
            await trio.sleep(600)


@pytest.mark.parametrize("api", APIS)
async def test_a_turn_that_a_restart_has_ended_is_not_waited_for_again(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    """Silence counts from its newest row, by the server's clock."""
    async with scene(api) as (server, mix, session_id):
        server.script("old", Turn(Say("Old "), Hang()))
        async with dead_process(server, session_id, "old"):
            pass
        await server.restart()
        for passed, least, most in ((0, 58, 66), (3600, 0, 1)):
            await trio.sleep(passed)
            began = trio.current_time()
            async with mix.open_stream(session_id) as session:
                reply = await session.ask("new")
            assert least <= trio.current_time() - began <= most, api
            assert reply.text == "Our own."
            if passed == 0:
                assert (reply.incomplete, reply.doubts) == (True, ("shared",))


@pytest.mark.parametrize("api", APIS)
async def test_a_reply_is_marked_where_nothing_shows_whether_the_session_is_at_work(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    """On pipeline servers the end of each message is in doubt then, not only that of the first."""
    async with scene(api) as (server, mix, session_id):
        server.answer_next("/api/sessions/session-1/export", 503, times=1000)
        server.script("new", Turn(Say("Our own.")))
        async with mix.open_stream(session_id) as session:
            for first in (True, False):
                began = trio.current_time()
                reply = await session.ask("new")
                marked = first or api == "pipeline"
                assert (reply.text, reply.incomplete) == ("Our own.", marked)
                assert trio.current_time() - began < 11


async def test_a_server_whose_api_has_no_export_is_asked_once_per_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The stream is connected: the session exists, and the operation does not."""
    own = b'{"error": {"type": "not_found", "message": "Not found"}}'
    for exported, listed in ((own, b"404 page not found"), (own, own)):
        async with scene("pipeline") as (server, mix, session_id):
            export = f"/api/sessions/{session_id}/export"
            server.answer_next(export, 404, body=exported, times=1000)
            path = f"/api/sessions/{session_id}/messages"
            server.answer_next(path, 404, body=listed, times=1000)
            server.script("new", Turn(Say("Our own.")))
            server.script("odd", Turn(Fail("it broke")))
            async with mix.open_stream(session_id) as session:
                for connection in (1, 2):
                    for _ in range(3):
                        reply = await session.ask("new")
                        assert (reply.text, reply.doubts) == ("Our own.", ())
                        with pytest.raises(errors.AgentError) as caught:
                            await session.ask("odd")
                        partial = caught.value.partial
                        assert partial is not None
                        assert partial.doubts == ()
                    assert len(server.requests(path=export)) == connection
                    await server.drop_streams()


async def test_a_session_that_was_just_created_is_not_asked_about(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with scene("async") as (server, mix, _):
        async with mix.open_session() as session:
            assert (await session.ask("new")).text == "Our own."
        created = await mix.sessions.create(title="t")
        for readings in (0, 1):
            async with mix.open_stream(created.id) as session:
                assert (await session.ask("new")).text == "Our own."
                assert (await session.ask("new")).text == "Our own."
            asked = [r for r in server.requests("GET") if r.path.endswith("/export")]
            assert len(asked) == readings


@pytest.mark.parametrize("api", APIS)
async def test_a_message_that_is_left_while_it_waits_is_not_sent(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with scene(api) as (server, mix, session_id):
        server.script("old", Turn(Say("Old "), Pause(40), Say("words.")))
        async with dead_process(server, session_id, "old"), mix.open_stream(session_id) as session:
            with trio.move_on_after(10) as scope:
                await session.ask("given up")
            assert scope.cancelled_caught
            assert trio.current_time() - scope.deadline < 0.1
            assert (await session.ask("new")).text == "Our own."
        assert server.runs("given up") == 0
        assert_ran_once(server, "old", session_id)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("messages", [1, 3])
@pytest.mark.parametrize("dead", [1, 2])
async def test_a_permission_request_of_a_turn_that_was_silent_is_not_put_to_the_policy(
    api: Api, messages: int, dead: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Its events look like those of the only turn: its message was named on an earlier stream."""
    asked: list[str] = []

    def policy(request: PermissionEvent, _message: Message) -> bool:
        asked.append(request.description)
        return True

    def runs(description: str) -> Step:
        return UseTool("bash", steps=[AskPermission("bash", description=description)])

    if api == "pipeline":
        dead = 1  # it runs one message at a time
    async with scene(api, replay=True) as (server, mix, session_id), AsyncExitStack() as stack:
        for number in range(dead):
            server.script(f"old {number}", Turn(Pause(100), Say("Old."), runs("theirs"), Say(".")))
            await stack.enter_async_context(dead_process(server, session_id, f"old {number}"))
        server.script("new", Turn(Say("Ours."), Pause(60)))
        server.script("later", Turn(runs("ours"), Say("Ours.")))
        session = await stack.enter_async_context(mix.open_stream(session_id, on_permission=policy))
        for _ in range(messages):
            await session.ask("quick")
        await session.ask("new")
        for number in range(dead):
            await server.wait_for(MessageFinished, text=f"old {number}")
        assert asked == []
        await session.ask("later")
        assert asked == ["ours"], "all turns have ended, as the stored messages show"


async def test_a_permission_request_of_a_turn_that_began_while_the_connection_was_lost(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[str] = []

    def policy(request: PermissionEvent, _message: Message) -> bool:
        asked.append(request.description)
        return True

    async with scene("async") as (server, mix, session_id):
        asks = AskPermission("bash", description="theirs")
        server.script("theirs", Turn(Pause(20), UseTool("bash", steps=[asks]), Say("Theirs.")))
        server.script("new", Turn(Say("Ours."), Pause(60)))
        async with mix.open_stream(session_id, on_permission=policy) as session:
            async with session.send("new"):
                await server.drop_streams()
                server.run_message(session_id, "theirs")
                await server.wait_for(MessageFinished, text="theirs")
            assert asked == []
