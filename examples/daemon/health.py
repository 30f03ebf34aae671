"""What others ask the daemon: is it alive, is it ready, what has it done.

What it knows: a little HTTP, the text format of Prometheus. What it must never know: how jobs are
done. Whoever needs more than these three answers should put a real HTTP server here.

``/livez``    200 while the event loop turns
``/readyz``   200 while a stream is connected and jobs are taken, else 503; the streams as JSON
``/metrics``  for Prometheus
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import Hooks, StreamState

if TYPE_CHECKING:
    from trio_mix.hooks import (
        AfterErrorContext,
        AfterSuccessContext,
        MessageFinishedContext,
        StreamLostContext,
        StreamOpenedContext,
    )

    from .worker import Crew

__all__ = ["Metrics", "serve_health"]

_log = logging.getLogger("daemon")
_LONGEST_REQUEST = 8192
_PATIENCE = 5.0


class Metrics:
    """Figures that the client's hooks count; what befalls a stream is in the log, too."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.hooks = Hooks(
            after_success=self._request,
            after_error=self._request,
            message_finished=self._message,
            stream_lost=self._lost,
            stream_opened=self._opened,
        )

    def _request(self, told: AfterSuccessContext | AfterErrorContext) -> None:
        labels = f'operation="{told.operation}",status="{told.status_code or "none"}"'
        self.counts[f"mix_requests_total{{{labels}}}"] += 1

    def _message(self, told: MessageFinishedContext) -> None:
        self.counts[f'mix_messages_total{{outcome="{told.outcome}"}}'] += 1
        self.counts["mix_message_milliseconds_total"] += round(told.elapsed * 1000)

    def _lost(self, told: StreamLostContext) -> None:
        planned = str(told.planned).lower()
        self.counts[f'mix_stream_losses_total{{planned="{planned}"}}'] += 1
        if not told.planned:
            _log.warning("session %s: the stream was lost: %s", told.session_id, told.reason)

    def _opened(self, told: StreamOpenedContext) -> None:
        if told.connection > 1:
            _log.info("session %s: the stream is back", told.session_id)

    def text(self, crew: Crew, folders: dict[str, int]) -> str:
        """Return all figures as Prometheus reads them."""
        counters = self.counts + Counter(
            {f'daemon_jobs_total{{result="{result}"}}': n for result, n in crew.ended.items()}
        )
        states = Counter(stream.state for stream in crew.streams.values())
        gauges = {f'daemon_spool{{folder="{name}"}}': n for name, n in folders.items()}
        gauges |= {f'mix_streams{{state="{state}"}}': states[state] for state in StreamState}
        lines: list[str] = []
        for kind, figures in (("counter", counters), ("gauge", gauges)):
            known = ""
            for name, value in sorted(figures.items()):
                family = name.partition("{")[0]
                if family != known:
                    known = family
                    lines.append(f"# TYPE {family} {kind}")
                lines.append(f"{name} {value}")
        return "\n".join(lines) + "\n"


@attrs.define
class _Health:
    crew: Crew
    metrics: Metrics

    async def answer(self, path: str) -> tuple[int, str]:
        match path:
            case "/livez":
                return 200, "alive\n"
            case "/readyz":
                streams = [self._stream(number) for number in sorted(self.crew.streams)]
                draining = self.crew.draining.is_set()
                ready = not draining and any(one["state"] == "connected" for one in streams)
                told = {"ready": ready, "draining": draining, "streams": streams}
                return 200 if ready else 503, json.dumps(told) + "\n"
            case "/metrics":
                folders = await trio.to_thread.run_sync(self.crew.spool.counts)
                return 200, self.metrics.text(self.crew, folders)
        return 404, "there are /livez, /readyz and /metrics\n"

    def _stream(self, number: int) -> dict[str, object]:
        stream = self.crew.streams[number]
        numbers = stream.statistics()
        return {
            "worker": number,
            "state": str(stream.state),
            "reconnects": numbers.reconnects,
            "last_loss": numbers.last_loss,
            "job": self.crew.jobs.get(number),
        }

    async def serve(self, connection: trio.SocketStream) -> None:
        """Answer one request; nothing that a peer does is an error here."""
        request = b""
        try:
            with trio.move_on_after(_PATIENCE):
                while b"\r\n\r\n" not in request and len(request) < _LONGEST_REQUEST:
                    data = await connection.receive_some()
                    if not data:
                        return
                    request += data
                words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                status, body = await self.answer(words[1] if words[0] == "GET" else "")
                head = (
                    f"HTTP/1.1 {status} {'OK' if status == 200 else 'Not now'}\r\n"
                    "Content-Type: text/plain; charset=utf-8\r\n"
                    f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n"
                )
                await connection.send_all((head + body).encode())
        except trio.BrokenResourceError:
            pass


async def serve_health(crew: Crew, metrics: Metrics, listeners: list[trio.SocketListener]) -> None:
    """Answer until cancelled."""
    await trio.serve_listeners(_Health(crew, metrics).serve, listeners)
