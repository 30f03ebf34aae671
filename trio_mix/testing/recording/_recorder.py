"""`record`: stands between a client and a server, and writes down what they say to each other.

What it knows: HTTP/1.1 on both sides, and when each piece came.
What it must never know: Mix.

Rules:

1. It changes nothing but what belongs to a connection, and that answers come uncompressed: pieces
   are passed on as they come, ends as they are.
2. A request is written down before the server gets it, a piece of an answer before the client gets
   it. So what one caused stands after it.
3. A stream's pieces are held back from the file, never from the client, until a line is whole:
   only then its secrets can be seen.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

import h11
import trio

from trio_mix.testing.net._http1 import HttpExchange, serve_connection
from trio_mix.testing.net._listener import Listener, Reachable
from trio_mix.testing.recording._format import End, RecordingWriter, body_fields, chunk_fields
from trio_mix.testing.recording._masking import Masker

if TYPE_CHECKING:
    import os
    import ssl
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from trio_mix.testing.net._http1 import Request
    from trio_mix.testing.net._memory import MemoryNetwork

__all__ = ["Recorder", "record"]

_READ: Final = 64 * 1024
_MAX_BODY: Final = 256 * 2**20
_HOPS: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "expect", "accept-encoding", "content-length", "host"}
)
_HOPS_BACK: Final = _HOPS - {"content-length", "host"}
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
) -> Recorder:
    """Return a recorder that stands before a server; use it with ``async with``.

    Give the client ``recorder.url`` in the server's place (and ``recorder.network``, where the
    server is one in memory). All that the two say to each other is written to the file, for
    `replay` to say it again. Secrets are masked: the values of all headers that may hold one, of
    fields and parameters that are named like one, what looks like a key or token, and each of
    these values wherever else it comes. What an agent spells out in several events is not
    recognized: read a recording before you share it.

    Args:
      upstream: the server's URL, http or https; or a `MixServer` or `FaultProxy`.
      path: the file to write; one that is there is replaced.
      secrets: texts that are to be masked besides.
      mask: called with each line of a body, each address and each harmless header, after all else
        was masked; what it returns is written.
      host: the address to bind.
      port: the port to bind; 0: any free one.
      ssl_context: for https; None: Trio's default, which checks certificates.

    Raises:
      ValueError: the URL is none, or holds a name and password: pass those as headers.
    """
    return Recorder(
        upstream,
        path,
        masker=Masker(secrets, mask),
        host=host,
        port=port,
        ssl_context=ssl_context,
    )


class Recorder:
    """A proxy that writes down what passes through it. Made by `record`."""

    def __init__(
        self,
        upstream: str | Reachable,
        path: str | os.PathLike[str],
        *,
        masker: Masker,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        url = upstream if isinstance(upstream, str) else upstream.url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("record() needs an http:// or https:// URL, or a running MixServer")
        if parts.username or parts.password:
            raise ValueError("record() takes no name and password in the URL; send them as headers")
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, parts.port or (443 if self._secure else 80))
        self._host_header = parts.netloc
        self._prefix = parts.path.rstrip("/")
        self._upstream = url.rstrip("/")
        self._memory: MemoryNetwork | None = None
        if not isinstance(upstream, str) and upstream.in_memory:
            self._memory = upstream.network
        self._ssl_context = ssl_context
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
        """The address that clients are to use."""
        return self._listener.url

    @property
    def network(self) -> MemoryNetwork:
        """The way to it without sockets."""
        return self._listener.network

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket: as the server that it stands before."""
        return self._memory is not None

    @property
    def exchanges(self) -> int:
        """How many requests were made so far."""
        return self._exchanges

    async def __aenter__(self) -> Self:
        await self._listener.open()
        recorded = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            self._writer = RecordingWriter(self._path, self._masker.text(self._upstream), recorded)
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
            await self._listener.close("the recorder was left")
        finally:
            assert self._writer is not None  # noqa: S101 - entered before it is left
            self._writer.close()

    # --- inside ---------------------------------------------------------------------------------

    async def _connection(self, stream: trio.abc.Stream) -> None:
        await serve_connection(stream, self._exchange, max_body=_MAX_BODY)

    async def _exchange(self, exchange: HttpExchange) -> None:
        assert self._writer is not None  # noqa: S101 - entered before connections come
        self._exchanges += 1
        request = exchange.request
        note = _ExchangeRecorder(self._writer, self._now, self._masker, self._exchanges, request)
        if "upgrade" in request.headers:
            why = b"trio_mix.testing.record does not record WebSockets\n"
            note.answer(501, [("content-type", "text/plain")])
            note.chunk(why)
            await exchange.respond(501, why, "text/plain")
            note.end("complete")
            return
        ended: End = "stopped"
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch, exchange, nursery.cancel_scope)
                ended = await self._pass_on(exchange, note)
                nursery.cancel_scope.cancel(reason="the answer is over")
            if exchange.gone.is_set():
                ended = "client"
        finally:
            note.end(ended)
        if ended in ("cut", "reset", "refused"):
            exchange.sever("reset" if ended == "reset" else "cut")

    async def _watch(self, exchange: HttpExchange, scope: trio.CancelScope) -> None:
        await exchange.watch()
        scope.cancel(reason="the client has left")

    async def _pass_on(self, exchange: HttpExchange, note: _ExchangeRecorder) -> End:
        try:
            server = await self._connect()
        except _CONNECT_ERRORS:
            await trio.lowlevel.checkpoint()
            return "refused"
        try:
            return await self._relay(server, exchange, note)
        finally:
            await trio.aclose_forcefully(server)

    async def _connect(self) -> trio.abc.Stream:
        if self._memory is not None:
            await trio.lowlevel.checkpoint()
            return self._memory.connect()
        if not self._secure:
            return await trio.open_tcp_stream(*self._address)
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
        self, server: trio.abc.Stream, exchange: HttpExchange, note: _ExchangeRecorder
    ) -> End:
        protocol = h11.Connection(h11.CLIENT, max_incomplete_event_size=_READ)
        answer = _ResponseRelay(exchange)
        try:
            await server.send_all(self._request(protocol, exchange.request))
            while True:  # noqa: ASYNC913 - it reads, or has something to pass on
                event = protocol.next_event()
                if event is h11.NEED_DATA:
                    if not await answer.pass_on():
                        return "client"
                    protocol.receive_data(bytes(await server.receive_some(_READ)))
                elif isinstance(event, h11.Response):
                    answer.head = (event.status_code, _text(event.headers))
                    note.answer(*answer.head)
                elif isinstance(event, h11.Data):
                    answer.pieces.append(bytes(event.data))
                    note.chunk(answer.pieces[-1])
                elif isinstance(event, h11.EndOfMessage):
                    # Before the client gets the last piece: it may leave at once.
                    note.whole = True
                    await answer.pass_on()
                    await answer.finish()
                    return "complete"
                elif isinstance(event, h11.ConnectionClosed):
                    return "refused"
        except (h11.RemoteProtocolError, trio.BrokenResourceError) as error:
            if not await answer.pass_on():
                return "client"
            if not answer.begun:
                return "refused"
            return "cut" if isinstance(error, h11.RemoteProtocolError) else "reset"

    def _request(self, protocol: h11.Connection, request: Request) -> bytes:
        headers = [(name, value) for name, value in request.headers.items() if name not in _HOPS]
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


class _ExchangeRecorder:
    """Writes one exchange down."""

    def __init__(
        self,
        writer: RecordingWriter,
        now: Callable[[], tuple[int, float]],
        masker: Masker,
        number: int,
        request: Request,
    ) -> None:
        self._writer = writer
        self._now = now
        self._masker = masker
        self._number = number
        self._login = "/auth" in request.path
        self.whole = False
        self._text = True
        self._stream = False
        self._held: list[tuple[int, float, bytes]] = []
        no, at = now()
        (body,) = masker.pieces([request.body], login=self._login)
        target = masker.text(request.target, login=self._login)
        writer.write(
            no,
            at,
            number,
            request=f"{request.method} {target}",
            headers=self._headers(request.headers),
            **body_fields(body),
        )

    def answer(self, status: int, pairs: Iterable[tuple[str, str]]) -> None:
        """Note that the answer has begun."""
        headers: dict[str, str] = {}
        for name, value in pairs:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        kind = headers.get("content-type", "")
        self._stream = kind.startswith("text/event-stream")
        self._text = not kind or kind.startswith(("text/", "application/json"))
        no, at = self._now()
        self._writer.write(no, at, self._number, answer=status, headers=self._headers(headers))

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in headers.items() if name not in _HOPS}
        return self._masker.headers(ours)

    def chunk(self, data: bytes) -> None:
        """Note a piece of the answer's body."""
        self._held.append((*self._now(), data))
        if not self._text or (self._stream and data.endswith(b"\n")):
            self._release()

    def end(self, how: End) -> None:
        """Note that the answer is over."""
        self._release()
        no, at = self._now()
        self._writer.write(no, at, self._number, end="complete" if self.whole else how)

    def _release(self) -> None:
        held, self._held = self._held, []
        pieces = [data for _, _, data in held]
        if self._text:
            pieces = self._masker.pieces(pieces, login=self._login)
        for (no, at, _), data in zip(held, pieces, strict=True):
            if data:
                self._writer.write(no, at, self._number, **chunk_fields(data))


class _ResponseRelay:
    """An answer on its way to the client."""

    def __init__(self, exchange: HttpExchange) -> None:
        self.head: tuple[int, list[tuple[str, str]]] | None = None
        self.pieces: list[bytes] = []
        self.begun = False
        self._exchange = exchange

    async def pass_on(self) -> bool:
        """Send what is there, and return whether the client was there to take it."""
        await trio.lowlevel.checkpoint()
        head, pieces = self.head, self.pieces
        self.head, self.pieces = None, []
        try:
            if head is not None:
                self.begun = True
                status, headers = head
                kept = [(name, value) for name, value in headers if name not in _HOPS_BACK]
                await self._exchange.start(status, kept)
            if pieces:
                await self._exchange.write([(piece, False) for piece in pieces])
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def finish(self) -> None:
        """End it in order; a client that has gone has got what it wanted."""
        try:
            await self._exchange.finish()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.lowlevel.checkpoint()


def _text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("ascii").lower(), value.decode("latin-1")) for name, value in headers]
