"""An HTTP server for tests that sends given bytes and records the requests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from trio_mix._http import Http
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Peer:
    """One connection, on the server's side."""

    def __init__(self, stream: trio.abc.Stream, server: RawServer) -> None:
        self.stream = stream
        self.server = server
        self._buffer = b""

    async def request(self) -> Request | None:
        """Read one request with its body; None if the client closes the connection."""
        head = await self._until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        body = b""
        if "content-length" in headers:
            body = await self._exactly(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                size = int(await self._until(b"\r\n") or b"0", 16)
                body += await self._exactly(size)
                await self._until(b"\r\n")
                if not size:
                    break
        request = Request(method, target, headers, body)
        self.server.requests.append(request)
        return request

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def closed(self) -> None:
        """Wait until the client has closed the connection."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass

    async def _until(self, end: bytes) -> bytes | None:
        while end not in self._buffer:
            if not await self._more():
                return None
        found, _, self._buffer = self._buffer.partition(end)
        return found

    async def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size and await self._more():
            pass
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    async def _more(self) -> bool:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            return False
        self._buffer += data
        return bool(data)


@dataclass
class RawServer:
    port: int = 0
    scheme: str = "http"
    connections: int = 0
    open: int = 0
    requests: list[Request] = field(default_factory=list)
    refuses: bool = False
    connect_times: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


async def serve(
    nursery: trio.Nursery,
    handler: Callable[[Peer], Awaitable[None]],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> RawServer:
    """Start a server on a free port; it ends with the nursery."""
    server = RawServer(scheme="https" if ssl_context else "http")

    async def serve_one(stream: trio.abc.Stream) -> None:
        server.connections += 1
        server.open += 1
        try:
            await handler(Peer(stream, server))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            server.open -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    listeners: list[trio.abc.Listener[trio.abc.Stream]]
    if ssl_context is None:
        listeners = list(await trio.open_tcp_listeners(0, host="127.0.0.1"))
        plain = listeners[0]
    else:
        secure = await trio.open_ssl_over_tcp_listeners(
            0, ssl_context, host="127.0.0.1", https_compatible=True
        )
        listeners = list(secure)
        plain = secure[0].transport_listener
    assert isinstance(plain, trio.SocketListener)
    server.port = plain.socket.getsockname()[1]
    nursery.start_soon(trio.serve_listeners, serve_one, listeners)
    return server


def memory_server(
    nursery: trio.Nursery, handler: Callable[[Peer], Awaitable[None]] | None
) -> tuple[RawServer, Http]:
    """Return a server in memory and a client for it, for tests with a mocked clock.

    Without a handler, and while ``server.refuses``, connections are refused.
    """
    server = RawServer(port=80)

    async def serve_one(stream: MemoryStream) -> None:
        server.open += 1
        try:
            if handler is not None:
                await handler(Peer(stream, server))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            server.open -= 1
            stream.close()

    def accept(stream: MemoryStream) -> bool:
        server.connect_times.append(trio.current_time())
        if handler is None or server.refuses:
            return False
        server.connections += 1
        nursery.start_soon(serve_one, stream)
        return True

    return server, Http(network_backend=MemoryNetwork(accept))


def answering(*answers: bytes, hang_up: bool = False) -> Callable[[Peer], Awaitable[None]]:
    """Return a handler that answers the requests of a connection in turn, repeating the last."""

    async def handler(peer: Peer) -> None:
        turn = 0
        while await peer.request() is not None:
            await peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1
            if hang_up and turn == len(answers):
                return

    return handler
