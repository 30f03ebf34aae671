"""A caller's client with a small pool: its limits apply, and waiting for them ends."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest
import trio

from trio_mix import Mix, ReconnectPolicy, RetryConfig, errors
from trio_mix.testing import MixServer

ONCE = RetryConfig(strategy="none")
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@LIBRARIES
async def test_a_pool_without_a_free_connection_is_an_error_that_names_the_remedy(
    library: Any,
) -> None:
    limits = library.Limits(max_connections=1)
    timeout = library.Timeout(5.0, pool=0.05)
    async with (
        MixServer("blocking", pace=0.0) as server,
        library.AsyncClient(limits=limits, timeout=timeout) as client,
        Mix(server.url, http_client=client, retries=ONCE) as mix,
        mix.open_stream(server.create_session()),
    ):
        with trio.fail_after(5), pytest.raises(errors.RequestTimeout) as caught:
            await mix.sessions.list()
        assert caught.value.sent is False
        assert "no free connection" in str(caught.value)
        assert "limits" in str(caught.value)


@LIBRARIES
@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_message_that_finds_no_free_connection_ends_in_an_error(
    library: Any, api: Any
) -> None:
    limits = library.Limits(max_connections=1)
    timeout = library.Timeout(5.0, pool=0.05)
    policy = ReconnectPolicy(initial_interval=0.01, max_elapsed_time=0.2)
    async with (
        MixServer(api, pace=0.0) as server,
        library.AsyncClient(limits=limits, timeout=timeout) as client,
        Mix(server.url, http_client=client, api=api, retries=ONCE) as mix,
        mix.open_stream(server.create_session(), reconnect=policy) as session,
    ):
        with trio.fail_after(10), pytest.raises(errors.TransportError, match="no free connection"):
            await session.ask("hello")


@LIBRARIES
async def test_a_client_without_a_limit_on_waiting_waits(library: Any) -> None:
    async with (
        MixServer("async", pace=0.0) as server,
        library.AsyncClient(
            limits=library.Limits(max_connections=1), timeout=library.Timeout(None)
        ) as client,
        Mix(server.url, http_client=client, retries=ONCE) as mix,
        trio.open_nursery() as nursery,
    ):
        session = mix.open_stream(server.create_session())
        await session.__aenter__()
        got: list[object] = []

        @nursery.start_soon
        async def ask() -> None:
            got.append(await mix.sessions.list())

        await trio.testing.wait_all_tasks_blocked(0.05)
        assert got == []
        await session.__aexit__(None, None, None)
        with trio.fail_after(5):
            while not got:
                await trio.testing.wait_all_tasks_blocked(0.001)


@LIBRARIES
def test_an_object_that_is_not_an_asynchronous_client_is_refused_at_once(library: Any) -> None:
    with library.Client() as blocking:
        wrongs: list[Any] = [blocking, library.AsyncClient, "http://localhost", 7]
        for wrong in wrongs:
            with pytest.raises(errors.ConfigurationError, match="AsyncClient"):
                Mix("http://localhost:1", http_client=wrong)
