"""Passes a WebSocket of the browser tunnel through, as bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
import trio

from trio_mix._http import Target, TrioBackend, default_ssl_context
from trio_mix._http._errors import library_errors
from trio_mix.relay._access import upstream_target
from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from trio_mix._http._protocols import NetworkStream
    from trio_mix._mix import Mix
    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._exchange import Exchange, RequestHead, Takeover

_READ: Final = 64 * 1024
_TIMEOUT: Final = 30.0
_BODY: Final = 64 * 1024
_DROPPED: Final = frozenset(
    ("authorization", "cookie", "host", "mix-relay", "mix-relay-upstream", "origin", "referer")
)


def is_upgrade(head: RequestHead) -> bool:
    """Return whether a request asks for a WebSocket."""
    return head.method == "GET" and head.headers.get("upgrade", "").lower() == "websocket"


async def forward_upgrade(exchange: Exchange, mix: Mix) -> Takeover | None:
    """Pass the request for a WebSocket on; return what passes the bytes of both sides.

    Raises:
      Problem: the server cannot be reached.
    """
    await exchange.read_body(0)
    caller = mix._caller
    target = Target.parse(caller.defaults.url_for(upstream_target(exchange.head)))
    fields = {name: value for name, value in exchange.head.headers.items() if name not in _DROPPED}
    authorization = target.authorization()
    if authorization is not None:
        fields["authorization"] = authorization
    fields.update(await caller.defaults.headers_for())
    request = h11.Request(
        method="GET",
        target=target.path,
        headers=[
            (b"Host", target.authority),
            *((name.encode("ascii"), value.encode("latin-1")) for name, value in fields.items()),
        ],
    )
    upstream: NetworkStream | None = None
    try:
        with trio.fail_after(_TIMEOUT):
            upstream = await _connect(target)
            parser = h11.Connection(h11.CLIENT)
            await upstream.write(
                (parser.send(request) or b"") + (parser.send(h11.EndOfMessage()) or b"")
            )
            answer, body = await _receive(upstream, parser)
    except _broken() as error:
        await _close(upstream)
        raise Problem(502, "the Mix server did not answer the request for a WebSocket") from error
    except BaseException:
        await _close(upstream)
        raise
    headers = [
        (name.decode("ascii"), value.decode("latin-1"))
        for name, value in answer.headers
        if name not in (b"set-cookie", b"content-length", b"transfer-encoding")
    ]
    if isinstance(answer, h11.Response):
        await _close(upstream)
        kept = [
            pair for pair in headers if pair[0] not in ("connection", "content-type", "upgrade")
        ]
        await exchange.respond(answer.status_code, body, "text/plain", kept)
        return None
    try:
        await exchange.switch(headers)
    except BaseException:  # the client has left
        await _close(upstream)
        raise
    opened, late, early = upstream, parser.trailing_data[0], exchange.early_bytes()

    async def serve(connection: ServerConnection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_copy_down, opened, connection, late, nursery.cancel_scope)
                nursery.start_soon(_copy_up, connection, opened, early, nursery.cancel_scope)
        finally:
            await _close(opened)

    return serve


def _broken() -> tuple[type[Exception], ...]:
    """Return the exceptions of connections that fail."""
    return (*library_errors(), trio.TooSlowError)


async def _connect(target: Target) -> NetworkStream:
    stream = await TrioBackend().connect_tcp(target.host.strip("[]"), target.port)
    if target.scheme == "https":
        return await stream.start_tls(default_ssl_context(), target.server_name)
    return stream


async def _receive(
    upstream: NetworkStream, parser: h11.Connection
) -> tuple[h11.Response | h11.InformationalResponse, bytes]:
    """Return the answer and, if it is no 101, the beginning of its body."""
    answer: h11.Response | None = None
    body = b""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            parser.receive_data(await upstream.read(_READ))
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return event, b""  # noqa: ASYNC910 - reading and writing wait
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.ConnectionClosed) and answer is None:
            raise trio.BrokenResourceError("the server closed the connection")
        if answer is not None and (isinstance(event, h11.EndOfMessage) or len(body) > _BODY):
            return answer, body[:_BODY]  # noqa: ASYNC910 - reading and writing wait
        await trio.lowlevel.checkpoint()


async def _copy_down(  # noqa: ASYNC910 - reading and writing wait
    upstream: NetworkStream, connection: ServerConnection, late: bytes, scope: trio.CancelScope
) -> None:
    try:
        data = late or await upstream.read(_READ)
        while data:
            await connection.send_all(data)
            data = await upstream.read(_READ)
    except _broken():
        pass
    scope.cancel(reason="the server has left")


async def _copy_up(  # noqa: ASYNC910 - reading and writing wait
    connection: ServerConnection, upstream: NetworkStream, early: bytes, scope: trio.CancelScope
) -> None:
    try:
        data = early or await connection.receive_some(_READ)
        while data:
            await upstream.write(data)
            data = await connection.receive_some(_READ)
    except _broken():
        pass
    scope.cancel(reason="the client has left")


async def _close(stream: NetworkStream | None) -> None:
    with trio.move_on_after(1.0, shield=True):
        if stream is not None:
            await stream.aclose()
        await trio.lowlevel.checkpoint()
