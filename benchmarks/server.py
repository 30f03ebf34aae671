"""The server of the benchmarks: it sends what the session's id asks for, as fast as it can.

`python -m benchmarks.server` prints its port. The ids are ``flood.COUNT.KIND.CHUNKING.FORM`` (one
stream of a corpus), ``paced.COUNT.RATE``, ``hold.GROUP.NUMBER`` (silent until ``/go/GROUP/…``),
``live.GROUP.NUMBER`` (silent until ``/pace/GROUP/COUNT/RATE/BURST/STREAMS/PORT``), and
``message.COUNT.KIND.CHUNKING.FORM.API.NUMBER`` (that many events for each message sent). The server
is a process of its own, so that its CPU time is not part of any figure.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import socket
import time
from collections import defaultdict
from urllib.parse import parse_qs, urlsplit

import trio

from benchmarks import corpus

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@functools.lru_cache(maxsize=8)
def flood(count: int, kind: str, chunking: str, form: str, first: int = 2, turn: int = 1) -> bytes:
    frames = corpus.frames(count, kind, form=form, first=first, turn=turn)
    if chunking == "frame":
        return corpus.chunked(frames)
    return corpus.chunked(corpus.cut(b"".join(frames), corpus.CHUNK))


def answer(status: str, body: object, content_type: str = "application/json") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(raw)}"
    return head.encode() + b"\r\n\r\n" + raw


class Server:
    def __init__(self) -> None:
        self.streams: dict[str, trio.SocketStream] = {}
        self.turns: dict[str, int] = defaultdict(int)
        self.held: dict[str, list[trio.SocketStream]] = defaultdict(list)

    async def serve(self, stream: trio.SocketStream) -> None:
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    more = await stream.receive_some(65536)
                    if not more:
                        return
                    data += more
                head, _, data = data.partition(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ", 2)
                fields = dict(line.lower().split(":", 1) for line in lines)
                length = int(fields.get("content-length", "0"))
                while len(data) < length:
                    data += await stream.receive_some(65536)
                body, data = data[:length], data[length:]
                await self.respond(stream, method, target, body)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def respond(
        self, stream: trio.SocketStream, method: str, target: str, body: bytes
    ) -> None:
        url = urlsplit(target)
        if method == "GET" and url.path == "/stream":
            await self.stream(stream, parse_qs(url.query)["sessionId"][0])
        elif method == "POST" and url.path.endswith(("/messages", "/message")):
            await self.message(stream, url.path, body)
        elif url.path.startswith("/go/"):
            _, _, group, count, kind = url.path.split("/")
            pieces = corpus.chunked(corpus.frames(int(count), kind))
            for other in self.held[group]:
                await other.send_all(pieces)
            await stream.send_all(answer("200 OK", {}))
        elif url.path.startswith("/pace/"):
            _, _, group, *numbers = url.path.split("/")
            count, rate, burst, streams, port = map(int, numbers)
            while len(self.held[group]) < streams:  # noqa: ASYNC110 - before the measurement
                await trio.sleep(0.01)
            await stream.send_all(answer("200 OK", {}))
            sinks = [Published(port, group)] if port else self.sinks(group)
            await trio.to_thread.run_sync(pace_all, sinks, count, rate, burst)
        elif url.path == "/health":
            await stream.send_all(answer("200 OK", {"status": "ok", "version": "0.11.4"}))
        else:
            await stream.send_all(answer("200 OK", [] if url.path.endswith("messages") else {}))

    async def stream(self, stream: trio.SocketStream, session: str) -> None:
        what, *rest = session.split(".")
        form = rest[3] if what in ("flood", "message") else "new"
        await stream.send_all(HEAD + corpus.chunked(corpus.frames(1, form=form, first=1)))
        if what == "flood":
            await stream.send_all(flood(int(rest[0]), *rest[1:]))
            await stream.send_all(END)
        elif what == "paced":
            connection = socket.socket(fileno=os.dup(stream.socket.fileno()))
            await trio.to_thread.run_sync(pace, connection, int(rest[0]), int(rest[1]))
            await stream.send_all(END)
        else:
            if what in ("hold", "live"):
                self.held[rest[0]].append(stream)
            else:
                self.streams[session] = stream
            await stream.receive_some(1)
            if what in ("hold", "live"):
                self.held[rest[0]].remove(stream)
            raise trio.BrokenResourceError

    def sinks(self, group: str) -> list[Sink]:
        """Return what writes events to each stream of a group."""
        return [Sink(os.dup(each.socket.fileno())) for each in self.held[group]]

    async def message(self, stream: trio.SocketStream, path: str, body: bytes) -> None:
        """Accept a message as the session's generation does, and send its turn's events."""
        *_, session, last = path.split("/")
        _, count, kind, chunking, form, api, _ = session.split(".")
        if last == "message" and api == "async":
            await stream.send_all(answer("404 Not Found", b"404 page not found\n", "text/plain"))
            return
        state = {"status": "processing" if api == "async" else "broadcasted", "sessionId": session}
        await stream.send_all(answer("202 Accepted" if api == "async" else "200 OK", state))
        self.turns[session] += 1
        turn, size = self.turns[session], int(count)
        first = 3 + (turn - 1) * (size + 2)
        pieces = []
        if api == "async":
            started = corpus.started(json.loads(body)["text"], turn)
            pieces.append(corpus.frame(started, first - 1))
        completed = corpus.completed(corpus.events(size, kind, first, turn))
        end = corpus.frame(completed, first + size, form)
        whole = corpus.chunked(pieces) + flood(size, kind, chunking, form, first, turn)
        await self.streams[session].send_all(whole + corpus.chunked([end]))


class Sink:
    """Writes events to a stream."""

    def __init__(self, descriptor: int) -> None:
        self.socket = socket.socket(fileno=descriptor)
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, first: int, stamps: list[int]) -> None:
        frames = [corpus.frame(corpus.delta(str(each)), first + n) for n, each in enumerate(stamps)]
        self.socket.sendall(corpus.chunked(frames))

    def close(self) -> None:
        self.socket.setblocking(False)  # the same socket as Trio's
        self.socket.close()


class Published(Sink):
    """Publishes events to nchan, one request after the other: it loses some that are pipelined."""

    def __init__(self, port: int, group: str) -> None:
        connection = socket.create_connection(("127.0.0.1", port))
        super().__init__(connection.detach())
        self.target = f"/publish?sessionId=live.{group}.0"

    def send(self, first: int, stamps: list[int]) -> None:
        del first
        for each in stamps:
            data = corpus.delta(str(each)).data.encode()
            head = f"POST {self.target} HTTP/1.1\r\nHost: x\r\nX-EventSource-Event: content\r\n"
            self.socket.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            answer = b""
            while b"last message id" not in answer:
                answer += self.socket.recv(65536)


def pace_all(sinks: list[Sink], count: int, rate: int, burst: int) -> None:
    """Send events to several streams, in turns, so many a second in all of them."""
    began = time.perf_counter()
    sent = 0
    try:
        for first in range(2, count + 2, burst):
            for sink in sinks:
                wait = began + sent / rate - time.perf_counter()
                if wait > 0:
                    time.sleep(wait)
                size = min(burst, count + 2 - first)
                sink.send(first, [time.perf_counter_ns()] * size)
                sent += size
    finally:
        for sink in sinks:
            sink.close()


def pace(connection: socket.socket, count: int, rate: int) -> None:
    """Send one frame at a time, each with the time at which it is sent."""
    connection.setblocking(True)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began = time.perf_counter()
    try:
        for number in range(count):
            wait = began + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            event = corpus.delta(str(time.perf_counter_ns()))
            connection.sendall(corpus.chunked([corpus.frame(event, number + 2)]))
    finally:
        connection.setblocking(False)  # the same socket as Trio's
        connection.close()


async def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=8192)
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(Server().serve, listeners)


if __name__ == "__main__":
    trio.run(main)
