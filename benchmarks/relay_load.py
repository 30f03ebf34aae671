"""Many consumers of one server, on plain sockets; and what a process has cost."""

from __future__ import annotations

import os
import re
import select
import socket
import statistics
import time
from pathlib import Path

import attrs

_STAMP = re.compile(rb'"content": ?"(\d{9,})"')
_TICK = os.sysconf("SC_CLK_TCK")
_TIMED = 50
"""How many consumers look at the time of each event; the others only receive bytes."""
_STALL = 20.0


@attrs.define(eq=False)
class Consumer:
    """One open stream."""

    socket: socket.socket
    timed: bool
    rest: bytes = b""
    received: int = 0
    size: int = 0


class Load:
    """Consumers that are open at once.

    Args:
      port: the server's.
      sessions: the session of each consumer.
      query: what follows the session's id in the URL.
    """

    def __init__(self, port: int, sessions: list[str], query: str = "") -> None:
        self.lateness: list[float] = []
        """In milliseconds, of each event at each consumer that is timed."""
        self._poll = select.epoll()
        self._consumers: dict[int, Consumer] = {}
        self._buffer = bytearray(2**18)
        every = max(1, len(sessions) // _TIMED)
        for number, session in enumerate(sessions):
            self._connect(port, session, query, timed=number % every == 0)

    def _connect(self, port: int, session: str, query: str, *, timed: bool) -> None:
        for attempt in range(200):  # nginx may still be starting
            try:
                connection = socket.create_connection(("127.0.0.1", port), timeout=_STALL)
                break
            except ConnectionRefusedError:
                if attempt == 199:
                    raise
                time.sleep(0.05)
        target = f"/stream?sessionId={session}{query}"
        head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n"
        connection.sendall(f"{head}\r\n".encode())
        first = connection.recv(4096)
        if b" 200 " not in first.split(b"\r\n", 1)[0]:
            raise SystemExit(f"the server answered {first!r:.300}")
        connection.setblocking(False)
        consumer = Consumer(connection, timed)
        self._consumers[connection.fileno()] = consumer
        self._poll.register(connection, select.EPOLLIN)

    def read(self, count: int) -> float:
        """Read until all timed consumers have so many events; return the time of the last one."""
        waiting = sum(each.timed for each in self._consumers.values())
        ended = 0.0
        deadline = time.perf_counter() + _STALL
        while waiting:
            ready = self._poll.poll(1.0)
            if ready:
                deadline = time.perf_counter() + _STALL
            elif time.perf_counter() > deadline:
                least = min(each.received for each in self._consumers.values() if each.timed)
                raise SystemExit(f"{waiting} consumers stopped at {least} of {count} events")
            for descriptor, _ in ready:
                consumer = self._consumers[descriptor]
                try:
                    got = consumer.socket.recv_into(self._buffer)
                except BlockingIOError:
                    continue
                if not got:
                    raise SystemExit("the server has closed a stream")
                consumer.size += got
                if not consumer.timed:
                    continue
                now = time.perf_counter_ns()
                data = consumer.rest + self._buffer[:got]
                at = data.rfind(b"\n") + 1
                before = consumer.received
                for stamp in _STAMP.findall(data, 0, at):
                    self.lateness.append((now - int(stamp)) / 1e6)
                    consumer.received += 1
                consumer.rest = data[at:]
                if before < count <= consumer.received:
                    waiting -= 1
                    ended = time.perf_counter()
        return ended

    def settle(self) -> None:
        """Read what is left for the consumers that are not timed."""
        deadline = time.perf_counter() + _STALL
        while (ready := self._poll.poll(0.3)) and time.perf_counter() < deadline:
            for descriptor, _ in ready:
                self._consumers[descriptor].socket.recv_into(self._buffer)

    def percentile(self, percent: int) -> float:
        """Return a percentile of the lateness in milliseconds."""
        return statistics.quantiles(self.lateness, n=100)[percent - 1]

    def close(self) -> None:
        for consumer in self._consumers.values():
            consumer.socket.close()
        self._poll.close()


def _family(pid: int) -> list[int]:
    """Return a process and its children: nginx has a worker."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children = (task / "children").read_text().split()
        found += [each for child in children for each in _family(int(child))]
    return found


def cpu(pid: int) -> float:
    """Return the CPU time of a process and its children so far, in seconds."""
    total = 0
    for each in _family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def memory(pid: int) -> float:
    """Return the memory of a process and its children in KB; what they share counts once."""
    total = 0
    for each in _family(pid):
        rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        total += int(re.search(r"^Pss: +(\d+)", rollup, re.MULTILINE)[1])  # type: ignore[index]
    return float(total)
