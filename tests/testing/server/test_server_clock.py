"""Heartbeats, ages and time limits, in memory with the autojump clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.wire_client import call, open_frames, send
from trio_mix.testing import (
    Api,
    AskPermission,
    EventsDropped,
    MessageFinished,
    MixServer,
    Notify,
    Pause,
    PermissionAnswered,
    Say,
    StreamEnded,
    Turn,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("api", ["pipeline-oldest", "pipeline", "blocking", "async"])
async def test_a_heartbeat_is_sent_every_45_seconds(api: Api, autojump_clock: MockClock) -> None:
    async with (
        MixServer(api, listen=False) as server,
        open_frames(server, server.create_session()) as frames,
    ):
        start = trio.current_time()
        for beat in (1, 2, 3):
            frame = await frames.next()
            assert (frame.event, frame.data) == ("heartbeat", {"type": "ping"})
            assert trio.current_time() - start == pytest.approx(45 * beat)
            if api != "pipeline-oldest":
                assert frame.raw.startswith(f"id: {beat + 1}\nevent: heartbeat\n")
                assert frame.retry == "45000"


@pytest.mark.parametrize(("api", "beats"), [("pipeline", 0), ("async", 4)])
async def test_a_pipeline_server_sends_no_heartbeats_during_a_turn(
    api: Api, beats: int, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False) as server:
        server.script("go", Turn(Pause(200), Say("x")))
        async with open_frames(server, server.create_session()) as frames:
            await send(server, "session-1", "go")
            got = await frames.until("complete")
    assert sum(frame.event == "heartbeat" for frame in got) == beats


@pytest.mark.parametrize("api", ["pipeline", "async"])
async def test_an_idle_stream_is_cut_in_place_of_the_first_heartbeat_after_ten_minutes(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False) as server:
        start = trio.current_time()
        async with open_frames(server, server.create_session()) as frames:
            got = await frames.rest()
    assert frames.ended == "cut"
    assert {frame.event for frame in got} == {"heartbeat"}
    assert trio.current_time() - start == pytest.approx(630)


@pytest.mark.parametrize("api", ["pipeline", "async"])
async def test_a_stream_with_a_running_turn_is_cut_at_ten_minutes_and_the_answer_is_stored(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False) as server:
        server.script("go", Turn(Say("early", deltas=1), Pause(700), Say(" late", deltas=1)))
        session_id = server.create_session()
        start = trio.current_time()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.rest()
            assert frames.ended == "cut"
            assert trio.current_time() - start == pytest.approx(600)
        await server.wait_for(MessageFinished, how="complete")
        assert server.stored(session_id)[-1]["assistantResponse"] == "early late"


async def test_a_turn_that_starts_after_ten_minutes_cuts_its_stream_too(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("x")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await trio.sleep(610)
            await send(server, session_id, "go")
            assert {frame.event for frame in await frames.rest()} == {"heartbeat"}
            assert frames.ended == "cut"
        ended = await server.wait_for(StreamEnded)
    assert ended.how == "cut"


async def test_streams_can_be_kept_open_forever(autojump_clock: MockClock) -> None:
    server = MixServer(listen=False, heartbeat_interval=None, max_connection_age=None)
    async with server, open_frames(server, server.create_session()) as frames:
        await trio.sleep(10_000)
        server.emit("session-1", "marker", {})
        assert (await frames.next()).event == "marker"


@pytest.mark.parametrize("answer", ["grant", "deny", None])
async def test_a_permission_is_granted_denied_or_times_out(
    answer: str | None, autojump_clock: MockClock
) -> None:
    turn = Turn(AskPermission("bash", [Say("I did")], [Say("I did not")], params={"command": "ls"}))
    async with MixServer("pipeline", listen=False) as server:
        server.script("go", turn)
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            start = trio.current_time()
            await send(server, session_id, "go")
            request = (await frames.until("permission"))[-1].data
            assert request == {
                "type": "permission",
                "id": "permission-1",
                "sessionId": session_id,
                "toolName": "bash",
                "description": "Run a command",
                "action": "execute",
                "params": {"command": "ls"},
            }
            if answer is not None:
                reply = await call(server, "POST", f"/api/permissions/permission-1/{answer}")
                field = "granted" if answer == "grant" else "denied"
                assert (reply.status, reply.json) == (200, {field: True})
            final = (await frames.until("complete"))[-1].data["content"]
            took = trio.current_time() - start
    assert final == ("I did" if answer == "grant" else "I did not")
    assert took == pytest.approx(30 if answer is None else 0)
    record = await server.wait_for(PermissionAnswered)
    assert record.answer == {"grant": "granted", "deny": "denied", None: "timeout"}[answer]


@pytest.mark.parametrize("answer", ["deny", None])
async def test_a_cancelled_turn_does_not_end_before_its_permission_request_is_answered(
    answer: str | None, autojump_clock: MockClock
) -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(AskPermission()))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await frames.until("permission")
            start = trio.current_time()
            await call(server, "POST", f"/api/sessions/{session_id}/cancel")
            await trio.sleep(2)
            assert server.running_turns == 1
            if answer is not None:
                await call(server, "POST", f"/api/permissions/permission-1/{answer}")
            error = (await frames.until("error"))[-1].data
    assert error == {"error": "request cancelled by user"}
    assert trio.current_time() - start == pytest.approx((30 if answer is None else 2) + 0.05)


async def test_an_answered_or_unknown_permission_cannot_be_answered(
    autojump_clock: MockClock,
) -> None:
    async with MixServer(listen=False) as server:
        server.script("go", Turn(AskPermission()))
        await send(server, server.create_session(), "go")
        await server.wait_for(PermissionAnswered, answer="timeout")
        for permission_id in ("permission-1", "other"):
            reply = await call(server, "POST", f"/api/permissions/{permission_id}/grant")
            assert (reply.status, reply.json["error"]["type"]) == (404, "not_found")


async def test_a_notification_is_sent_and_responded_to(autojump_clock: MockClock) -> None:
    ask = Notify("Which?", "Choose", "question", "choice", ["a", "b"], timeout=60)
    async with MixServer(listen=False) as server:
        server.script("go", Turn(ask, Say("thanks")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            start = trio.current_time()
            for answers in (True, False):
                await send(server, session_id, "go")
                shown = (await frames.until("notification"))[-1].data
                assert (shown["choices"], shown["timeout"]) == (["a", "b"], 60)
                if answers:
                    path = f"/api/notifications/{shown['id']}/respond"
                    bad = await call(server, "POST", path, {"type": "shout"})
                    assert bad.status == 400
                    reply = await call(server, "POST", path, {"type": "choice", "value": "b"})
                    assert (reply.status, reply.body) == (204, b"")
                    again = await call(server, "POST", path, {"type": "choice", "value": "b"})
                    assert again.status == 404
                await frames.until("complete")
                took = trio.current_time() - start
                assert took == pytest.approx(0 if answers else 60)


async def test_a_slow_reader_loses_events_silently_beyond_fifty_queued(
    autojump_clock: MockClock,
) -> None:
    async with MixServer(listen=False) as server:
        server.network.capacity = 1000
        server.script("go", Turn(Say("x" * 200, deltas=200), Say("end", deltas=1)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await server.wait_for(MessageFinished)
            await trio.sleep(1)
            dropped = await server.wait_for(EventsDropped)
            assert dropped.event == "content"
            server.emit(session_id, "dropped-too", {})
            got = [await frames.next() for _ in range(52)]
    assert [int(frame.id or 0) for frame in got] == list(range(2, 54))  # no gap in the ids


async def test_a_pipeline_server_waits_for_a_slow_reader_instead(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False) as server:
        server.network.capacity = 1000
        server.script("go", Turn(Say("x" * 200, deltas=200)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await trio.sleep(10)
            assert server.running_turns == 1
            got = await frames.until("complete")
    assert "".join(f.data["content"] for f in got if f.event == "content") == "x" * 200
