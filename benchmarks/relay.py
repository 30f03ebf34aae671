"""What stands between one upstream stream and its consumers: cost, lateness, memory, replay."""

from __future__ import annotations

import contextlib
import http.client
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from benchmarks.relay_load import Load, cpu, memory
from benchmarks.relay_server import NCHAN, RELAY, missing
from benchmarks.sample import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECT = "trio_mix stream_events"


@contextlib.contextmanager
def running_server(peer: str, url: str, folder: str | None = None) -> Iterator[tuple[int, int]]:
    """Run a peer, on what is in a folder; yield its port and its process."""
    if why := missing(peer):
        raise Missing(why)
    with tempfile.TemporaryDirectory() as new:
        command = [sys.executable, "-m", "benchmarks.relay_server", peer, url, folder or new]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                yield int(process.stdout.readline()), process.pid
            finally:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def _pace(url: str, group: str, count: int, rate: int, burst: int, streams: int, port: int) -> None:
    """Let the upstream send events to all streams of a group, or publish them at a port."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    connection.request("GET", f"/pace/{group}/{count}/{rate}/{burst}/{streams}/{port}")
    assert connection.getresponse().status == 200
    connection.close()


def publish(
    peer: str, url: str, group: str, pace: tuple[int, int, int], sessions: int, port: int
) -> None:
    """Send events: count, rate and burst are given."""
    if peer == NCHAN:
        _pace(url, group, *pace, 0, port)
    else:
        _pace(url, group, *pace, sessions, 0)


def sample(peer: str, what: str, url: str, **arguments: Any) -> dict[str, float]:
    """Return the figures of one peer."""
    if peer == DIRECT:
        from benchmarks.relay_direct import direct

        return direct(url, **arguments)
    if what == "fan":
        return _fan(peer, url, **arguments)
    if what == "replay":
        return _replay(peer, url, **arguments)
    return _stalled(peer, url, **arguments)


def _fan(
    peer: str,
    url: str,
    *,
    consumers: int,
    sessions: int = 1,
    rate: int,
    seconds: float,
    burst: int = 1,
) -> dict[str, float]:
    """Open consumers, then send events; ``rate`` is that of all sessions."""
    group = f"g{time.perf_counter_ns()}"
    count = max(1, int(rate * seconds) // sessions)
    names = [f"live.{group}.{number % sessions}" for number in range(max(consumers, sessions))]
    with running_server(peer, url) as (port, pid):
        Load(port, [f"live.other{group}.0"]).close()  # imports are no consumer's cost
        time.sleep(0.2)
        empty = memory(pid)
        load = Load(port, names)
        time.sleep(0.5)
        held = memory(pid)
        before = cpu(pid)
        publish(peer, url, group, (count, rate, burst), sessions, port)
        load.read(count)
        load.settle()
        spent = cpu(pid) - before
        load.close()
    return {
        "µs/delivery": spent / (count * len(names)) * 1e6,
        "µs/event": spent / (count * sessions) * 1e6,
        "p50 ms": load.percentile(50),
        "p99 ms": load.percentile(99),
        "KB each": (held - empty) / len(names),
    }


def _replay(peer: str, url: str, *, count: int) -> dict[str, float]:
    """Log events, start the relay again, and read them all from its log."""
    if peer != RELAY:
        raise Missing(f"{peer} has no log")
    group = f"g{time.perf_counter_ns()}"
    session = f"live.{group}.0"
    with tempfile.TemporaryDirectory() as folder:
        with running_server(peer, url, folder) as (port, _):
            load = Load(port, [session])
            _pace(url, group, count, 10_000, 50, 1, 0)
            load.read(count)
            load.close()
        with running_server(peer, url, folder) as (port, pid):
            Load(port, [session]).close()  # the session is open then
            before, began = cpu(pid), time.perf_counter()
            load = Load(port, [session], "&from=earliest")
            ended = load.read(count)
            spent = cpu(pid) - before
            load.close()
    return {"s": ended - began, "CPU ms": spent * 1e3}


def _stalled(peer: str, url: str, *, consumers: int, rate: int, seconds: float) -> dict[str, float]:
    """Send events while one consumer takes no byte, and while all take them."""
    figures: dict[str, float] = {}
    for stalled in (0, 1):
        group = f"g{time.perf_counter_ns()}"
        names = [f"live.{group}.0"] * consumers
        with running_server(peer, url) as (port, pid):
            load = Load(port, names)
            others = [Load(port, names[:1]) for _ in range(stalled)]
            time.sleep(0.5)
            held = memory(pid)
            count = int(rate * seconds)
            publish(peer, url, group, (count, rate, 1), 1, port)
            load.read(count)
            grown = memory(pid) - held
            for each in (load, *others):
                each.close()
        if not stalled:
            figures = {"p99 ms, none": load.percentile(99), "MB, none": grown / 1024}
        else:
            p99 = load.percentile(99)
            figures |= {"p99 ms": p99, "p99, times": p99 / figures["p99 ms, none"]}
            figures["MB more"] = max(0.0, grown / 1024 - figures["MB, none"])
    return figures
