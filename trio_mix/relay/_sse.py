"""Serves the stream of a session to one consumer: history, then live events, under one cursor.

Rules (tests cite the numbers):

1. The position comes from the ``Last-Event-ID`` header, else from ``?lastEventId=``, else from
   ``?from=now|turn|earliest``. The response header ``Last-Event-ID`` names the true start.
2. The first frame is ``connected``; its id is the position. Only this frame has ``retry``, with
   jitter, so that the consumers of a relay that restarts do not return all at once.
3. Frames that are not logged (``connected``, heartbeats, ``presence``, sessions that were created
   or deleted) have the consumer's position as id.
4. A consumer that takes no byte for ``stall_timeout`` seconds is closed. One that is too slow for
   the frames in memory reads the log; one that is too slow for the log gets a ``gap`` event if it
   knows that event, else its stream is closed, and its next ``connected`` has the gap.
5. The stream ends when the session or the token does, with an orderly end of the body.
"""

from __future__ import annotations

import json
import random
import time
from collections import deque
from typing import TYPE_CHECKING, Final, cast, final, get_args

import attrs
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import RelayError
from trio_mix.relay._problem import Problem
from trio_mix.relay._pump import Channel, Format, Pump, Sink
from trio_mix.relay._records import StartFrom, encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AsyncExitStack

    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._http import Exchange, RequestHead, Takeover
    from trio_mix.relay._hub import SessionFeed
    from trio_mix.relay._records import Gap, Start

__all__ = ["StreamRequest", "Streams", "knows_relay"]

_log = get_logger("trio_mix.relay")

_RETRY: Final = (1000, 3000)
_UNSENT: Final = 100
"""How many frames that are not logged are kept for a consumer that is behind."""
_LIVE: Final = 64 * 1024
_REPLAY: Final = 256 * 1024
_DISCARDED: Final = 2**20
_PRESENCE: Final = 1.0
"""Seconds between two ``presence`` events of one session, at least."""
_CLEANUP: Final = 2.0
_LAST_CHUNK: Final = b"0\r\n\r\n"
_FORMATS: Final = {
    (relay, framed): Format(relay=relay, framed=framed)
    for relay in (False, True)
    for framed in (False, True)
}
_HEADERS: Final = (
    ("Content-Type", "text/event-stream"),
    ("Cache-Control", "no-cache, no-store"),
    ("X-Accel-Buffering", "no"),
)


def knows_relay(head: RequestHead) -> bool:
    """Return whether a client says that it knows the relay's own events."""
    return head.headers.get("mix-relay") == "1" or head.parameter("relay") == "1"


@attrs.frozen
class StreamRequest:
    """What a consumer asks for."""

    session_id: str
    last_event_id: str | None
    start: StartFrom
    relay: bool

    @classmethod
    def of(cls, head: RequestHead) -> StreamRequest:
        """Return what a request asks for (rule 1).

        Raises:
          Problem: a parameter is missing or invalid.
        """
        session_id = head.parameter("sessionId")
        if not session_id:
            raise Problem(400, "the query has no sessionId: GET /stream?sessionId=...")
        start = head.parameter("from") or "now"
        if start not in get_args(StartFrom):
            raise Problem(400, "from must be now, turn or earliest")
        position = head.parameter("lastEventId") or None
        header = head.headers.get("last-event-id")
        if header:
            position = header
        return cls(session_id, position, cast("StartFrom", start), knows_relay(head))


@final
class Streams:
    """All consumers of a relay.

    Args:
      heartbeat: seconds between two heartbeats.
      stall_timeout: seconds without a byte taken after which a consumer is closed.
      rng: the source of the jitter.

    Attributes:
      opened: how many streams were opened.
      stalled: how many were closed because they took no byte.
      gaps: how many consumers missed events that are no longer kept.
    """

    def __init__(
        self, *, heartbeat: float, stall_timeout: float, rng: random.Random | None = None
    ) -> None:
        self.pump = Pump(heartbeat, _heartbeat)
        self.opened = 0
        self.stalled = 0
        self.gaps = 0
        self.stall_timeout = stall_timeout
        self._rng = rng or random.Random()
        self._rooms: dict[SessionFeed, _Room] = {}
        self._changed: dict[_Room, None] = {}
        self._presence = trio.Event()

    @property
    def consumers(self) -> int:
        """How many streams are open."""
        return sum(len(room.consumers) for room in self._rooms.values())

    def consumers_of(self, session_id: str) -> int:
        """Return how many streams of a session are open."""
        rooms = self._rooms.items()
        return sum(len(room.consumers) for feed, room in rooms if feed.session_id == session_id)

    async def run(self) -> None:
        """Send to all consumers until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.pump.run)
            while True:
                await self._presence.wait()
                self._presence = trio.Event()
                rooms, self._changed = self._changed, {}
                for room in rooms:
                    data = json.dumps({"consumers": len(room.consumers)})
                    for consumer in room.consumers:
                        if consumer.relay:
                            consumer.send_unlogged("presence", data)
                    await trio.lowlevel.checkpoint()
                await trio.sleep(_PRESENCE)

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Send an event about another session to all consumers that may know of that session."""
        for room in self._rooms.values():
            for consumer in list(room.consumers):
                if consumer.grant.covers(session_id):
                    consumer.send_unlogged(event, data)

    async def open(
        self,
        exchange: Exchange,
        feed: SessionFeed,
        request: StreamRequest,
        grant: Grant,
        stack: AsyncExitStack,
    ) -> Takeover:
        """Respond with the head of a stream; return what serves it.

        Args:
          exchange: the request.
          feed: the session.
          request: what the consumer asks for.
          grant: what the consumer may do.
          stack: what is left when the stream ends; here, if it cannot be opened.
        """
        async with stack:
            start = await feed.start(last_event_id=request.last_event_id, from_=request.start)
            await exchange.start(200, [*_HEADERS, ("Last-Event-ID", str(start.position))])
            stack = stack.pop_all()
        self.opened += 1
        if start.gap is not None:
            self.gaps += 1
        format_ = _FORMATS[request.relay, exchange.head.http_version == "1.1"]
        early = len(exchange.early_bytes())
        consumer = _Consumer(self, feed, start, grant, format_, early)
        retry = self._rng.randint(*_RETRY)
        consumer.first = _connected(feed.session_id, start, retry) + b"".join(
            encode_frame(start.position, event, data)
            for event, data in feed.open_requests(start.position)
        )

        async def serve(connection: ServerConnection) -> None:
            async with stack:
                await consumer.serve(connection)

        return serve

    async def close_idle(self, duration: float, *, busy: bool = False) -> None:
        """Close streams, spread over a time in seconds.

        Args:
          duration: the time for all of them.
          busy: whether streams of sessions that run a turn are closed, too.
        """
        consumers = [
            consumer
            for feed, room in self._rooms.items()
            if busy or feed.turn_running is None
            for consumer in room.consumers
        ]
        self._rng.shuffle(consumers)
        for consumer in consumers:
            consumer.close("the relay is shutting down")
            await trio.sleep(duration / len(consumers))
        await trio.lowlevel.checkpoint()

    def enter(self, consumer: _Consumer) -> _Room:
        """Add a consumer to its session's room, and return that."""
        feed = consumer.feed
        room = self._rooms.get(feed)
        if room is None:
            channel = self.pump.open_channel(feed)
            room = self._rooms[feed] = _Room(channel)
            room.unsubscribe = feed.on_append(room.appended)
        room.consumers[consumer] = None
        self._count(room)
        return room

    def leave(self, consumer: _Consumer, room: _Room) -> None:
        """Remove a consumer."""
        room.consumers.pop(consumer, None)
        self._count(room)
        if not room.consumers:
            room.unsubscribe()
            self.pump.close_channel(room.channel)
            self._rooms.pop(consumer.feed, None)
            self._changed.pop(room, None)

    def _count(self, room: _Room) -> None:
        self._changed[room] = None
        self._presence.set()


@final
class _Room:
    """The consumers of one session."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.consumers: dict[_Consumer, None] = {}
        self.unsubscribe: Callable[[], None] = lambda: None

    def appended(self) -> None:
        """Send what the feed has received, or notice that it has ended."""
        self.channel.published()
        if cast("SessionFeed", self.channel.source).closed is not None:
            for consumer in self.consumers:
                consumer.wake()


@final
class _Consumer:
    """One stream, from its ``connected`` to its end."""

    __slots__ = (
        "_closing",
        "_early",
        "_framed",
        "_life",
        "_parked",
        "_room",
        "_sink",
        "_streams",
        "_unlogged",
        "feed",
        "first",
        "grant",
        "relay",
    )

    def __init__(
        self,
        streams: Streams,
        feed: SessionFeed,
        start: Start,
        grant: Grant,
        format_: Format,
        early: int,
    ) -> None:
        self.feed = feed
        self.grant = grant
        self.relay = format_.relay
        self.first = b""
        self._streams = streams
        self._framed = format_.framed
        self._early = early
        self._sink = Sink(format_, start.position, self.wake)
        self._room: _Room | None = None
        self._life = trio.CancelScope()
        self._parked: trio.CancelScope | None = None
        self._closing = ""
        self._unlogged: deque[tuple[str, str]] | None = None

    def wake(self) -> None:
        """End the sleep of the consumer's task."""
        if self._parked is not None:
            self._parked.cancel(reason="there is something to send")

    def close(self, reason: str) -> None:
        """End the stream."""
        self._closing = self._closing or reason
        self._life.cancel(reason=reason)

    def send_unlogged(self, event: str, data: str) -> None:
        """Send a frame that is not logged, in order with the others (rule 3)."""
        if self._unlogged is None:
            self._unlogged = deque(maxlen=_UNSENT)
        self._unlogged.append((event, data))
        self.wake()

    async def serve(self, connection: ServerConnection) -> None:
        """Send until the consumer leaves or the stream ends."""
        self._sink.connection = connection
        self._room = room = self._streams.enter(self)
        if self.grant.expires_at is not None:
            left = max(0.0, self.grant.expires_at - time.time())
            self._life.deadline = trio.current_time() + left
        try:
            with self._life:
                first, self.first = self.first, b""
                await self._send(self._sink.format.frame(first))
                await self._follow(connection, room.channel)
        except RelayError as error:  # the log cannot be read: the client returns with its position
            _log.warning("a stream of session %s was cut: %s", self.feed.session_id, error)
            connection.abort()
            return  # noqa: ASYNC910 - sending and sleeping wait
        else:
            if not self._sink.rest and self._framed:
                with trio.move_on_after(_CLEANUP):
                    await connection.send_all(_LAST_CHUNK)
        finally:
            room.channel.discard(self._sink)
            self._streams.leave(self, room)

    async def _follow(self, connection: ServerConnection, channel: Channel) -> None:
        sink, feed = self._sink, self.feed
        while True:
            if sink.rest:
                rest, sink.rest = sink.rest, memoryview(b"")
                await self._send(rest)
            if self._unlogged:
                frames = [encode_frame(sink.position, *each) for each in self._unlogged]
                self._unlogged = None
                await self._send(sink.format.frame(b"".join(frames)))
                continue
            if sink.position >= feed.newest:
                if feed.closed is not None:
                    return  # noqa: ASYNC910 - sending and sleeping wait
                await self._sleep(connection, channel)
                continue
            chunk = feed.read_nowait(sink.position, relay=self.relay, limit=_LIVE)
            if chunk is None:
                chunk = await feed.read(sink.position, relay=self.relay, limit=_REPLAY)
            if chunk.gap is not None:
                self._streams.gaps += 1
                if not self.relay:
                    return  # the next ``connected`` has the gap (rule 4)  # noqa: ASYNC910 - sending and sleeping wait
                data = json.dumps(_gap_fields(chunk.gap))
                await self._send(sink.format.frame(encode_frame(sink.position, "gap", data)))
            if chunk.data:
                await self._send(sink.format.frame(chunk.data))
            sink.position = chunk.position
            await trio.lowlevel.checkpoint()

    async def _sleep(self, connection: ServerConnection, channel: Channel) -> None:
        """Leave the sending to the pump until something must be done."""
        channel.add(self._sink)
        try:
            with trio.CancelScope() as self._parked:
                while data := await connection.receive_some():
                    self._early += len(data)
                    if self._early > _DISCARDED:
                        break  # it floods the connection with requests that it must not send
                self.close("the client has left")
                await trio.lowlevel.checkpoint()
        finally:
            self._parked = None
            channel.discard(self._sink)

    async def _send(self, data: bytes | memoryview) -> None:  # noqa: ASYNC910 - sending and sleeping wait
        """Send bytes in the consumer's own task (rule 4)."""
        view = memoryview(data)
        connection = self._sink.connection
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - sending and sleeping wait
            try:
                while view:
                    scope.deadline = trio.current_time() + self._streams.stall_timeout
                    view = view[await connection.send_some(view) :]
            finally:
                self._sink.rest = view
        if scope.cancelled_caught:
            self._streams.stalled += 1
            _log.info(
                "a consumer of session %s was closed: it took no byte for %g s",
                self.feed.session_id,
                self._streams.stall_timeout,
            )
            connection.abort()
            raise trio.BrokenResourceError("the consumer took no byte in time")


def _gap_fields(gap: Gap) -> Mapping[str, object]:
    return {"missed": gap.missed}


def _connected(session_id: str, start: Start, retry: int) -> bytes:
    fields: dict[str, object] = {"sessionId": session_id}
    if start.gap is not None:
        fields["gap"] = _gap_fields(start.gap)
    frame = encode_frame(start.position, "connected", json.dumps(fields))
    return frame[:-1] + b"retry: %d\n\n" % retry


def _heartbeat(position: int) -> bytes:
    return encode_frame(position, "heartbeat", '{"type":"ping"}')
