"""``subscribe(heal=True)``: a turn that was cut is whole for a subscriber. On the fake clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import Drop, FaultProxy, MixServer, Pause, Say, Turn, UseTool, WaitFor

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix import Subscription
    from trio_mix.events import Event
    from trio_mix.testing import Api

ALL: tuple[Api, ...] = ("async", "blocking", "pipeline")


async def until_the_end(everything: Subscription) -> list[Event]:
    """Return all events up to the end of a turn."""
    seen: list[Event] = []
    async for event in everything:
        seen.append(event)
        if isinstance(event, ev.CompleteEvent | ev.ErrorEvent):
            break
    return seen


def text_of(events: list[Event]) -> str:
    return "".join(event.content for event in events if isinstance(event, ev.ContentEvent))


def gaps_of(events: list[Event]) -> list[bool]:
    return [event.healed for event in events if isinstance(event, ev.StreamGapEvent)]


@pytest.mark.parametrize("api", ALL)
async def test_a_turn_that_was_over_at_the_reconnect_is_healed(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Before the cut, "), Drop(), Say("and after it.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
            session.subscribe(heal=True) as everything,
            session.subscribe() as plain,
        ):
            await session.ask("go")
            seen = await until_the_end(everything)
            assert text_of(seen) == "Before the cut, and after it."
            assert gaps_of(seen) == [True]
            reply = await session.ask("And then?")
            seen = await until_the_end(everything)
            assert text_of(seen) == reply.text
            assert True not in gaps_of(await until_the_end(plain))


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_turn_that_still_runs_is_healed_at_its_end(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        more = trio.Event()
        steps = (Say("One "), Drop(), Say("lost "), Pause(5), UseTool("glob"), WaitFor(more))
        server.script("theirs", Turn(*steps, Say("two.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
            session.subscribe(heal=True) as everything,
        ):
            server.run_message(session_id, "theirs")
            seen: list[Event] = []
            async for event in everything:
                seen.append(event)
                tools = isinstance(event, ev.ToolExecutionCompleteEvent | ev.ToolEvent)
                if tools and not more.is_set():
                    assert text_of(seen) == "One "  # the rest is held back
                    more.set()
                if isinstance(event, ev.CompleteEvent):
                    break
            assert text_of(seen) == "One lost two."
            assert gaps_of(seen) == [True]


async def test_where_the_rows_cannot_be_read_the_gap_stays(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("theirs", Turn(Say("One "), Drop(), Say("lost "), Pause(20), Say("two.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
            session.subscribe(heal=True) as everything,
        ):
            server.answer_next(f"/api/sessions/{session_id}/export", 503, times=1000)
            server.run_message(session_id, "theirs")
            seen = await until_the_end(everything)
            assert text_of(seen) == "One two."
            assert gaps_of(seen) == [False]


async def test_a_replay_needs_no_healing(autojump_clock: MockClock) -> None:
    async with MixServer("async", replay=True, listen=False, pace=0.0) as server:
        server.script("theirs", Turn(Say("One "), Drop(), Say("replayed "), Pause(5), Say("two.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
            session.subscribe(heal=True) as everything,
        ):
            server.run_message(session_id, "theirs")
            seen = await until_the_end(everything)
            assert text_of(seen) == "One replayed two."
            assert gaps_of(seen) == []


async def test_what_was_held_back_is_returned_when_the_stream_ends(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        FaultProxy(server) as proxy,
    ):
        more = trio.Event()
        server.script("theirs", Turn(Say("One "), Drop(), Say("lost "), WaitFor(more)))
        session_id = server.create_session()
        async with Mix(proxy.url, network=proxy.network) as mix:
            async with mix.open_stream(session_id) as session:
                async with session.subscribe(heal=True) as everything:
                    server.run_message(session_id, "theirs")
                    async for event in everything:
                        if isinstance(event, ev.ContentEvent):
                            break
                    await server.restart(keep_sessions=False)
                    with pytest.raises(errors.SessionNotFound):
                        async for _ in everything:
                            pass
            with pytest.raises(errors.ConfigurationError, match="raw"):
                async with mix.open_stream(server.create_session()) as session:
                    session.subscribe(heal=True, raw=True)  # type: ignore[call-overload]


async def test_entered_after_the_stream_was_closed_it_raises_as_a_plain_one_does() -> None:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        for heal in (False, True):
            async with mix.open_stream(server.create_session()) as session:
                everything = session.subscribe(heal=heal)
            async with everything:
                with pytest.raises(errors.StreamClosed):
                    await anext(everything)
