"""Measure the memory of a relay per WebSocket: ``python -m benchmarks.relay_sockets``.

The relay runs in a process of its own, with its log in a file. Consumers are plain sockets, so that
only the relay's side is measured. Each subscribes to one session, and receives events before the
memory is read: what a socket needs while it is used is included.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import trio

from trio_mix import Mix
from trio_mix.testing import MixServer, Say, Turn

TARGET_KB: Final = 24.0
_FIRST: Final = 100
"""Sockets that are opened before the first reading, which fill caches and pools."""
_HANDSHAKE: Final = (
    "GET /relay/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: mix.relay.v1\r\n\r\n"
)


def _frame(message: object) -> bytes:
    """Return a message of a client as one frame, with a mask of zeros."""
    data = json.dumps(message).encode()
    head = b"\x81" + (
        bytes([0x80 | len(data)]) if len(data) < 126 else b"\xfe" + struct.pack("!H", len(data))
    )
    return head + b"\0\0\0\0" + data


class Consumer:
    """One WebSocket, which counts the events that it receives."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.received = b""

    async def until(self, text: bytes) -> None:
        """Read until a text has arrived."""
        while text not in self.received:
            data = await self.stream.receive_some(65536)
            if not data:
                raise RuntimeError("the relay has closed a socket")
            self.received += data
        self.received = self.received[self.received.index(text) + len(text) :]


async def _open(host: str, port: int, session_id: str) -> Consumer:
    consumer = Consumer(await trio.open_tcp_stream(host, port))
    await consumer.stream.send_all(
        _HANDSHAKE.encode() + _frame({"type": "subscribe", "sessionId": session_id})
    )
    await consumer.until(b'"subscribed"')
    return consumer


def _rss(pid: int) -> int:
    """Return the memory of a process in KB, of which only it has a copy."""
    status = Path(f"/proc/{pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1])


async def measure(sockets: int, sessions: int) -> dict[str, float]:
    """Return the memory per socket in KB.

    Args:
      sockets: how many sockets there are.
      sessions: to how many sessions they subscribe, in turn.
    """
    async with MixServer("async") as server:
        server.script("go", Turn(*(Say("x" * 200) for _ in range(20))))
        ids = [server.create_session() for _ in range(sessions)]
        with tempfile.TemporaryDirectory() as folder:
            process = _start(server.url, folder)
            try:
                url = await _address(process)
                return await _measure(url, process.pid, ids, sockets)
            finally:
                process.terminate()
                await trio.to_thread.run_sync(process.wait)


def _start(upstream: str, folder: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", "from trio_mix.cli import main; main()", "relay"]
    options = ["--upstream", upstream, "--log", f"sqlite:{folder}/relay.db"]
    return subprocess.Popen(
        [*program, *options, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


async def _address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    while line := await trio.to_thread.run_sync(process.stdout.readline):
        _, found, rest = line.partition(" at http://")
        if found:
            return f"http://{rest.partition(';')[0].strip()}"
    raise RuntimeError("the relay did not start")


async def _measure(url: str, pid: int, ids: list[str], sockets: int) -> dict[str, float]:
    host, port = url.removeprefix("http://").split(":")
    consumers: list[Consumer] = []

    async def grow(count: int) -> None:
        while len(consumers) < count:
            chosen = ids[len(consumers) % len(ids)]
            consumers.append(await _open(host, int(port), chosen))

    async def run_turns() -> None:
        async with Mix(url) as mix, trio.open_nursery() as nursery:
            for session_id in ids:
                nursery.start_soon(_ask, mix, session_id)
        for consumer in consumers:
            await consumer.until(b'\\"state\\":\\"done\\"')

    await grow(min(_FIRST, sockets))
    await run_turns()
    before = _rss(pid)
    await grow(sockets + min(_FIRST, sockets))
    connected = _rss(pid)
    await run_turns()
    used = _rss(pid)
    for consumer in consumers:
        await consumer.stream.aclose()
    return {
        "connected": (connected - before) / sockets,
        "after events": (used - before) / sockets,
    }


async def _ask(mix: Mix, session_id: str) -> None:
    async with mix.open_stream(session_id) as session:
        await session.ask("go")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=1000)
    parser.add_argument("--sessions", type=int, default=1)
    arguments = parser.parse_args()
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    figures = trio.run(measure, arguments.sockets, arguments.sessions)
    print(f"{arguments.sockets} WebSockets on {arguments.sessions} session(s), memory of the relay")
    for name, figure in figures.items():
        verdict = "within" if figure <= TARGET_KB else "MISSES"
        print(f"  {name:<14} {figure:6.1f} KB each   ({verdict} the target of {TARGET_KB:g} KB)")


if __name__ == "__main__":
    main()
