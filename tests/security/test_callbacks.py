"""A callback that was meant to refuse, and failed to, refuses: hooks, headers and progress."""

from __future__ import annotations

import functools
import gc
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from tests.support.cases import case
from tests.support.planted import KEY
from tests.support.rest_kit import ONCE, answer, canned_server
from trio_mix import Hooks, Mix, MixCore, errors
from trio_mix.sse import open_event_source
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.rest_kit import Canned


@pytest.fixture
async def server() -> AsyncIterator[Canned]:
    async with canned_server(lambda _: answer(200, [])) as it:
        yield it


async def refuse(_context: object) -> None:
    await trio.lowlevel.checkpoint()
    raise PermissionError("not allowed")


async def forgotten(context: object) -> object:
    await trio.lowlevel.checkpoint()
    return refuse(context)  # never awaited


def false(_context: object) -> bool:
    return False


async def late_false(_context: object) -> bool:
    await trio.lowlevel.checkpoint()
    return False


async def test_a_before_request_that_failed_to_veto_fails_the_request(server: Canned) -> None:
    hooks: list[Any] = [forgotten, lambda context: forgotten(context), false, late_false]
    for hook in hooks:
        async with Mix(server.url, hooks=Hooks(before_request=hook)) as mix:
            calls: list[Any] = [
                mix.sessions.list,
                functools.partial(mix.request, "POST", "/x"),
                functools.partial(mix.files.get, id="s", filename="f"),
                functools.partial(mix.streaming.stream_events, session_id="s"),
            ]
            for call in calls:
                with case(hook, call):
                    with pytest.raises(errors.UsageError, match="before_request"):
                        await call()
    gc.collect()
    assert server.asked == []


async def test_a_stream_s_connect_is_refused_in_the_same_way() -> None:
    hooks: list[Any] = [forgotten, false]
    for hook in hooks:
        async with MixServer(listen=False) as server:
            settings: Any = {"network": server.network, "hooks": Hooks(before_request=hook)}
            async with Mix(server.url, **settings) as mix:
                with case(hook), pytest.raises(errors.UsageError, match="before_request"):
                    async with mix.open_stream(server.create_session()):
                        pytest.fail("connected")
            assert not server.requests()


async def test_a_sync_function_that_returns_a_coroutine_is_awaited(server: Canned) -> None:
    hooks: list[Any] = [refuse, lambda context: refuse(context), functools.partial(refuse)]
    for hook in hooks:
        async with MixCore(server.url, hooks=Hooks(before_request=hook)) as core:
            with case(hook), pytest.raises(PermissionError, match="not allowed"):
                await core.request("GET", "/x")
    assert server.asked == []


async def test_other_results_of_before_request_allow_the_request(server: Canned) -> None:
    for result in (None, True, 0, "", {"x": "y"}):
        hooks = Hooks(before_request=lambda _, result=result: result)  # type: ignore[misc]
        async with MixCore(server.url, hooks=hooks) as core:
            with case(result):
                await core.request("GET", "/x")
    assert len(server.asked) == 5


async def test_another_hook_that_forgot_to_await_is_logged(
    server: Canned, caplog: pytest.LogCaptureFixture
) -> None:
    hooks: Any = Hooks(after_success=forgotten)  # type: ignore[arg-type]
    async with MixCore(server.url, hooks=hooks) as core:
        await core.request("GET", "/x")
    gc.collect()
    assert "never awaited" in caplog.text
    assert "forgotten" in caplog.text


def no_argument() -> None: ...


def three_arguments(_a: object, _b: object, _c: object) -> None: ...


async def test_a_callback_that_cannot_be_called_is_refused_where_it_is_passed(
    server: Canned, tmp_path: Any
) -> None:
    for name in (field.name for field in attrs.fields(Hooks)):
        mistakes: list[Any] = [no_argument, three_arguments, 5]
        for wrong in mistakes:
            with case(name, wrong), pytest.raises(errors.ConfigurationError, match=name):
                Hooks(**{name: wrong})
    with pytest.raises(errors.ConfigurationError, match="headers"):
        MixCore(server.url, headers=three_arguments)  # type: ignore[arg-type]
    async with Mix(server.url, retries=ONCE) as mix:
        progress: Any = no_argument
        with pytest.raises(errors.ConfigurationError, match=r"upload\(progress"):
            await mix.files.upload(id="s", file=b"x", filename="f", progress=progress)
        with pytest.raises(errors.ConfigurationError, match=r"download\(progress"):
            await mix.files.download(id="s", filename="f", to=tmp_path / "f", progress=progress)
    assert server.asked == []


async def test_a_headers_function_without_headers_sends_nothing(server: Canned) -> None:
    async def token() -> dict[str, str]:
        return {"Authorization": f"Bearer {KEY}"}

    async def wrapped() -> object:
        await trio.lowlevel.checkpoint()
        return token()  # never awaited

    sources: list[Callable[[], Any]] = [
        wrapped,
        lambda: None,
        lambda: f"Bearer {KEY}",
        lambda: [("Authorization", KEY)],
        lambda: False,
    ]
    for number, source in enumerate(sources):
        with case(f"sources[{number}]"):
            async with MixCore(server.url, headers=source, retries=ONCE) as core:
                with pytest.raises((errors.UsageError, errors.ConfigurationError)) as caught:
                    await core.request("GET", "/x")
                assert "headers" in str(caught.value)
            if number in (0, 2, 3):  # of an event source, None and False are no headers
                with pytest.raises((errors.UsageError, errors.ConfigurationError)):
                    async with open_event_source(server.url, headers=source):
                        pytest.fail("connected")
    gc.collect()
    assert server.asked == []
