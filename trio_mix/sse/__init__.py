"""Server-Sent Events for Trio: a decoder to the letter, and a supervised connection.

This package stands alone: it knows no Mix, and works with any server that speaks SSE.
"""

from trio_mix.sse._decoder import ServerSentEvent as ServerSentEvent
from trio_mix.sse._decoder import SSEDecoder as SSEDecoder
from trio_mix.sse._event_source import EventSource as EventSource
from trio_mix.sse._event_source import open_event_source as open_event_source
from trio_mix.sse._policy import ReconnectPolicy as ReconnectPolicy
from trio_mix.sse._policy import ReconnectSchedule as ReconnectSchedule
from trio_mix.sse._statistics import EventSourceStatistics as EventSourceStatistics
from trio_mix.sse._statistics import StreamState as StreamState

__all__ = [
    "EventSource",
    "EventSourceStatistics",
    "ReconnectPolicy",
    "ReconnectSchedule",
    "SSEDecoder",
    "ServerSentEvent",
    "StreamState",
    "open_event_source",
]
