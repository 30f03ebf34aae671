"""Streams of consumers: positions, gaps, retry, heartbeats, slow consumers, ends."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.support.relay_http import FIRST, RelayHttp, ScriptedHub, open_http
from tests.support.wire_client import Frames, Wire, call, connect
from trio_mix.relay._connection import StreamConnection
from trio_mix.relay._exchange import HttpLimits
from trio_mix.relay._http import serve_connection
from trio_mix.relay._records import Audience
from trio_mix.testing import MixServer, cancel_at_every_checkpoint
from trio_mix.testing.net._memory import memory_pipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import h11


class Stream(Frames):
    """The frames of a stream, and the head of its response."""

    def __init__(self, wire: Wire, head: h11.Response) -> None:
        super().__init__(wire)
        self.headers = {name.decode(): value.decode() for name, value in head.headers}


@asynccontextmanager
async def watching(
    relay: RelayHttp, query: str = "", headers: Mapping[str, str] | None = None
) -> AsyncIterator[Stream]:
    stream = await connect(relay)
    async with stream:
        wire = Wire(stream)
        await wire.send("GET", f"/stream?sessionId=s{query}", None, headers or {})
        head = await wire.head()
        assert head.status_code == 200
        yield Stream(wire, head)


def ids(frames: list[Any]) -> list[int]:
    return [int(frame.id) - FIRST for frame in frames]


async def test_the_first_frame_is_connected_with_the_position_and_a_jittered_retry() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    feed.append("content", {"n": 1}, times=3)
    async with open_http(hub) as relay:
        retries = set()
        for _ in range(5):
            async with watching(relay) as stream:
                first = await stream.next()
                assert (first.event, first.id) == ("connected", str(FIRST + 3))
                assert first.data == {"sessionId": "s"}
                assert stream.headers["last-event-id"] == str(FIRST + 3)
                assert stream.headers["mix-relay"] == "1"
                retries.add(int(first.retry or 0))
        async with watching(relay) as stream:
            await stream.next()
            feed.append("content", {"n": 2})
            later = await stream.next()
            assert (later.event, later.data, later.retry) == ("content", {"n": 2}, None)
        assert all(1000 <= retry <= 3000 for retry in retries)
        assert len(retries) > 1


POSITIONS: list[tuple[str, Mapping[str, str], int, object]] = [
    ("", {}, 5, None),
    ("&from=earliest", {}, 0, None),
    (f"&lastEventId={FIRST + 3}", {}, 3, None),
    ("&lastEventId=&from=earliest", {}, 0, None),
    (f"&lastEventId={FIRST + 1}&from=earliest", {"Last-Event-ID": str(FIRST + 4)}, 4, None),
    ("", {"Last-Event-ID": str(FIRST + 6)}, 5, {"missed": None}),
    ("", {"Last-Event-ID": "17"}, 5, {"missed": None}),
    ("", {"Last-Event-ID": "abc"}, 5, {"missed": None}),
    ("&lastEventId=" + "9" * 30, {}, 5, {"missed": None}),
]


async def test_each_way_to_give_a_position_and_the_frames_after_it() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    for number in range(5):
        feed.append("content", {"n": number})
    async with open_http(hub) as relay:
        for query, headers, start, gap in POSITIONS:
            async with watching(relay, query, headers) as stream:
                assert stream.headers["last-event-id"] == str(FIRST + start), query
                first = await stream.next()
                assert ids([first]) == [start]
                assert first.data.get("gap") == gap
                replayed = [await stream.next() for _ in range(start, 5)]
                assert ids(replayed) == list(range(start + 1, 6))


async def test_events_that_are_no_longer_kept_are_a_gap_in_connected() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    feed.append("content", "{}", times=10)
    feed.deleted = 4
    async with open_http(hub) as relay:
        async with watching(relay, f"&lastEventId={FIRST + 1}") as stream:
            assert stream.headers["last-event-id"] == str(FIRST + 4)
            assert (await stream.next()).data["gap"] == {"missed": 3}
            assert ids([await stream.next()]) == [5]
        assert relay.streams.rooms.gaps == 1


BAD = (
    ("/stream", 400),
    ("/stream?sessionId=", 400),
    ("/stream?sessionId=s&from=yesterday", 400),
    ("/stream?sessionId=s&lastEventId=1&lastEventId=2", 400),
    ("/stream?sessionId=s&sessionId=t", 400),
    ("/stream?sessionId=nobody", 404),
)


async def test_a_stream_that_cannot_be_opened_is_one_clear_error() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay:
        for target, status in BAD:
            answer = await call(relay, "GET", target)
            assert (answer.status, answer.json["error"]["code"]) == (status, status), target
        assert hub.feeds["s"].consumers == 0


async def test_events_of_the_relay_go_only_to_clients_that_know_them() -> None:
    hub = ScriptedHub("async")
    feed = hub.add("s")
    async with open_http(hub) as relay:
        async with (
            watching(relay) as plain,
            watching(relay, "&relay=1") as by_query,
            watching(relay, "", {"Mix-Relay": "1"}) as by_header,
        ):
            for stream in (plain, by_query, by_header):
                await stream.until("connected")
            feed.append("turn", {"turnId": "t"}, Audience.RELAY)
            feed.append("rate_limit_error", {"error": "slow"}, Audience.RATE_LIMIT)
            feed.append("complete", {"done": True})
            assert [frame.event for frame in await plain.until("complete")] == ["complete"]
            for aware in (by_query, by_header):
                logged = [f.event for f in await aware.until("complete") if f.event != "presence"]
                assert logged == ["turn", "rate_limit_error", "complete"]


async def test_relay_clients_learn_how_many_watch() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay:
        async with watching(relay, "&relay=1") as stream:
            [*_, frame] = await stream.until("presence")
            assert frame.data == {"consumers": 1}
            assert frame.id == str(FIRST)
            async with watching(relay):
                [*_, frame] = await stream.until("presence")
                assert frame.data == {"consumers": 2}
                answer = await call(relay, "GET", "/relay/sessions/s/presence")
                assert answer.json == {"consumers": 2}


async def test_open_permission_requests_follow_connected() -> None:
    hub = ScriptedHub()
    hub.add("s").requests = [("permission", '{"id": "p"}')]
    async with open_http(hub) as relay, watching(relay) as stream:
        connected, request = await stream.next(), await stream.next()
        assert (connected.event, request.event) == ("connected", "permission")
        assert connected.id == request.id
        assert request.data == {"id": "p"}


async def test_idle_streams_have_heartbeats_with_their_position(autojump_clock: object) -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay, watching(relay) as stream:
        await stream.next()
        start = trio.current_time()
        assert (await stream.next()).event == "heartbeat"
        assert trio.current_time() - start == 15
        feed.append("content", "{}")
        assert (await stream.next()).event == "content"
        beat = await stream.next()
        assert (beat.event, ids([beat]), beat.data) == ("heartbeat", [1], {"type": "ping"})


async def test_a_consumer_behind_the_ring_reads_the_log_and_misses_nothing() -> None:
    hub = ScriptedHub(ring=20)
    feed = hub.add("s")
    async with open_http(hub) as relay:
        relay.capacity = 2000
        async with watching(relay) as stream:
            await stream.next()
            for _ in range(500):
                feed.append("content", {"text": "x" * 50})
            frames = [await stream.next() for _ in range(500)]
            assert ids(frames) == list(range(1, 501))
            assert feed.reads  # the ring has only 20
            feed.append("complete", "{}")
            assert ids(await stream.until("complete")) == [501]


async def test_a_consumer_behind_the_log_is_closed_or_gets_a_gap() -> None:
    for query, ended in (("", True), ("&relay=1", False)):
        hub = ScriptedHub(ring=20)
        feed = hub.add("s")
        async with open_http(hub) as relay:
            relay.capacity = 2000
            async with watching(relay, query) as stream:
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(500):
                    feed.append("content", {"text": "x" * 50})
                await trio.testing.wait_all_tasks_blocked()
                feed.deleted = 400
                frames = await (stream.rest() if ended else stream.until("gap"))
                last = int(frames[-1].id or 0) - FIRST
                assert last < 400
                assert ended == (stream.ended == "clean")
                if not ended:
                    assert frames[-1].data == {"missed": 400 - last}
                    assert ids([await stream.next()]) == [401]


async def test_a_consumer_that_takes_no_byte_is_closed_and_the_others_go_on(
    autojump_clock: object,
) -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay:
        relay.capacity = 4000
        async with watching(relay) as slow, watching(relay) as fast:
            await fast.next()
            for number in range(1, 101):
                feed.append("content", {"text": "x" * 100})
                assert ids([await fast.next()]) == [number]
            await trio.sleep(31)
            assert (relay.streams.rooms.stalled, relay.streams.consumers) == (1, 1)
            await slow.rest()
            assert slow.ended == "cut"


async def test_sessions_of_others_are_announced_but_not_logged() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay, watching(relay) as stream:
        await stream.next()
        relay.streams.announce("session_created", '{"sessionId": "new"}', "new")
        frame = await stream.next()
        assert (frame.event, frame.id) == ("session_created", str(FIRST))


async def test_a_stream_ends_in_order_when_its_session_does() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay, watching(relay) as stream:
        await stream.next()
        feed.append("complete", "{}")
        feed.close("deleted")
        assert [frame.event for frame in await stream.rest()] == ["complete"]
        assert stream.ended == "clean"
        await trio.testing.wait_all_tasks_blocked()
        assert feed.consumers == relay.streams.consumers == 0


async def test_a_consumer_that_leaves_is_noticed_at_once() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay:
        async with watching(relay) as stream:
            await stream.next()
            assert feed.consumers == 1
        await trio.testing.wait_all_tasks_blocked()
        assert feed.consumers == relay.streams.consumers == 0


REQUESTS = (
    b"GET /stream?sessionId=s&from=earliest HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /stream?sessionId=nobody HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (
        b"POST /api/sessions/s/messages HTTP/1.1\r\nHost: localhost\r\n"
        b'Content-Type: application/json\r\nContent-Length: 14\r\n\r\n{"text": "hi"}'
    ),
    b"GET /api/tools HTTP/1.1\r\nHost: localhost\r\n\r\n",
    (
        b"POST /api/sessions/s/files/upload HTTP/1.1\r\nHost: localhost\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    ),
)


async def test_a_connection_that_is_cancelled_at_any_checkpoint_leaves_nothing() -> None:
    async with MixServer("async", listen=False) as server:
        hub = ScriptedHub(ring=2)
        feed = hub.add("s")
        feed.append("content", "{}", times=2)
        feed.append("content", "{}", times=2)
        feed.closed = "deleted"
        async with open_http(hub, server) as relay:
            await trio.testing.wait_all_tasks_blocked()
            for request in REQUESTS:

                async def serve(request: bytes = request) -> None:
                    client, end = memory_pipe()
                    await client.send_all(request)
                    await client.send_eof()
                    await serve_connection(StreamConnection(end), relay.routes.handle, HttpLimits())

                async def nothing_is_left() -> None:
                    await trio.lowlevel.checkpoint()
                    assert feed.consumers == relay.streams.consumers == 0
                    assert not feed._callbacks

                sweep = await cancel_at_every_checkpoint(serve, check=nothing_is_left)
                assert sweep.checkpoints > 5
