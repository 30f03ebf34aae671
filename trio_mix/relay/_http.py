"""The server's side of HTTP/1.1 on one connection.

Rules (tests cite the numbers):

1. Everything that a client sends is bounded in bytes and in time: the head of a request, its body,
   the pause between requests. A client that is too slow gets 408, or its connection is closed.
2. A body is read only when the handler asks for it, so that uploads can be passed on as they
   arrive. What a handler did not read is discarded for a moment, then the connection is closed.
3. A response is sent in pieces; a client that takes no byte for `HttpLimits.stall_timeout` seconds
   loses its connection.
4. A handler that serves a connection for long returns a `Takeover`: the parser and the frames of
   the request are released before it runs.
5. What a handler raises never ends the server: a `Problem` is its own response, any other exception
   is logged and becomes 500.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qsl

import h11
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._exchange import Exchange, HttpLimits, RequestHead, Takeover
from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from trio_mix.relay._connection import ServerConnection

_log = get_logger("trio_mix.relay")

_READ: Final = 64 * 1024
_CLEANUP: Final = 1.0
_DISCARDED: Final = 16 * 2**20
_JSON: Final = "application/json"

Handler: TypeAlias = Callable[[Exchange], Awaitable["Takeover | None"]]


async def serve_connection(
    connection: ServerConnection, handler: Handler, limits: HttpLimits
) -> None:
    """Serve one connection until either side ends it; close it.

    Args:
      connection: the connection.
      handler: responds to one request, or returns a takeover (rule 4).
      limits: what is allowed to the client.
    """
    try:
        takeover = await _serve_requests(connection, handler, limits)
        if takeover is not None:
            await takeover(connection)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        await trio.lowlevel.checkpoint()  # the client closed the connection first
    finally:
        with trio.move_on_after(_CLEANUP, shield=True):
            await connection.aclose()


async def _serve_requests(
    connection: ServerConnection, handler: Handler, limits: HttpLimits
) -> Takeover | None:
    protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_size)
    while True:
        try:
            head = await _next_head(connection, protocol, limits)
        except h11.RemoteProtocolError as error:
            status = 431 if error.error_status_hint == 431 else 400
            await _refuse(connection, protocol, Problem(status, f"malformed request: {error}"))
            return None
        except Problem as problem:
            await _refuse(connection, protocol, problem)
            return None
        if head is None:
            return None
        exchange = Exchange(connection, protocol, head, limits)
        takeover = await _handle(exchange, handler)
        if takeover is not None:
            return takeover
        await _finish_request(exchange)
        if protocol.our_state is not h11.DONE or protocol.their_state is not h11.DONE:
            unread = protocol.their_state in (h11.SEND_BODY, h11.ERROR)
            if unread and protocol.our_state in (h11.DONE, h11.MUST_CLOSE):
                await _discard(connection)
            return None
        protocol.start_next_cycle()


async def _handle(exchange: Exchange, handler: Handler) -> Takeover | None:
    """Call the handler; turn what it raises into a response (rule 5)."""
    try:
        takeover = await handler(exchange)
        if takeover is None and not exchange.responded:
            raise RuntimeError("the handler did not respond")
        return takeover
    except Problem as problem:
        failure = problem
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.Cancelled):
        raise
    except Exception:  # noqa: BLE001 - rule 5
        _log.exception("%s %s failed", exchange.head.method, exchange.head.path)
        failure = Problem(500, "the relay failed to handle this request; its log has the details")
    if exchange.responded:
        raise trio.BrokenResourceError("the response was cut off: it had begun already")
    await exchange.respond_problem(failure)
    return None


async def _finish_request(exchange: Exchange) -> None:  # noqa: ASYNC910 - reading and sending wait
    """Read a small rest of the body, so that the connection can be used again (rule 2)."""
    headers = exchange.head.headers
    length = headers.get("content-length", "0")
    large = "transfer-encoding" in headers or not length.isdecimal() or int(length) > _READ
    if large or exchange.body_read:
        await trio.lowlevel.checkpoint()
        return
    with trio.move_on_after(_CLEANUP):  # noqa: ASYNC912 - reading and sending wait
        try:
            while await exchange.discard_piece():
                pass
        except Problem:
            pass  # malformed, and not wanted


async def _discard(connection: ServerConnection) -> None:  # noqa: ASYNC910 - reading and sending wait
    """Read the rest of a body for a moment: closing at once could reset the response away."""
    size = 0
    with trio.move_on_after(_CLEANUP):  # noqa: ASYNC912 - reading and sending wait
        while size < _DISCARDED and (data := await connection.receive_some(_READ)):
            size += len(data)


async def _next_head(
    connection: ServerConnection, protocol: h11.Connection, limits: HttpLimits
) -> RequestHead | None:
    """Return the next request's head; None: the client closed the connection, or was idle."""
    begun = False
    with trio.CancelScope() as scope:
        scope.deadline = trio.current_time() + limits.idle_timeout
        begun = bool(protocol.trailing_data[0])
        if begun:
            scope.deadline = trio.current_time() + limits.head_timeout
        while True:
            await trio.lowlevel.checkpoint()
            event = protocol.next_event()
            if isinstance(event, h11.Request):
                return _head_of(event)
            if event is not h11.NEED_DATA:
                return None
            data = await connection.receive_some(_READ)
            protocol.receive_data(data)
            if data and not begun:
                begun = True
                scope.deadline = trio.current_time() + limits.head_timeout
    if begun:
        raise Problem(408, "the head of the request did not arrive in time")
    return None


def _head_of(event: h11.Request) -> RequestHead:
    target = event.target.decode("ascii", "replace")
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for raw_name, raw_value in event.headers:
        name, value = raw_name.decode("ascii").lower(), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    try:
        parameters = parse_qsl(query, keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise Problem(400, "the query has more than 1,000 parameters") from None
    return RequestHead(
        method=event.method.decode("ascii"),
        path=path,
        query=parameters,
        headers=headers,
        target=target,
        http_version=event.http_version.decode("ascii"),
    )


async def _refuse(connection: ServerConnection, protocol: h11.Connection, problem: Problem) -> None:
    """Respond to a request that could not be read, and stop."""
    await trio.lowlevel.checkpoint()
    if protocol.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
        return
    body = problem.body
    head = h11.Response(
        status_code=problem.status,
        headers=[
            ("Content-Type", _JSON),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ],
        reason=HTTPStatus(problem.status).phrase.encode(),
    )
    try:
        out = [protocol.send(head), protocol.send(h11.Data(data=body))]
        out.append(protocol.send(h11.EndOfMessage()))
    except h11.LocalProtocolError:
        return
    with trio.move_on_after(_CLEANUP):
        await connection.send_all(b"".join(piece or b"" for piece in out))
        await _discard(connection)
