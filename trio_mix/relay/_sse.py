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

import random
from typing import TYPE_CHECKING, Final, cast, final, get_args

import attrs
import trio

from trio_mix.relay._consumer import Consumer, Rooms, connected_frame
from trio_mix.relay._problem import Problem
from trio_mix.relay._pump import Format
from trio_mix.relay._records import StartFrom, encode_frame

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._exchange import Exchange, RequestHead, Takeover
    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._grants import Grant

_RETRY: Final = (1000, 3000)
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
      rooms: their consumers.
    """

    def __init__(
        self, *, heartbeat: float, stall_timeout: float, rng: random.Random | None = None
    ) -> None:
        self.rooms = Rooms(heartbeat=heartbeat, stall_timeout=stall_timeout)
        self.opened = 0
        self._rng = rng or random.Random()

    @property
    def consumers(self) -> int:
        """How many streams are open."""
        return sum(len(room.consumers) for room in self.rooms)

    def consumers_of(self, session_id: str) -> int:
        """Return how many streams of a session are open."""
        return sum(len(room.consumers) for room in self.rooms if room.feed.session_id == session_id)

    async def run(self) -> None:
        """Send to all consumers until cancelled."""
        await self.rooms.run()

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Send an event about another session to all consumers that may know of that session."""
        for room in self.rooms:
            for consumer in list(room.consumers):
                consumer.announce(event, data, session_id)

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
            self.rooms.gaps += 1
        format_ = _FORMATS[request.relay, exchange.head.http_version == "1.1"]
        early = len(exchange.early_bytes())
        consumer = Consumer(self.rooms, feed, start, grant, format_, early)
        retry = self._rng.randint(*_RETRY)
        consumer.first = connected_frame(feed.session_id, start, retry) + b"".join(
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
            for room in self.rooms
            if busy or room.feed.turn_running is None
            for consumer in room.consumers
        ]
        self._rng.shuffle(consumers)
        for consumer in consumers:
            consumer.close("the relay is shutting down")
            await trio.sleep(duration / len(consumers))
        await trio.lowlevel.checkpoint()
