"""A session in memory whose connections, and whose other answers, a test writes byte by byte."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.support.raw_server import SSE_HEAD, Peer, RawServer, Request, chunk
from trio_mix import Mix
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from trio_mix import SessionStream

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def frame(event: str, data: str = "{}", event_id: str | None = None) -> bytes:
    """Return the bytes of one event; without an id it has no ``id`` field."""
    named = "" if event_id is None else f"id: {event_id}\n"
    return f"{named}event: {event}\ndata: {data}\n\n".encode()


def connected(event_id: str | None = None) -> bytes:
    return frame("connected", '{"sessionId":"s"}', event_id)


def beat(event_id: str | None = None) -> bytes:
    return frame("heartbeat", '{"type":"ping"}', event_id)


def answer(status: str, body: str = "", kind: str = "text/html", **headers: str) -> bytes:
    """Return a whole response."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class RawSession:
    """The server's side of the session ``s``.

    Args:
      streams: what each connection of the stream is answered with, in turn; the last one repeats.
        Bytes that begin with ``HTTP/`` are a whole response, others are events. A connection with
        events stays open until `end` is called for it.
      heads: lines for the head of each connection's response; the last one repeats.
      rest: the answer to any other request than a POST of a message.
    """

    def __init__(
        self,
        *streams: bytes,
        heads: Sequence[bytes] = (b"",),
        rest: bytes | Callable[[Request], bytes] = NOT_FOUND,
        on_post: Callable[[], None] = lambda: None,
    ) -> None:
        self.streams = streams
        self.heads = heads
        self.rest = rest
        self.on_post = on_post
        self.server = RawServer()
        self.stream_requests: list[Request] = []
        self.peers: list[Peer] = []
        self._ended: list[trio.Event] = []

    async def send(self, data: bytes) -> None:
        """Send bytes on the current connection of the stream."""
        await self.peers[-1].send(chunk(data))

    def end(self) -> None:
        """End the current connection of the stream."""
        self._ended[-1].set()

    async def serve(self, peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            if request.method == "POST" and "/message" in request.target:
                await peer.send(ACCEPTED)
                self.on_post()
            elif request.target.startswith("/stream"):
                self.stream_requests.append(request)
                number = min(len(self.stream_requests), len(self.streams)) - 1
                what = self.streams[number]
                if what.startswith(b"HTTP/"):
                    await peer.send(what)
                    continue
                lines = self.heads[min(len(self.stream_requests), len(self.heads)) - 1]
                await peer.send(SSE_HEAD[:-2] + lines + b"\r\n" + chunk(what))
                self.peers.append(peer)
                self._ended.append(trio.Event())
                await self._ended[-1].wait()
                return
            else:
                await peer.send(self.rest if isinstance(self.rest, bytes) else self.rest(request))


@asynccontextmanager
async def client_of(session: RawSession, **options: Any) -> AsyncIterator[Mix]:
    """Return a client of the session's server, in memory."""
    async with trio.open_nursery() as nursery:

        async def run(stream: MemoryStream) -> None:
            try:
                await session.serve(Peer(stream, session.server))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            finally:
                stream.close()

        def accept(stream: MemoryStream) -> bool:
            session.server.connections += 1
            nursery.start_soon(run, stream)
            return True

        network = MemoryNetwork(accept)
        async with Mix("http://mix.example", api="async", network=network, **options) as mix:
            yield mix
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def opened(session: RawSession, **options: Any) -> AsyncIterator[SessionStream]:
    """Open the session's stream, in memory."""
    async with client_of(session) as mix, mix.open_stream("s", **options) as stream:
        yield stream


def ids(requests: Sequence[Request]) -> list[str | None]:
    """Return the ``Last-Event-ID`` of each request."""
    return [request.headers.get("last-event-id") for request in requests]
