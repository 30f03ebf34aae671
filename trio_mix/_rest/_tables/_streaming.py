"""The table's entries for the two streaming operations.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final

from trio_mix._rest._operation import (
    UNTIL_069,
    Operation,
    Param,
    body_param,
    path_param,
    query_param,
)
from trio_mix.models import StreamMessageResponse

STREAM_EVENTS: Final = Operation(
    name="streaming.stream_events",
    operation_id="streamEvents",
    method="GET",
    path="/stream",
    params=(
        query_param("session_id", required=True),
        Param(name="last_event_id", wire="Last-Event-ID", where="header"),
    ),
    result=bytes,
    answers={200: "text/event-stream"},
    errors=(404, 500),
    retry="safe",
)
SEND_STREAMING_MESSAGE: Final = Operation(
    name="streaming.send_streaming_message",
    operation_id="sendStreamingMessage",
    method="POST",
    path="/stream/{id}/message",
    params=(path_param("id"), body_param("content", required=True)),
    result=StreamMessageResponse,
    answers={200: "StreamMessageResponse"},
    errors=(400, 404, 500),
    generations=UNTIL_069,
    retry="unsent",
)
