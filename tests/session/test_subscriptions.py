"""What a subscription returns: events or raw frames, and the cursor of what was returned."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_session import RawSession, beat, connected, frame, ids, opened
from trio_mix import Mix, errors
from trio_mix.testing import Drop, MixServer, Pause, Say, Turn, UseTool

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix import Message, RawSubscription
    from trio_mix.sse import ServerSentEvent
    from trio_mix.testing import Api


async def take(
    frames: RawSubscription, number: int
) -> list[tuple[ServerSentEvent, Message | None]]:
    return [await anext(frames) for _ in range(number)]


async def test_a_raw_subscription_names_the_message_of_each_frame(api: Api) -> None:
    async with MixServer(api, pace=0.0, listen=False) as server:
        server.script("one", Turn(UseTool("bash", {"command": "ls"}), Say("One.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
            session.subscribe(raw=True, buffer=10_000) as frames,
            session.subscribe(buffer=10_000) as events,
        ):
            with trio.fail_after(10):
                async with session.send("one") as first:
                    seen = [event async for event in first]
                async with session.send("two") as second:
                    seen += [event async for event in second]
            await trio.testing.wait_all_tasks_blocked()
            count = session.statistics().events - 1  # subscribed after the first `connected`
            items = await take(frames, count)
            assert [frame.id or None for frame, _ in items] == [
                (await anext(events)).id for _ in range(count)
            ]
        assert {message for _, message in items} <= {first, second, None}
        mine = [frame for frame, message in items if message is not None]
        assert [frame.id or None for frame in mine] == [event.id for event in seen]
        assert [frame.event for frame, message in items if message is first][-1] == "complete"
        for each in mine:
            assert isinstance(json.loads(each.data), dict)


@pytest.fixture(params=["async", "blocking", "pipeline"])
def api(request: pytest.FixtureRequest) -> Api:
    api: Api = request.param
    return api


async def test_raw_frames_are_what_the_server_sent_without_what_it_replayed(
    autojump_clock: MockClock,
) -> None:
    odd = frame("no_such_event", '{"a":1,  "b": "\\u00fc"}', "3") + b"data: torn {\n\n"
    world = RawSession(
        connected("1"),
        connected("3") + frame("no_such_event", '{"a":1,  "b": "\\u00fc"}', "3") + beat("4"),
    )
    async with opened(world) as session, session.subscribe(raw=True) as frames:
        await world.send(beat("2") + odd)
        await trio.testing.wait_all_tasks_blocked()
        world.end()
        await trio.sleep(60)
        items = await take(frames, 5)
    assert [(frame.id, frame.event, frame.data) for frame, _ in items] == [
        ("2", "heartbeat", '{"type":"ping"}'),
        ("3", "no_such_event", '{"a":1,  "b": "\\u00fc"}'),
        ("3", "message", "torn {"),
        ("3", "connected", '{"sessionId":"s"}'),
        ("4", "heartbeat", '{"type":"ping"}'),
    ]


async def test_a_raw_subscription_shows_gaps_and_ends_as_the_stream_does(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", pace=0.0, listen=False) as server:
        server.script("go", Turn(Say("Before."), Drop(), Pause(3), Say("After.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
            session.subscribe(raw=True) as frames,
            session.subscribe(raw=True, buffer=2) as slow,
        ):
            await session.ask("go")
            await session.ask("hello")
            seen, _ = await anext(frames)
            while seen.event != "stream_gap":
                seen, _ = await anext(frames)
            assert seen.id == ""
            assert "lost" in json.loads(seen.data)["reason"]
            behind, message = await anext(slow)
            assert (behind.event, message) == ("stream_gap", None)
            assert json.loads(behind.data)["missed"] > 2
            with trio.move_on_after(0) as scope:
                async for _ in frames:
                    scope.deadline = trio.current_time() + 1
            with pytest.raises(errors.UsageError, match=r"async with session\.subscribe"):
                await anext(session.subscribe(raw=True))
        with pytest.raises(
            errors.StreamClosed, match="Subscription was closed, because its block was left"
        ):
            await anext(frames)


# -- the cursor ------------------------------------------------------------------------------


@pytest.mark.parametrize("raw", [False, True])
async def test_the_cursor_is_that_of_the_last_event_that_was_returned(
    autojump_clock: MockClock, raw: bool
) -> None:
    world = RawSession(connected("1"))
    async with opened(world) as session:
        await world.send(beat("2"))
        await trio.testing.wait_all_tasks_blocked()
        everything = session.subscribe(raw=True) if raw else session.subscribe()
        async with everything:
            assert everything.last_event_id == "2"
            await world.send(b"".join(beat(str(number)) for number in range(3, 8)))
            await trio.testing.wait_all_tasks_blocked()
            assert everything.last_event_id == "2"
            for number in range(3, 8):
                await anext(everything)
                assert everything.last_event_id == str(number)
            assert session.statistics().last_event_id == "7"


@pytest.mark.parametrize("raw", [False, True])
async def test_connected_moves_the_cursor_only_where_the_server_names_the_start(
    autojump_clock: MockClock, raw: bool
) -> None:
    for start, cursor in (("", "2"), ("9", "9")):
        named = f"Last-Event-ID: {start}\r\n".encode() if start else b""
        world = RawSession(connected("1") + beat("2"), connected(start or "1"), heads=[b"", named])
        async with opened(world) as session:
            await trio.testing.wait_all_tasks_blocked()
            async with session.subscribe(raw=True) if raw else session.subscribe() as everything:
                world.end()
                await trio.sleep(60)
                await anext(everything)
                if start:
                    await anext(everything)  # a gap, then `connected`
                assert everything.last_event_id == cursor
        assert ids(world.stream_requests) == [None, "2"]


async def test_a_start_that_equals_the_cursor_leaves_no_gap(autojump_clock: MockClock) -> None:
    heads = [b"Last-Event-ID: %d\r\n" % start for start in (5, 5, 7)]
    world = RawSession(connected("5"), connected("5"), connected("7"), heads=heads)
    async with opened(world) as session, session.subscribe() as everything:
        for _ in range(2):
            world.end()
            await trio.sleep(60)
        kinds = [type(await anext(everything)).__name__ for _ in range(3)]
    assert kinds == ["ConnectedEvent", "StreamGapEvent", "ConnectedEvent"]
    assert ids(world.stream_requests) == [None, "5", "5"]


async def test_an_empty_id_clears_the_cursor(autojump_clock: MockClock) -> None:
    for cleared in (beat("2") + frame("heartbeat", "{}", ""), b"id\ndata: x\n\n"):
        world = RawSession(connected(), connected())
        async with opened(world, last_event_id="1") as session, session.subscribe() as everything:
            await world.send(cleared)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(1):
                async for _ in everything:
                    pass
            assert everything.last_event_id is None
            world.end()
            await trio.sleep(60)
        assert ids(world.stream_requests) == ["1", None]


# -- signs of life ---------------------------------------------------------------------------


async def test_regular_comments_and_then_silence_are_a_lost_connection(
    autojump_clock: MockClock,
) -> None:
    world = RawSession(connected())
    async with opened(world) as session:
        for _ in range(4):
            await trio.sleep(10)
            await world.send(b": keep-alive\n\n")
        await trio.sleep(24)
        assert session.statistics().losses == 0
        await world.send(b"da")  # any byte is a sign of life
        await trio.sleep(24)
        assert session.statistics().losses == 0
        await trio.sleep(10)
        assert session.statistics().losses == 1
        assert "nothing came" in (session.statistics().last_loss or "")


async def test_irregular_comments_are_no_cadence(autojump_clock: MockClock) -> None:
    world = RawSession(connected())
    async with opened(world, max_connection_age=None) as session:
        for pause in (0.1, 3, 20, 1, 70):
            await trio.sleep(pause)
            await world.send(b": well\n\n")
        await trio.sleep(86_400)
        assert session.statistics().losses == 0
