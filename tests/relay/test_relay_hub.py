"""Sessions of the relay: sends, streams, permissions, idle close."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.relay_memory_log import MemoryLog, MemoryStore
from tests.support.relay_world import ends_of, open_hub, post, read_all, text_of, until_over
from trio_mix.relay import _turn_queue
from trio_mix.relay._errors import (
    AlreadyDecided,
    Draining,
    KeyReused,
    QueueFull,
    SessionUnknown,
    TurnUnknown,
)
from trio_mix.relay._ids import EPOCH
from trio_mix.relay._records import TurnState
from trio_mix.testing import (
    AskPermission,
    Hang,
    MessageRun,
    MixServer,
    NotificationAnswered,
    NotificationAsked,
    Notify,
    Pause,
    Say,
    Turn,
    assert_ran_once,
)

if TYPE_CHECKING:
    from trio_mix.testing import Api


async def test_a_message_runs_and_its_events_are_logged_with_one_end(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("hi", Turn(Say("Hello there", deltas=["Hello ", "there"])))
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            start = await feed.start()
            sent = await post(feed, "hi")
            assert (sent.answer, sent.repeated) == (None, False)
            turn = await feed.wait_turn(sent.turn.turn_id)
            assert turn.state is TurnState.DONE
            assert turn.outcome is not None
            assert (turn.outcome.kind, turn.outcome.final_text) == ("complete", "Hello there")
            frames = await read_all(feed, start.position)
            assert hub.generation == api
        [end] = ends_of(frames)
        assert (end.turn_id, end.event) == (turn.turn_id, "complete")
        assert end.data["content"] == "Hello there"
        if api != "pipeline-oldest":
            assert text_of(frames, turn.turn_id) == "Hello there"
        assert [int(frame.id) for frame in frames] == sorted({int(frame.id) for frame in frames})
        assert all(int(frame.id) > EPOCH for frame in frames)
        assert_ran_once(server, "hi")


async def test_messages_that_are_sent_at_once_run_one_by_one_in_order(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        for number in range(10):
            server.script(
                f"m{number}", Turn(Say(f"reply {number}", deltas=["reply ", f"{number}"]))
            )
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            start = await feed.start()
            accepted: list[str] = []

            async def one(number: int) -> None:
                sent = await post(feed, f"m{number}")
                await until_over(feed, sent)
                accepted.append(sent.turn.turn_id)

            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(one, number)
            frames = await read_all(feed, start.position)
            ends = ends_of(frames)
            assert sorted(end.turn_id for end in ends) == sorted(accepted)
            for number in range(10):
                assert_ran_once(server, f"m{number}")
            order = [json.loads(frame.data)["turnId"] for frame in frames]
            assert [key for i, key in enumerate(order) if i == 0 or order[i - 1] != key] == [
                end.turn_id for end in ends
            ]


async def test_a_refusal_is_passed_on_and_ends_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            start = await feed.start()
            sent = await post(feed, "/unknown-command", key="k")
            assert sent.answer is not None
            assert sent.answer.status == 404
            again = await post(feed, "/unknown-command", key="k")
            assert (again.answer, again.repeated) == (sent.answer, True)
            assert ends_of(await read_all(feed, start.position)) == []
            assert (await feed.wait_turn(sent.turn.turn_id)).state is TurnState.DONE


async def test_a_command_is_answered_and_has_one_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            start = await feed.start()
            sent = await post(feed, "/help")
            turn = await feed.wait_turn(sent.turn.turn_id)
            assert turn.outcome is not None
            assert turn.outcome.kind == "complete"
            [end] = ends_of(await read_all(feed, start.position))
            assert end.data["content"] == turn.outcome.final_text != ""


async def test_an_idempotency_key_sends_a_message_once_also_over_a_restart(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("hi", Turn(Say("Hello")))
        session = server.create_session()
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            first = await post(feed, "hi", key="k")
            again = await post(feed, "hi", key="k")
            assert again.repeated
            assert again.turn.turn_id == first.turn.turn_id
            with pytest.raises(KeyReused):
                await post(feed, "other", key="k")
            other = await post(feed, "hi", key="k", subject="eve")
            assert not other.repeated
            await until_over(feed, other)
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            again = await post(feed, "hi", key="k")
            assert again.repeated
            assert again.turn.state is TurnState.DONE
        assert sum(each.text == "hi" for each in server.log if isinstance(each, MessageRun)) == 2


async def test_a_full_queue_refuses(autojump_clock: trio.testing.MockClock) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("hang", Turn(Hang()))
        session = server.create_session()
        async with open_hub(server, queue_max=2) as hub, hub.session(session) as feed:
            running = await post(feed, "hang")
            waiting = await post(feed, "next")
            with pytest.raises(QueueFull, match="2 messages are queued"):
                await post(feed, "too many")
            cancelled = await hub.cancel(waiting.turn.turn_id)
            assert cancelled.state is TurnState.CANCELLED
            assert await hub.turn(waiting.turn.turn_id) == cancelled
            await hub.cancel(running.turn.turn_id)
            turn = await feed.wait_turn(running.turn.turn_id)
            assert turn.state is TurnState.CANCELLED
            frames = await read_all(feed, 0)
            ends = ends_of(frames)
            assert [end.turn_id for end in ends] == [waiting.turn.turn_id, running.turn.turn_id]
            with pytest.raises(TurnUnknown):
                await hub.cancel("none")
            assert await hub.cancel(running.turn.turn_id) == turn


async def test_queued_messages_are_bounded_in_characters(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_turn_queue, "_MOST_QUEUED", 50)
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("hang" + 60 * ".", Turn(Hang()))
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            running = await post(feed, "hang" + 60 * ".")  # one message may be larger
            with pytest.raises(QueueFull, match="1 messages are queued"):
                await post(feed, "next")
            await hub.cancel(running.turn.turn_id)
            await until_over(feed, running)
            await until_over(feed, await post(feed, "next"))


async def test_an_unknown_session_is_refused_and_not_stored(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    async with MixServer(listen=False, pace=0.0) as server:
        async with open_hub(server, store) as hub:
            for _ in range(2):
                with pytest.raises(SessionUnknown, match="no session 'none'"):
                    async with hub.session("none"):
                        pass
        assert store.sessions == {}


async def test_the_first_answer_to_a_permission_request_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("ask", Turn(AskPermission("bash"), Say("done")))
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            start = await feed.start()
            sent = await post(feed, "ask")
            position = start.position
            while not feed.open_requests(feed.newest):
                await feed.wait(position)
                position = feed.newest
            [(name, data)] = feed.open_requests(feed.newest)
            assert name == "permission"
            assert feed.open_requests(start.position) == []
            request = json.loads(data)
            assert request["turnId"] == sent.turn.turn_id
            assert await hub.session_of_request(request["id"]) == session
            results: list[object] = []

            async def decide(grant: bool, subject: str) -> None:
                try:
                    answer = await hub.decide(request["id"], grant=grant, subject=subject)
                    results.append(answer.status)
                except AlreadyDecided as exc:
                    results.append(str(exc))

            await decide(True, "bob")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(decide, True, "eve")
                nursery.start_soon(decide, False, "eve")
            assert results[0] == 200
            assert set(results[1:]) == {200, "The permission request was granted by bob before."}
            await until_over(feed, sent)
            assert feed.open_requests(feed.newest) == []
            frames = await read_all(feed, start.position, relay=True)
            [settled] = [frame for frame in frames if frame.event == "permission_settled"]
            assert json.loads(settled.data) == {
                "permissionId": request["id"],
                "granted": True,
                "by": "bob",
                "turnId": sent.turn.turn_id,
            }
            plain = await read_all(feed, start.position)
            assert {"permission_settled", "turn"}.isdisjoint(frame.event for frame in plain)


async def test_the_first_response_to_a_notification_counts(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("ask", Turn(Notify("Name?", response="text", wait=True), Say("done")))
        session = server.create_session()
        async with open_hub(server) as hub, hub.session(session) as feed:
            sent = await post(feed, "ask")
            record = await server.wait_for(NotificationAsked)
            results: list[object] = []

            async def respond(value: str) -> None:
                try:
                    answer = await hub.respond(record.notification_id, "text", value)
                    results.append(answer.status)
                except AlreadyDecided:
                    results.append("refused")

            async with trio.open_nursery() as nursery:
                for _ in range(2):  # once more on another connection
                    nursery.start_soon(respond, "Ada")
            await respond("Bob")
            assert results == [204, 204, "refused"]
            await until_over(feed, sent)
        answers = [each.value for each in server.log if isinstance(each, NotificationAnswered)]
        assert answers == ["Ada"]


async def test_an_idle_session_is_closed_but_never_in_mid_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("slow", Turn(Pause(400), Say("done")))
        session = server.create_session()
        async with open_hub(server, idle_close=100.0) as hub:
            async with hub.session(session) as feed:
                sent = await post(feed, "slow")
            await trio.sleep(300)
            assert hub.statistics().sessions == 1
            async with hub.session(session) as same:
                assert same is feed
                await until_over(feed, sent)
            await trio.sleep(110)
            assert hub.statistics().sessions == 0
            assert feed.closed == "idle"
            async with hub.session(session) as again:
                assert again is not feed
                assert len(ends_of(await read_all(again, EPOCH))) == 1


async def test_draining_waits_for_the_running_turn_and_refuses_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("slow", Turn(Pause(10), Say("done")))
        session = server.create_session()
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            sent = await post(feed, "slow")
            queued = await post(feed, "queued")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hub.drain, 30.0)
                await trio.sleep(1)
                with pytest.raises(Draining):
                    await post(feed, "more")
            assert store.turns[sent.turn.turn_id].state is TurnState.DONE
            assert store.turns[queued.turn.turn_id].state is TurnState.ACCEPTED
            assert feed.closed == "drained"
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            await until_over(feed, queued)
        assert_ran_once(server, "queued")


async def test_a_position_is_found_again_or_the_gap_is_named(
    autojump_clock: trio.testing.MockClock,
) -> None:
    from trio_mix.relay import Retention

    store = MemoryStore()
    log = MemoryLog(store, retention=Retention(events=6))
    async with MixServer(listen=False, pace=0.0) as server:
        session = server.create_session()
        async with open_hub(server, log, ring=2) as hub, hub.session(session) as feed:
            for number in range(4):
                await until_over(feed, await post(feed, f"m{number}"))
            kept = store.sessions[session].events
            newest = feed.newest
            for unknown in ("x", "7", str(newest + 1), "9" * 30):
                start = await feed.start(last_event_id=unknown)
                assert start.position == newest
                assert start.gap is not None
                assert start.gap.missed is None
            start = await feed.start(last_event_id=str(kept[1].id))
            assert (start.position, start.gap) == (kept[1].id, None)
            start = await feed.start(last_event_id=str(EPOCH + 1))
            assert start.gap is not None
            assert start.gap.missed == len(store.history[session]) - 6 - 1
            assert start.position == kept[0].id - 1
            assert (await feed.start(from_="earliest")).position == kept[0].id - 1
            last = await feed.start(from_="turn")
            assert len(ends_of(await read_all(feed, last.position))) == 1
            chunk = await feed.read(EPOCH + 1, relay=True)
            assert chunk.gap == start.gap
            assert chunk.position == newest
