"""Connections to HTTP/1.1 servers, each used for one request at a time.

The rules:

1. If connecting or sending fails or is cancelled, the socket is closed.
2. A read of the body that is cancelled or times out loses no bytes: the next read continues. The
   body is therefore read from the socket directly; h11 only writes the request and parses the head.
3. A body that ends early is an error, never an end.
4. Closing is shielded and bounded in time.
5. A response other than 2xx that arrives while the request is being sent ends the sending: the
   server may read no further, and not close the connection either. The response has what arrives of
   its body within two seconds; if that is not all, it has no ``Content-Length``.
"""

from __future__ import annotations

import contextlib
import math
import re
import socket
from typing import TYPE_CHECKING

import h11
import trio

from trio_mix._http._body import body_of
from trio_mix._http._body_pieces import BodyPieces
from trio_mix._http._errors import DisconnectedError, is_a, library_errors
from trio_mix._lifetime import OwnedNursery
from trio_mix._version import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable

    from trio_mix._http._protocols import (
        Content,
        HttpRequest,
        NetworkBackend,
        NetworkStream,
        RequestProgress,
        SocketOption,
    )
    from trio_mix._http._urls import Target

READ_SIZE = 64 * 1024
_KEEP_ALIVE = re.compile(r"\b(timeout|max)\s*=\s*([0-9]{1,9})\b", re.ASCII | re.IGNORECASE)
MAX_HEAD = 64 * 1024
MAX_INFORMATIONAL = 100
MAX_AHEAD = 64 * 1024  # more than that of a refusal is shown nowhere
SOON = 2.0
CLOSE_TIMEOUT = 2.0


def _keep_alive_options() -> tuple[SocketOption, ...]:
    """Return the socket options that detect a dead peer in about a minute."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    # Not every system has all of them.
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        number = getattr(socket, name, None)
        if number is not None:
            options.append((socket.IPPROTO_TCP, number, value))
    return tuple(options)


KEEP_ALIVE = _keep_alive_options()


async def close_stream(stream: NetworkStream) -> None:  # noqa: ASYNC910 - closing a stream is a checkpoint
    """Close a network stream; shielded and bounded, so that cancellation cannot leak it."""
    with (
        trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT),
        contextlib.suppress(*library_errors()),
    ):
        await stream.aclose()


class Connection:
    """A TCP or TLS connection to one origin."""

    __slots__ = ("closed", "complete", "idle_limit", "stream")

    def __init__(self, stream: NetworkStream) -> None:
        self.stream = stream
        self.closed = False
        self.complete = True  # whether the server has accepted all of the request
        self.idle_limit = math.inf  # seconds for which it may be idle and used again

    @classmethod
    async def open(
        cls,
        target: Target,
        *,
        backend: NetworkBackend,
        ssl_context: ssl.SSLContext | None,
        socket_options: Iterable[SocketOption] = (),
    ) -> Connection:
        """Connect, with TLS if a context is given."""
        stream = await backend.connect_tcp(
            target.host.strip("[]"), target.port, socket_options=socket_options
        )
        if ssl_context is not None:
            try:
                stream = await stream.start_tls(ssl_context, server_hostname=target.server_name)
            except BaseException:
                await close_stream(stream)
                raise
        return cls(stream)

    def is_dead(self) -> bool:
        """Return whether the server has closed the connection, or sent data without a request."""
        return self.closed or bool(self.stream.get_extra_info("is_readable"))

    async def aclose(self) -> None:
        """Close the connection; shielded and bounded."""
        self.closed = True
        await close_stream(self.stream)

    async def exchange(self, request: HttpRequest, progress: RequestProgress) -> ConnectionResponse:
        """Send a request and read the head of its response."""
        try:
            parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
            content = request.body()
            if content is not None and (not isinstance(content, bytes) or len(content) > READ_SIZE):
                return await self._exchange_large(parser, request, content, progress)
            await self._send(parser, request, content, progress)
            head = await self._receive_head(parser)
            return ConnectionResponse(self, request.method, head, parser)
        except BaseException:
            await self.aclose()
            raise

    async def _exchange_large(
        self,
        parser: h11.Connection,
        request: HttpRequest,
        content: Content,
        progress: RequestProgress,
    ) -> ConnectionResponse:
        """Send a request, and read the response meanwhile (rule 5)."""
        sending = trio.CancelScope()
        received = trio.Event()
        result: ConnectionResponse | Exception | None = None

        async def receive() -> None:  # noqa: ASYNC910 - no task awaits it, and reading is one
            nonlocal result
            try:
                head = await self._receive_head(parser)
                response = ConnectionResponse(self, request.method, head, parser)
                if not (self.complete or 200 <= head.status_code < 300):
                    # Before the sending is cancelled: that ends the reading, too, in TLS.
                    await response.read_ahead()
                    sending.cancel(reason="the server has refused the request")
                result = response
            except library_errors() as error:
                result = error
                sending.cancel(reason="the connection was lost")
            received.set()

        owner = OwnedNursery("request")
        nursery = await owner.open()
        try:
            nursery.start_soon(receive)
            with sending:
                await self._send(parser, request, content, progress)
            await received.wait()
        except BaseException as error:
            await owner.close("the request has failed", error)
            raise
        await owner.close("the response was received")
        assert result is not None  # noqa: S101 - `receive` has set it
        if isinstance(result, Exception):
            raise result
        return result

    async def _send(
        self,
        parser: h11.Connection,
        request: HttpRequest,
        content: Content,
        progress: RequestProgress,
    ) -> None:
        """Write a request, and set whether the server has accepted all of it."""
        self.complete = False
        head = h11.Request(
            method=request.method,
            target=request.target.path,
            headers=_request_headers(request, content),
        )
        progress.sending()
        try:
            if content is None or isinstance(content, bytes):
                # Head and body in one segment: half the packets, and no delay between the two.
                body = [h11.Data(data=content)] if content else []
                await self.stream.write(_bytes_of(parser, head, *body, h11.EndOfMessage()))
            else:
                await self.stream.write(_bytes_of(parser, head))
                async with contextlib.aclosing(BodyPieces(content)) as pieces:
                    async for piece in pieces:
                        await self.stream.write(_bytes_of(parser, h11.Data(data=piece)))
                await self.stream.write(_bytes_of(parser, h11.EndOfMessage()))
        except library_errors() as error:
            if not is_a(error, "WriteError"):
                raise
            # A server that refuses a body may respond and close the connection before it has read
            # the body. The response says more than the failed write; without one, the read fails.
            progress.stage = "sending the request"
            return  # noqa: ASYNC910 - the failed write was a checkpoint
        self.complete = True
        progress.body_sent()

    async def _receive_head(self, parser: h11.Connection) -> h11.Response:
        received = False
        informational = 0
        while True:  # noqa: ASYNC913 - each iteration reads, raises or returns
            event = parser.next_event()
            if isinstance(event, h11.Response):
                return event  # noqa: ASYNC910 - a response is parsed only after a read
            if isinstance(event, h11.InformationalResponse):
                informational += 1
                if informational > MAX_INFORMATIONAL:
                    raise h11.RemoteProtocolError(
                        f"more than {MAX_INFORMATIONAL} informational (1xx) responses"
                    )
            if event is h11.NEED_DATA:
                data = await self.stream.read(READ_SIZE)
                if not data:
                    raise DisconnectedError(
                        "the server closed the connection in the middle of its response"
                        if received
                        else "the server closed the connection without a response"
                    )
                received = True
                parser.receive_data(data)


def _bytes_of(parser: h11.Connection, *events: h11.Event) -> bytes:
    return b"".join(filter(None, map(parser.send, events)))


def complete_headers(request: HttpRequest) -> dict[str, str]:
    """Return the headers of a request with the usual ones that are missing; the body's not."""
    return dict(_fields(request).values())


def _fields(request: HttpRequest) -> dict[str, tuple[str, str]]:
    """Return the names and values of `complete_headers` by their names in lower case."""
    target = request.target
    fields = {"host": ("Host", target.authority.decode("ascii"))}
    for name, value in request.headers.items():
        fields[name.lower()] = (name, value)
    authorization = target.authorization()
    if authorization is not None:
        fields.setdefault("authorization", ("Authorization", authorization))
    fields.setdefault("accept", ("Accept", "*/*"))
    fields.setdefault("accept-encoding", ("Accept-Encoding", "identity"))
    fields.setdefault("user-agent", ("User-Agent", f"trio-mix/{__version__}"))
    return fields


def _request_headers(request: HttpRequest, content: Content) -> list[tuple[bytes, bytes]]:
    fields = _fields(request)
    if isinstance(content, bytes) or content is None:
        fields.pop("transfer-encoding", None)
        fields.pop("content-length", None)
        if content or request.method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            fields["content-length"] = ("Content-Length", str(len(content or b"")))
    elif "content-length" not in fields:
        fields["transfer-encoding"] = ("Transfer-Encoding", "chunked")
    return [
        (name.encode("ascii"), value.strip(" \t").encode("latin-1"))
        for name, value in fields.values()
    ]


def _idle_limit(keep_alive: str) -> float:
    """Return how long a connection may be idle, in seconds, from the ``Keep-Alive`` header.

    A second less than the server allows: the next request takes time to arrive.
    """
    parameters = {name.lower(): int(value) for name, value in _KEEP_ALIVE.findall(keep_alive)}
    if parameters.get("max") == 0:
        return 0.0
    return parameters["timeout"] - 1.0 if "timeout" in parameters else math.inf


class ConnectionResponse:
    """A response on a `Connection`, with its body still to be read."""

    __slots__ = (
        "_ahead",
        "_body",
        "_early",
        "_keep",
        "connection",
        "give_back",
        "headers",
        "set_cookies",
        "status_code",
    )

    def __init__(
        self,
        connection: Connection,
        method: str,
        head: h11.Response,
        parser: h11.Connection,
    ) -> None:
        self.connection = connection
        self.status_code = head.status_code
        self.headers: dict[str, str] = {}
        self.set_cookies: list[str] = []
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            if name == "set-cookie":
                self.set_cookies.append(value)
            known = self.headers.get(name)
            self.headers[name] = value if known is None else f"{known}, {value}"
        version = f"HTTP/{head.http_version.decode('ascii')}"
        self._body = body_of(method, head.status_code, self.headers, version)
        self.give_back: Callable[[Connection], Awaitable[None]] | None = None
        self._ahead = b""
        self._early = parser.trailing_data[0]  # the part of the body that arrived with the head
        tokens = self.headers.get("connection", "").lower().split(",")
        keep_alive = self.headers.get("keep-alive")
        connection.idle_limit = math.inf if keep_alive is None else _idle_limit(keep_alive)
        self._keep = version == "HTTP/1.1" and "close" not in map(str.strip, tokens)

    async def read_ahead(self) -> None:  # noqa: ASYNC910 - the first `receive` is a checkpoint
        """Read the body, as far as it arrives soon, so that the connection can be closed."""
        ahead = bytearray()
        with (
            trio.move_on_after(SOON),  # noqa: ASYNC912 - as above
            contextlib.suppress(*library_errors()),
        ):
            while len(ahead) <= MAX_AHEAD and (piece := await self.receive(None)):
                ahead += piece
        if not self._body.finished:
            self.headers.pop("content-length", None)
        self._ahead = bytes(ahead)
        self._keep = False
        self._body.finished = True

    async def receive(self, timeout: float | None) -> bytes:
        """Read the next bytes of the body, ``b""`` at its end; cancelled, no bytes are lost."""
        body = self._body
        if self._ahead:
            await trio.lowlevel.checkpoint()
            ahead, self._ahead = self._ahead, b""
            return ahead
        if self._early or body.finished:
            await trio.lowlevel.checkpoint()
        while not body.finished:
            if self._early:
                data, self._early = self._early, b""
            else:
                data = await self.connection.stream.read(READ_SIZE, timeout)
            if data:
                content = body.feed(data)
                if content:
                    return content  # noqa: ASYNC910 - a read or the checkpoint above precedes
            elif body.until_close:
                self._keep = False
                body.finished = True
            else:
                raise DisconnectedError(
                    "the server closed the connection before the end of the body"
                )
        return b""  # noqa: ASYNC910 - a read or the checkpoint above precedes

    async def release(self) -> None:
        """Return the connection if another request may use it, else close it."""
        connection, body = self.connection, self._body
        if (
            self.give_back is not None
            and self._keep
            and connection.complete
            and body.finished
            and not (body.excess or self._early or connection.closed)
            and connection.idle_limit > 0
        ):
            await self.give_back(connection)
        else:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connection; shielded and bounded."""
        await self.connection.aclose()
