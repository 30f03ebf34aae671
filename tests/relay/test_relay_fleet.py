"""Several relays on one log in Redis: who owns a session, and what the others do."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_world import ends_of, post, read_all, text_of
from trio_mix import Mix
from trio_mix.relay import RedisLog
from trio_mix.relay._cursor import missed_after
from trio_mix.relay._errors import AlreadyDecided, Draining, LogError, TurnUnknown
from trio_mix.relay._follower import SessionFollower
from trio_mix.relay._hub import Hub
from trio_mix.relay._ids import EPOCH
from trio_mix.relay._records import TurnState
from trio_mix.relay._settings import HubSettings
from trio_mix.testing import AskPermission, MixServer, RequestReceived, Say, Turn, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from tests.support.redis_server import RedisServer
    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._records import LoggedEvent

TTL = 10.0
PATIENT = 9.0
"""Seconds for a response: a busy machine is no fault."""


@asynccontextmanager
async def fleet(redis: RedisServer, server: MixServer, count: int) -> AsyncIterator[list[Hub]]:
    """Run some hubs on one log."""
    hubs: list[Hub] = []
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            hub: Hub = await nursery.start(run_hub, redis, server)
            hubs.append(hub)
        with trio.fail_after(60):
            yield hubs
        nursery.cancel_scope.cancel()


async def run_hub(
    redis: RedisServer,
    server: MixServer,
    task_status: trio.TaskStatus[Hub] = trio.TASK_STATUS_IGNORED,
) -> None:
    log = RedisLog(redis.url, lease_ttl=TTL, timeout=PATIENT)
    settings = HubSettings(answer_wait=PATIENT)
    mix = Mix("http://mix.test", network=server.network)
    async with mix, Hub(mix, log, settings) as hub:
        await hub.wait_ready()
        task_status.started(hub)
        await trio.sleep_forever()


async def until_text(feed: SessionFeed, turn_id: str, text: str) -> None:
    start = await feed.start(from_="earliest")
    while text_of(await read_all(feed, start.position), turn_id) != text:
        await feed.wait(feed.newest)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()


def owned(hub: Hub) -> int:
    return hub.statistics().sessions_owned


async def test_consumers_of_any_relay_receive_all_events_in_order(redis: RedisServer) -> None:
    async with MixServer() as server, fleet(redis, server, 3) as hubs:
        session = server.create_session()
        server.script("hello", Turn(Say("one two three")))
        async with (
            hubs[0].session(session) as first,
            hubs[1].session(session) as second,
            hubs[2].session(session) as third,
        ):
            assert [owned(hub) for hub in hubs] == [1, 0, 0]
            sent = await post(second, "hello")
            assert sent.answer is None
            record = await third.wait_turn(sent.turn.turn_id)
            assert record.state is TurnState.DONE
            received = []
            for feed in (first, second, third):
                while feed.newest < first.newest:
                    await feed.wait(feed.newest)
                start = await feed.start(from_="earliest")
                received.append([frame.id for frame in await read_all(feed, start.position)])
            assert received[0] == received[1] == received[2]
            assert server.runs("hello") == 1


async def test_a_message_that_the_server_refuses_is_refused_by_every_relay(
    redis: RedisServer,
) -> None:
    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        async with hubs[0].session(session) as first, hubs[1].session(session) as second:
            for feed in (first, second):
                sent = await post(feed, "/no-such-command")
                assert sent.answer is not None
                assert sent.answer.status == 404
            frames = await read_all(first, (await first.start(from_="earliest")).position)
            assert ends_of(frames) == []  # the refusal was the response


async def test_a_refusal_is_passed_on_by_a_relay_that_has_not_received_the_end_before_it(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    received = SessionFollower.received
    late: list[Callable[[], None]] = []

    def late_once_queued(
        follower: SessionFollower, previous: int, events: Sequence[LoggedEvent]
    ) -> None:
        if follower.queued:
            late.append(partial(received, follower, previous, events))
        else:
            received(follower, previous, events)

    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        async with hubs[0].session(session) as first, hubs[1].session(session) as second:
            monkeypatch.setattr(SessionFollower, "received", late_once_queued)

            async def receive_the_rest() -> None:
                await server.wait_for(RequestReceived, count=2, method="POST")
                monkeypatch.undo()
                for each in late:
                    each()

            await post(first, "/no-such-command")
            await until(lambda: bool(late))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive_the_rest)
                sent = await post(second, "/no-such-command")
            assert sent.answer is not None
            assert sent.answer.status == 404


async def test_a_key_is_accepted_once_by_all_relays(redis: RedisServer) -> None:
    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        async with hubs[0].session(session) as first, hubs[1].session(session) as second:
            sent = await post(second, "hello", key="k")
            again = await post(first, "hello", key="k")
            assert (again.turn.turn_id, again.repeated) == (sent.turn.turn_id, True)
            await first.wait_turn(sent.turn.turn_id)
            third = await post(second, "hello", key="k")
            assert (third.turn.turn_id, third.repeated) == (sent.turn.turn_id, True)
            assert server.runs("hello") == 1


async def test_a_follower_answers_permission_requests_through_the_owner(
    redis: RedisServer,
) -> None:
    async with MixServer() as server, fleet(redis, server, 3) as hubs:
        session = server.create_session()
        server.script("ask", Turn(AskPermission("bash"), Say("done")))
        async with hubs[0].session(session) as first, hubs[1].session(session) as second:
            sent = await post(second, "ask")
            while not second.open_requests(second.newest):
                await second.wait(second.newest)
            [(_, data)] = second.open_requests(second.newest)
            request = json.loads(data)["id"]
            for hub in hubs:  # the last one has not opened the session
                assert await hub.session_of_request(request) == session
            assert await hubs[2].session_of_request("another") is None
            answer = await hubs[2].decide(request, grant=True, subject="ann")
            assert answer.status == 200
            assert (await hubs[1].decide(request, grant=True, subject="bob")).status == 200
            with pytest.raises(AlreadyDecided, match="ann"):
                await hubs[1].decide(request, grant=False, subject="bob")
            await second.wait_turn(sent.turn.turn_id)
            assert not first.open_requests(first.newest) + second.open_requests(second.newest)


async def test_a_follower_cancels_turns_through_the_owner(redis: RedisServer) -> None:
    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        server.script("long", Turn(Say("begun"), WaitFor(trio.Event())))
        async with hubs[0].session(session), hubs[1].session(session) as second:
            running, queued, other = [
                (await post(second, text)).turn.turn_id for text in ("long", "queued", "other")
            ]
            await until_text(second, running, "begun")
            cancelled = await hubs[1].cancel(queued)
            assert cancelled.state is TurnState.CANCELLED
            assert await second.cancel_waiting() == 1
            assert (await second.wait_turn(other)).state is TurnState.CANCELLED
            assert (await second.cancel_running()).status == 200
            assert (await second.wait_turn(running)).state is TurnState.CANCELLED
            assert (await hubs[1].cancel(running)).state is TurnState.CANCELLED
            with pytest.raises(TurnUnknown):
                await second.wait_turn("turn_unknown")


async def test_a_relay_that_shuts_down_passes_its_sessions_on_and_no_stream_is_cut(
    redis: RedisServer,
) -> None:
    go_on = trio.Event()
    async with MixServer() as server, fleet(redis, server, 3) as hubs:
        session = server.create_session()
        server.script("long", Turn(Say("begun "), WaitFor(go_on), Say("ended")))
        async with hubs[1].session(session) as second:
            async with hubs[0].session(session):
                assert [owned(hub) for hub in hubs] == [0, 1, 0]
            async with hubs[0].session(session) as first:
                sent = await post(first, "long")
                await until_text(first, sent.turn.turn_id, "begun ")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(hubs[1].drain, 0.0)
                    with pytest.raises(Draining):
                        await second.wait_turn(sent.turn.turn_id)
                assert second.closed == "drained"
                go_on.set()
                record = await first.wait_turn(sent.turn.turn_id)
                assert record.outcome is not None
                assert record.outcome.text == "begun ended"
                assert first.closed is None
                frames = await read_all(first, (await first.start(from_="earliest")).position)
                assert text_of(frames, sent.turn.turn_id) == "begun ended"
                assert len(ends_of(frames)) == 1
        assert owned(hubs[0]) == 1
        assert server.runs("long") == 1


async def test_turns_of_a_relay_that_shuts_down_are_resumed_where_nobody_listens(
    redis: RedisServer,
) -> None:
    go_on = trio.Event()
    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        server.script("long", Turn(Say("begun "), WaitFor(go_on), Say("ended")))
        async with hubs[0].session(session) as first:
            sent = await post(first, "long")
            queued = await post(first, "queued")
        await hubs[0].drain(0.0)
        go_on.set()
        async with hubs[1].session(session) as second:
            for turn in (sent, queued):
                assert (await second.wait_turn(turn.turn.turn_id)).state is TurnState.DONE
        assert (server.runs("long"), server.runs("queued")) == (1, 1)


async def test_a_redis_that_is_away_refuses_messages_and_everything_resumes_by_itself(
    redis: RedisServer,
) -> None:
    async with MixServer() as server, fleet(redis, server, 2) as hubs:
        session = server.create_session()
        async with hubs[0].session(session) as first, hubs[1].session(session) as second:
            sent = await post(second, "hello")
            await second.wait_turn(sent.turn.turn_id)
            while second.newest < first.newest:
                await second.wait(second.newest)
            before = [await read_all(feed, feed.newest - 3) for feed in (first, second)]
            redis.kill()
            for feed in (first, second):
                with pytest.raises(LogError) as caught:
                    await post(feed, "again")
                assert (caught.value.status, caught.value.retry_after) == (503, 5.0)
            with pytest.raises(LogError):
                async with hubs[0].session("another"):
                    pass
            await until(lambda: not (hubs[0].ready or hubs[1].ready))
            after = [await read_all(feed, feed.newest - 3) for feed in (first, second)]
            assert after == before
            redis.start()
            await until(lambda: hubs[0].ready and hubs[1].ready)
            sent = await post(second, "again")
            assert (await first.wait_turn(sent.turn.turn_id)).state is TurnState.DONE
            assert server.runs("again") == 1


async def test_events_that_a_promoted_replica_lacks_are_reported_and_their_ids_not_used_again(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with MixServer() as server, fleet(redis, server, 1) as [hub]:
        session = server.create_session()
        async with hub.session(session) as feed:
            turn = (await post(feed, "first")).turn.turn_id
            await feed.wait_turn(turn)
            kept = feed.newest
            await feed.wait_turn((await post(feed, "second")).turn.turn_id)
            lost = feed.newest - kept
            # The new primary has neither the last events nor the owner's lease.
            redis.command("XTRIM", f"mix-relay:events:{session}", "MAXLEN", str(kept % EPOCH))
            redis.command(
                *("HSET", f"mix-relay:session:{session}", "token", "another", "owner", "another"),
                *("newest", f"1-{kept % EPOCH}", "epoch", "1"),
            )
            third = (await post(feed, "third")).turn.turn_id
            await feed.wait_turn(third)
            frames = await read_all(feed, kept + lost, relay=True)
            assert [json.loads(each.data)["missed"] for each in frames if each.event == "gap"] == [
                lost
            ]
            assert all(int(each.id) > 2 * EPOCH for each in frames)
            async with RedisLog(redis.url) as log:  # as a relay without them in memory
                extent = await log.extent(session)
                assert extent is not None
                assert missed_after(kept - 1, extent.deleted, forgotten=extent.forgotten)
            assert hub.statistics().events_lost_total == lost
            assert feed.closed is None
    assert f"has lost {lost} events" in caplog.text
