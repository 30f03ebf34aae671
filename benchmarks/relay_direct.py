"""A client that reads the same upstream stream with nothing between."""

from __future__ import annotations

import re
import statistics
import time

import trio

from trio_mix import Mix
from trio_mix.events import ContentEvent


def direct(
    url: str, *, consumers: int, sessions: int = 1, rate: int, seconds: float, burst: int = 1
) -> dict[str, float]:
    """Read one stream of the upstream with `stream_events`."""
    assert consumers == sessions == 1
    figures: dict[str, float] = trio.run(_read, url, rate, int(rate * seconds), burst)
    return figures


async def _read(url: str, rate: int, count: int, burst: int) -> dict[str, float]:
    from benchmarks.relay import _pace

    group = f"g{time.perf_counter_ns()}"
    lateness: list[float] = []
    async with (
        Mix(url) as mix,
        mix.streaming.stream_events(session_id=f"live.{group}.0") as events,
    ):
        await anext(aiter(events))
        await trio.to_thread.run_sync(_pace, url, group, count, rate, burst, 1, 0)
        before = time.process_time()
        async for event in events:
            if isinstance(event, ContentEvent) and re.fullmatch(r"\d+", event.content):
                lateness.append((time.perf_counter_ns() - int(event.content)) / 1e6)
                if len(lateness) == count:
                    break
        spent = time.process_time() - before
    cuts = statistics.quantiles(lateness, n=100)
    return {
        "µs/delivery": spent / count * 1e6,
        "µs/event": spent / count * 1e6,
        "p50 ms": cuts[49],
        "p99 ms": cuts[98],
        "KB each": 0.0,
    }
