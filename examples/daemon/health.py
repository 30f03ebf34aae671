"""Serve the daemon's health and metrics over HTTP. For more than three paths use an HTTP server.

``/livez``    200 while the event loop turns
``/readyz``   200 while a stream is connected and jobs are taken, else 503; the streams as JSON
``/metrics``  for Prometheus

A web page in a browser of this machine reaches the port as well. Its requests are refused: they
have an ``Origin`` or a ``Sec-Fetch-Site``, or name another host (DNS rebinding).
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import logging
import re
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import Hooks, StreamState

from .trouble import Trouble

if TYPE_CHECKING:
    from trio_mix.hooks import (
        AfterErrorContext,
        AfterSuccessContext,
        MessageFinishedContext,
        StreamClosedContext,
        StreamLostContext,
        StreamOpenedContext,
    )

    from .worker import Workers

__all__ = ["Metrics", "serve_health"]

_log = logging.getLogger("daemon")
_LONGEST_REQUEST = 8192
_TIMEOUT = 5.0


_FAMILIES = {
    "daemon_jobs_total": ("counter", "Jobs that ended since the start, by result."),
    "daemon_spool_jobs": ("gauge", "Jobs in a folder of the spool."),
    "mix_message_duration_seconds": ("summary", "How long messages took, from send to end."),
    "mix_messages_total": ("counter", "Messages that ended, by outcome."),
    "mix_requests_total": ("counter", "Requests, by operation and status; none: no response."),
    "mix_stream_losses_total": ("counter", "Connections lost; planned: by the client itself."),
    "mix_streams": ("gauge", "Open session streams, by state."),
}
"""The type and the help text of each family of metrics."""


class Metrics:
    """Counters that the client's hooks maintain; losses of streams are logged too."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.message_seconds = 0.0
        self.messages = 0
        self._lost_streams = Trouble("a stream was lost", "no stream is lost any more")
        self.hooks = Hooks(
            after_success=self._request,
            after_error=self._request,
            message_finished=self._message,
            stream_lost=self._lost,
            stream_opened=self._opened,
            stream_closed=self._closed,
        )

    def _request(self, context: AfterSuccessContext | AfterErrorContext) -> None:
        labels = f'operation="{context.operation}",status="{context.status_code or "none"}"'
        self.counts[f"mix_requests_total{{{labels}}}"] += 1

    def _message(self, context: MessageFinishedContext) -> None:
        self.counts[f'mix_messages_total{{outcome="{context.outcome}"}}'] += 1
        self.message_seconds += context.elapsed
        self.messages += 1

    def _lost(self, context: StreamLostContext) -> None:
        planned = str(context.planned).lower()
        self.counts[f'mix_stream_losses_total{{planned="{planned}"}}'] += 1
        if not context.planned:
            reason = context.reason.replace(context.session_id, "…")
            self._lost_streams.begin(context.session_id, reason)

    def _opened(self, context: StreamOpenedContext) -> None:
        self._lost_streams.end(context.session_id)

    def _closed(self, context: StreamClosedContext) -> None:
        self._lost_streams.end(context.session_id)

    def text(self, workers: Workers, folders: dict[str, int]) -> str:
        """Return all metrics in the text format of Prometheus."""
        states = Counter(session.state for session in workers.streams.values())
        values: dict[str, float] = {
            **self.counts,
            **{f'daemon_jobs_total{{result="{each}"}}': n for each, n in workers.ended.items()},
            **{f'daemon_spool_jobs{{folder="{name}"}}': n for name, n in folders.items()},
            **{f'mix_streams{{state="{state}"}}': states[state] for state in StreamState},
            "mix_message_duration_seconds_sum": round(self.message_seconds, 3),
            "mix_message_duration_seconds_count": self.messages,
        }
        lines: list[str] = []
        for family, (kind, about) in _FAMILIES.items():
            lines += [f"# HELP {family} {about}", f"# TYPE {family} {kind}"]
            parts = (f"{family}_sum", f"{family}_count") if kind == "summary" else (family,)
            lines += [
                f"{name} {value}"
                for name, value in sorted(values.items())
                if name.partition("{")[0] in parts
            ]
        return "\n".join(lines) + "\n"


@attrs.define
class _Health:
    workers: Workers
    metrics: Metrics
    host: str

    async def answer(self, request: str) -> tuple[int, str]:
        """Return the status and the body for the head of a request."""
        line, *fields = request.split("\r\n")
        method, _, target = line.partition(" ")
        headers = {
            name.lower(): value.strip() for name, _, value in (f.partition(":") for f in fields)
        }
        if not self._is_for_this_server(headers):
            return 403, "this is not for web pages; name the server by its address\n"
        return await self._get(target.partition(" ")[0] if method == "GET" else "")

    def _is_for_this_server(self, headers: dict[str, str]) -> bool:
        if "origin" in headers or headers.get("sec-fetch-site", "none") != "none":
            return False
        host = re.sub(r":[0-9]*\Z", "", headers.get("host", "localhost")).strip("[]").lower()
        if host in ("localhost", self.host.lower()):
            return True
        with contextlib.suppress(ValueError):
            return bool(ipaddress.ip_address(host))
        return False

    async def _get(self, path: str) -> tuple[int, str]:
        match path:
            case "/livez":
                return 200, "alive\n"
            case "/readyz":
                streams = [self._stream(number) for number in sorted(self.workers.streams)]
                draining = self.workers.draining.is_set()
                ready = not draining and any(one["state"] == "connected" for one in streams)
                state = {"ready": ready, "draining": draining, "streams": streams}
                return 200 if ready else 503, json.dumps(state) + "\n"
            case "/metrics":
                folders = await trio.to_thread.run_sync(self.workers.spool.counts)
                return 200, self.metrics.text(self.workers, folders)
        return 404, "the paths are /livez, /readyz and /metrics\n"

    def _stream(self, number: int) -> dict[str, object]:
        session = self.workers.streams[number]
        statistics = session.statistics()
        return {
            "worker": number,
            "state": str(session.state),
            "reconnects": statistics.reconnects,
            "last_loss": statistics.last_loss,
            "job": self.workers.jobs.get(number),
        }

    async def serve(self, connection: trio.SocketStream) -> None:
        """Answer one request; ignore errors of the peer."""
        request = b""
        try:
            with trio.move_on_after(_TIMEOUT):
                while b"\r\n\r\n" not in request and len(request) < _LONGEST_REQUEST:
                    data = await connection.receive_some()
                    if not data:
                        return
                    request += data
                status, body = await self.answer(request.decode("latin-1"))
                head = (
                    f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
                    "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
                    f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
                )
                await connection.send_all((head + body).encode())
        except trio.BrokenResourceError:
            pass
        except Exception:  # noqa: BLE001 - it is logged
            _log.exception("a health check failed")  # the jobs go on


async def serve_health(
    workers: Workers, metrics: Metrics, listeners: list[trio.SocketListener], host: str
) -> None:
    """Answer until cancelled; ``host`` is the name or address that is bound."""
    await trio.serve_listeners(_Health(workers, metrics, host).serve, listeners)
