"""A turn that was cut is settled: by replay, by what is stored, by sending again, or honestly not.

In memory, under a clock that jumps: what takes a minute here takes no time.
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
    server: MixServer, session: str, *, settle_timeout: float = 60.0
) -> AsyncIterator[SessionStream]:
    async with (
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(session, settle_timeout=settle_timeout) as stream,
    ):
        yield stream


async def _iterate(stream: SessionStream, text: str) -> tuple[list[Event], object]:
    async with stream.send(text) as message:
        seen = [event async for event in message]
        return seen, message.reply


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_reply_that_was_finished_meanwhile_is_read_from_what_is_stored(
    api: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:  # type: ignore[arg-type]
        server.script("go", Turn(Say("Before the cut, "), Drop(), Say("and after it.")))
        session = server.create_session()
        async with opened(server, session) as stream:
            async with stream.send("go") as message:
                deltas = [delta async for delta in message.text_deltas()]
            assert message.reply.text == "Before the cut, and after it."
            assert "".join(deltas) == message.reply.text
            assert message.reply.recovered or api == "blocking"
            assert stream.statistics().losses == 1
            assert (await stream.ask("and then?")).text
        assert server.runs("go") == 1


async def test_a_replayed_turn_goes_on_without_a_gap_or_a_duplicate(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", replay=True, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Before, "), Drop(), Say("and after.", deltas=3), Pause(5)))
        session = server.create_session()
        async with opened(server, session) as stream:
            async with stream.send("go") as message:
                seen = [event async for event in message]
            assert not message.reply.recovered
            texts = [e.content for e in seen if isinstance(e, ev.ContentEvent)]
            assert "".join(texts) == message.reply.text == "Before, and after."
            assert not any(isinstance(e, ev.StreamGapEvent) for e in seen)


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_turn_that_still_runs_goes_on_after_a_gap(
    api: str, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:  # type: ignore[arg-type]
        server.script(
            "go", Turn(Say("One. "), Drop(), Pause(20), UseTool("glob"), Say("Two."), Pause(1))
        )
        session = server.create_session()
        async with opened(server, session) as stream:
            seen, reply = await _iterate(stream, "go")
            gap = next(i for i, e in enumerate(seen) if isinstance(e, ev.StreamGapEvent))
            after = [e for e in seen[gap:] if isinstance(e, ev.ContentEvent)]
            assert "".join(e.content for e in after) == "Two."
            assert isinstance(seen[-1], ev.CompleteEvent)
            assert getattr(reply, "text", "").endswith("Two.")


async def test_a_message_that_never_arrived_is_sent_again_once(autojump_clock: MockClock) -> None:
    """A pipeline server takes a message while no stream is open, and it is gone."""
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Here I am.")))
        session = server.create_session()
        async with opened(server, session) as stream:
            await stream.ask("hello")
            async with trio.open_nursery() as nursery:

                async def lose() -> None:
                    await server.drop_streams(session)

                nursery.start_soon(lose)
                reply = await stream.ask("go")
            assert reply.text == "Here I am."
        assert server.runs("go") == 1


async def test_a_turn_that_died_with_its_server_is_interrupted_as_gone(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:

        async def crash() -> None:
            server_nursery.start_soon(server.restart)
            await trio.sleep_forever()

        server.script("go", Turn(Say("It began"), Pause(0.1), Do(crash)))
        session = server.create_session()
        async with trio.open_nursery() as server_nursery:
            async with opened(server, session, settle_timeout=30) as stream:
                with pytest.raises(errors.MessageInterrupted, match="no sign of it") as caught:
                    await stream.ask("go")
                assert "(settle_timeout=30)" in str(caught.value)
                assert caught.value.outcome == "gone"
                assert caught.value.partial is not None
                assert caught.value.partial.text == "It began"
                assert (await stream.ask("and now?")).text
        assert server.runs("go") == 1


async def test_without_rest_the_error_says_that_the_truth_cannot_be_known(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline-oldest", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Something"), Drop()))
        session = server.create_session()
        async with opened(server, session, settle_timeout=30) as stream:
            with pytest.raises(errors.MessageInterrupted, match="may have run") as caught:
                await stream.ask("go")
            assert caught.value.outcome == "unknown"
            assert (await stream.ask("hello")).text
        assert server.runs("go") == 1


async def test_the_same_text_stored_before_is_not_taken_for_this_message(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("the first answer")), Turn(Say("second"), Drop()))
        session = server.create_session()
        async with opened(server, session) as stream:
            assert (await stream.ask("go")).text == "the first answer"
        async with opened(server, session) as stream:
            reply = await stream.ask("go")
            assert reply.text == "second"
            assert reply.recovered
        assert [r.times for r in server.log if isinstance(r, MessageRun)] == [1, 2]


async def test_a_connection_is_replaced_before_the_server_cuts_it_and_nothing_is_lost(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        session = server.create_session()
        async with opened(server, session) as stream:
            for _ in range(5):
                await trio.sleep(300)
                await stream.ask("hello")
            statistics = stream.statistics()
            assert statistics.losses == 0
            assert statistics.rotations == 2
        ends = [r for r in server.log if isinstance(r, StreamEnded)]
        assert len(ends) >= 2
