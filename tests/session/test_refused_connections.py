"""A stream that was up ends only with an answer of the Mix server itself."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_session import RawSession, answer, beat, client_of, connected, ids, opened
from trio_mix import errors
from trio_mix import events as ev
from trio_mix.sse import ReconnectPolicy, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock

    from tests.support.raw_server import Request
    from trio_mix import Subscription

PAGE = "<html><body><h1>Bad gateway</h1></body></html>"
SESSION = answer(
    "200 OK",
    json.dumps(
        {
            "id": "s",
            "title": "t",
            "userMessageCount": 0,
            "assistantMessageCount": 0,
            "toolCallCount": 0,
            "promptTokens": 0,
            "completionTokens": 0,
            "cost": 0,
            "createdAt": "2025-01-01T00:00:00Z",
        }
    ),
    "application/json",
)


def own(status: str, message: str = "no") -> bytes:
    """Return an error of the Mix server itself."""
    error = {"error": {"code": int(status.split()[0]), "message": message, "type": "some_error"}}
    return answer(status, json.dumps(error), "application/json")


PASSING = [
    answer("502 Bad Gateway", PAGE),
    answer("200 OK", PAGE),
    answer("200 OK", "{}", "application/json"),
    answer("206 Partial Content", "data: x\n\n", "text/event-stream"),
    answer("404 Not Found"),
    answer("404 Not Found", "404 page not found", "text/plain"),
    answer("410 Gone", kind=""),
    answer("400 Bad Request", PAGE),
    answer("422 Hm", "{}", "application/json"),
    answer("302 Found", Location="http://login.example/"),
    own("503 Service Unavailable"),
    own("429 Too Many Requests"),
]


@pytest.mark.parametrize("what", PASSING, ids=range(len(PASSING)))
async def test_what_stands_before_the_server_is_a_passing_failure(
    what: bytes, autojump_clock: MockClock
) -> None:
    world = RawSession(connected("1"), what, what, connected("1"), rest=SESSION)
    async with opened(world) as session:
        world.end()
        await trio.sleep(120)
        assert session.state is StreamState.CONNECTED
        assert session.statistics().connects == 2
        assert len(world.stream_requests) == 4


async def test_such_failures_count_against_the_policy(autojump_clock: MockClock) -> None:
    world = RawSession(connected("1"), answer("200 OK", PAGE))
    async with opened(world, reconnect=ReconnectPolicy(max_elapsed_time=30.0)) as session:
        world.end()
        with pytest.raises(errors.ReconnectFailed, match="text/html"):
            async with session.subscribe() as everything:
                async for _ in everything:
                    pass


FATAL: list[tuple[bytes, bytes, type[errors.TrioMixError], str]] = [
    (own("404 Not Found"), SESSION, errors.SessionNotFound, "does not exist any more"),
    (own("400 Bad Request", "bad"), SESSION, errors.ErrorResponse, "bad"),
    (own("410 Gone", "gone"), SESSION, errors.ErrorResponse, "gone"),
    (own("403 Forbidden", "never"), SESSION, errors.ErrorResponse, "never"),
    (answer("401 Unauthorized", PAGE), SESSION, errors.MixDefaultError, "401"),
    (answer("407 Proxy Authentication Required", PAGE), SESSION, errors.MixDefaultError, "407"),
    (answer("204 No Content"), SESSION, errors.StreamClosed, "204"),
    (answer("404 Not Found"), own("404 Not Found"), errors.SessionNotFound, "/api/sessions/s was"),
    (answer("410 Gone", PAGE), own("404 Not Found"), errors.SessionNotFound, "any more"),
]


@pytest.mark.parametrize(("what", "rest", "kind", "text"), FATAL, ids=range(len(FATAL)))
async def test_an_answer_of_the_server_itself_ends_the_stream(
    what: bytes,
    rest: bytes,
    kind: type[errors.TrioMixError],
    text: str,
    autojump_clock: MockClock,
) -> None:
    world = RawSession(connected(), what, rest=rest)
    async with opened(world) as session, session.subscribe() as everything:
        world.end()
        with pytest.raises(kind, match=text):
            async for _ in everything:
                pass
        again = kind is errors.MixDefaultError or "never" in text
        assert len(world.stream_requests) == (3 if again else 2)


async def test_after_a_bare_404_a_session_that_rest_cannot_find_either_is_not_given_up(
    autojump_clock: MockClock,
) -> None:
    for rest in (answer("404 Not Found"), answer("200 OK", "Mix", "text/plain"), own("500 Hm")):
        world = RawSession(connected("1"), answer("404 Not Found"), connected("1"), rest=rest)
        async with opened(world) as session:
            world.end()
            await trio.sleep(120)
            assert session.state is StreamState.CONNECTED


async def test_denied_connections_are_tried_once_more_with_new_headers(
    autojump_clock: MockClock,
) -> None:
    denied = answer("401 Unauthorized", PAGE)
    world = RawSession(connected("1"), denied, connected("1"), denied, connected("1"))
    tokens = iter(range(1000))

    async def headers() -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return {"Authorization": f"Bearer {next(tokens)}"}

    async with client_of(world, headers=headers) as mix, mix.open_stream("s") as session:
        for _ in range(2):
            world.end()
            await trio.sleep(60)
        assert session.state is StreamState.CONNECTED
    sent = [request.headers["authorization"] for request in world.stream_requests]
    assert len(sent) == len(set(sent)) == 5


FIRST: list[tuple[bytes, type[errors.TrioMixError]]] = [
    (own("404 Not Found"), errors.SessionNotFound),
    (answer("404 Not Found"), errors.SessionNotFound),
    (answer("400 Bad Request", PAGE), errors.MixDefaultError),
    (own("401 Unauthorized"), errors.ErrorResponse),
    (answer("200 OK", PAGE), errors.ProtocolError),
    (answer("204 No Content"), errors.StreamClosed),
]


@pytest.mark.parametrize(("what", "kind"), FIRST, ids=range(len(FIRST)))
async def test_the_first_connection_is_judged_as_that_of_any_event_stream(
    what: bytes, kind: type[errors.TrioMixError], autojump_clock: MockClock
) -> None:
    world = RawSession(what, connected("1"))
    async with client_of(world) as mix:
        with pytest.raises(kind):
            async with mix.open_stream("s"):
                pytest.fail("it was opened")
    assert len(world.stream_requests) == 1


# -- the cursor ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 409, 410, 412, 416, 422])
async def test_a_refused_cursor_is_given_up_after_a_gap(
    status: int, autojump_clock: MockClock
) -> None:
    refusal = own(f"{status} Hm", "unknown Last-Event-ID")
    lost = answer("502 Bad Gateway")
    world = RawSession(connected("1") + beat("2"), refusal, lost, connected("1"), connected("1"))
    async with opened(world) as session, session.subscribe() as everything:
        await trio.testing.wait_all_tasks_blocked()
        world.end()
        await trio.sleep(60)
        assert session.state is StreamState.CONNECTED
        await world.send(beat("2"))
        assert await until_a_beat_after_a_gap(everything) == 1
        assert everything.last_event_id == "2"
    assert ids(world.stream_requests) == [None, "2", None, None]


async def until_a_beat_after_a_gap(everything: Subscription) -> int:
    gaps = 0
    with trio.fail_after(60):
        async for event in everything:
            gaps += isinstance(event, ev.StreamGapEvent)
            if gaps and isinstance(event, ev.HeartbeatEvent):
                break
    return gaps


async def test_a_cursor_that_is_refused_at_first_is_given_up_after_a_gap(
    autojump_clock: MockClock,
) -> None:
    world = RawSession(own("400 Bad Request"), connected("1"))
    async with opened(world, last_event_id="77") as session, session.subscribe() as everything:
        await world.send(beat("2"))
        assert await until_a_beat_after_a_gap(everything) == 1
    assert ids(world.stream_requests) == ["77", None]


async def test_a_cursor_is_given_up_only_once(autojump_clock: MockClock) -> None:
    world = RawSession(connected("1") + beat("2"), own("400 Bad Request", "always"))
    async with opened(world) as session, session.subscribe() as everything:
        await trio.testing.wait_all_tasks_blocked()
        world.end()
        with pytest.raises(errors.ErrorResponse, match="always"):
            async for _ in everything:
                pass
    assert ids(world.stream_requests) == [None, "2", None]


async def test_a_balancers_400_leaves_the_cursor(autojump_clock: MockClock) -> None:
    world = RawSession(connected("1") + beat("2"), answer("400 Bad Request", PAGE), connected("1"))
    async with opened(world) as session:
        await trio.testing.wait_all_tasks_blocked()
        world.end()
        await trio.sleep(60)
        assert session.state is StreamState.CONNECTED
    assert ids(world.stream_requests) == [None, "2", "2"]


def looked_up(requests: list[str]) -> Callable[[Request], bytes]:
    def rest(request: Request) -> bytes:
        requests.append(request.target)
        return SESSION

    return rest


async def test_rest_is_asked_only_after_404_and_410(autojump_clock: MockClock) -> None:
    asked: list[str] = []
    page, bare = answer("400 Bad Request", PAGE), answer("404 Not Found")
    world = RawSession(connected("1"), page, page, bare, connected("1"), rest=looked_up(asked))
    async with opened(world):
        world.end()
        await trio.sleep(60)
    assert asked == ["/api/sessions/s"]


# -- reconnect_now ---------------------------------------------------------------------------


async def test_reconnect_now_ends_the_wait_before_the_next_attempt(
    autojump_clock: MockClock,
) -> None:
    world = RawSession(
        connected("1"), answer("503 No", Retry_After="50"), connected("1"), connected("1")
    )
    async with opened(world) as session:
        world.end()
        await trio.sleep(10)
        assert session.state is StreamState.RECONNECTING
        session.reconnect_now()
        await session.wait_connected()
        assert session.statistics().connects == 2
        session.reconnect_now()
        await trio.testing.wait_all_tasks_blocked()
        await session.wait_connected()
        assert session.statistics().connects == 3
        assert session.statistics().losses == 1
    with pytest.raises(errors.StreamClosed):
        session.reconnect_now()
