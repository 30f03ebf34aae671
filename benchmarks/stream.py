"""From the socket to the consumer: one stream, one event after the other, JSON parsed."""

from __future__ import annotations

import contextlib
import gc
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio

from benchmarks import corpus
from benchmarks.sample import Missing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Events = tuple[Any, "Callable[[Any], str | None]"]
    Client = Callable[[str, str], AbstractAsyncContextManager[Events]]

ACCEPT = "Accept: text/event-stream\r\nAccept-Encoding: identity\r\n"


# Each client yields its own iterator, and a function that makes a delta's text of what comes from
# it, None of anything else: what is parsed for the consumer counts as the client's cost.


def _typed(event: Any) -> str | None:
    """Take the text of an event that is a class's instance already."""
    return getattr(event, "content", None)


def _parsed(event: Any) -> str | None:
    """Parse what a client hands over as text."""
    text: str | None = json.loads(event.data).get("content")
    return text


def _parsed_line(line: bytes) -> str | None:
    text: str | None = json.loads(line[6:-1]).get("content") if line[:6] == b"data: " else None
    return text


def _itself(text: str) -> str:
    return text


@contextlib.asynccontextmanager
async def trio_mix(url: str, session: str) -> AsyncIterator[Any]:
    from trio_mix import Mix

    async with Mix(url) as mix, mix.streaming.stream_events(session_id=session) as events:
        yield events, _typed


@contextlib.asynccontextmanager
async def trio_mix_client(url: str, session: str) -> AsyncIterator[Any]:
    """The same through a caller's httpx client: the plain way."""
    import httpx

    from trio_mix import Mix

    async with (
        httpx.AsyncClient(timeout=None) as client,
        Mix(url, http_client=client) as mix,
        mix.streaming.stream_events(session_id=session) as events,
    ):
        yield events, _typed


@contextlib.asynccontextmanager
async def trio_mix_source(url: str, session: str) -> AsyncIterator[Any]:
    """The general client of `trio_mix.sse`, which hands over text."""
    from trio_mix.sse import open_event_source

    async with open_event_source(f"{url}/stream?sessionId={session}") as source:
        yield source, _parsed


@contextlib.asynccontextmanager
async def httpx_sse(url: str, session: str) -> AsyncIterator[Any]:
    import httpx
    from httpx_sse import aconnect_sse

    async with (
        httpx.AsyncClient(timeout=None) as client,
        aconnect_sse(client, "GET", f"{url}/stream?sessionId={session}") as source,
    ):
        yield source.aiter_sse(), _parsed


@contextlib.asynccontextmanager
async def httpx2(url: str, session: str) -> AsyncIterator[Any]:
    import httpx2
    from httpx_sse import EventSource

    async with (
        httpx2.AsyncClient(timeout=None) as client,
        client.stream("GET", f"{url}/stream?sessionId={session}") as response,
    ):
        yield EventSource(response).aiter_sse(), _parsed  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def aiohttp(url: str, session: str) -> AsyncIterator[Any]:
    """Raw lines, split by a few lines of our own: aiohttp has no SSE client."""
    import aiohttp as library

    limits = library.ClientTimeout(total=None)
    async with (
        library.ClientSession(timeout=limits, read_bufsize=2**18) as client,
        client.get(f"{url}/stream", params={"sessionId": session}) as response,
    ):
        yield response.content, _parsed_line


@contextlib.asynccontextmanager
async def launchdarkly(url: str, session: str) -> AsyncIterator[Any]:
    from ld_eventsource.async_client import AsyncSSEClient

    address = f"{url}/stream?sessionId={session}"
    client = AsyncSSEClient(address)
    try:
        yield client.events, _parsed
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def mix_python_sdk(url: str, session: str) -> AsyncIterator[Any]:
    from mix_python_sdk import Mix

    async with Mix(server_url=url) as mix:
        answer = await mix.streaming.stream_events_async(session_id=session)
        async with answer.result as events:
            yield events, lambda event: getattr(event.data, "content", None)


async def _connect(url: str, session: str) -> trio.SocketStream:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    connection = await trio.open_tcp_stream(parts.hostname, parts.port)
    request = f"GET /stream?sessionId={session} HTTP/1.1\r\nHost: {parts.netloc}\r\n{ACCEPT}\r\n"
    await connection.send_all(request.encode())
    return connection


def _split(rest: bytes) -> tuple[list[str], bytes]:
    *blocks, rest = rest.split(b"\n\n")
    found = []
    for block in blocks:
        if b"event: content\n" in block:
            at = block.index(b"data: ") + 6
            found.append(json.loads(block[at : block.find(b"\n", at)])["content"])
    return found, rest


@contextlib.asynccontextmanager
async def floor_socket(url: str, session: str) -> AsyncIterator[Any]:
    """Trio's socket; the chunked framing is cut out with no regard to where it stands."""
    import re

    connection = await _connect(url, session)

    async def texts() -> AsyncIterator[str]:
        rest = b""
        while data := await connection.receive_some(65536):
            found, rest = _split(rest + re.sub(rb"\r\n[0-9a-f]*\r?\n?|^[0-9a-f]+\r\n", b"", data))
            for text in found:
                yield text
            if data.endswith(b"0\r\n\r\n"):
                break

    async with connection:
        yield texts(), _itself


@contextlib.asynccontextmanager
async def floor_h11(url: str, session: str) -> AsyncIterator[Any]:
    import h11

    connection = await _connect(url, session)
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())

    async def texts() -> AsyncIterator[str]:
        rest = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await connection.receive_some(65536))
            elif isinstance(event, h11.Data):
                found, rest = _split(rest + event.data)
                for text in found:
                    yield text
            elif isinstance(event, h11.EndOfMessage):
                break

    async with connection:
        yield texts(), _itself


@contextlib.asynccontextmanager
async def floor_httpx(url: str, session: str) -> AsyncIterator[Any]:
    import httpx

    async def texts(response: httpx.Response) -> AsyncIterator[str]:
        rest = b""
        async for data in response.aiter_raw():
            found, rest = _split(rest + data)
            for text in found:
                yield text

    async with (
        httpx.AsyncClient(timeout=None) as client,
        client.stream("GET", f"{url}/stream?sessionId={session}") as response,
    ):
        yield texts(response), _itself


CLIENTS: dict[str, Client] = {
    "trio_mix stream_events": trio_mix,
    "trio_mix, a caller's httpx client": trio_mix_client,
    "trio_mix open_event_source": trio_mix_source,
    "httpx-sse": httpx_sse,
    "httpx2 + httpx-sse": httpx2,
    "aiohttp, raw lines": aiohttp,
    "launchdarkly-eventsource": launchdarkly,
    "mix-python-sdk": mix_python_sdk,
    "floor: Trio socket": floor_socket,
    "floor: Trio + h11": floor_h11,
    "floor: httpx aiter_raw": floor_httpx,
}
IMPORTS = {
    "trio_mix stream_events": "from trio_mix import Mix",
    "trio_mix, a caller's httpx client": "import httpx; from trio_mix import Mix",
    "trio_mix open_event_source": "from trio_mix.sse import open_event_source",
    "httpx-sse": "import httpx; from httpx_sse import aconnect_sse",
    "httpx2 + httpx-sse": "import httpx2; from httpx_sse import EventSource",
    "aiohttp, raw lines": "import aiohttp",
    "launchdarkly-eventsource": "from ld_eventsource.async_client import AsyncSSEClient",
    "mix-python-sdk": "from mix_python_sdk import Mix",
    "floor: Trio + h11": "import h11",
    "floor: httpx aiter_raw": "import httpx",
}
"""What a program that uses the client has at its top: done before a cold start is timed."""
ASYNCIO = {"aiohttp, raw lines", "launchdarkly-eventsource", "mix-python-sdk"}
SLOW = {"mix-python-sdk": 50}


def start(peer: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an async function on the loop that the peer runs on."""
    if peer in ASYNCIO:
        import asyncio

        return asyncio.run(function(*arguments))
    return trio.run(function, *arguments)


async def close(events: Any) -> None:
    """Close what is an async generator, as those must be."""
    if hasattr(events, "aclose"):
        await events.aclose()


async def consume(events: Any, text_of: Callable[[Any], str | None], count: int) -> None:
    """Read so many deltas as a consumer would; where a class is made of them, that is all."""
    seen = 0
    if text_of in (_typed, _itself):
        async for _ in events:
            seen += 1
            if seen == count:
                return
    else:
        async for event in events:
            seen += text_of(event) is not None
            if seen == count:
                return
    raise SystemExit(f"{seen} events for {count}")


async def verify(client: Client, url: str, count: int, chunking: str, form: str) -> None:
    check = corpus.Check()
    async with client(url, f"flood.{count}.{chunking}.{form}") as (events, text_of):
        async for event in events:
            text = text_of(event)
            if text is not None:
                check.add(text)
                if check.count == count:
                    break
        await close(events)
    check.done(count)


async def flood(client: Client, url: str, count: int, chunking: str, form: str) -> dict[str, float]:
    await verify(client, url, min(count, 500), chunking, form)
    gc.collect()
    began = time.process_time()
    async with client(url, f"flood.{count}.{chunking}.{form}") as (events, text_of):
        await consume(events, text_of, count)
        took = time.process_time() - began
        await close(events)
    return {"µs/event": took / count * 1e6}


async def paced(client: Client, url: str, count: int, rate: int) -> dict[str, float]:
    await verify(client, url, min(count, 500), "frame", "new")
    late: list[int] = []
    began = time.process_time()
    async with client(url, f"paced.{count}.{rate}") as (events, text_of):
        async for event in events:
            text = text_of(event)
            if text is not None:
                late.append(time.perf_counter_ns() - int(text))
                if len(late) == count:
                    break
        took = time.process_time() - began
        await close(events)
    late.sort()
    half, nearly = (late[int(len(late) * share)] / 1e3 for share in (0.5, 0.99))
    return {"µs/event": took / count * 1e6, "p50 µs": half, "p99 µs": nearly}


async def first(client: Client, url: str, warm: bool) -> dict[str, float]:
    """Time from making a client to its first event; cold, it is the process's first client."""

    async def once() -> None:
        async with client(url, "flood.2.frame.new") as (events, text_of):
            async for event in events:
                if text_of(event) is not None:
                    figures.append((time.perf_counter(), time.process_time()))
                    break
            await close(events)

    figures: list[tuple[float, float]] = []
    for _ in range(3 if warm else 0):
        await once()
    began, cpu = time.perf_counter(), time.process_time()
    await once()
    came, used = figures[-1]
    return {"ms": (came - began) * 1e3, "CPU ms": (used - cpu) * 1e3}


def sample(peer: str, *, what: str, url: str, **rest: Any) -> dict[str, float]:
    """Return the figures of one flood, one paced stream, or one first event."""
    if "count" in rest and peer in SLOW:
        rest["count"] //= SLOW[peer]
    if what == "first":
        exec(IMPORTS.get(peer, ""))
    if peer == "eventsource-parser":
        if what != "flood":
            raise Missing("only floods are run on Node")
        from benchmarks import node

        session = f"flood.{rest['count']}.{rest['chunking']}.{rest['form']}"
        try:
            used = node.run("stream", f"{url}/stream?sessionId={session}", str(rest["count"]))
        except subprocess.CalledProcessError as error:
            raise Missing(peer) from error
        return {"µs/event": float(used) / rest["count"]}
    function = {"flood": flood, "paced": paced, "first": first}[what]
    figures: dict[str, float] = start(peer, function, CLIENTS[peer], url, *rest.values())
    return figures
