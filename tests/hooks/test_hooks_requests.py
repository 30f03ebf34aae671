"""Hooks around requests: order, pairs, vetoes, headers, cancellation, secrets."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.cases import case
from tests.support.hooks_kit import SECRET, HookCalls
from trio_mix import (
    BackoffStrategy,
    Hooks,
    Mix,
    MixCore,
    RequestOptions,
    RetryConfig,
    errors,
    funcs,
)
from trio_mix._rest._request_hooks import Try
from trio_mix.hooks import AfterErrorContext, AfterSuccessContext, BeforeRequestContext
from trio_mix.testing import MixServer, RequestReceived, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

QUICK = RetryConfig(backoff=BackoffStrategy(initial_interval=0.001, max_interval=0.001))


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(listen=False, pace=0.0) as server:
        yield server


def client(server: MixServer, *hooks: Hooks, **more: Any) -> Mix:
    return Mix(server.url, network=server.network, hooks=hooks, **more)


async def test_hooks_are_called_before_and_after_a_request(server: MixServer) -> None:
    calls = HookCalls()
    async with client(server, calls.hooks()) as mix:
        await mix.sessions.list()
    (_, before), (_, after) = calls.all
    assert calls.names() == ["before_request", "after_success"]
    assert (before.operation, before.method, before.attempt) == ("sessions.list", "GET", 1)
    assert before.url.startswith(f"{server.url}/api/sessions")
    assert (after.operation, after.status_code, after.attempt) == ("sessions.list", 200, 1)
    assert 0 <= after.elapsed < 60
    assert before.state is after.state


async def test_several_hooks_are_called_in_order_sync_or_async(server: MixServer) -> None:
    order: list[str] = []

    def noting(name: str) -> Hooks:
        async def slow(_context: object) -> None:
            await trio.lowlevel.checkpoint()
            order.append(name)

        return Hooks(before_request=slow, after_success=lambda _context: order.append(name.upper()))

    async with client(server, noting("a"), noting("b")) as mix:
        await mix.sessions.list()
    assert order == ["a", "b", "A", "B"]


async def test_hooks_are_called_for_each_try(server: MixServer) -> None:
    calls = HookCalls()
    server.answer_next("/api/sessions", 503, times=2)
    async with client(server, calls.hooks(), retries=QUICK) as mix:
        await mix.sessions.list()
    assert calls.names() == ["before_request", "after_error"] * 2 + [
        "before_request",
        "after_success",
    ]
    assert [each.attempt for each in calls.of(BeforeRequestContext)] == [1, 2, 3]
    assert [each.status_code for each in calls.of(AfterErrorContext)] == [503, 503]
    assert all(isinstance(each.error, errors.MixError) for each in calls.of(AfterErrorContext))


async def test_a_failure_to_get_an_answer_has_no_status(server: MixServer) -> None:
    calls = HookCalls()
    await server.stop()
    async with client(server, calls.hooks(), retries=RetryConfig(strategy="none")) as mix:
        with pytest.raises(errors.ConnectionFailed):
            await mix.sessions.list()
    assert calls.names() == ["before_request", "after_error"]
    (failed,) = calls.of(AfterErrorContext)
    assert failed.status_code is None
    assert isinstance(failed.error, errors.ConnectionFailed)


@pytest.mark.parametrize(
    "veto",
    [
        KeyError("not now"),
        errors.ConnectionFailed("mine", request=errors.RequestInfo("GET", "http://x/")),
        SystemExit(3),
    ],
    ids=lambda veto: type(veto).__name__,
)
async def test_an_exception_of_before_request_is_raised_unchanged_without_a_retry(
    server: MixServer, veto: BaseException
) -> None:
    cause = veto.__cause__ = ValueError("its cause")
    first, last = HookCalls(), HookCalls()
    calls: list[object] = []

    def refuse(context: object) -> None:
        calls.append(context)
        raise veto

    hooks = (first.hooks(), Hooks(before_request=refuse, after_error=calls.append), last.hooks())
    async with client(server, *hooks, retries=QUICK) as mix:
        for operation in (mix.sessions.list, lambda: mix.files.get(id="x", filename="y")):
            with pytest.raises(type(veto)) as caught:
                await operation()
            assert caught.value is veto
            assert caught.value.__cause__ is cause
    assert first.names() == ["before_request", "after_error"] * 2
    assert [each.error for each in first.of(AfterErrorContext)] == [veto] * 2
    assert last.all == []
    assert len(calls) == 2
    assert not server.requests()


async def test_what_the_other_hooks_raise_is_logged_and_ignored(
    server: MixServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_context: object) -> None:
        raise ZeroDivisionError("a hook's own mistake")

    calls = HookCalls()
    server.answer_next("/api/sessions", 400)
    async with client(
        server, Hooks(after_success=fail, after_error=fail), calls.hooks(), retries=QUICK
    ) as mix:
        with pytest.raises(errors.MixDefaultError):
            await mix.sessions.list()
        assert await mix.sessions.list() == []
    assert calls.names("after") == ["after_error", "after_success"]
    logged = [record for record in caplog.records if record.name == "trio_mix.hooks"]
    assert [record.levelno for record in logged] == [logging.ERROR] * 2
    assert all("fail" in record.getMessage() for record in logged)
    assert all(record.exc_info is not None for record in logged)


async def test_a_hook_that_is_slow_is_cut_by_a_cancellation(server: MixServer) -> None:
    calls = HookCalls()
    entered = trio.Event()

    async def hang(_context: object) -> None:
        entered.set()
        await trio.sleep_forever()

    async with client(server, Hooks(after_success=hang), calls.hooks()) as mix:
        with trio.fail_after(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mix.sessions.list)
                await entered.wait()
                nursery.cancel_scope.cancel()
    assert calls.names("after") == ["after_success"]


async def test_a_keyboard_interrupt_in_a_hook_passes(server: MixServer) -> None:
    def interrupt(_context: object) -> None:
        raise KeyboardInterrupt

    calls = HookCalls()
    async with client(server, Hooks(after_success=interrupt), calls.hooks()) as mix:
        with pytest.raises(KeyboardInterrupt):
            await mix.sessions.list()
    assert calls.names() == ["before_request", "after_success"]


async def test_headers_that_a_hook_adds_are_sent_and_never_shown(server: MixServer) -> None:
    contexts: list[BeforeRequestContext] = []

    def add(context: BeforeRequestContext) -> None:
        assert context.headers == {}
        context.headers["X-Trace"] = SECRET
        context.headers["Authorization"] = f"Bearer {SECRET}-2"
        contexts.append(context)

    calls = HookCalls()
    server.answer_next("/api/sessions", 400, body=f"what is {SECRET}-2?".encode())
    async with client(
        server, Hooks(before_request=add), calls.hooks(), headers={"authorization": "of the client"}
    ) as mix:
        with pytest.raises(errors.MixDefaultError) as caught:
            await mix.sessions.list()
    (request,) = server.requests()
    assert request.headers["x-trace"] == SECRET
    assert request.headers["authorization"] == f"Bearer {SECRET}-2"
    shown = [repr(contexts), repr(calls.all), str(caught.value), repr(caught.value)]
    assert SECRET not in "".join(shown)


async def test_a_header_that_cannot_be_sent_is_refused_by_name(server: MixServer) -> None:
    def add(context: BeforeRequestContext) -> None:
        context.headers["X-Trace"] = f"{SECRET}\r\n"

    calls = HookCalls()
    async with client(server, calls.hooks(), Hooks(before_request=add)) as mix:
        with pytest.raises(errors.ConfigurationError, match="X-Trace") as caught:
            await mix.sessions.list()
    assert SECRET not in str(caught.value)
    assert calls.names() == ["before_request", "after_error"]
    assert not server.requests()


async def test_urls_come_without_credentials(server: MixServer) -> None:
    calls = HookCalls()
    url = server.url.replace("//", f"//user:{SECRET}@")
    async with Mix(url, network=server.network, hooks=calls.hooks()) as mix:
        await mix.sessions.list()
        async with mix.open_stream(server.create_session()) as session:
            await session.ask("hello")
    assert len(calls.all) > 6
    assert SECRET not in repr(calls.all)
    assert all(SECRET not in getattr(context, "url", "") for _, context in calls.all)


async def test_streams_and_files_count_as_requests(server: MixServer) -> None:
    calls = HookCalls()
    session_id = server.create_session()
    async with client(server, calls.hooks()) as mix:
        await mix.files.upload(id=session_id, file=b"abc", filename="a.txt")
        assert await mix.files.get(id=session_id, filename="a.txt") == b"abc"
        async with mix.files.get(id=session_id, filename="a.txt") as file:
            assert await file.read() == b"abc"
        async with mix.streaming.stream_events(session_id=session_id) as events:
            await events.__anext__()
        with pytest.raises(errors.ErrorResponse):
            await mix.files.get(id=session_id, filename="none.txt")
    assert [(name, context.operation) for name, context in calls.all] == [
        (name, operation)
        for operation, after in (
            ("files.upload", "after_success"),
            ("files.get", "after_success"),
            ("files.get", "after_success"),
            ("streaming.stream_events", "after_success"),
            ("files.get", "after_error"),
        )
        for name in ("before_request", after)
    ]


async def test_functions_on_the_bare_client_call_the_hooks(server: MixServer) -> None:
    calls = HookCalls()
    async with MixCore(server.url, hooks=calls.hooks()) as core:
        await funcs.sessions_list(
            core, options=RequestOptions(retries=RetryConfig(strategy="none"))
        )
    assert calls.names("before") == ["before_request"]
    assert len(calls.names("after")) == 1


@pytest.mark.parametrize("slow", [False, True])
async def test_cancelled_anywhere_each_request_that_began_has_one_end(
    server: MixServer, slow: bool
) -> None:
    calls = HookCalls()
    session_id = server.create_session()

    async def work() -> None:
        async with client(server, calls.hooks(slow=slow), calls.hooks(slow=slow)) as mix:
            await mix.sessions.list()
            async with mix.streaming.stream_events(session_id=session_id) as events:
                await events.__anext__()

    async def check() -> None:
        pairs: dict[int, list[str]] = {}
        for name, context in calls.all:
            pairs.setdefault(id(context.state), []).append(name[:5])
        begun = [names for names in pairs.values() if names[0] == "befor"]
        assert len(begun) == len(pairs)
        for names in begun:
            # The last ``before_request`` of an async hook may be cut itself, and not return.
            befores, afters = names.count("befor"), names.count("after")
            assert befores == afters or (slow and befores == afters + 1), names
        calls.all.clear()
        await trio.lowlevel.checkpoint()

    sweep = await cancel_at_every_checkpoint(work, check=check)
    assert sweep.checkpoints > 5


async def test_a_hook_that_hangs_under_cancellation_is_given_up(
    server: MixServer, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def hang(_context: object) -> None:
        await trio.sleep_forever()

    calls = HookCalls()
    began = trio.current_time()
    hooks = (Hooks(after_error=hang), calls.hooks(), Hooks(before_request=hang))
    async with client(server, *hooks) as mix:
        with trio.move_on_after(0.5) as scope:
            await mix.sessions.list()
    assert scope.cancelled_caught
    assert 2 < trio.current_time() - began < 3
    assert "during a cancellation; it was cancelled" in caplog.text
    (failed,) = calls.of(AfterErrorContext)
    assert isinstance(failed.error, trio.Cancelled)


def test_what_is_no_hooks_is_refused() -> None:
    no_hooks: list[Any] = [3, ["x"], [Hooks(), None]]
    for hooks in no_hooks:
        with case(hooks), pytest.raises(errors.ConfigurationError, match="Hooks"):
            MixCore("http://x", hooks=hooks)


def test_a_hook_must_be_callable() -> None:
    with pytest.raises(errors.ConfigurationError, match="after_success"):
        Hooks(after_success="print")  # type: ignore[arg-type]


async def test_without_hooks_nothing_of_them_is_made(
    server: MixServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("made without need")

    for name in ("RequestHooks", "Try", "call_hook", "call_each"):
        monkeypatch.setattr(f"trio_mix._rest._request_hooks.{name}", never)
    for name in ("StreamHooks", "MessageHooks", "TimedMessageState", "call_hook", "call_each"):
        monkeypatch.setattr(f"trio_mix._session._stream_hooks.{name}", never)
    monkeypatch.setattr("trio_mix._session._services.StreamHooks", never)
    monkeypatch.setattr("trio_mix._session._begin.TimedMessageState", never)
    nothing: Sequence[Sequence[Hooks]] = ((), [Hooks()][:0])
    for hooks in nothing:
        async with Mix(server.url, network=server.network, hooks=hooks) as mix:
            await mix.sessions.list()
            async with mix.open_stream(server.create_session()) as session:
                assert (await session.ask("hello")).text
    assert server.requests("GET", "/api/sessions")
    assert any(isinstance(record, RequestReceived) for record in server.log)


async def test_a_success_is_reported_with_its_status(server: MixServer) -> None:
    calls = HookCalls()
    async with client(server, calls.hooks()) as mix:
        await mix.sessions.create(title="x")
    (after,) = calls.of(AfterSuccessContext)
    assert after.status_code == 201


async def test_token_like_values_of_a_query_are_masked_in_the_url() -> None:
    calls = HookCalls()
    request = errors.RequestInfo("GET", "http://mix.example/x?token=abc&b=1", "some.operation")
    tried = Try([calls.hooks()], request, 1)
    await tried.begin()
    await tried.succeeded(200)
    await tried.failed(KeyError())
    assert {context.url for _, context in calls.all} == {"http://mix.example/x?token=***&b=1"}
