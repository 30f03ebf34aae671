"""Hooks of streams: what they are calls, in which order, and that they hold nothing up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.hooks_kit import HookCalls, scene
from trio_mix import Hooks, Mix, ReconnectPolicy, errors
from trio_mix._http import Http
from trio_mix._session._stream_hooks import MAX_QUEUED, StreamHooks
from trio_mix.hooks import (
    AfterErrorContext,
    AfterSuccessContext,
    BeforeRequestContext,
    StreamClosedContext,
    StreamLostContext,
    StreamOpenedContext,
    StreamRetryingContext,
)
from trio_mix.sse._connect import StreamRequest
from trio_mix.sse._supervisor import Supervisor
from trio_mix.testing import MixServer, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix._http import ResponseStream
    from trio_mix.testing import Api

QUICK = ReconnectPolicy(initial_interval=0.01, max_interval=0.02)


@pytest.fixture(params=["async", "blocking", "pipeline", "pipeline-oldest"])
async def any_server(request: pytest.FixtureRequest) -> AsyncIterator[MixServer]:
    api: Api = request.param
    async with MixServer(api, listen=False, pace=0.0) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(listen=False, pace=0.0) as server:
        yield server


async def test_the_hooks_of_a_stream_are_called_from_opening_to_closing(
    any_server: MixServer,
) -> None:
    calls = HookCalls()
    async with scene(any_server, calls.hooks()) as session:
        await session.ask("hello")
        await any_server.drop_streams()
        await trio.testing.wait_all_tasks_blocked()
        await session.wait_connected()
        await session.ask("hello again")
    assert calls.names("stream") == [
        "stream_opened",
        "stream_lost",
        "stream_retrying",
        "stream_opened",
        "stream_closed",
    ]
    first, second = calls.of(StreamOpenedContext)
    (lost,) = calls.of(StreamLostContext)
    (retrying,) = calls.of(StreamRetryingContext)
    (closed,) = calls.of(StreamClosedContext)
    assert (first.connection, second.connection) == (1, 2)
    assert not lost.planned
    assert lost.reason
    assert retrying.reason == lost.reason
    assert retrying.attempt >= 1
    assert 0 <= retrying.delay < 1
    assert closed.error is None
    states = {id(context.state) for name, context in calls.all if name.startswith("stream")}
    assert len(states) == 1
    assert first.session_id == session.session_id
    assert "/stream" in first.url


async def test_a_rotation_is_a_loss_that_was_planned(
    server: MixServer, autojump_clock: MockClock
) -> None:
    calls = HookCalls()
    async with (
        Mix(server.url, network=server.network, hooks=calls.hooks()) as mix,
        mix.open_stream(server.create_session(), max_connection_age=100),
    ):
        await trio.sleep(150)
    assert calls.names("stream") == [
        "stream_opened",
        "stream_lost",
        "stream_opened",
        "stream_closed",
    ]
    (lost,) = calls.of(StreamLostContext)
    assert lost.planned
    assert lost.elapsed == pytest.approx(100, abs=1)
    assert calls.of(StreamClosedContext)[0].elapsed == pytest.approx(150, abs=1)


async def test_each_wait_before_a_connect_is_reported_once(
    server: MixServer, autojump_clock: MockClock
) -> None:
    calls = HookCalls()
    async with (
        Mix(server.url, network=server.network, hooks=calls.hooks()) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        server.answer_next("/stream", 503, times=3)
        await trio.sleep(10)
        await server.drop_streams()
        await trio.sleep(1)
        await session.wait_connected()
    waits = calls.of(StreamRetryingContext)
    assert [each.attempt for each in waits] == [1, 2, 3, 4]
    assert [each.reason for each in waits[1:]] == ["HTTP 503"] * 3
    connects = [
        (name, context.attempt)
        for name, context in calls.all
        if name in ("before_request", "after_success", "after_error")
    ]
    assert connects == [
        ("before_request", 1),
        ("after_success", 1),
        ("before_request", 1),
        ("after_error", 1),
        ("before_request", 2),
        ("after_error", 2),
        ("before_request", 3),
        ("after_error", 3),
        ("before_request", 4),
        ("after_success", 4),
    ]
    assert [each.status_code for each in calls.of(AfterErrorContext)] == [503] * 3
    state = waits[0].state
    assert all(each.stream_state is state for each in calls.of(BeforeRequestContext))


async def test_connects_carry_what_hooks_add(server: MixServer) -> None:
    def add(context: BeforeRequestContext) -> None:
        context.headers["X-Trace"] = "traced"

    async with scene(server, Hooks(before_request=add)):
        pass
    (connect,) = server.requests("GET", "/stream")
    assert connect.headers["x-trace"] == "traced"


async def test_a_veto_of_the_connect_comes_out_of_opening_the_stream(server: MixServer) -> None:
    def refuse(context: BeforeRequestContext) -> None:
        raise PermissionError("not today")

    calls = HookCalls()
    with trio.fail_after(5), pytest.raises(PermissionError, match="not today"):
        async with scene(server, [calls.hooks(), Hooks(before_request=refuse)]):
            raise AssertionError("opened")
    assert calls.names("stream") == ["stream_closed"]
    assert isinstance(calls.of(StreamClosedContext)[0].error, PermissionError)


async def test_a_veto_of_a_reconnect_reaches_the_waiting_task(server: MixServer) -> None:
    armed = False

    def refuse(context: BeforeRequestContext) -> None:
        if armed:
            raise PermissionError("no more")

    with trio.fail_after(5):
        async with scene(server, Hooks(before_request=refuse)) as session:
            armed = True
            await server.drop_streams()
            with pytest.raises(PermissionError, match="no more"):
                await session.ask("hello")


async def test_a_stream_that_cannot_be_opened_is_closed_with_the_reason(
    server: MixServer,
) -> None:
    calls = HookCalls()
    async with Mix(server.url, network=server.network, hooks=calls.hooks()) as mix:
        with pytest.raises(errors.SessionNotFound):
            async with mix.open_stream("nowhere"):
                raise AssertionError("opened")
    assert calls.names("stream") == ["stream_closed"]
    assert isinstance(calls.of(StreamClosedContext)[0].error, errors.SessionNotFound)


async def test_the_error_that_ends_a_stream_is_reported_when_it_happens(server: MixServer) -> None:
    calls = HookCalls()
    async with (
        Mix(server.url, network=server.network, hooks=calls.hooks()) as mix,
        mix.open_stream(server.create_session(), reconnect=QUICK) as session,
    ):
        own = b'{"error": {"code": 405, "message": "no", "type": "t"}}'
        server.answer_next("/stream", 405, body=own)
        await server.drop_streams()
        with trio.fail_after(5), pytest.raises(errors.MixError):
            await session.ask("hello")
        await trio.testing.wait_all_tasks_blocked()
        assert calls.names("stream")[-1] == "stream_closed"
        assert isinstance(calls.of(StreamClosedContext)[0].error, errors.MixError)
    assert calls.names("stream").count("stream_closed") == 1


async def test_a_hook_that_hangs_delays_no_event_and_leaving_only_so_long(
    server: MixServer, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(_context: object) -> None:
        await trio.sleep_forever()

    calls = HookCalls()
    async with (
        Mix(
            server.url,
            network=server.network,
            hooks=[Hooks(stream_opened=hang, stream_closed=hang), calls.hooks()],
        ) as mix,
    ):
        began = trio.current_time()
        async with mix.open_stream(server.create_session(), cleanup_timeout=3) as session:
            assert (await session.ask("hello")).text
            assert trio.current_time() - began < 1
        assert trio.current_time() - began == pytest.approx(3, abs=0.5)
    # The next hook is called all the same, though late.
    assert calls.names("stream") == ["stream_opened", "stream_closed"]
    assert "took too long" in caplog.text


async def test_an_async_hook_is_called_for_one_event_after_the_other(server: MixServer) -> None:
    running: list[str] = []
    order: list[str] = []

    async def slow(context: object) -> None:
        name = type(context).__name__
        running.append(name)
        await trio.testing.wait_all_tasks_blocked()
        order.append(name)
        assert running.pop() == name
        assert not running

    hooks = Hooks(stream_opened=slow, stream_lost=slow, stream_retrying=slow, stream_closed=slow)
    with trio.fail_after(5):
        async with scene(server, hooks) as session:
            await server.drop_streams()
            await trio.testing.wait_all_tasks_blocked()
            await session.wait_connected()
    assert order == [
        "StreamOpenedContext",
        "StreamLostContext",
        "StreamRetryingContext",
        "StreamOpenedContext",
        "StreamClosedContext",
    ]


async def test_what_a_hook_raises_is_ignored_and_an_interrupt_is_not(
    server: MixServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_context: object) -> None:
        raise ZeroDivisionError

    def interrupt(_context: object) -> None:
        raise KeyboardInterrupt

    async with scene(server, Hooks(stream_opened=fail)) as session:
        assert (await session.ask("hello")).text
    assert "fail" in caplog.text
    with trio.fail_after(5), pytest.raises(KeyboardInterrupt):
        async with scene(server, Hooks(stream_opened=interrupt)):
            await trio.sleep_forever()


async def test_behind_a_hook_that_hangs_notes_are_bounded_and_the_end_is_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = HookCalls()
    watch = StreamHooks([calls.hooks()], "session", "http://mix.example/stream")
    for number in range(MAX_QUEUED + 50):
        watch.retrying(1.0, number, "test")
    watch.ended(None)
    watch.opened()
    watch.close(1.0)
    with trio.fail_after(5):
        await watch.run()
    assert len(calls.of(StreamRetryingContext)) == MAX_QUEUED
    assert calls.names()[-1] == "stream_closed"
    assert not calls.of(StreamOpenedContext)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("slow", [False, True])
async def test_cancelled_anywhere_a_stream_is_closed_once_and_last(
    server: MixServer, slow: bool
) -> None:
    calls = HookCalls()
    session_id = server.create_session()

    async def work() -> None:
        async with (
            Mix(server.url, network=server.network, hooks=calls.hooks(slow=slow)) as mix,
            mix.open_stream(session_id) as session,
        ):
            await session.wait_connected()

    async def check() -> None:
        names = calls.names("stream")
        requests = calls.names("before"), calls.names("after")
        calls.all.clear()
        assert names[-1:] == ["stream_closed"] or names == []
        assert names.count("stream_closed") <= 1
        assert len(requests[0]) - len(requests[1]) in ((0, 1) if slow else (0,))
        await trio.lowlevel.checkpoint()

    sweep = await cancel_at_every_checkpoint(work, check=check)
    assert sweep.checkpoints >= 2


async def _refused(request: StreamRequest, _last_event_id: object) -> ResponseStream:
    await trio.lowlevel.checkpoint()
    info = errors.RequestInfo(request.method, request.url)
    raise errors.ConnectionFailed("refused", request=info)


async def test_a_wait_that_goes_on_is_not_reported_again(autojump_clock: MockClock) -> None:
    waits: list[tuple[int, str]] = []
    source = Supervisor(
        StreamRequest(Http(), "http://mix.example/stream"),
        reconnect=ReconnectPolicy(initial_interval=10, exponent=1, max_elapsed_time=None),
        connect=_refused,
        on_wait=lambda _delay, attempt, reason: waits.append((attempt, reason)),
    )
    while len(waits) < 3:
        with trio.move_on_after(0.01):
            await source.next()
    assert waits == [(number, "refused") for number in (2, 3, 4)]
    await source.aclose()


async def test_a_connect_cancelled_in_a_hook_leaves_no_connection(server: MixServer) -> None:
    entered = trio.Event()

    async def hang(context: AfterSuccessContext) -> None:
        if context.operation == "streaming.stream_events":
            entered.set()
            await trio.sleep_forever()

    async with Mix(server.url, network=server.network, hooks=Hooks(after_success=hang)) as mix:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mix.open_stream(server.create_session()).__aenter__)
                await entered.wait()
                assert server.open_streams == 1
                nursery.cancel_scope.cancel()
            await server.wait_until(lambda: server.open_streams == 0)
