"""The two operations of the reference page, as they are: one connection, raw content.

What it knows: the arguments of these operations.
What it must never know: reconnecting, turns: those are `Mix.open_stream`'s.
"""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._event_stream import EventStreamRequest
from trio_mix._rest._tables import _streaming as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import StreamMessageResponse

__all__ = ["Streaming"]


@public("trio_mix.resources")
class Streaming(Resource):
    """The two streaming operations, as they are."""

    @implements(op.STREAM_EVENTS)
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
        return EventStreamRequest(self._core, session_id, last_event_id, options)

    @implements(op.SEND_STREAMING_MESSAGE)
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
        values = {"id": id, "content": content}
        return await self._core.request(op.SEND_STREAMING_MESSAGE, values, options)
