"""Iterate the events of one connection to ``/stream``.

Rules:

1. One connection, no reconnect. The body's proper end ends the iteration; a cut is a
   `ConnectionFailed`, raised once, after the events that came before it.
2. Two tasks that iterate one stream: `trio.BusyResourceError`.
3. Each event is a point of cancellation, and at least every 64th lets other tasks run, as does
   each read from a socket that this client opened.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix._http import ResponseStream
from trio_mix._public import public
from trio_mix._rest._caller import USER_AGENT
from trio_mix._rest._opened_response import report_head
from trio_mix._rest._request import BodyStream, Request
from trio_mix._rest._retry import renewed
from trio_mix._wire._events import decode_event
from trio_mix.errors import MixError, ProtocolError, StreamClosed, TransportError
from trio_mix.sse import SSEDecoder
from trio_mix.sse._connect import StreamRequest, check_last_event_id, connect

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from trio_mix._rest._call import Call
    from trio_mix._rest._caller import Caller
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import RequestOptions
    from trio_mix.errors import RequestInfo
    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

_EVENTS_BETWEEN_CHECKPOINTS: Final = 64


@public("trio_mix.resources")
@final
class EventStream(BodyStream):
    """The events of one connection: iterate it. `Streaming.stream_events` opens it.

    It is an async context manager that closes the connection.

    Attributes:
      session_id: the session.
      url: the stream's URL, without credentials.
    """

    def __init__(
        self,
        response: ResponseStream,
        request: RequestInfo,
        session_id: str,
        last_event_id: str = "",
    ) -> None:
        self.session_id = session_id
        self.url: str = request.url
        self._response = response
        self._request = request
        self._decoder = SSEDecoder(last_event_id=last_event_id)
        self._last_id = last_event_id
        self._frames: deque[ServerSentEvent] = deque()
        self._since_checkpoint = 0
        self._busy = False
        self._ended = False
        self._closed = False
        self._reading: trio.CancelScope | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "ended" if self._ended else "open"
        return f"<EventStream of {self.session_id!r}, {state}>"

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was returned, ``""`` if there is none.

        Pass it to `Streaming.stream_events` to continue with the next event. Before the first event
        it is the ``last_event_id`` that the stream was opened with.
        """
        return self._last_id

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        """Return the next event.

        Cancellation loses no event, but on a caller's own ``http_client`` it breaks the connection.

        Raises:
          ConnectionFailed: the connection was cut.
          ProtocolError: an event is longer than 16 MiB.
          StreamClosed: the stream was closed.
          trio.BusyResourceError: another task is iterating.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is iterating this event stream")
        self._busy = True
        try:
            self._since_checkpoint += 1
            if self._since_checkpoint >= _EVENTS_BETWEEN_CHECKPOINTS:
                self._since_checkpoint = 0
                await trio.lowlevel.checkpoint()
            elif self._frames:
                await trio.lowlevel.checkpoint_if_cancelled()
            while not self._frames:
                self._last_id = self._decoder.last_event_id
                if self._closed:
                    await trio.lowlevel.checkpoint()
                    raise self._closed_error()
                if self._ended:
                    await trio.lowlevel.checkpoint()
                    raise StopAsyncIteration
                await self._read()
            frame = self._frames.popleft()
            self._last_id = frame.id
            return decode_event(frame)  # noqa: ASYNC910 - it read, or see above
        finally:
            self._busy = False

    async def _read(self) -> None:
        """Read once from the socket and decode what was read."""
        if self._response.owns_connection:  # then closing it ends the read
            data = await self._receive()
            self._since_checkpoint = 0
        else:
            data = b""
            with trio.CancelScope() as scope:
                self._reading = scope
                try:
                    data = await self._receive()
                finally:
                    self._reading = None
        if self._closed:
            raise self._closed_error()
        if not data:
            self._ended = True
            return
        try:
            self._frames.extend(self._decoder.feed(data))
        except ProtocolError as error:
            self._ended = True
            raise ProtocolError(
                f"{self.url}: {error} (max_event_size is an argument of mix.open_stream only.)",
                url=self.url,
                session_id=self.session_id,
            ) from None

    async def _receive(self) -> bytes:
        try:
            return await self._response.receive()
        except TransportError as error:
            self._ended = True
            if self._closed:
                raise self._closed_error() from None
            raise renewed(error, self._request) from error.__cause__

    def _closed_error(self) -> StreamClosed:
        return StreamClosed(
            f"The event stream of session {self.session_id!r} is closed: open another.",
            url=self.url,
            session_id=self.session_id,
        )

    async def aclose(self) -> None:
        """Close the connection; a task that waits for an event gets `StreamClosed`.

        It is shielded and bounded; closing again does nothing.
        """
        self._closed = True
        self._frames.clear()
        if self._reading is not None:
            self._reading.cancel(reason="the event stream was closed")
        await self._response.aclose()


@public("trio_mix.resources")
@final
class EventStreamRequest(Request[EventStream, EventStream]):
    """The request for an event stream, not made yet: enter it with ``async with``, or await it.

    Entered, it closes the stream on the way out; awaited, the caller must close it.
    """

    _entered_as = "async with mix.streaming.stream_events(...) as events"

    def __init__(
        self,
        caller: Caller,
        operation: Operation[EventStream],
        session_id: str,
        last_event_id: str | None,
        options: RequestOptions | None,
    ) -> None:
        super().__init__()
        self._caller = caller
        self._operation = operation
        self._session_id = session_id
        self._last_event_id = last_event_id
        self._options = options

    async def _value(self) -> EventStream:
        return await self._open()

    async def _open(self) -> EventStream:
        await trio.lowlevel.checkpoint()
        last_event_id = self._last_event_id or ""
        check_last_event_id(last_event_id)
        values = {"session_id": self._session_id}
        call = self._caller.prepare(self._operation, values, self._options)
        request = StreamRequest(
            self._caller.http,
            call.url,
            headers=lambda: self._headers(call),
            connect_timeout=call.timeout,
            session_id=self._session_id,
            operation=call.operation.name,
            error_of=call.error_of,
            client_defaults=not call.withheld,
        )

        async def once(added: Mapping[str, str]) -> ResponseStream:
            try:
                response = await connect(request, lambda: last_event_id, added)
            except TransportError as error:
                raise renewed(error, call.request) from error.__cause__
            except MixError as error:
                await call.responded(error.status_code, error.headers)
                raise
            await report_head(call, response)
            return response

        response = await call.retry.run(
            lambda: self._caller.attempt(call, once, ResponseStream.aclose)
        )
        return EventStream(response, call.request, self._session_id, last_event_id)

    async def _headers(self, call: Call) -> dict[str, str]:
        return {"user-agent": USER_AGENT, **await self._caller.defaults.headers_for(call.options)}
