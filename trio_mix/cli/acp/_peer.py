"""A peer of JSON-RPC 2.0, with one JSON text per line.

Rules (tests cite the numbers):

1. Requests of the other side run beside each other. Their handlers are called in the order of
   arrival, so that a notification finds what an earlier request has begun.
2. What is sent keeps its order: a response follows all that its handler has sent.
3. A line that is no request, notification or response is answered by an error, and nothing else
   happens.
4. When the other side closes its end, its requests are cancelled: nobody waits for them.
5. ``$/cancel_request`` cancels a request of either side. A request whose caller here is cancelled
   is cancelled on the other side.
6. Lines, what waits to be sent, and the number of requests are bounded.
"""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec
import trio

from trio_mix import _json
from trio_mix.cli.acp._lines import LineSplitter, LineTooLong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio.abc import ReceiveStream, SendStream

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REQUEST_CANCELLED: Final = -32800

_MAX_REQUESTS: Final = 256
"""Requests of the other side that run at the same time."""
_READ: Final = 2**16
"""Bytes that are read at once; each may be a line that is refused, in a hundred bytes."""
_MAX_QUEUED: Final = 2**20
"""Bytes that wait to be sent before a sender waits."""

Handler: TypeAlias = "Callable[[object], Awaitable[object]]"
"""Returns the result for the parameters of a request. It is called in the order of arrival."""
Listener: TypeAlias = "Callable[[object], None]"
"""Receives the parameters of a notification."""
RequestId: TypeAlias = str | int


class RPCError(Exception):
    """An error response: of this side, to be sent, or of the other side, received."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_object(self) -> dict[str, object]:
        """Return the error object of JSON-RPC."""
        found: dict[str, object] = {"code": self.code, "message": self.message}
        return found if self.data is None else {**found, "data": self.data}


class Peer:
    """One side of a connection.

    Args:
      receive: what the other side sends.
      send: to the other side.
      requests: the handlers of requests, by method.
      notifications: the listeners of notifications, by method; others are ignored.
    """

    def __init__(
        self,
        receive: ReceiveStream,
        send: SendStream,
        requests: Mapping[str, Handler],
        notifications: Mapping[str, Listener],
    ) -> None:
        self._receive = receive
        self._send = send
        self._requests = requests
        self._notifications = notifications
        self._running: dict[RequestId, trio.CancelScope] = {}
        self._waiting: dict[RequestId, _Answer] = {}
        self._last_id = 0
        self._queue: list[bytes] = []
        self._queued = 0
        self._work = trio.Event()
        self._room = trio.Event()

    async def run(self) -> None:
        """Serve the other side until it closes its end, or no longer reads."""
        splitter = LineSplitter()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                while data := await self._receive.receive_some(_READ):
                    for line in splitter.feed(bytes(data)):
                        self._received(line, nursery)
                    await self._has_room()
                nursery.cancel_scope.cancel(reason="the other side has closed the connection")
        except* trio.BrokenResourceError:
            await trio.lowlevel.checkpoint()

    async def request(self, method: str, params: object) -> object:
        """Send a request and return its result.

        If it is cancelled, the request is cancelled on the other side.

        Raises:
          RPCError: the other side answered with an error.
        """
        self._last_id += 1
        request_id = self._last_id
        answer = self._waiting[request_id] = _Answer()
        try:
            await self._put({"id": request_id, "method": method, "params": params})
            await answer.arrived.wait()
        except trio.Cancelled:
            self._put_nowait({"method": "$/cancel_request", "params": {"requestId": request_id}})
            raise
        finally:
            del self._waiting[request_id]
        if answer.error is not None:
            raise answer.error
        return answer.result

    async def notify(self, method: str, params: object) -> None:
        """Send a notification. Waits while too much waits to be sent. A checkpoint."""
        await self._put({"method": method, "params": params})

    # -- Sending --------------------------------------------------------------------------------

    async def _put(self, message: dict[str, object]) -> None:
        await self._has_room()
        self._put_nowait(message)

    async def _has_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._queued > _MAX_QUEUED:
            await self._room.wait()

    def _put_nowait(self, message: dict[str, object]) -> None:
        line = msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n"
        self._queue.append(line)
        self._queued += len(line)
        self._work.set()

    async def _write(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            data = b"".join(self._queue)
            self._queue.clear()
            await self._send.send_all(data)
            self._queued -= len(data)
            self._room.set()
            self._room = trio.Event()

    # -- Receiving ------------------------------------------------------------------------------

    def _received(self, line: bytes | LineTooLong, nursery: trio.Nursery) -> None:
        if isinstance(line, LineTooLong):
            self._refuse(None, PARSE_ERROR, str(line))
            return
        if not line.strip():
            return
        try:
            message: Any = _json.parse(line)
        except _json.NotJSON as error:
            self._refuse(None, PARSE_ERROR, f"not JSON: {error}")
            return
        match message:
            case {"method": str(method), "id": str() | int() as request_id}:
                self._begin(method, request_id, message.get("params"), nursery)
            case {"method": str(method)} if "id" not in message:
                self._notified(method, message.get("params"))
            case {"id": str() | int() as request_id} if "result" in message or "error" in message:
                self._answered(request_id, message)
            case _:
                self._refuse(None, INVALID_REQUEST, "neither a request nor a response")

    def _begin(
        self, method: str, request_id: RequestId, params: object, nursery: trio.Nursery
    ) -> None:
        if request_id in self._running:
            self._refuse(request_id, INVALID_REQUEST, "the id of a request that still runs")
        elif len(self._running) >= _MAX_REQUESTS:
            self._refuse(request_id, INTERNAL_ERROR, f"more than {_MAX_REQUESTS} requests run")
        elif (handler := self._requests.get(method)) is None:
            self._refuse(request_id, METHOD_NOT_FOUND, f"no such method: {method[:100]}")
        else:
            try:
                result = handler(params)
            except RPCError as error:
                self._put_nowait({"id": request_id, "error": error.as_object()})
                return
            scope = self._running[request_id] = trio.CancelScope()
            nursery.start_soon(self._respond, request_id, result, scope)

    async def _respond(
        self, request_id: RequestId, result: Awaitable[object], scope: trio.CancelScope
    ) -> None:
        message: dict[str, object] = {"id": request_id}
        try:
            with scope:
                message["result"] = await result
            if scope.cancelled_caught:
                raise RPCError(REQUEST_CANCELLED, "the request was cancelled")
        except RPCError as error:
            message["error"] = error.as_object()
        except Exception:  # noqa: BLE001 - a defect must not end the sessions of other requests
            traceback.print_exc(file=sys.stderr)
            defect = RPCError(INTERNAL_ERROR, "a bug in trio-mix: stderr has the traceback")
            message["error"] = defect.as_object()
        finally:
            del self._running[request_id]
        await self._put(message)

    def _notified(self, method: str, params: object) -> None:
        if method == "$/cancel_request":
            match params:
                case {"requestId": str() | int() as request_id} if request_id in self._running:
                    self._running[request_id].cancel(reason="the other side cancelled the request")
                case _:
                    pass
        elif (listener := self._notifications.get(method)) is not None:
            listener(params)

    def _answered(self, request_id: RequestId, message: Mapping[str, Any]) -> None:
        answer = self._waiting.get(request_id)
        if answer is None:
            return  # it was cancelled meanwhile
        match message.get("error"):
            case None:
                answer.result = message.get("result")
            case {"code": int(code), "message": str(text)}:
                answer.error = RPCError(code, text)
            case _:
                answer.error = RPCError(INTERNAL_ERROR, "an error without code and message")
        answer.arrived.set()

    def _refuse(self, request_id: RequestId | None, code: int, text: str) -> None:
        self._put_nowait({"id": request_id, "error": {"code": code, "message": text}})


class _Answer:
    """The response to a request of this side."""

    def __init__(self) -> None:
        self.arrived = trio.Event()
        self.result: object = None
        self.error: RPCError | None = None
