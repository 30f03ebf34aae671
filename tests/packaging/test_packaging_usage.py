"""Mistakes in using the API: outside Trio, without ``async with``, and after closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.browser import open_tunnel
from trio_mix.sse import open_event_source
from trio_mix.testing import FaultProxy, MixServer, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import outcome

URL = "http://127.0.0.1:9"


async def enter(scope: Any) -> None:
    async with scope:
        pytest.fail("it was entered")


async def iterate(iterable: Any) -> None:
    async for _ in iterable:
        pass


async def wait_for(awaitable: Any) -> None:
    await awaitable


def enter_sync(scope: Any) -> None:
    with scope:
        pytest.fail("it was entered")


def tunnel() -> Any:
    return open_tunnel(Mix(URL), "s", token="t", cdp_url="http://127.0.0.1:8")


USES: dict[str, Callable[[], Awaitable[object]]] = {
    "a client": lambda: enter(Mix(URL)),
    "an operation": lambda: Mix(URL).sessions.list(),
    "a request": lambda: Mix(URL).request("GET", "/health"),
    "a stream": lambda: enter(Mix(URL).open_stream("s")),
    "a session": lambda: enter(Mix(URL).open_session()),
    "raw events": lambda: enter(Mix(URL).streaming.stream_events(session_id="s")),
    "awaited raw events": lambda: wait_for(Mix(URL).streaming.stream_events(session_id="s")),
    "an event source": lambda: enter(open_event_source(URL)),
    "a file": lambda: wait_for(Mix(URL).files.get(id="s", filename="f")),
    "a file's stream": lambda: enter(Mix(URL).files.get(id="s", filename="f")),
    "a download": lambda: Mix(URL).files.download(id="s", filename="f", to="f"),
    "an upload": lambda: Mix(URL).files.upload(id="s", file=b"x", filename="f"),
    "closing": lambda: Mix(URL).aclose(),
    "a tunnel": lambda: enter(tunnel()),
    "the bundled server": lambda: enter(MixServer(listen=False)),
    "a sweep": lambda: cancel_at_every_checkpoint(trio.lowlevel.checkpoint),
    "a proxy with faults": lambda: enter(FaultProxy(URL)),
}


@pytest.mark.parametrize("name", USES)
def test_under_asyncio_the_error_names_guest_mode_at_once(name: str) -> None:
    with pytest.raises(errors.UsageError, match=r"runs under asyncio.*guest mode") as caught:
        asyncio.run(asyncio.wait_for(USES[name](), 10))
    assert "trio.run(main)" in str(caught.value)


def test_without_any_event_loop_the_error_says_so() -> None:
    with pytest.raises(errors.UsageError, match="runs outside Trio"):
        Mix(URL).sessions.list().send(None)


async def error_in_asyncio(
    loop: asyncio.AbstractEventLoop, use: Callable[[], Awaitable[object]]
) -> BaseException | None:
    """Await something in an asyncio task, next to Trio on the same loop."""
    token, ended = trio.lowlevel.current_trio_token(), trio.Event()
    found: list[BaseException | None] = [None]

    async def run() -> None:
        try:
            await use()
        except Exception as exc:  # noqa: BLE001 - returned
            found[0] = exc
        token.run_sync_soon(ended.set)

    task = asyncio.run_coroutine_threadsafe(run(), loop)
    await ended.wait()
    task.result(0)
    return found[0]


async def use_all_from_asyncio(loop: asyncio.AbstractEventLoop) -> None:
    async with (
        MixServer(listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
        session.subscribe() as everything,
        session.send("hello") as message,
    ):
        uses: list[Callable[[], Awaitable[object]]] = [
            lambda: session.ask("hello"),
            lambda: anext(everything),
            lambda: anext(message),
            message.wait,
            mix.sessions.list,
        ]
        for use in uses:
            assert isinstance(await error_in_asyncio(loop, use), errors.UsageError)
        assert (await message.wait()).text


def test_an_asyncio_task_next_to_trio_in_guest_mode_gets_the_error_too() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[outcome.Outcome[None]] = loop.create_future()
        trio.lowlevel.start_guest_run(
            use_all_from_asyncio,
            loop,
            run_sync_soon_threadsafe=loop.call_soon_threadsafe,
            done_callback=done.set_result,
        )
        (await asyncio.wait_for(done, 30)).unwrap()

    asyncio.run(main())


async def test_scopes_used_in_another_way_say_how_they_are_used() -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
        ):
            scopes = {
                "async with Mix(": mix,
                "async with mix.open_stream(": mix.open_stream("other"),
                "async with mix.open_session(": mix.open_session(),
                "async with session.send(": session.send("x"),
                "async with session.subscribe(": session.subscribe(),
                "async with mix.streaming.stream_events(": mix.streaming.stream_events(
                    session_id=session_id
                ),
                "async with mix.files.get(": mix.files.get(id=session_id, filename="f"),
                "async with open_tunnel(": tunnel(),
                "async with MixServer(": MixServer(),
                "async with FaultProxy(": FaultProxy(URL),
            }
            for text, scope in scopes.items():
                with pytest.raises(errors.UsageError) as caught:
                    enter_sync(scope)
                assert f"as `{text}" in str(caught.value)
                if "send" not in text and "subscribe" not in text:
                    with pytest.raises(errors.UsageError, match="`async for`"):
                        await iterate(scope)
                if "events" not in text and "files" not in text:
                    with pytest.raises(errors.UsageError, match="`await`"):
                        await wait_for(scope)


async def test_what_is_not_entered_yet_names_the_remedy() -> None:
    mix = Mix(URL)
    stream, scope = mix.open_stream("s"), mix.open_session()
    uses: list[Callable[[], object]] = [
        lambda: stream.send("x"),
        stream.subscribe,
        stream.statistics,
        stream.reconnect_now,
        lambda: scope.send("x"),  # type: ignore[attr-defined]  # pyright: ignore
        lambda: scope.session_id,  # type: ignore[attr-defined]  # pyright: ignore
    ]
    for use in uses:
        with pytest.raises(errors.UsageError, match=r"async with mix\.open_"):
            use()
    assert not hasattr(scope, "_no_such_name")
    for wait in (stream.wait_connected(), stream.ask("x"), scope.__aexit__(None, None, None)):
        with pytest.raises(errors.UsageError, match="async with"):
            await wait


async def test_what_was_left_or_closed_names_the_remedy() -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        session_id = server.create_session()
        mix = Mix(server.url, network=server.network)
        async with mix:
            async with mix.open_stream(session_id) as session:
                async with session.subscribe() as everything, session.send("hello") as message:
                    await message.wait()
                await message.cancel()  # it is over: nothing is asked of the server
                unsent = session.send("later")
            async with mix.streaming.stream_events(session_id=session_id) as events:
                pass
            closed: list[tuple[Callable[[], Awaitable[object]], str]] = [
                (lambda: anext(everything), "inside `async with"),
                (lambda: anext(message), "inside `async with"),
                (message.wait, "inside `async with"),
                (unsent.__aenter__, "open it again"),
                (lambda: session.ask("x"), "open a new one"),
                (session.wait_connected, "open a new one"),
                (lambda: anext(events), "open another"),
            ]
            for use, remedy in closed:
                with pytest.raises(errors.StreamClosed, match=remedy):
                    await use()
            for enter_again in (session.__aenter__, message.__aenter__, everything.__aenter__):
                with pytest.raises(errors.UsageError, match="make a new one"):
                    await enter_again()
        after: list[Callable[[], Awaitable[object]]] = [
            mix.sessions.list,
            lambda: mix.request("GET", "/health"),
            lambda: enter(mix.open_stream(session_id)),
            lambda: enter(mix.open_session()),
            lambda: enter(mix.streaming.stream_events(session_id=session_id)),
            lambda: wait_for(mix.files.get(id=session_id, filename="f")),
        ]
        for use in after:
            with pytest.raises(errors.UsageError, match="inside its `async with`"):
                await use()
        with pytest.raises(errors.UsageError, match="make a new one"):
            await enter(mix)
    with pytest.raises(errors.UsageError, match="make a new one"):
        await server.__aenter__()
