"""From the socket to the consumer: one stream, one event after the other, with its JSON parsed."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import operator
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

    Events = tuple[Any, Callable[[Any], Any]]
    Client = Callable[[str, str], AbstractAsyncContextManager[Events]]

ACCEPT = "Accept: text/event-stream\r\nAccept-Encoding: identity\r\n"


# Each client yields its iterator, and a function that returns the payload of what the iterator
# yields, or None if there is none: the parsing that is left to the consumer counts as the client's
# cost.


def as_is(event: Any) -> Any:
    """Return an event that the client itself has decoded."""
    return event


def parsed(event: Any) -> Any:
    """Parse the data of a client that returns text."""
    return json.loads(event.data)


def _parsed_line(line: bytes) -> Any:
    """Parse a line if it holds data."""
    return json.loads(line[6:-1]) if line[:6] == b"data: " else None


@contextlib.asynccontextmanager
async def trio_mix(url: str, session: str) -> AsyncIterator[Any]:
    from trio_mix import Mix

    async with Mix(url) as mix, mix.streaming.stream_events(session_id=session) as events:
        yield events, as_is


@contextlib.asynccontextmanager
async def trio_mix_client(url: str, session: str) -> AsyncIterator[Any]:
    """The same over a caller's httpx client."""
    import httpx

    from trio_mix import Mix

    async with (
        httpx.AsyncClient(timeout=None) as client,
        Mix(url, http_client=client) as mix,
        mix.streaming.stream_events(session_id=session) as events,
    ):
        yield events, as_is


@contextlib.asynccontextmanager
async def trio_mix_source(url: str, session: str) -> AsyncIterator[Any]:
    """The general client of `trio_mix.sse`, which returns text."""
    from trio_mix.sse import open_event_source

    async with open_event_source(f"{url}/stream?sessionId={session}") as source:
        yield source, parsed


@contextlib.asynccontextmanager
async def httpx_sse(url: str, session: str) -> AsyncIterator[Any]:
    import httpx
    from httpx_sse import aconnect_sse

    async with (
        httpx.AsyncClient(timeout=None) as client,
        aconnect_sse(client, "GET", f"{url}/stream?sessionId={session}") as source,
    ):
        yield source.aiter_sse(), parsed


@contextlib.asynccontextmanager
async def httpx2(url: str, session: str) -> AsyncIterator[Any]:
    import httpx2
    from httpx_sse import EventSource

    async with (
        httpx2.AsyncClient(timeout=None) as client,
        client.stream("GET", f"{url}/stream?sessionId={session}") as response,
    ):
        yield EventSource(response).aiter_sse(), parsed  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def aiohttp(url: str, session: str) -> AsyncIterator[Any]:
    """Raw lines, from which the data is taken here: aiohttp has no SSE client."""
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
        yield client.events, parsed
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def mix_python_sdk(url: str, session: str) -> AsyncIterator[Any]:
    from mix_python_sdk import Mix

    async with Mix(server_url=url) as mix:
        answer = await mix.streaming.stream_events_async(session_id=session)
        async with answer.result as events:
            yield events, operator.attrgetter("data")


async def _connect(url: str, session: str) -> trio.SocketStream:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    connection = await trio.open_tcp_stream(parts.hostname, parts.port)
    request = f"GET /stream?sessionId={session} HTTP/1.1\r\nHost: {parts.netloc}\r\n{ACCEPT}\r\n"
    await connection.send_all(request.encode())
    return connection


def _split(buffer: bytes) -> tuple[list[Any], bytes]:
    """Return the payloads of the whole frames in a buffer, and the rest of it."""
    *blocks, rest = buffer.split(b"\n\n")
    found = []
    for block in blocks:
        at = block.index(b"data: ") + 6
        found.append(json.loads(block[at : block.find(b"\n", at)]))
    return found, rest


@contextlib.asynccontextmanager
async def floor_socket(url: str, session: str) -> AsyncIterator[Any]:
    """Trio's socket, a split at blank lines and `json.loads`; the chunk sizes are cut out."""
    import re

    connection = await _connect(url, session)
    framing = re.compile(rb"\r\n[0-9a-f]+\r\n")  # no line of a frame ends with CR LF

    async def payloads() -> AsyncIterator[Any]:
        buffer = b""
        while data := await connection.receive_some(65536):
            whole, blank, buffer = (buffer + data).rpartition(b"\n\n")
            for payload in _split(framing.sub(b"", whole + blank))[0]:
                yield payload
            if data.endswith(b"0\r\n\r\n"):
                break

    async with connection:
        yield payloads(), as_is


@contextlib.asynccontextmanager
async def floor_h11(url: str, session: str) -> AsyncIterator[Any]:
    import h11

    connection = await _connect(url, session)
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    parser.send(h11.EndOfMessage())

    async def payloads() -> AsyncIterator[Any]:
        rest = b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await connection.receive_some(65536))
            elif isinstance(event, h11.Data):
                found, rest = _split(rest + event.data)
                for payload in found:
                    yield payload
            elif isinstance(event, h11.EndOfMessage):
                break

    async with connection:
        yield payloads(), as_is


@contextlib.asynccontextmanager
async def floor_httpx(url: str, session: str) -> AsyncIterator[Any]:
    import httpx

    async def payloads(response: httpx.Response) -> AsyncIterator[Any]:
        rest = b""
        async for data in response.aiter_raw():
            found, rest = _split(rest + data)
            for payload in found:
                yield payload

    async with (
        httpx.AsyncClient(timeout=None) as client,
        client.stream("GET", f"{url}/stream?sessionId={session}") as response,
    ):
        yield payloads(response), as_is


FLOOR = "floor: Trio socket + json.loads"
CLIENTS: dict[str, Client] = {
    "trio_mix stream_events": trio_mix,
    "trio_mix, a caller's httpx client": trio_mix_client,
    "trio_mix open_event_source": trio_mix_source,
    "httpx-sse": httpx_sse,
    "httpx2 + httpx-sse": httpx2,
    "aiohttp, raw lines": aiohttp,
    "launchdarkly-eventsource": launchdarkly,
    "mix-python-sdk": mix_python_sdk,
    FLOOR: floor_socket,
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
"""The imports at the top of a program that uses the client: done before a cold start is timed."""
ASYNCIO = {"aiohttp, raw lines", "launchdarkly-eventsource", "mix-python-sdk"}
SLOW = {"mix-python-sdk": 50}
VERIFIED = 700  # events: every kind, and two large ones


def start(peer: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run an async function on the event loop that the peer needs."""
    if peer in ASYNCIO:
        import asyncio

        return asyncio.run(function(*arguments))
    return trio.run(function, *arguments)


async def close(events: Any) -> None:
    """Close an iterator that is an async generator."""
    if hasattr(events, "aclose"):
        await events.aclose()


async def consume(events: Any, payload_of: Callable[[Any], Any], count: int) -> None:
    """Read so many events as a consumer would."""
    seen = 0
    if payload_of is as_is:
        async for _ in events:
            seen += 1
            if seen == count:
                return
    else:
        async for event in events:
            seen += payload_of(event) is not None
            if seen == count:
                return
    raise SystemExit(f"only {seen} of {count} events")


def flooded(count: int, kind: str, chunking: str, form: str) -> str:
    """Return the session whose stream holds ``connected`` and so many events of a corpus."""
    return f"flood.{count}.{kind}.{chunking}.{form}"


async def verify(client: Client, url: str, count: int, kind: str, chunking: str, form: str) -> None:
    """Read a stream, and compare each event with what was sent."""
    check = corpus.Check(corpus.events(count + 1, kind, first=1))
    async with client(url, flooded(count, kind, chunking, form)) as (events, payload_of):
        async for event in events:
            payload = payload_of(event)
            if payload is not None:
                check.add(payload)
                if check.count == count + 1:
                    break
        await close(events)
    check.done()


async def flood(
    client: Client, url: str, count: int, kind: str, chunking: str, form: str
) -> dict[str, float]:
    """Read a stream that comes as fast as it is read."""
    await verify(client, url, min(count, VERIFIED), kind, chunking, form)
    gc.collect()
    began = time.process_time()
    async with client(url, flooded(count, kind, chunking, form)) as (events, payload_of):
        await consume(events, payload_of, count + 1)
        took = time.process_time() - began
        await close(events)
    return {"µs/event": took / count * 1e6}


async def paced(client: Client, url: str, count: int, rate: int) -> dict[str, float]:
    """Read a stream that comes at a steady rate, and take each event's lateness."""
    await verify(client, url, min(count, 500), corpus.DELTAS, "frame", "new")
    late: list[int] = []
    began = time.process_time()
    async with client(url, f"paced.{count}.{rate}") as (events, payload_of):
        async for event in events:
            payload = payload_of(event)
            read = payload.get if isinstance(payload, dict) else functools.partial(getattr, payload)
            sent = read("content", None)
            if sent is not None:
                late.append(time.perf_counter_ns() - int(sent))
                if len(late) == count:
                    break
        took = time.process_time() - began
        await close(events)
    late.sort()
    half, nearly = (late[int(len(late) * share)] / 1e3 for share in (0.5, 0.99))
    return {"µs/event": took / count * 1e6, "p50 µs": half, "p99 µs": nearly}


async def first(client: Client, url: str, warm: bool) -> dict[str, float]:
    """Time from making a client to its first delta; cold, it is the process's first client."""

    async def once() -> None:
        session = flooded(1, corpus.DELTAS, "frame", "new")
        async with client(url, session) as (events, payload_of):
            await consume(events, payload_of, 2)
            figures.append((time.perf_counter(), time.process_time()))
            await close(events)

    figures: list[tuple[float, float]] = []
    for _ in range(3 if warm else 0):
        await once()
    began, cpu = time.perf_counter(), time.process_time()
    await once()
    came, used = figures[-1]
    return {"ms": (came - began) * 1e3, "CPU ms": (used - cpu) * 1e3}


def node(url: str, count: int, kind: str, chunking: str, form: str) -> dict[str, float]:
    """Let Node read a stream, after a shorter one whose names and data are checked."""
    from benchmarks import node as nodes

    few = min(count, VERIFIED)
    sent = "".join(f"{e.name}\n{e.data}\n" for e in corpus.events(few + 1, kind, first=1))
    address = f"{url}/stream?sessionId="
    try:
        session = flooded(few, kind, chunking, form)
        seen = nodes.run("digest", address + session, str(few + 1)).strip()
        session = flooded(count, kind, chunking, form)
        used = nodes.run("stream", address + session, str(count + 1))
    except subprocess.CalledProcessError as error:
        raise Missing("eventsource-parser") from error
    if seen != hashlib.sha256(sent.encode()).hexdigest():
        raise SystemExit("eventsource-parser reads other events than were sent")
    return {"µs/event": float(used) / count}


def sample(peer: str, *, what: str, url: str, **rest: Any) -> dict[str, float]:
    """Return the figures of one flood, one paced stream, or one first event."""
    if "count" in rest and peer in SLOW:
        rest["count"] //= SLOW[peer]
    if what == "first":
        exec(IMPORTS.get(peer, ""))
    if peer == "eventsource-parser":
        if what != "flood":
            raise Missing("only floods are run on Node")
        return node(url, **rest)
    measure: dict[str, Callable[..., Any]] = {"flood": flood, "paced": paced, "first": first}
    figures: dict[str, float] = start(peer, measure[what], CLIENTS[peer], url, *rest.values())
    return figures
