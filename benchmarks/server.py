"""The server of the benchmarks: says what it was asked for, as fast as a socket takes it.

`python -m benchmarks.server` prints its port. What a session's stream brings is in its id:
``flood.COUNT.CHUNKING.FORM``, ``paced.COUNT.RATE``, ``hold.GROUP``, and for each message sent
``road.COUNT.CHUNKING.FORM.API.NUMBER``. It is a process of its own: its CPU time is nobody's
result.
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
def flood(count: int, chunking: str, form: str, first: int = 2, turn: int = 1) -> bytes:
    frames = corpus.deltas(count, form=form, first=first, turn=turn)
    if chunking == "frame":
        return corpus.chunked(frames)
    return corpus.chunked(corpus.cut(b"".join(frames), corpus.CHUNK))


def answer(status: str, body: object, content_type: str = "application/json") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(raw)}"
    return head.encode() + b"\r\n\r\n" + raw


class Server:
    def __init__(self) -> None:
        self.roads: dict[str, trio.SocketStream] = {}
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
            _, _, group, count = url.path.split("/")
            pieces = corpus.chunked(corpus.deltas(int(count)))
            for other in self.held[group]:
                await other.send_all(pieces)
            await stream.send_all(answer("200 OK", {}))
        elif url.path == "/health":
            await stream.send_all(answer("200 OK", {"status": "ok", "version": "0.11.4"}))
        else:
            await stream.send_all(answer("200 OK", [] if url.path.endswith("messages") else {}))

    async def stream(self, stream: trio.SocketStream, session: str) -> None:
        kind, *rest = session.split(".")
        form = rest[2] if len(rest) > 2 and kind in ("flood", "road") else "new"
        await stream.send_all(HEAD + corpus.chunked([corpus.connected(form)]))
        if kind == "flood":
            await stream.send_all(flood(int(rest[0]), rest[1], form))
            await stream.send_all(END)
        elif kind == "paced":
            connection = socket.socket(fileno=os.dup(stream.socket.fileno()))
            await trio.to_thread.run_sync(pace, connection, int(rest[0]), int(rest[1]))
            await stream.send_all(END)
        else:
            if kind == "hold":
                self.held[rest[0]].append(stream)
            else:
                self.roads[session] = stream
            await stream.receive_some(1)
            if kind == "hold":
                self.held[rest[0]].remove(stream)
            raise trio.BrokenResourceError

    async def message(self, stream: trio.SocketStream, path: str, body: bytes) -> None:
        """Accept a message as the session's generation does, and send its turn's events."""
        *_, session, last = path.split("/")
        _, count, chunking, form, api, _ = session.split(".")
        if last == "message" and api == "async":
            await stream.send_all(answer("404 Not Found", b"404 page not found\n", "text/plain"))
            return
        said = {"status": "processing" if api == "async" else "broadcasted", "sessionId": session}
        await stream.send_all(answer("202 Accepted" if api == "async" else "200 OK", said))
        await self.turn(session, int(count), chunking, form, api, body)

    async def turn(
        self, session: str, count: int, chunking: str, form: str, api: str, body: bytes
    ) -> None:
        self.turns[session] += 1
        turn, first = self.turns[session], 3
        if self.turns[session] > 1:
            first += (turn - 1) * (count + 2)
        pieces = []
        if api == "async":
            data = {"messageId": f"user-{turn}", "content": json.loads(body)["text"]}
            pieces.append(corpus.frame("user_message_created", json.dumps(data), first - 1))
        whole = corpus.chunked(pieces) + flood(count, chunking, form, first, turn)
        text = "".join(map(corpus.text_of, range(first, first + count)))
        done = {"type": "complete", "content": text, "done": True, "messageId": f"assistant-{turn}"}
        last = corpus.frame("complete", json.dumps(done), first + count, form=form)
        await self.roads[session].send_all(whole + corpus.chunked([last]))


def pace(connection: socket.socket, count: int, rate: int) -> None:
    """Send one frame at a time, each with the time of its sending in it."""
    connection.setblocking(True)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    began = time.perf_counter()
    try:
        for number in range(count):
            wait = began + number / rate - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            data = f'{{"type":"content","content":"{time.perf_counter_ns()}"}}'
            connection.sendall(corpus.chunked([corpus.frame("content", data, number + 2)]))
    finally:
        connection.setblocking(False)  # it is the same socket as Trio's
        connection.close()


async def main() -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=8192)
    print(listeners[0].socket.getsockname()[1], flush=True)
    await trio.serve_listeners(Server().serve, listeners)


if __name__ == "__main__":
    trio.run(main)
