"""Many streams in one process: the cost of each to open and to hold, and of each event."""

from __future__ import annotations

import gc
import resource
import time
from contextlib import AsyncExitStack
from typing import Any

import trio

from benchmarks import corpus
from benchmarks import stream as streams
from benchmarks.startup import memory

CONNECTING = 100  # at once
PER_STREAM = {corpus.DELTAS: 20, corpus.MIXED: 100}  # events, once all streams are open


def _opener(peer: str, url: str) -> Any:
    """Return a shared client, and a function that opens one stream of it, as its users would."""
    if peer == "httpx-sse":
        import httpx
        from httpx_sse import aconnect_sse

        limits = httpx.Limits(max_connections=None)
        client = httpx.AsyncClient(timeout=None, limits=limits)
        return client, lambda session: aconnect_sse(
            client, "GET", f"{url}/stream?sessionId={session}"
        )
    if peer == "httpx2 + httpx-sse":
        import httpx2
        from httpx_sse import aconnect_sse

        client2 = httpx2.AsyncClient(timeout=None, limits=httpx2.Limits(max_connections=None))
        return client2, lambda session: aconnect_sse(
            client2,  # type: ignore[arg-type]
            "GET",
            f"{url}/stream?sessionId={session}",
        )
    if peer.startswith("trio_mix"):
        from trio_mix import Mix

        mix = Mix(url)
        if peer == "trio_mix open_stream":
            return mix, mix.open_stream
        return mix, lambda session: mix.streaming.stream_events(session_id=session)
    client_of = streams.CLIENTS[peer]
    return AsyncExitStack(), lambda session: client_of(url, session)


async def _read(peer: str, source: Any, stack: AsyncExitStack) -> Any:
    """Return the iterator, and the function that returns an event's payload."""
    if peer == "trio_mix stream_events":
        return source, streams.as_is
    if peer == "trio_mix open_stream":
        return await stack.enter_async_context(source.subscribe()), streams.as_is
    if "httpx-sse" in peer:
        return source.aiter_sse(), streams.parsed
    return source


async def _check(peer: str, url: str, kind: str) -> None:
    """Compare each event of one stream with what was sent."""
    group, count = f"check{time.perf_counter_ns()}", PER_STREAM[kind]
    client, opener = _opener(peer, url)
    check = corpus.Check(corpus.events(count, kind))
    async with client, AsyncExitStack() as stack:
        source = await stack.enter_async_context(opener(f"hold.{group}.1"))
        events, payload_of = await _read(peer, source, stack)
        if "open_stream" not in peer:
            await anext(aiter(events))  # connected
        await _go(url, group, kind)
        async for event in events:
            check.add(payload_of(event))
            if check.count == count:
                break
        await streams.close(events)
    check.done()


async def _hold(peer: str, url: str, count: int, kind: str) -> dict[str, float]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    await _check(peer, url, kind)
    client, opener = _opener(peer, url)
    group, per_stream = str(time.perf_counter_ns()), PER_STREAM[kind]
    connecting = trio.CapacityLimiter(CONNECTING)
    connected, done, waiting = trio.Event(), trio.Event(), [count, count]
    marks: dict[str, float] = {}

    async def one(number: int) -> None:
        async with AsyncExitStack() as stack:
            async with connecting:
                source = await stack.enter_async_context(opener(f"hold.{group}.{number}"))
                events, payload_of = await _read(peer, source, stack)
                if "open_stream" not in peer:
                    await anext(aiter(events))  # connected
            waiting[0] -= 1
            if not waiting[0]:
                connected.set()
            await streams.consume(events, payload_of, per_stream)
            waiting[1] -= 1
            if not waiting[1]:
                marks["read"] = time.process_time()
                done.set()
            await done.wait()
            await streams.close(events)

    async with client, trio.open_nursery() as nursery:
        async with (
            AsyncExitStack() as stack
        ):  # the imports of the first one are not a stream's cost
            source = await stack.enter_async_context(opener(f"hold.first.{group}"))
            await streams.close((await _read(peer, source, stack))[0])
        gc.collect()
        before, began, cpu = memory(), time.perf_counter(), time.process_time()
        for number in range(count):
            nursery.start_soon(one, number)
        await connected.wait()
        marks["connect"], marks["cpu"] = time.perf_counter(), time.process_time()
        await trio.sleep(0.2)
        marks["memory"], held = memory(), time.process_time()
        await _go(url, group, kind)
    return {
        "KB each": (marks["memory"] - before) / count,
        "connect s": marks["connect"] - began,
        "connect CPU s": marks["cpu"] - cpu,
        "µs/event": (marks["read"] - held) / (count * per_stream) * 1e6,
    }


async def _go(url: str, group: str, kind: str) -> None:
    """Let the server send the events to all streams of a group."""
    host, _, port = url.removeprefix("http://").partition(":")
    request = f"GET /go/{group}/{PER_STREAM[kind]}/{kind} HTTP/1.1\r\nHost: x\r\n\r\n"
    async with await trio.open_tcp_stream(host, int(port)) as connection:
        await connection.send_all(request.encode())
        assert b"200 OK" in await connection.receive_some(4096)


def sample(peer: str, *, url: str, count: int, kind: str = corpus.DELTAS) -> dict[str, float]:
    """Return the cost of so many streams."""
    figures: dict[str, float] = trio.run(_hold, peer, url, count, kind)
    return figures
