"""`record`: a proxy that records what a client and a server exchange.

Rules:

1. It changes only hop-by-hop headers and those that name its origin, and requests uncompressed
   responses: it forwards pieces as they arrive, and ends a response as the server ended it.
2. A request is recorded before the server receives it, a piece of a response before the client
   receives it. So an effect is recorded after its cause.
3. The pieces of a response are buffered, for the file only, until a line is complete: secrets
   cannot be recognized before.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import h11
import trio

from trio_mix._lifetime import open_tcp_stream
from trio_mix.errors import ConfigurationError
from trio_mix.testing.net._guard import RequestGuard
from trio_mix.testing.net._http1 import HttpExchange, serve_connection
from trio_mix.testing.net._listener import Listener, Reachable, parse_server_url
from trio_mix.testing.recording._exchange_recorder import HOPS, ExchangeRecorder
from trio_mix.testing.recording._format import End, RecordingWriter
from trio_mix.testing.recording._masking import Masker

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Callable, Collection, Iterable
    from types import TracebackType

    from trio_mix.testing.net._http1 import ReceivedRequest
    from trio_mix.testing.net._memory import MemoryNetwork

_TEXT: Final = "text/plain; charset=utf-8"
_READ: Final = 64 * 1024
MAX_BODY: Final = 64 * 2**20
_ORIGINS: Final = frozenset(
    {"origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user"}
)
_HOPS_BACK: Final = HOPS - {"content-length", "host"}
_CONNECT_ERRORS: Final = (OSError, trio.BrokenResourceError)


def record(
    upstream: str | Reachable,
    path: str | os.PathLike[str],
    *,
    secrets: Iterable[str] = (),
    mask: Callable[[str], str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
    max_size: int | None = 2**30,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
) -> Recorder:
    """Return a recording proxy for a server; use it with ``async with``.

    Give clients ``recorder.url`` in place of the server's URL (and ``recorder.network``, if the
    server is in memory). All requests and responses are written to the file, for `replay`. Secrets
    are masked: the values of headers that may hold one, of fields and parameters whose names denote
    one, what looks like a key or token, and each of these values everywhere else. A secret that an
    agent spells out over several events is not recognized: read a recording before you share it.

    Args:
      upstream: the server's URL, http or https; or a `MixServer` or `FaultProxy`.
      path: the file to write, with mode 0600; an existing file is replaced.
      secrets: further texts to mask.
      mask: called with each line of a body, each address and each harmless header after masking;
        returns the text to write.
      host: the address to bind.
      port: the port to bind; 0: any free port.
      ssl_context: for https; None: Trio's default, which verifies certificates.
      max_size: the largest size of the file in bytes; beyond it, requests are forwarded and not
        recorded (`Recorder.full`). None: any.
      allowed_hosts: ``Host`` names to serve, as well as ``host``, ``localhost`` and IP addresses.
        Requests with another name are refused with 403: a web page makes them by DNS rebinding.
      allowed_origins: origins of web pages whose requests are served. Other pages are refused
        with 403.

    A request body over 64 MiB is refused with 413. Of a response whose line is longer than 16 MiB
    the rest is not recorded.

    Raises:
      ConfigurationError: the URL is invalid, or has a name and password: pass those as headers.
    """
    return Recorder(
        upstream,
        path,
        masker=Masker(secrets, mask),
        host=host,
        port=port,
        ssl_context=ssl_context,
        max_size=max_size,
        guard=RequestGuard(host, allowed_hosts, allowed_origins),
    )


class Recorder:
    """A recording proxy, made by `record`."""

    def __init__(
        self,
        upstream: str | Reachable,
        path: str | os.PathLike[str],
        *,
        masker: Masker,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        max_size: int | None,
        guard: RequestGuard,
    ) -> None:
        url = upstream if isinstance(upstream, str) else upstream.url
        parts = parse_server_url(url, "http", "https")
        if parts is None:
            raise ConfigurationError(
                "record() needs an http:// or https:// URL, or a running MixServer"
            )
        if parts.query or parts.fragment:
            raise ConfigurationError("record() needs a URL without a query and without a fragment")
        if parts.username or parts.password:
            raise ConfigurationError(
                "record() does not accept a name and password in the URL; send them as headers"
            )
        self._secure = parts.scheme == "https"
        self._address = (str(parts.hostname), parts.port or (443 if self._secure else 80))
        self._host_header = parts.netloc
        self._origin = f"{parts.scheme}://{self._host_header}"
        self._prefix = parts.path.rstrip("/")
        self._upstream = url.rstrip("/")
        self._memory: MemoryNetwork | None = None
        if not isinstance(upstream, str) and upstream.in_memory:
            self._memory = upstream.network
        self._ssl_context = ssl_context
        self._max_size = max_size
        self._guard = guard
        self._path = path
        self._masker = masker
        self._listener = Listener(
            self._connection, host=host, port=port, listen=self._memory is None
        )
        self._writer: RecordingWriter | None = None
        self._start = 0.0
        self._order = itertools.count(1)
        self._exchanges = 0

    @property
    def url(self) -> str:
        """The address for clients."""
        return self._listener.url

    @property
    def network(self) -> MemoryNetwork:
        """The network in memory that leads to it."""
        return self._listener.network

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket, as its server."""
        return self._memory is not None

    @property
    def exchanges(self) -> int:
        """How many requests were received so far."""
        return self._exchanges

    @property
    def full(self) -> bool:
        """Whether the file has reached its largest size, so that the rest is not recorded."""
        return self._writer is not None and self._writer.full

    async def __aenter__(self) -> Self:
        await self._listener.open()
        recorded = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            self._writer = RecordingWriter(
                self._path,
                self._masker.target(self._upstream),
                recorded,
                max_size=self._max_size,
            )
        except BaseException:
            await self._listener.close("the file could not be written")
            raise
        self._start = trio.current_time()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._listener.close("the recorder was left", exc)
        finally:
            assert self._writer is not None  # noqa: S101 - entered before it is left
            self._writer.close()

    # --- inside ---------------------------------------------------------------------------------

    async def _connection(self, stream: trio.abc.Stream) -> None:
        await serve_connection(stream, self._exchange, max_body=MAX_BODY, guard=self._guard)

    async def _exchange(self, exchange: HttpExchange) -> None:
        assert self._writer is not None  # noqa: S101 - entered before connections come
        request = exchange.request
        if request.too_large or not request.target.startswith("/"):
            status = 413 if request.too_large else 400
            await exchange.respond(status, b"trio_mix.testing.record refused this request\n", _TEXT)
            return
        self._exchanges += 1
        recorder = ExchangeRecorder(self._writer, self._now, self._masker, self._exchanges, request)
        if "upgrade" in request.headers:
            why = b"trio_mix.testing.record does not record WebSockets\n"
            recorder.start(501, [("content-type", "text/plain")])
            recorder.chunk(why)
            await exchange.respond(501, why, _TEXT)
            recorder.end("complete")
            return
        ended: End = "stopped"
        try:
            forward = partial(self._forward, exchange, recorder)
            ended = await exchange.run_while_connected(forward) or "client"
        finally:
            recorder.end(ended)
        if ended in ("cut", "reset", "refused"):
            exchange.sever("reset" if ended == "reset" else "cut")

    async def _forward(self, exchange: HttpExchange, recorder: ExchangeRecorder) -> End:
        try:
            server = await self._connect()
        except _CONNECT_ERRORS:
            await trio.lowlevel.checkpoint()
            return "refused"
        try:
            return await self._relay(server, exchange, recorder)
        finally:
            await trio.aclose_forcefully(server)

    async def _connect(self) -> trio.abc.Stream:
        if self._memory is not None:
            await trio.lowlevel.checkpoint()
            return self._memory.connect()
        if not self._secure:
            return await open_tcp_stream(*self._address)
        stream = await trio.open_ssl_over_tcp_stream(
            *self._address, ssl_context=self._ssl_context, https_compatible=True
        )
        try:
            await stream.do_handshake()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    async def _relay(
        self, server: trio.abc.Stream, exchange: HttpExchange, recorder: ExchangeRecorder
    ) -> End:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_READ)
        response = _ResponseForwarder(exchange)
        try:
            await server.send_all(self._request(protocol, exchange.request))
            while True:  # noqa: ASYNC913 - it reads, or forwards
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    if not await response.forward():
                        return "client"
                    protocol.receive_data(bytes(await server.receive_some(_READ)))
                elif isinstance(event, h11.Response):
                    response.head = (event.status_code, _text(event.headers))
                    recorder.start(*response.head)
                elif isinstance(event, h11.Data):
                    response.pieces.append(bytes(event.data))
                    recorder.chunk(response.pieces[-1])
                elif isinstance(event, h11.EndOfMessage):
                    # Set before the client receives the last piece: it may leave at once.
                    recorder.whole = True
                    await response.forward()
                    await response.finish()
                    return "complete"
                elif isinstance(event, h11.ConnectionClosed):
                    return "refused"
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            if not await response.forward():
                return "client"
            if not response.started:
                return "refused"
            return "cut" if isinstance(error, h11.RemoteProtocolError) else "reset"

    def _request(self, protocol: h11.Connection, request: ReceivedRequest) -> bytes:
        left_out = HOPS | _ORIGINS
        headers = [pair for pair in request.headers.items() if pair[0] not in left_out]
        if "origin" in request.headers:  # the guard has accepted it, so the server is to do so too
            headers.append(("origin", self._origin))
        headers += [("host", self._host_header), ("accept-encoding", "identity")]
        headers.append(("connection", "close"))
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            headers.append(("content-length", str(len(request.body))))
        target = self._prefix + request.target
        out = protocol.send(h11.Request(method=request.method, target=target, headers=headers))
        if request.body:
            out = (out or b"") + (protocol.send(h11.Data(data=request.body)) or b"")
        return (out or b"") + (protocol.send(h11.EndOfMessage()) or b"")

    def _now(self) -> tuple[int, float]:
        return next(self._order), trio.current_time() - self._start


class _ResponseForwarder:
    """Forwards a response to the client."""

    def __init__(self, exchange: HttpExchange) -> None:
        self.head: tuple[int, list[tuple[str, str]]] | None = None
        self.pieces: list[bytes] = []
        self.started = False
        self._exchange = exchange

    async def forward(self) -> bool:
        """Send what is buffered; return whether the client was still connected."""
        await trio.lowlevel.checkpoint()
        head, pieces = self.head, self.pieces
        self.head, self.pieces = None, []
        try:
            if head is not None:
                self.started = True
                status, headers = head
                kept = [(name, value) for name, value in headers if name not in _HOPS_BACK]
                await self._exchange.start(status, kept)
            if pieces:
                await self._exchange.write([(piece, False) for piece in pieces])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def finish(self) -> None:
        """End the response; a client that has left is ignored."""
        try:
            await self._exchange.finish()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()


def _text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers]
