"""Recovery of a turn whose connection was lost: by replay, stored messages, or sending again.

In memory, with the autojump clock.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Do,
    Drop,
    MessageRun,
    MixServer,
    Pause,
    Say,
    StreamEnded,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.events import Event


@asynccontextmanager
async def opened(
    server: MixServer, session_id: str, *, settle_timeout: float = 60.0
) -> AsyncIterator[SessionStream]:
    async with (
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(session_id, settle_timeout=settle_timeout) as session,
    ):
        yield session


async def _iterate(session: SessionStream, text: str) -> tuple[list[Event], object]:
    async with session.send(text) as message:
        seen = [event async for event in message]
        return seen, message.reply


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_reply_that_has_finished_is_read_from_the_stored_messages(
    api: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:  # type: ignore[arg-type]
        server.script("go", Turn(Say("Before the cut, "), Drop(), Say("and after it.")))
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            async with session.send("go") as message:
                deltas = [delta async for delta in message.text_deltas()]
            assert message.reply.text == "Before the cut, and after it."
            assert "".join(deltas) == message.reply.text
            assert message.reply.recovered or api == "blocking"
            assert session.statistics().losses == 1
            assert (await session.ask("and then?")).text
        assert server.runs("go") == 1


async def test_a_replayed_turn_has_no_gap_and_no_duplicate(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", replay=True, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Before, "), Drop(), Say("and after.", deltas=3), Pause(5)))
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            async with session.send("go") as message:
                seen = [event async for event in message]
            assert not message.reply.recovered
            texts = [e.content for e in seen if isinstance(e, ev.ContentEvent)]
            assert "".join(texts) == message.reply.text == "Before, and after."
            assert not any(isinstance(e, ev.StreamGapEvent) for e in seen)


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_turn_that_is_still_running_continues_after_a_gap(
    api: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:  # type: ignore[arg-type]
        server.script(
            "go", Turn(Say("One. "), Drop(), Pause(20), UseTool("glob"), Say("Two."), Pause(1))
        )
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            seen, reply = await _iterate(session, "go")
            gap = next(i for i, e in enumerate(seen) if isinstance(e, ev.StreamGapEvent))
            after = [e for e in seen[gap:] if isinstance(e, ev.ContentEvent)]
            assert "".join(e.content for e in after) == "Two."
            assert isinstance(seen[-1], ev.CompleteEvent)
            assert getattr(reply, "text", "").endswith("Two.")


async def test_a_message_that_never_arrived_is_sent_again_once(autojump_clock: MockClock) -> None:
    """A pipeline server accepts a message while no stream is open, and drops it."""
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Here I am.")))
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            await session.ask("hello")
            async with trio.open_nursery() as nursery:

                async def lose() -> None:
                    await server.drop_streams(session_id)

                nursery.start_soon(lose)
                reply = await session.ask("go")
            assert reply.text == "Here I am."
        assert server.runs("go") == 1


async def test_the_outcome_of_a_turn_that_ended_with_its_server_is_gone(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:

        async def crash() -> None:
            server_nursery.start_soon(server.restart)
            await trio.sleep_forever()

        server.script("go", Turn(Say("It began"), Pause(0.1), Do(crash)))
        session_id = server.create_session()
        async with trio.open_nursery() as server_nursery:
            async with opened(server, session_id, settle_timeout=30) as session:
                with pytest.raises(errors.MessageInterrupted, match="no sign of it") as caught:
                    await session.ask("go")
                assert "(settle_timeout=30)" in str(caught.value)
                assert caught.value.outcome == "gone"
                assert caught.value.partial is not None
                assert caught.value.partial.text == "It began"
                assert (await session.ask("and now?")).text
        assert server.runs("go") == 1


async def test_the_outcome_on_a_server_without_stored_messages_is_unknown(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline-oldest", jsonrpc=False, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Something"), Drop()))
        session_id = server.create_session()
        async with opened(server, session_id, settle_timeout=30) as session:
            with pytest.raises(errors.MessageInterrupted, match="may have run") as caught:
                await session.ask("go")
            assert caught.value.outcome == "unknown"
            assert (await session.ask("hello")).text
        assert server.runs("go") == 1


async def test_an_earlier_message_with_the_same_text_is_not_taken_for_this_one(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("the first answer")), Turn(Say("second"), Drop()))
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            assert (await session.ask("go")).text == "the first answer"
        async with opened(server, session_id) as session:
            reply = await session.ask("go")
            assert reply.text == "second"
            assert reply.recovered
        assert [r.times for r in server.log if isinstance(r, MessageRun)] == [1, 2]


async def test_a_connection_is_replaced_before_the_server_closes_it(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        session_id = server.create_session()
        async with opened(server, session_id) as session:
            for _ in range(5):
                await trio.sleep(300)
                await session.ask("hello")
            statistics = session.statistics()
            assert statistics.losses == 0
            assert statistics.rotations == 2
        ends = [r for r in server.log if isinstance(r, StreamEnded)]
        assert len(ends) >= 2
