"""Server-Sent Events for Trio: a decoder by the WHATWG rules, and streams that reconnect.

The package works with any SSE server and does not depend on the rest of trio_mix.
"""

from typing import TYPE_CHECKING

from trio_mix._lazy import lazy

if TYPE_CHECKING:
    from trio_mix.sse._decoder import ServerSentEvent as ServerSentEvent
    from trio_mix.sse._decoder import SSEDecoder as SSEDecoder
    from trio_mix.sse._event_source import EventSource as EventSource
    from trio_mix.sse._event_source import open_event_source as open_event_source
    from trio_mix.sse._reconnect import ReconnectPolicy as ReconnectPolicy
    from trio_mix.sse._reconnect import ReconnectSchedule as ReconnectSchedule
    from trio_mix.sse._statistics import ConnectionStatistics as ConnectionStatistics
    from trio_mix.sse._statistics import EventSourceStatistics as EventSourceStatistics
    from trio_mix.sse._statistics import StreamState as StreamState

    __all__: list[str]
else:
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "trio_mix.sse._decoder": ("SSEDecoder", "ServerSentEvent"),
            "trio_mix.sse._event_source": ("EventSource", "open_event_source"),
            "trio_mix.sse._reconnect": ("ReconnectPolicy", "ReconnectSchedule"),
            "trio_mix.sse._statistics": (
                "ConnectionStatistics",
                "EventSourceStatistics",
                "StreamState",
            ),
        },
    )
