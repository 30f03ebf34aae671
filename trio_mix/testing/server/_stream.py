"""One open event stream of a session.

Rules:

1. Queueing an event never waits. A writer task sends the queued frames in order.
2. ``connected`` is the first frame. Replayed events follow directly, then new ones; none is lost or
   sent twice.
3. A heartbeat is sent every ``heartbeat_interval``; a pipeline server skips it while it runs a
   message.
4. At ``max_connection_age`` a stream with a running turn is cut, and an idle stream at the next
   heartbeat, both without the final chunk.
5. With ``slow_reader_limit`` events queued, further events are dropped silently.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal

import trio

from trio_mix.testing._records import EventsDropped, FrameQueued, StreamEnded, StreamOpened
from trio_mix.testing.server._frames import ServerEvent, encode_frame

if TYPE_CHECKING:
    from trio_mix.testing.net._http1 import HttpExchange
    from trio_mix.testing.server._backend import Backend, LiveSession
    from trio_mix.testing.server._script import How, Torn

STREAM_HEADERS = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache"),
    ("Connection", "keep-alive"),
    ("Access-Control-Allow-Origin", "*"),
)

_HEARTBEAT = ServerEvent("heartbeat", {"type": "ping"}, turn=False)


class ServerStream:
    """The response that sends a session's events to one client."""

    def __init__(self, backend: Backend, live: LiveSession, exchange: HttpExchange) -> None:
        self.live = live
        self.number = next(backend.connections)
        self.last_event_id = exchange.request.headers.get("last-event-id", "")
        self.closed = False
        self.messages: deque[str] = deque()  # queued on this stream of a pipeline server
        self.working = False
        self.changed = trio.lowlevel.ParkingLot()
        self._backend = backend
        self._exchange = exchange
        self._opened = trio.current_time()
        self._frames = 0
        self._queued: deque[tuple[bytes, bool]] = deque()
        self._writing = trio.CancelScope()
        self._busy = False
        self._ending: How | None = None

    @property
    def age(self) -> float:
        """Seconds since the stream was opened."""
        return trio.current_time() - self._opened

    def send_nowait(self, event: ServerEvent, number: int | None = None) -> None:
        """Queue an event; ``number`` is its id if ids continue over connections."""
        settings = self._backend.settings
        if self.closed or self._ending is not None:
            return
        limit = settings.max_connection_age
        if event.turn and limit is not None and self.age >= limit:
            self.end("cut")
            return
        most = settings.slow_reader_limit
        if most is not None and len(self._queued) >= most:
            dropped = EventsDropped(
                session_id=self.live.row.id, connection=self.number, event=event.name
            )
            self._backend.log.add(dropped)
            return
        self._queue(event, number)

    def send_raw(self, data: bytes, *, past_framing: bool = False) -> None:
        """Queue bytes to be written unchanged."""
        if not self.closed and self._ending is None:
            self._queued.append((data, past_framing))
            self.changed.unpark_all()

    def tear(self, event: ServerEvent, how: Torn) -> None:
        """Queue an event and a heartbeat as if two threads wrote them without a lock."""
        frame, other = self._encode(event, None), self._encode(_HEARTBEAT, None)
        middle = len(frame) // 2
        match how:
            case "ids":
                self.send_raw(other)
                self.send_raw(frame)
            case "chunk":
                self.send_raw(frame)
                self.send_raw(b"\n" + other[-middle:], past_framing=True)
            case _:
                self.send_raw(frame[:middle] + other + frame[middle:])

    def end(self, how: How) -> None:
        """End the stream; with ``close``, queued frames are sent first."""
        if not self.closed and self._ending is None:
            self._ending = how
            if how != "close":
                self._writing.cancel()
            self.changed.unpark_all()

    async def drained(self) -> None:
        """Wait until all frames are written, or the stream is closed."""
        await trio.lowlevel.checkpoint()
        while not self.closed and (self._queued or self._busy):
            await self.changed.park()

    async def serve(self) -> None:
        """Serve the stream until it ends; it accepts events before the first checkpoint."""
        how: Literal["client", "cut", "close", "reset", "stopped"] = "stopped"
        self._open()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch)
                nursery.start_soon(self._send_heartbeats)
                nursery.start_soon(self._enforce_age)
                how = await self._write()
                nursery.cancel_scope.cancel()
        finally:
            self.closed = True
            self.live.streams.remove(self)
            self.changed.unpark_all()
            self._backend.log.add(
                StreamEnded(
                    session_id=self.live.row.id,
                    connection=self.number,
                    how=how,
                    frames=self._frames,
                )
            )

    def _open(self) -> None:
        settings = self._backend.settings
        connected = ServerEvent("connected", {"sessionId": self.live.row.id}, turn=False)
        if settings.restart_ids or settings.connected_id:
            self._queue(connected, None if settings.restart_ids else next(self.live.numbers))
        else:
            fields = self._backend.traits.frame_fields
            self._queued.append((encode_frame(connected, None, retry=fields), False))
        if settings.replay and self.last_event_id.isdecimal():
            last = int(self.last_event_id)
            for number, event in self.live.history:
                if number > last:
                    self._queue(event, number)
        self.live.streams.append(self)
        self._backend.log.add(
            StreamOpened(
                session_id=self.live.row.id,
                connection=self.number,
                last_event_id=self.last_event_id,
            )
        )

    def _queue(self, event: ServerEvent, number: int | None) -> None:
        self._queued.append((self._encode(event, number), False))
        self.changed.unpark_all()

    def _encode(self, event: ServerEvent, number: int | None) -> bytes:
        self._frames += 1
        fields = self._backend.traits.frame_fields
        if number is None and not self._backend.settings.restart_ids:
            number = next(self.live.numbers)
        event_id = str(self._frames if number is None else number) if fields else None
        self._backend.log.add(
            FrameQueued(
                session_id=self.live.row.id,
                connection=self.number,
                event=event.name,
                event_id=event_id or "",
            )
        )
        return encode_frame(event, event_id, retry=fields)

    async def _write(self) -> Literal["client", "cut", "close", "reset"]:
        try:
            with self._writing:
                await self._exchange.start(200, STREAM_HEADERS)
                while True:  # noqa: ASYNC913 - it writes, waits or returns
                    if self._queued:
                        pieces = self._pieces()
                        self._busy = True
                        await self._exchange.write(pieces)
                        self._busy = False
                    elif self._ending == "close":
                        await self._exchange.finish()
                        return "close"
                    elif self._exchange.gone.is_set():
                        return "client"
                    else:
                        self.changed.unpark_all()
                        await self.changed.park()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return "client"  # noqa: ASYNC910 - the write that failed was one
        how: Literal["cut", "reset"] = "reset" if self._ending == "reset" else "cut"
        self._exchange.sever(how)
        return how

    def _pieces(self) -> list[tuple[bytes, bool]]:
        """Take what is queued: one chunk per frame, on the oldest servers one for all frames."""
        pieces = list(self._queued)
        self._queued.clear()
        if self._backend.traits.frame_fields or any(past_framing for _, past_framing in pieces):
            return pieces
        return [(b"".join(piece for piece, _ in pieces), False)]

    async def _watch(self) -> None:
        await self._exchange.watch()
        self.changed.unpark_all()

    async def _send_heartbeats(self) -> None:
        settings = self._backend.settings
        interval, limit = settings.heartbeat_interval, settings.max_connection_age
        if interval is None:
            await trio.lowlevel.checkpoint()
            return
        tick = self._opened
        while True:
            tick += interval
            await trio.sleep_until(tick)
            if self.working:
                continue
            if limit is not None and self.age >= limit and not self.live.running:
                self.end("cut")
                return
            self.send_nowait(_HEARTBEAT)

    async def _enforce_age(self) -> None:
        await trio.lowlevel.checkpoint()
        limit = self._backend.settings.max_connection_age
        if limit is not None:
            await trio.sleep_until(self._opened + limit)
            if self.live.running:
                self.end("cut")
