"""Sends a session's history, then its live events, to one consumer under one cursor.

The rules of `trio_mix.relay._sse` apply.
"""

from __future__ import annotations

import json
import time
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol, final

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import RelayError
from trio_mix.relay._pump import Channel, Format, Pump, Sink
from trio_mix.relay._records import encode_frame
from trio_mix.relay._ws_messages import MessageFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._records import Gap, Start

_log = get_logger("trio_mix.relay")

_UNSENT: Final = 100
"""How many frames that are not logged are kept for a consumer that is behind."""
_LIVE: Final = 64 * 1024
_REPLAY: Final = 256 * 1024
_DISCARDED: Final = 2**20
_PRESENCE: Final = 1.0
"""Seconds between two ``presence`` events of one session, at least."""
_CLEANUP: Final = 2.0
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Member(Protocol):
    """One consumer of one session, by whatever transport."""

    feed: SessionFeed
    grant: Grant
    relay: bool

    def wake(self) -> None:
        """Notice that the feed has ended."""
        ...

    def close(self, reason: str) -> None:
        """End the consumer."""
        ...

    def send_unlogged(self, event: str, data: str) -> None:
        """Send an event of the session that is not logged."""
        ...

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Send an event about another session, if the consumer may know of it."""
        ...


@final
class Rooms:
    """The consumers of all sessions, by session.

    Args:
      heartbeat: seconds between two heartbeats.
      stall_timeout: seconds without a byte taken after which a consumer is closed.

    Attributes:
      stalled: how many consumers were closed because they took no byte.
      gaps: how many consumers missed events that are no longer kept.
    """

    def __init__(self, *, heartbeat: float, stall_timeout: float) -> None:
        self.pump = Pump(heartbeat)
        self.stalled = 0
        self.gaps = 0
        self.stall_timeout = stall_timeout
        self._rooms: dict[SessionFeed, Room] = {}
        self._changed: dict[Room, None] = {}
        self._presence = trio.Event()

    def __iter__(self) -> Iterator[Room]:
        return iter(list(self._rooms.values()))

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

    def enter(self, consumer: Member) -> Room:
        """Add a consumer to its session's room, and return that."""
        feed = consumer.feed
        room = self._rooms.get(feed)
        if room is None:
            channel = self.pump.open_channel(feed)
            room = self._rooms[feed] = Room(feed, channel)
            room.unsubscribe = feed.on_append(room.appended)
        room.consumers[consumer] = None
        self._count(room)
        return room

    def leave(self, consumer: Member, room: Room) -> None:
        """Remove a consumer."""
        room.consumers.pop(consumer, None)
        self._count(room)
        if not room.consumers:
            room.unsubscribe()
            self.pump.close_channel(room.channel)
            self._rooms.pop(consumer.feed, None)
            self._changed.pop(room, None)

    def _count(self, room: Room) -> None:
        self._changed[room] = None
        self._presence.set()


@final
class Room:
    """The consumers of one session."""

    def __init__(self, feed: SessionFeed, channel: Channel) -> None:
        self.feed = feed
        self.channel = channel
        self.consumers: dict[Member, None] = {}
        self.messages = MessageFormat(feed.session_id)
        self.unsubscribe: Callable[[], None] = lambda: None

    def appended(self) -> None:
        """Send what the feed has received, or notice that it has ended."""
        self.channel.published()
        if self.feed.closed is not None:
            for consumer in self.consumers:
                consumer.wake()


@final
class Consumer:
    """One stream, from its ``connected`` to its end."""

    __slots__ = (
        "_closing",
        "_connection",
        "_early",
        "_framed",
        "_life",
        "_parked",
        "_room",
        "_rooms",
        "_sink",
        "_unlogged",
        "feed",
        "first",
        "grant",
        "relay",
    )

    def __init__(
        self,
        rooms: Rooms,
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
        self._rooms = rooms
        self._framed = format_.framed
        self._early = early
        self._sink = Sink(format_, start.position, self.wake)
        self._room: Room | None = None
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

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Send an event about another session, if the consumer may know of it."""
        if self.grant.covers(session_id):
            self.send_unlogged(event, data)

    async def serve(self, connection: ServerConnection) -> None:
        """Send until the consumer leaves or the stream ends."""
        self._connection = self._sink.connection = connection
        self._room = room = self._rooms.enter(self)
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
            self._rooms.leave(self, room)

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
                self._rooms.gaps += 1
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
        connection = self._connection
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - sending and sleeping wait
            try:
                while view:
                    scope.deadline = trio.current_time() + self._rooms.stall_timeout
                    view = view[await connection.send_some(view) :]
            finally:
                self._sink.rest = view
        if scope.cancelled_caught:
            self._rooms.stalled += 1
            _log.info(
                "a consumer of session %s was closed: it took no byte for %g s",
                self.feed.session_id,
                self._rooms.stall_timeout,
            )
            connection.abort()
            raise trio.BrokenResourceError("the consumer took no byte in time")


def _gap_fields(gap: Gap) -> Mapping[str, object]:
    return {"missed": gap.missed}


def connected_frame(session_id: str, start: Start, retry: int) -> bytes:
    fields: dict[str, object] = {"sessionId": session_id}
    if start.gap is not None:
        fields["gap"] = _gap_fields(start.gap)
    frame = encode_frame(start.position, "connected", json.dumps(fields))
    return frame[:-1] + b"retry: %d\n\n" % retry
