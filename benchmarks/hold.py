"""Many streams in one process: what each costs to open, to hold, and for each event."""

from __future__ import annotations

import gc
import resource
import time
from contextlib import AsyncExitStack
from typing import Any

import trio

from benchmarks import stream as streams
from benchmarks.startup import memory

CONNECTING = 100  # at once
PER_STREAM = 20  # events, once all are open


def _opener(peer: str, url: str) -> Any:
    """Return what opens one stream of a client that all share, as their users would."""
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
    """Return the iterator and what makes a text of an event."""
    if peer == "trio_mix stream_events":
        return source, streams._typed
    if peer == "trio_mix open_stream":
        return await stack.enter_async_context(source.subscribe()), streams._typed
    if "httpx-sse" in peer:
        return source.aiter_sse(), streams._parsed
    return source


async def _hold(peer: str, url: str, count: int) -> dict[str, float]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    await streams.verify(
        streams.CLIENTS[peer if peer in streams.CLIENTS else "trio_mix stream_events"],
        url,
        100,
        "frame",
        "new",
    )
    client, opener = _opener(peer, url)
    group = str(time.perf_counter_ns())
    connecting = trio.CapacityLimiter(CONNECTING)
    connected, done, waiting = trio.Event(), trio.Event(), [count, count]
    marks: dict[str, float] = {}

    async def one(number: int) -> None:
        async with AsyncExitStack() as stack:
            async with connecting:
                source = await stack.enter_async_context(opener(f"hold.{group}.{number}"))
                events, text_of = await _read(peer, source, stack)
                if "open_stream" not in peer and "floor" not in peer:
                    await anext(aiter(events))  # connected
            waiting[0] -= 1
            if not waiting[0]:
                connected.set()
            await streams.consume(events, text_of, PER_STREAM)
            waiting[1] -= 1
            if not waiting[1]:
                marks["read"] = time.process_time()
                done.set()
            await done.wait()
            await streams.close(events)

    async with client, trio.open_nursery() as nursery:
        async with AsyncExitStack() as stack:  # what the first one loads is not a stream's cost
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
        go, _ = await _get(url, f"/go/{group}/{PER_STREAM}"), None
        assert b"200 OK" in go
    return {
        "KB each": (marks["memory"] - before) / count,
        "connect s": marks["connect"] - began,
        "connect CPU s": marks["cpu"] - cpu,
        "µs/event": (marks["read"] - held) / (count * PER_STREAM) * 1e6,
    }


async def _get(url: str, path: str) -> bytes:
    host, _, port = url.removeprefix("http://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as connection:
        await connection.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return bytes(await connection.receive_some(4096))


def sample(peer: str, *, url: str, count: int) -> dict[str, float]:
    """Return what so many streams cost."""
    figures: dict[str, float] = trio.run(_hold, peer, url, count)
    return figures
