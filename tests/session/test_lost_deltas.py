"""Text that a server loses, frames that it breaks, and ids that run backwards.

In memory, with the autojump clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import (
    AskPermission,
    Complete,
    Emit,
    Fail,
    MixServer,
    Say,
    Turn,
    UseTool,
    assert_ran_once,
)

if TYPE_CHECKING:
    from trio_mix import Message
    from trio_mix.events import PermissionEvent
    from trio_mix.testing import Api

APIS: tuple[Api, ...] = ("async", "blocking", "pipeline")


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("lost", [1, 2, 4])
async def test_the_last_deltas_that_the_server_has_lost_are_in_the_text(
    api: Api, lost: int, autojump_clock: trio.testing.MockClock
) -> None:
    """The ``complete`` has the whole text of the last message."""
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        for rounds in ((), (Say("First. "), UseTool("glob"))):
            turn = Turn(*rounds, Say("Here I am again."), Complete(loses=lost))
            server.script("go", turn)
            async with session.send("go") as message:
                joined = "".join([delta async for delta in message.text_deltas()])
            reply = message.reply
            expected = "First. Here I am again." if rounds else "Here I am again."
            assert (reply.text, joined) == (expected, expected)
            assert reply.final_text == "Here I am again."
            assert not reply.incomplete


async def test_a_reply_whose_end_has_no_text_is_completed_from_what_is_stored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    texts: tuple[str | None, ...] = (None, "")
    for text in texts:
        endings = [
            Complete(data={"content": text}, overtakes=late, loses=lost)
            for late, lost in ((0, 0), (1, 0), (0, 1), (4, 0), (0, 4))
        ]
        for api in APIS:
            async with (
                MixServer(api, listen=False, pace=0.0) as server,
                Mix(server.url, network=server.network) as mix,
            ):
                for ending in endings:
                    for rounds in ((), (Say("First. "), UseTool("glob"))):
                        server.script("go", Turn(*rounds, Say("Do not delete it."), ending))
                        async with mix.open_stream(server.create_session()) as session:
                            reply = await session.ask("go")
                        expected = ("First. " if rounds else "") + "Do not delete it."
                        assert (reply.text, reply.doubts) == (expected, ()), (api, ending)
                        assert reply.final_text == "Do not delete it."


async def test_a_reply_whose_end_has_no_text_is_marked_if_nothing_stored_can_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer(listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        say, end = Say("Do not delete it."), {"content": None}
        for turn, doubts in (
            (Turn(say, Complete(data=end, loses=1)), ("gap",)),
            (Turn(say, UseTool("glob"), say, Complete(data=end, loses=4)), ("gap",)),
            (Turn(UseTool("glob"), Complete(data=end)), ("gap",)),
            (Turn(UseTool("glob"), Complete(data={"content": ""})), ()),
            (Turn(say, Complete()), ()),
        ):
            server.script("go", turn)
            session_id = server.create_session()
            async with mix.open_stream(session_id) as session:
                await session.ask("hello")
                server.answer_next(f"/api/sessions/{session_id}/export", 500, times=99)
                reply = await session.ask("go")
                assert (reply.doubts, reply.incomplete) == (doubts, bool(doubts)), turn


async def test_the_stored_messages_are_read_only_if_the_end_has_no_text(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer(listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        for turn, readings in (
            (Turn(Say("Fine."), Complete(overtakes=1)), 0),
            (Turn(Say("Fine."), UseTool("glob"), Say("Done."), Complete(loses=1)), 0),
            (Turn(Say("Fine."), Complete(data={"content": None})), 1),
            (Turn(UseTool("glob"), Complete(data={"content": None})), 1),
        ):
            server.script("go", turn)
            session_id = server.create_session()
            path = f"/api/sessions/{session_id}/export"
            async with mix.open_stream(session_id) as session:
                await session.ask("go")
                before = len(server.requests("GET", path))
                assert not (await session.ask("go")).doubts
                reads = len(server.requests("GET", path))
            assert reads - before == readings, turn


async def test_an_end_whose_id_no_event_and_no_row_has_adds_no_text_and_no_doubt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers: tuple[Api, ...] = (*APIS, "pipeline-oldest")
    for api in servers:
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            for name in ("nan", "7"):
                ending = Complete(data={"messageId": name}, overtakes=1)
                server.script("go", Turn(Say("First. "), UseTool("glob"), Say("One two."), ending))
                reply = await session.ask("go")
                assert (reply.text, reply.incomplete) == ("First. One two.", False), api


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("torn", ["frame", "framing"])
async def test_a_permission_frame_that_breaks_the_stream_takes_no_text(
    api: Api, torn: Literal["chunk", "ids"], autojump_clock: trio.testing.MockClock
) -> None:
    def policy(request: PermissionEvent, message: Message) -> bool:
        return True

    async with (
        MixServer(api, listen=False, pace=0.0, permission_timeout=3.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session_id = server.create_session()
        ask = AskPermission("bash", then=[Say("It ran.")], otherwise=[Say("No.")], torn=torn)
        server.script("go", Turn(Say("I ask. "), UseTool("bash", steps=[ask])))
        server.script("and", Turn(Say("Fine.")))
        async with mix.open_stream(session_id, on_permission=policy) as session:
            with trio.fail_after(600):
                reply = await session.ask("go")
                assert reply.incomplete or reply.text in ("I ask. It ran.", "I ask. No.")
                assert reply.text.startswith("I ask. ")
                assert (await session.ask("and")).text == "Fine."
        assert_ran_once(server, "go", session_id)


@pytest.mark.parametrize("api", ["blocking", "pipeline"])
async def test_a_late_delta_of_the_message_before_is_not_taken_for_partial_text_unmarked(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        late = Emit("content", {"content": "late."})
        server.script("loses", Turn(Say("It is late.", deltas=2), Complete(loses=1)))
        server.script("whole", Turn(Say("It is here.", deltas=2)))
        server.script("late", Turn(late, Fail("boom")))
        server.script("so, late", Turn(Say("It is so."), late, Fail("boom")))
        server.script("help", Turn(Say("/help"), Fail("boom")))
        server.script("so", Turn(Say("It is so."), Fail("boom")))
        for before, text, doubts in (
            ("loses", "late", ("shared",)),
            ("loses", "so, late", ("shared",)),
            ("loses", "so", ()),
            ("/help", "help", ()),
            ("whole", "so", ()),
        ):
            assert "It is " in (await session.ask(before)).text or before == "/help"
            with pytest.raises(errors.AgentError) as caught:
                await session.ask(text)
            assert caught.value.partial is not None
            assert caught.value.partial.doubts == doubts, (before, text)
