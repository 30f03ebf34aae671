"""A call that is cancelled while it connects raises one `Cancelled`, never a group."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.callers_clients import KINDS, callers_client
from tests.support.cancelling import outcome
from tests.support.raw_server import SSE_HEAD, answering, serve
from trio_mix import Mix, RetryConfig
from trio_mix._http import Http
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

pytestmark = pytest.mark.timeout(60)

ONCE = RetryConfig(strategy="none")


def calls(url: str, client: Any) -> dict[str, Callable[[], Awaitable[object]]]:
    async def with_mix(call: Callable[[Mix], Awaitable[object]]) -> None:
        async with Mix(url, http_client=client, retries=ONCE) as mix:
            await call(mix)

    async def source() -> None:
        async with open_event_source(url, http_client=client):
            pass

    async def events(mix: Mix) -> None:
        async with mix.streaming.stream_events(session_id="s"):
            pass

    async def session(mix: Mix) -> None:
        async with mix.open_stream("s"):
            pass

    return {
        "query": lambda: with_mix(lambda mix: mix.request("GET", "/health")),
        "change": lambda: with_mix(lambda mix: mix.request("POST", "/api/x", json={})),
        "file": lambda: with_mix(lambda mix: mix.files.get(id="s", filename="x")),
        "upload": lambda: with_mix(lambda mix: mix.files.upload(id="s", file=b"x", filename="x")),
        "events": lambda: with_mix(events),
        "session": lambda: with_mix(session),
        "source": source,
    }


@pytest.mark.parametrize("kind", ["own", *KINDS])
async def test_a_call_that_is_cancelled_while_it_connects_raises_one_cancelled(
    kind: str, nursery: trio.Nursery
) -> None:
    client = None if kind == "own" else callers_client(kind)
    server = await serve(nursery, answering(SSE_HEAD))
    for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
        for name, call in calls(url, client).items():
            found = Counter([await outcome(call, count) for count in range(36)])
            assert set(found) <= {"Cancelled", "nothing", "ResponseValidationError"}, (name, found)
            assert found["Cancelled"] >= 3
    if client is not None:
        await client.aclose()


async def test_a_timeout_while_connecting_is_still_a_timeout(http: Http) -> None:
    for timeout in (0.0, 1e-6):
        with pytest.raises(Exception, match="timed out"):
            await http.request("GET", "http://127.0.0.1:1/", headers={}, timeout=timeout)


async def test_a_group_that_a_callers_transport_raises_is_not_changed() -> None:
    failure = ExceptionGroup("theirs", [ValueError("a"), KeyError("b")])

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as client:
        with pytest.raises(ExceptionGroup) as caught:
            await Http(client).request("GET", "http://host/", headers={}, timeout=5)
    assert caught.value is failure
