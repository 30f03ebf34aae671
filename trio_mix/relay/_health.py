"""Whether the relay works, and its figures as Prometheus text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mix.relay._hub import Hub
    from trio_mix.relay._passthrough import Upstream
    from trio_mix.relay._sse import Streams
    from trio_mix.relay._ws import Sockets

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@attrs.define
class ServerState:
    """What the HTTP side has counted, and whether it is shutting down."""

    draining: bool = False
    """Whether no stream is opened and no message accepted any more."""

    connections: int = 0
    """Connections that are open."""
    requests: int = 0
    """Requests that were received."""
    refused: int = 0
    """Requests that were answered with 401, 403 or 429."""
    failed: int = 0
    """Requests that were answered with 500 or more."""


def readiness(hub: Hub, *, draining: bool) -> tuple[int, bytes]:
    """Return the response of ``/relay/health/ready``."""
    if draining:
        state = "draining"
    elif hub.generation is None:
        state = "the Mix server was never reached"
    elif not hub.ready:
        state = "starting"
    else:
        state = "ready"
    fields = {
        "status": state,
        "generation": hub.generation,
        "upstream": "reachable" if hub.upstream_reachable else "unreachable",
    }
    return (200 if state == "ready" else 503), (json.dumps(fields) + "\n").encode()


def metrics_text(
    hub: Hub, streams: Streams, sockets: Sockets, upstream: Upstream, state: ServerState
) -> bytes:
    """Return the response of ``/relay/metrics``."""
    pump = streams.rooms.pump
    rows: list[tuple[str, str, float]] = [
        ("ready", "gauge", hub.ready and not state.draining),
        ("upstream_reachable", "gauge", hub.upstream_reachable),
        ("draining", "gauge", state.draining),
        ("connections", "gauge", state.connections),
        ("consumers", "gauge", streams.consumers),
        ("websockets", "gauge", len(sockets)),
        ("websockets_total", "counter", sockets.opened),
        ("streams_total", "counter", streams.opened),
        ("streams_stalled_total", "counter", streams.rooms.stalled),
        ("gaps_total", "counter", streams.rooms.gaps),
        ("deliveries_total", "counter", pump.sent_frames),
        ("delivered_bytes_total", "counter", pump.sent_bytes),
        ("sockets_full_total", "counter", pump.woken),
        ("requests_total", "counter", state.requests),
        ("requests_refused_total", "counter", state.refused),
        ("requests_failed_total", "counter", state.failed),
        ("upstream_requests_total", "counter", upstream.requests),
        ("upstream_failures_total", "counter", upstream.failures),
    ]
    statistics = hub.statistics()
    for field in attrs.fields(type(statistics)):
        value = getattr(statistics, field.name)
        if isinstance(value, int | float):
            total = field.name.endswith("_total")
            rows.append((field.name, "counter" if total else "gauge", value))
    return b"".join(_lines(rows))


def _lines(rows: Iterable[tuple[str, str, float]]) -> Iterable[bytes]:
    for name, kind, value in rows:
        full = f"trio_mix_relay_{name}"
        yield f"# TYPE {full} {kind}\n{full} {float(value):g}\n".encode()
