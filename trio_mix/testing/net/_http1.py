"""The server's side of one HTTP/1.1 connection, with control over every byte.

Rules:

1. A handler answers exactly once: with `HttpExchange.respond`, or with `HttpExchange.start`, any
   number of `HttpExchange.write` and one of `HttpExchange.finish` and `HttpExchange.sever`.
2. Output is not buffered: when a write returns, the bytes were passed to the network.
3. A handler that must notice that the client has left uses `HttpExchange.watch`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import format_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import parse_qsl

import attrs
import h11
import trio

from trio_mix.testing.net._memory import MemoryStream, sever

if TYPE_CHECKING:
    from datetime import datetime

    from trio_mix.testing.net._guard import RequestGuard

_READ = 64 * 1024
_CLEANUP = 1.0
_EARLY = 1024 * 1024
_DISCARDED = 16 * 2**20
_TEXT = "text/plain; charset=utf-8"

T = TypeVar("T")


@attrs.frozen
class ReceivedRequest:
    """A request with its whole body."""

    method: str
    path: str
    """As sent: percent-encoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    too_large: bool = False
    """Whether the body was over the limit; the excess was discarded, up to 16 MiB of it."""
    target: str = ""
    """Path and query, as sent."""
    refusal: str | None = None
    """Why the request is refused; its body was not read then."""


class HttpExchange:
    """One request, and the means to respond to it."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: h11.Connection,
        request: ReceivedRequest,
        now: Callable[[], datetime] | None = None,
    ) -> None:
        self.request = request
        self.gone = trio.Event()
        self.status = 0
        self._stream = stream
        self._h11 = protocol
        self._now = now
        self._severed = False

    async def respond(
        self,
        status: int,
        body: bytes = b"",
        content_type: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a whole response."""
        every = [*headers]
        if content_type is not None:
            every.append(("Content-Type", content_type))
        if status != HTTPStatus.NO_CONTENT:
            every.append(("Content-Length", str(len(body))))
        out = self._head(status, every)
        if body and self.request.method != "HEAD":
            out += self._h11.send(h11.Data(data=body)) or b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(out)

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of a response; its body follows with `write`."""
        await self._stream.send_all(self._head(status, headers))

    async def write(self, pieces: Iterable[tuple[bytes, bool]]) -> None:
        """Send pieces of the body: each as one chunk, or unframed where it is marked so."""
        out = b"".join(
            piece if past_framing else (self._h11.send(h11.Data(data=piece)) or b"")
            for piece, past_framing in pieces
        )
        await self._stream.send_all(out)

    async def finish(self) -> None:
        """Send the end of the body."""
        await self._stream.send_all(self._h11.send(h11.EndOfMessage()) or b"")

    def sever(self, how: Literal["cut", "reset"]) -> None:
        """Close the connection at once, without the rest of the response."""
        self._severed = True
        sever(self._stream, how)

    def take_over(self) -> tuple[trio.abc.Stream, bytes]:
        """Return the connection, and the bytes after the request that were read already."""
        return self._stream, self._h11.trailing_data[0]

    async def run_while_connected(self, function: Callable[[], Awaitable[T]]) -> T | None:
        """Call an async function and return its result; None: the client left meanwhile."""
        result: T | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_gone, nursery.cancel_scope)
            result = await function()
            nursery.cancel_scope.cancel(reason="the request was handled")
        return None if self.gone.is_set() else result

    async def _cancel_when_gone(self, scope: trio.CancelScope) -> None:
        await self.watch()
        scope.cancel(reason="the client has left")

    async def watch(self) -> None:  # noqa: ASYNC910 - it reads, unless too much was read already
        """Return when the client has left or the connection was severed.

        Data that arrives meanwhile is kept as the client's next request. A client that sends more
        than a megabyte of it counts as gone, which bounds what is kept.
        """
        early = 0
        try:
            while early <= _EARLY and (data := await self._stream.receive_some(_READ)):
                self._h11.receive_data(bytes(data))
                early += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        self.gone.set()

    @property
    def reusable(self) -> bool:
        """Whether the connection can take another request."""
        return (
            not self._severed
            and not self.gone.is_set()
            and self._h11.our_state is h11.DONE
            and self._h11.their_state is h11.DONE
        )

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        self.status = status
        reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        every = list(headers)
        if self._now is not None:
            every.append(("Date", format_datetime(self._now(), usegmt=True)))
        head = h11.Response(status_code=status, headers=every, reason=reason.encode())
        return self._h11.send(head) or b""


Handler = Callable[[HttpExchange], Awaitable[None]]


async def serve_connection(
    stream: trio.abc.Stream,
    handler: Handler,
    *,
    max_body: int,
    guard: RequestGuard,
    refused: Callable[[ReceivedRequest, int], None] | None = None,
    now: Callable[[], datetime] | None = None,
) -> None:
    """Serve one connection until either side ends it; close it.

    Args:
      stream: the connection.
      handler: responds to one request.
      max_body: the largest body in bytes; the handler gets a larger one with ``too_large``.
      guard: decides whether a request is served. Connections in memory are not checked: no browser
        has one.
      refused: called with each refused request and the status of its response.
      now: returns the time of day for the ``Date`` header; None: responses have no such header.
    """
    check = None if isinstance(stream, MemoryStream) else guard.refusal
    try:
        protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=_READ)
        while True:
            try:
                request = await _next_request(stream, protocol, max_body, check)
            except h11.RemoteProtocolError as error:
                await _refuse(stream, protocol, error)
                return
            if request is None:
                return
            exchange = HttpExchange(stream, protocol, request, now)
            if request.refusal:
                if refused is not None:
                    refused(request, HTTPStatus.FORBIDDEN)
                text = f"refused: {request.refusal}\n".encode()
                await exchange.respond(403, text, _TEXT, [("Connection", "close")])
            else:
                await handler(exchange)
            if not exchange.reusable:
                if protocol.our_state is h11.DONE and protocol.their_state is h11.SEND_BODY:
                    await _discard(stream)
                return
            protocol.start_next_cycle()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the client, or a scripted fault, closed the connection first
    finally:
        with trio.move_on_after(_CLEANUP, shield=True):
            await stream.aclose()


async def _discard(stream: trio.abc.Stream) -> None:
    """Read the rest of a body for a moment: closing at once could reset the response away."""
    size = 0
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(_CLEANUP):  # noqa: ASYNC912 - it reads
        while size < _DISCARDED and (data := await stream.receive_some(_READ)):
            size += len(data)


async def _next_request(
    stream: trio.abc.Stream,
    protocol: h11.Connection,
    max_body: int,
    check: Callable[[Mapping[str, str]], str | None] | None,
) -> ReceivedRequest | None:
    head: h11.Request | None = None
    headers: dict[str, str] = {}
    refusal: str | None = None
    body = bytearray()
    size = 0
    while True:
        await trio.lowlevel.checkpoint()  # whole requests may be buffered already
        event = protocol.next_event()
        if event is h11.NEED_DATA:
            if protocol.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await stream.send_all(protocol.send(go_on) or b"")
            protocol.receive_data(bytes(await stream.receive_some(_READ)))
        elif isinstance(event, h11.Request):
            head, headers = event, _merged(event.headers)
            refusal = None if check is None else check(headers)
        elif isinstance(event, h11.Data):
            size += len(event.data)
            if size <= max_body:
                body += event.data
        elif not isinstance(event, h11.EndOfMessage) or head is None:
            return None  # the client has closed, or sent on a connection that is closing
        complete = isinstance(event, h11.EndOfMessage)
        if head is not None and (complete or refusal or size > max_body + _DISCARDED):
            target = head.target.decode("ascii", "replace")
            path, _, query = target.partition("?")
            return ReceivedRequest(
                method=head.method.decode("ascii"),
                path=path,
                query=dict(parse_qsl(query, keep_blank_values=True)),
                headers=headers,
                body=bytes(body),
                too_large=size > max_body,
                target=target,
                refusal=refusal,
            )


def _merged(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
        merged[name] = f"{merged[name]}, {value}" if name in merged else value
    return merged


async def _refuse(
    stream: trio.abc.Stream, protocol: h11.Connection, error: h11.RemoteProtocolError
) -> None:
    await trio.lowlevel.checkpoint()
    if protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = b"400 Bad Request\n"
    head = h11.Response(
        status_code=error.error_status_hint or 400,
        headers=[("Content-Length", str(len(body))), ("Connection", "close")],
    )
    with contextlib.suppress(h11.LocalProtocolError):
        out = [protocol.send(head), protocol.send(h11.Data(data=body))]
        out.append(protocol.send(h11.EndOfMessage()))
        await stream.send_all(b"".join(piece or b"" for piece in out))
