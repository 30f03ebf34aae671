"""One HTTP request, and the means to respond to it.

The rules of `trio_mix.relay._http` apply.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import attrs
import h11
import trio

from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from trio_mix.relay._connection import ServerConnection

_READ: Final = 64 * 1024
_PIECE: Final = 64 * 1024
_EARLY: Final = 2**20
_JSON: Final = "application/json"

T = TypeVar("T")


@attrs.frozen
class HttpLimits:
    """How much, and for how long, one client may send."""

    head_size: int = 64 * 1024
    """The largest head of a request, in bytes."""
    json_size: int = 10 * 2**20
    """The largest body that is read whole, in bytes."""
    head_timeout: float = 10.0
    """Seconds from the first byte of a request until its head must be complete."""
    body_timeout: float = 30.0
    """Seconds for a body that is read whole, and for each piece of a streamed one."""
    idle_timeout: float = 75.0
    """Seconds that a connection may be idle between two requests."""
    stall_timeout: float = 30.0
    """Seconds without a byte taken after which a client's connection is closed."""


@attrs.frozen
class RequestHead:
    """A request without its body."""

    method: str
    path: str
    """As sent: percent-encoded, without the query."""
    query: Sequence[tuple[str, str]] = attrs.field(repr=False)
    """The parameters of the query, decoded, in order."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """Names in lower case; several values of one name are joined with a comma."""
    target: str = attrs.field(repr=False)
    """Path and query, as sent."""
    http_version: str

    def parameter(self, name: str) -> str | None:
        """Return a parameter of the query, None without one.

        Raises:
          Problem: it is given twice, with different values.
        """
        values = {value for key, value in self.query if key == name}
        if len(values) > 1:
            raise Problem(400, f"the query has two values for {name!r}: send one")
        return values.pop() if values else None


Takeover: TypeAlias = "Callable[[ServerConnection], Awaitable[None]]"
"""Serves a connection from the end of a request's head until it is closed (rule 4)."""


class Exchange:
    """One request, and the means to respond to it."""

    def __init__(
        self,
        connection: ServerConnection,
        protocol: h11.Connection,
        head: RequestHead,
        limits: HttpLimits,
    ) -> None:
        self.head = head
        self.limits = limits
        self.status = 0
        self.added_headers: list[tuple[str, str]] = []
        """Headers for every response to this request."""
        self._connection = connection
        self._h11 = protocol

    @property
    def responded(self) -> bool:
        """Whether the head of a response was sent."""
        return self.status != 0

    @property
    def body_read(self) -> bool:
        """Whether nothing of the request's body is left."""
        return self._h11.their_state is not h11.SEND_BODY

    async def read_body(self, limit: int | None = None) -> bytes:
        """Return the whole body.

        Args:
          limit: the largest size in bytes; None: `HttpLimits.json_size`.

        Raises:
          Problem: the body is too large (413) or too slow (408).
          trio.BrokenResourceError: the client left.
        """
        limit = self.limits.json_size if limit is None else limit
        declared = self.head.headers.get("content-length", "0")
        if declared.isdecimal() and int(declared) > limit:
            await trio.lowlevel.checkpoint()
            raise _too_large(limit)
        body = bytearray()
        with trio.move_on_after(self.limits.body_timeout) as scope:
            while piece := await self._receive():
                body += piece
                if len(body) > limit:
                    raise _too_large(limit)
        if scope.cancelled_caught:
            raise Problem(408, "the body of the request did not arrive in time")
        return bytes(body)

    async def receive_piece(self) -> bytes:
        """Return the next bytes of the body, ``b""`` at its end.

        Raises:
          Problem: no byte arrived in time (408).
          trio.BrokenResourceError: the client left.
        """
        with trio.move_on_after(self.limits.body_timeout):
            return await self._receive()
        raise Problem(408, "the body of the request stopped arriving")

    async def discard_piece(self) -> bool:
        """Read a piece of a body that is not wanted; return whether there may be more."""
        return bool(await self._receive())

    async def _receive(self) -> bytes:
        while True:
            await trio.lowlevel.checkpoint()
            try:
                event = self._h11.next_event()
            except h11.RemoteProtocolError as error:
                raise Problem(400, f"malformed request: {error}") from None
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if event is h11.NEED_DATA:
                if self._h11.they_are_waiting_for_100_continue:
                    go_on = h11.InformationalResponse(status_code=100, headers=[])
                    await self._connection.send_all(self._h11.send(go_on) or b"")
                self._h11.receive_data(await self._connection.receive_some(_READ))
            elif isinstance(event, h11.EndOfMessage | h11.PAUSED):
                return b""
            else:
                raise trio.BrokenResourceError("the client has closed the connection")

    async def respond(
        self,
        status: int,
        body: bytes = b"",
        content_type: str = _JSON,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Send a whole response."""
        every = list(headers)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            if body:
                every.append(("Content-Type", content_type))
            every.append(("Content-Length", str(len(body))))
        out = self._head(status, every)
        if body and self.head.method != "HEAD":
            out += self._h11.send(h11.Data(data=body)) or b""
        out += self._h11.send(h11.EndOfMessage()) or b""
        await self._send(out)

    async def respond_problem(self, problem: Problem) -> None:
        """Send the response of a problem."""
        await self.respond(problem.status, problem.body, headers=problem.headers)

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of a response; its body follows with `write`."""
        await self._send(self._head(status, headers))

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; nothing for HEAD."""
        if self.head.method == "HEAD":
            await trio.lowlevel.checkpoint()
        else:
            await self._send(self._h11.send(h11.Data(data=data)) or b"")

    async def finish(self) -> None:
        """Send the end of the body."""
        await self._send(self._h11.send(h11.EndOfMessage()) or b"")

    async def switch(self, headers: Iterable[tuple[str, str]]) -> None:
        """Accept another protocol (101); a takeover must follow."""
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
        head = h11.InformationalResponse(
            status_code=101, headers=encoded, reason=b"Switching Protocols"
        )
        data = self._h11.send(head) or b""
        self.status = 101
        await self._send(data)

    def early_bytes(self) -> bytes:
        """Return what the client sent after this request's head, for a takeover."""
        return self._h11.trailing_data[0]

    async def run_while_connected(self, function: Callable[[], Awaitable[T]]) -> T | None:
        """Call an async function and return its result; None: the client left meanwhile.

        The function is cancelled when the client leaves. Call it after the body was read.
        """
        result: T | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_gone, nursery.cancel_scope)
            try:
                result = await function()
            except Exception as error:  # noqa: BLE001 - raised below, outside of the nursery
                failure = error
            nursery.cancel_scope.cancel(reason="the request was handled")
        if failure is not None:
            raise failure
        return result

    async def _cancel_when_gone(self, scope: trio.CancelScope) -> None:  # noqa: ASYNC910 - reading and sending wait
        early = 0
        try:
            while early <= _EARLY and (data := await self._connection.receive_some(_READ)):
                self._h11.receive_data(data)
                early += len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        scope.cancel(reason="the client has left")

    def _head(self, status: int, headers: Iterable[tuple[str, str]]) -> bytes:
        reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else ""
        every = [*headers, *self.added_headers]
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in every]
        head = h11.Response(status_code=status, headers=encoded, reason=reason.encode())
        data = self._h11.send(head) or b""
        self.status = status
        return data

    async def _send(self, data: bytes) -> None:  # noqa: ASYNC910 - reading and sending wait
        view = memoryview(data)
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - reading and sending wait
            while view:
                scope.deadline = trio.current_time() + self.limits.stall_timeout
                view = view[await self._connection.send_some(view[:_PIECE]) :]
        if scope.cancelled_caught:
            self._connection.abort()
            raise trio.BrokenResourceError("the client took no byte of the response in time")


def _too_large(limit: int) -> Problem:
    return Problem(
        413,
        f"the body is larger than {limit / 2**20:g} MiB",
        headers=[("Connection", "close")],
    )
