"""The two operations of the reference page, as they are: one connection, raw content."""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._event_stream import EventStream, EventStreamRequest
from trio_mix._rest._operation import UNTIL_069, Param, body_param, query_param
from trio_mix.models import StreamMessageResponse
from trio_mix.resources._base import Resource, operation, operation_of

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class Streaming(Resource):
    """The two streaming operations as the API has them."""

    @operation(
        "GET",
        "/stream",
        query_param("session_id"),
        Param(name="last_event_id", wire="Last-Event-ID", where="header"),
        operation_id="streamEvents",
        result=EventStream,
        errors=(404, 500),
        retry="safe",
    )
    def stream_events(
        self,
        *,
        session_id: str,
        last_event_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> EventStreamRequest:
        """Open a session's event stream: ``async with`` it, then iterate.

        One connection, without reconnecting: `Mix.open_stream` does that. Only connecting is
        tried again and timed; once the stream is open, silence is no error. A real server says
        that the session does not exist with an `ErrorEvent` before any `ConnectedEvent`.

        Args:
          session_id: the session.
          last_event_id: where to resume, on servers that replay.
          options: what differs for this call.
        """
        return EventStreamRequest(
            self._caller,
            operation_of(Streaming.stream_events),
            session_id,
            last_event_id,
            options,
        )

    @operation(
        "POST",
        "/stream/{id}/message",
        body_param("content"),
        operation_id="sendStreamingMessage",
        result=StreamMessageResponse,
        errors=(400, 404, 500),
        generations=UNTIL_069,
        retry="unsent",
    )
    async def send_streaming_message(
        self, *, id: str, content: str, options: RequestOptions | None = None
    ) -> StreamMessageResponse:
        """Send a message through the pipeline of the session's open streams (up to API 0.6.9).

        The server says yes even when no stream is open, and the message is gone then.

        Args:
          id: the session.
          content: JSON text, as ``{"text": "hi"}``; anything else makes servers close the stream.
          options: what differs for this call.
        """
        return await self._call(Streaming.send_streaming_message, options, id=id, content=content)
