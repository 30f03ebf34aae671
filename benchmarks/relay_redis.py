"""The relay's log in Redis: the cost of an append and of following, fan-out, takeover.

`python -m benchmarks.relay_redis append URL SESSION COUNT RATE BATCH` appends at a rate, as owner.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.relay import publish, running_server
from benchmarks.relay_load import Load, cpu
from benchmarks.relay_server import RELAYS
from benchmarks.sample import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mix.relay._log import Lease
    from trio_mix.relay._records import LoggedEvent

REDIS = "RedisLog"
SQLITE = "SqliteLog"
OWNER = "the owner"
FOLLOWER = "a follower"
_FRAME_TEXT = "x" * 60


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis; yield its address."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise Missing("redis-server is not installed")
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        command = [program, "--port", "0", "--unixsocket", path, "--dir", folder, "--save", ""]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while not Path(path).exists():
                    time.sleep(0.01)
                yield f"unix://{path}"
            finally:
                process.kill()


def sample(peer: str, what: str, url: str = "", **arguments: Any) -> dict[str, float]:
    """Return the figures of one peer."""
    import trio

    if what == "append":
        return trio.run(lambda: _append(peer, **arguments))
    if what == "follow":
        with redis() as address:
            return trio.run(lambda: _follow(peer, address, **arguments))
    if what == "takeover":
        with redis() as address:
            return trio.run(lambda: _takeover(address, **arguments))
    return _fan(peer, url, **arguments)


def _batches(lease: Lease, count: int, batch: int) -> Iterator[list[LoggedEvent]]:
    from trio_mix.relay._ids import IdSequence
    from trio_mix.relay._records import Audience, LoggedEvent, encode_frame

    ids = IdSequence(lease.epoch)
    data = f'{{"type":"content","content":"{_FRAME_TEXT}","assistantMessageId":"msg_0123456789"}}'
    for _ in range(count // batch):
        found = []
        for _ in range(batch):
            event_id = ids.take()
            frame = encode_frame(event_id, "content", data)
            found.append(LoggedEvent(event_id, Audience.ALL, frame))
        yield found


async def _append(peer: str, *, count: int, batch: int) -> dict[str, float]:
    from trio_mix.relay import RedisLog, SqliteLog

    with contextlib.ExitStack() as stack:
        log: RedisLog | SqliteLog
        if peer == REDIS:
            log = RedisLog(stack.enter_context(redis()))
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            log = SqliteLog(f"{folder}/relay.db")
        async with log:
            lease = await log.acquire("s")
            batches = list(_batches(lease, count, batch))
            await lease.append(batches[0])
            before, began = time.process_time(), time.perf_counter()
            for events in batches[1:]:
                await lease.append(events)
            spent, took = time.process_time() - before, time.perf_counter() - began
    done = count - batch
    return {"µs/event": spent / done * 1e6, "events/s": done / took}


async def append_at_rate(url: str, session: str, count: int, rate: int, batch: int) -> float:
    """Append as the owner of a session; return the CPU time in seconds."""
    import trio

    from trio_mix.relay import RedisLog

    async with RedisLog(url) as log:
        lease = await log.acquire(session)
        batches = list(_batches(lease, count, batch))
        await trio.sleep(0.5)
        before, start = time.process_time(), trio.current_time()
        for number, events in enumerate(batches):
            await trio.sleep_until(start + number * batch / rate)
            await lease.append(events)
        return time.process_time() - before


async def _follow(peer: str, url: str, *, count: int, rate: int, batch: int) -> dict[str, float]:
    import trio

    from trio_mix.relay import RedisLog
    from trio_mix.relay._cursor import Ring
    from trio_mix.relay._follower import SessionFollower
    from trio_mix.relay._settings import HubSettings

    if peer == OWNER:
        spent = await append_at_rate(url, "s", count, rate, batch)
        return {"µs/event": spent / count * 1e6}
    async with RedisLog(url) as log, trio.open_nursery() as nursery:
        command = [sys.executable, "-m", "benchmarks.relay_redis", "append", url, "s"]
        arguments = [str(count), str(rate), str(batch)]
        ring, grown = Ring(0), trio.Event()
        follower = SessionFollower(
            "s",
            "",
            log,
            log.peers,
            HubSettings(),
            ring,
            {0: lambda: grown.set()},  # noqa: PLW0108 - the newest one
            wall_clock=time.time,
        )
        nursery.start_soon(follower.run)
        nursery.start_soon(trio.run_process, [*command, *arguments])
        await grown.wait()
        before = time.process_time()
        while ring.newest % 10**9 < count:
            grown = trio.Event()
            await grown.wait()
        spent = time.process_time() - before
        nursery.cancel_scope.cancel()
    return {"µs/event": spent / count * 1e6}


async def _takeover(url: str, *, ttl: float) -> dict[str, float]:
    """Kill a relay that owns a session; measure until another one has acquired it."""
    import trio

    from trio_mix.relay import RedisLog
    from trio_mix.relay._errors import SessionOwned

    command = [sys.executable, "-m", "benchmarks.relay_redis", "own", url, str(ttl)]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    await process.stdout.receive_some(100)
    async with RedisLog(url, lease_ttl=ttl) as log:
        await trio.sleep(1.5 * ttl)  # at some moment between two renewals
        process.kill()
        began = trio.current_time()
        gone = trio.Event()

        class Noticed:
            owner = log.peers.others[0]

            def received(self, *_: object) -> None: ...

            def resumed(self) -> None: ...

            def released(self) -> None:
                gone.set()

        log.peers.serve(_Ignored())
        log.peers.follow("s", Noticed())
        await gone.wait()
        with contextlib.suppress(SessionOwned):
            await log.acquire("s")
        took = trio.current_time() - began
        await process.wait()
    return {"s": took, "s over the TTL": took - ttl}


class _Ignored:
    """Requests of other relays that are not carried out."""

    def turn_accepted(self, *_: object) -> None: ...

    def session_of(self, *_: object) -> None: ...

    def unowned(self, *_: object) -> None: ...

    def resumed(self) -> None: ...

    async def answer(self, *_: object) -> dict[str, object]:
        return {}


def _fan(
    peer: str, url: str, *, relays: int, consumers: int, rate: int, seconds: float
) -> dict[str, float]:
    """Open consumers at some relays, then send events; the CPU time is that of all relays."""
    group = f"g{time.perf_counter_ns()}"
    count = int(rate * seconds)
    session = f"live.{group}.0"
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(redis()) if peer == RELAYS else ""
        servers = []
        for _ in range(relays):
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            if address:
                Path(folder, "redis.url").write_text(address)
            servers.append(stack.enter_context(running_server(peer, url, folder)))
        share = consumers // relays
        loads = [Load(port, [session] * share) for port, _ in servers]
        time.sleep(0.5)
        before = sum(cpu(pid) for _, pid in servers)
        publish(peer, url, group, (count, rate, 4), 1, servers[0][0])
        for load in loads:
            load.read(count)
            load.settle()
        spent = sum(cpu(pid) for _, pid in servers) - before
        for load in loads:
            load.close()
    return {"µs/delivery": spent / (count * share * relays) * 1e6, "relays": relays}


async def _own(url: str, ttl: float) -> None:
    import trio

    from trio_mix.relay import RedisLog

    async with RedisLog(url, lease_ttl=ttl) as log:
        await log.acquire("s")
        print("owned", flush=True)
        await trio.sleep_forever()


def main() -> None:
    import trio

    what, url, *rest = sys.argv[1:]
    if what == "own":
        trio.run(_own, url, float(rest[0]))
    else:
        session, *numbers = rest
        trio.run(append_at_rate, url, session, *map(int, numbers))


if __name__ == "__main__":
    main()
