"""The supervisor on a mocked clock: when it connects, waits, and gives up."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_server import LAST_CHUNK, SSE_HEAD, Peer, chunk, memory_server
from tests.support.supervised import URL, events, frames, script, supervisor
from trio_mix.errors import (
    ConnectionFailed,
    MixDefaultError,
    ProtocolError,
    ReconnectFailed,
    RequestTimeout,
    StreamClosed,
)
from trio_mix.sse import StreamState
from trio_mix.sse._supervisor import Lost, Opened

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix.sse._supervisor import Supervisor


async def test_a_stream_is_opened_read_lost_and_opened_again(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, http = memory_server(
        nursery, script(SSE_HEAD + events("a", "b"), SSE_HEAD + events("c") + LAST_CHUNK, None)
    )
    states: list[StreamState] = []
    source = supervisor(http, on_change=states.append)
    assert source.statistics().state is StreamState.CONNECTING
    first = await source.next()
    assert isinstance(first, Opened)
    assert source.statistics().connects == 1
    assert first.headers["content-type"] == "text/event-stream"
    assert await frames(source) == ["a", "b"]
    lost = await source.next()
    assert isinstance(lost, Lost)
    assert isinstance(source.last_failure, ConnectionFailed)
    assert not lost.planned
    assert source.statistics().state is StreamState.RECONNECTING
    assert await source.next() == Opened(first.headers)
    assert await frames(source) == ["c"]
    assert await source.next() == Lost("the server ended the response")
    assert isinstance(await source.next(), Opened)
    await source.aclose()
    await source.aclose()
    assert states == [
        "connected",
        "reconnecting",
        "connected",
        "reconnecting",
        "connected",
        "closed",
    ]
    assert [request.headers.get("last-event-id") for request in server.requests] == [None, "b", "c"]


async def test_failed_attempts_are_repeated_after_growing_delays(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, http = memory_server(nursery, None)
    source = supervisor(http)
    with pytest.raises(ReconnectFailed, match="max_elapsed_time=100") as caught:
        await source.next()
    start = server.connect_times[0]
    assert [time - start for time in server.connect_times] == pytest.approx(
        [0, 1, 3, 7, 15, 31, 63, 100]
    )
    assert isinstance(caught.value.__cause__, ConnectionFailed)
    assert caught.value.attempts == 8
    assert caught.value.elapsed == pytest.approx(100.0)
    assert caught.value.url == URL
    assert source.state is StreamState.CLOSED
    for _ in range(2):
        with trio.testing.assert_checkpoints(), pytest.raises(StreamClosed) as closed:
            await source.next()
        assert closed.value.__cause__ is caught.value


async def test_a_stable_connection_is_reopened_almost_at_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        await trio.sleep(5)

    server, http = memory_server(nursery, handler)
    source = supervisor(http)
    for _ in range(6):
        await source.next()
    times = server.connect_times
    assert [b - a for a, b in pairwise(times)] == pytest.approx([5.25, 5.25])


async def test_retry_after_is_obeyed_up_to_the_longest_delay(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for status in [b"429 Too Many Requests", b"503 Service Unavailable"]:
        for retry_after, delay in [
            (b"7", 8.0),
            (b"Sun, 06 Nov 1994 08:49:07 GMT", 8.0),
            (b"100000", 61.0),
            (b"nonsense", 1.0),
        ]:
            refusal = b"HTTP/1.1 %b\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % (
                status,
                retry_after,
            )
            server, http = memory_server(nursery, script(refusal, None))
            source = supervisor(http)
            await source.next()
            assert server.connect_times[1] - server.connect_times[0] == pytest.approx(delay)


async def test_a_temporary_status_is_retried(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for status in [408, 425, 429, 500, 502, 503, 504, 599]:
        refusal = b"HTTP/1.1 %d Hm\r\nContent-Length: 2\r\n\r\nno" % status
        _, http = memory_server(nursery, script(refusal, refusal, None))
        source = supervisor(http)
        assert isinstance(await source.next(), Opened)
        assert source.statistics().last_loss == f"HTTP {status}"


async def test_a_permanent_status_is_fatal(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for status in [301, 400, 401, 403, 404, 405, 410, 422, 451]:
        refusal = b"HTTP/1.1 %d No\r\nX-A: b\r\nContent-Length: 7\r\n\r\nbecause" % status
        server, http = memory_server(nursery, script(refusal))
        source = supervisor(http)
        with pytest.raises(MixDefaultError, match="because") as caught:
            await source.next()
        assert (caught.value.status_code, caught.value.body) == (status, "because")
        assert caught.value.headers["x-a"] == "b"
        assert server.connections == 1
        with pytest.raises(StreamClosed):
            await source.next()


async def test_204_ends_the_stream(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    _, http = memory_server(nursery, script(b"HTTP/1.1 204 No Content\r\n\r\n"))
    source = supervisor(http)
    with pytest.raises(StreamClosed, match="204"):
        await source.next()
    assert source.state is StreamState.CLOSED


async def test_a_response_that_is_not_an_event_stream_is_fatal_and_shown(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for answer, words in [
        (
            b"200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
            "text/html.*<html>",
        ),
        (b"200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", "json.*{}"),
        (b"200 OK\r\nContent-Length: 2\r\n\r\nhi", "is missing"),
        (b"200 OK\r\nContent-Type: image/png\r\nContent-Length: 3\r\n\r\n\x89\xff\0", "image/png"),
        (b"200 OK\r\nContent-Type: text/event-streams\r\n\r\n", "event-streams"),
        (b"202 Accepted\r\nContent-Type: text/event-stream\r\n\r\n", "HTTP 202"),
        (
            b"200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: br\r\n\r\n",
            "compressed",
        ),
    ]:
        server, http = memory_server(nursery, script(b"HTTP/1.1 " + answer))
        with pytest.raises(ProtocolError, match=words) as caught:
            await supervisor(http).next()
        assert caught.value.url == URL
        assert "\0" not in str(caught.value)
        assert server.connections == 1


async def test_a_wrong_response_that_never_ends_is_not_read_to_its_end(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        kind = b"text/html" if peer.server.connections == 1 else b"x"
        status = b"200 OK" if peer.server.connections == 1 else b"404 No"
        await peer.send(b"HTTP/1.1 %b\r\nContent-Type: %b\r\n\r\n<html>" % (status, kind))
        await peer.closed()

    _, http = memory_server(nursery, handler)
    with pytest.raises(ProtocolError, match="<html>"):
        await supervisor(http).next()
    with pytest.raises(MixDefaultError) as caught:
        await supervisor(http).next()
    assert caught.value.body == "<html>"
    assert trio.current_time() < 10


async def test_the_content_type_is_read_as_the_standard_says(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for kind in [b"Text/Event-Stream", b"text/event-stream; charset=latin-1"]:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n\r\n" % kind
        _, http = memory_server(nursery, script(head + "data: ü\n\n".encode()))
        source = supervisor(http)
        await source.next()
        assert await frames(source) == ["ü"]


# Liveness


async def test_silence_is_a_loss_and_a_comment_is_a_sign_of_life(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        for _ in range(5):
            await trio.sleep(10)
            await peer.send(chunk(b":\n"))
        await peer.closed()

    _, http = memory_server(nursery, handler)
    source = supervisor(http, read_timeout=15.0)
    await source.next()
    start = trio.current_time()
    lost = await source.next()
    assert isinstance(lost, Lost)
    assert lost.reason == "idle: no byte arrived for 15 s"
    assert isinstance(source.last_failure, RequestTimeout)
    assert trio.current_time() - start == pytest.approx(65.0)
    assert source.statistics().bytes == 10


async def test_only_the_socket_is_timed_and_not_the_owner(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + events("a"))
        await peer.send(events("b"))
        await peer.closed()

    _, http = memory_server(nursery, handler)
    source = supervisor(http, read_timeout=15.0)
    await source.next()
    got: list[str] = []
    while len(got) < 2:
        await trio.sleep(1000)
        got += await frames(source)
    assert got == ["a", "b"]


async def test_a_head_that_does_not_arrive_is_a_failed_attempt(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        if peer.server.connections > 1:
            await peer.send(SSE_HEAD)
        await peer.closed()

    server, http = memory_server(nursery, handler)
    source = supervisor(http)
    assert isinstance(await source.next(), Opened)
    assert server.connect_times[1] - server.connect_times[0] == pytest.approx(31.0)


# Limits


async def test_an_event_over_the_limit_is_fatal_after_the_events_before_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, http = memory_server(
        nursery, script(SSE_HEAD + chunk(b"data: a\n\ndata: " + b"x" * 200 + b"\n\n"))
    )
    source = supervisor(http, max_event_size=100, session_id="s-1")
    await source.next()
    assert await frames(source) == ["a"]
    with pytest.raises(ProtocolError, match="max_event_size=100") as caught:
        await source.next()
    assert (caught.value.url, caught.value.session_id) == (URL, "s-1")
    with pytest.raises(StreamClosed):
        await source.next()
    await trio.testing.wait_all_tasks_blocked()
    assert server.open == 0


async def test_the_servers_retry_bounds_the_delay(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    answer = SSE_HEAD + chunk(b"retry: 2500\n")
    server, http = memory_server(nursery, script(answer, answer, answer, answer, None))
    source = supervisor(http)
    while server.connections < 5:
        await source.next()
    times = server.connect_times
    assert [b - a for a, b in pairwise(times)] == pytest.approx([1.0, 2.0, 2.5, 2.5])
    assert source.statistics().server_retry == 2.5


async def test_statistics_report_connections_losses_and_bytes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(SSE_HEAD + events("a", "b"), None))
    source = supervisor(http)
    before = source.statistics()
    assert (before.state, before.connects, before.last_loss) == ("connecting", 0, None)
    for _ in range(3):
        await source.next()
    waiting = source.statistics()
    assert waiting.next_attempt_time == pytest.approx(trio.current_time() + 1.0)
    assert waiting.connected_since is None
    await source.next()
    now = source.statistics()
    assert (now.state, now.connects, now.reconnects, now.attempts) == ("connected", 2, 1, 2)
    assert (now.losses, now.events, now.bytes, now.last_event_id) == (1, 2, 30, "b")
    assert now.last_loss is not None
    assert "before the end of the body" in now.last_loss
    assert now.last_loss_time == pytest.approx(trio.current_time() - 1.0)
    assert now.connected_since == trio.current_time()


async def test_time_asleep_is_not_counted_against_the_policy(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    """As on a machine whose clock goes on while it is suspended."""
    server, http = memory_server(nursery, None)
    source = supervisor(http)
    nursery.start_soon(_expect_failure, source)
    for pause in (0, 1, 2, 4):
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(pause)
    await trio.testing.wait_all_tasks_blocked()
    assert len(server.connect_times) == 4
    mock_clock.jump(8 + 3600)  # the wait of 8 s ends an hour late
    for pause in (0, 16, 32, 37):
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(pause)
    await trio.testing.wait_all_tasks_blocked()
    start = server.connect_times[0]
    assert [time - start for time in server.connect_times] == pytest.approx(
        [0, 1, 3, 7, 3615, 3631, 3663, 3700]
    )
    assert source.state is StreamState.CLOSED


async def _expect_failure(source: Supervisor) -> None:
    with pytest.raises(ReconnectFailed) as caught:
        await source.next()
    assert 100.0 <= caught.value.elapsed <= 110.0  # the last attempt may take 10 s


async def test_a_connect_during_which_the_machine_slept_is_not_counted_either(
    nursery: trio.Nursery, mock_clock: MockClock
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed()

    server, http = memory_server(nursery, silent)
    source = supervisor(http, connect_timeout=10.0)
    nursery.start_soon(_expect_failure, source)
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(10 + 3600)
    while source.state is not StreamState.CLOSED:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(1)
    assert server.connections > 3
