"""Server-Sent Events for Trio: a decoder to the letter, and a supervised connection.

This package stands alone: it knows no Mix, and works with any server that speaks SSE.
"""

from trio_mix.sse._decoder import ServerSentEvent as ServerSentEvent
from trio_mix.sse._decoder import SSEDecoder as SSEDecoder
from trio_mix.sse._policy import ReconnectPolicy as ReconnectPolicy
from trio_mix.sse._policy import ReconnectSchedule as ReconnectSchedule

__all__ = [
    "ReconnectPolicy",
    "ReconnectSchedule",
    "SSEDecoder",
    "ServerSentEvent",
]
