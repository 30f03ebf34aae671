"""Sends the same bytes to many connections, from one task.

Rules (tests cite the numbers):

1. All connections that are up to date share the bytes that are sent to them: they are joined and
   framed once. A connection is a position in them, not a buffer.
2. The pump never waits for a connection: what its socket does not take at once is left to the
   consumer's own task, which sends the rest and catches up. That task sleeps otherwise.
3. The pump sends in slices of connections with a checkpoint between, so that it never holds the
   loop, however many connections there are. Bytes that are published meanwhile are sent with the
   next round, joined.
4. Connections that were up to date receive a heartbeat every `Pump.heartbeat` seconds, with their
   position as its id.
5. A connection that takes nothing of new frames keeps its position: it holds no bytes for later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, final

import trio

from trio_mix.relay._records import encode_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.relay._records import Chunk

_SLICE: Final = 64
"""How many connections are served between two checkpoints: about a millisecond's work."""


class Format:
    """How the frames of a session are sent to one kind of consumer.

    All consumers of one kind share their bytes.
    """

    __slots__ = ("framed", "relay")

    def __init__(self, *, relay: bool, framed: bool) -> None:
        self.relay = relay
        """Whether the consumer knows the relay's own events."""
        self.framed = framed
        """Whether the body is sent in chunks (HTTP/1.1)."""

    def frame(self, data: bytes) -> bytes:
        """Return the data as it is sent."""
        return chunked(data) if self.framed and data else data

    def heartbeat(self, position: int) -> bytes:
        """Return the heartbeat of a consumer at a position, as it is sent; empty: none."""
        return self.frame(encode_frame(position, "heartbeat", '{"type":"ping"}'))


def chunked(data: bytes) -> bytes:
    """Return data as one chunk of a body in HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Source(Protocol):
    """The newest frames of a session, by position: the part of a `SessionFeed` that is used."""

    @property
    def newest(self) -> int:
        """The position of the newest frame."""
        ...

    def read_nowait(self, position: int, *, relay: bool, limit: int = ...) -> Chunk | None:
        """Return the frames after a position, joined, or None if some are not in memory."""
        ...


class Output(Protocol):
    """Where a consumer's bytes go: the part of a `ServerConnection` that the pump uses."""

    def send_nowait(self, data: bytes) -> int:
        """Take bytes without waiting and return how many were taken."""
        ...


@final
class Sink:
    """One consumer of a channel.

    Attributes:
      position: the position up to which the consumer was sent everything, except `rest`.
      rest: the bytes before that position that its socket has not taken.
    """

    __slots__ = ("_on_wake", "connection", "format", "position", "rest")

    connection: Output

    def __init__(self, format_: Format, position: int, on_wake: Callable[[], None]) -> None:
        self.format = format_
        self.position = position
        self.rest: memoryview = memoryview(b"")
        self._on_wake = on_wake

    def wake(self) -> None:
        """Wake the consumer's task: there are bytes that its socket did not take."""
        self._on_wake()


@final
class Channel:
    """The consumers of one session that are up to date.

    Args:
      source: the session's frames.
      pump: sends them.
    """

    def __init__(self, source: Source, pump: Pump) -> None:
        self.source = source
        self._pump = pump
        self._sinks: dict[Sink, None] = {}

    def __len__(self) -> int:
        return len(self._sinks)

    def __contains__(self, sink: Sink) -> bool:
        return sink in self._sinks

    def add(self, sink: Sink) -> None:
        """Send all further frames to a consumer, until it is removed or its socket is full."""
        self._sinks[sink] = None
        if sink.position != self.source.newest:
            self._pump.schedule(self)

    def discard(self, sink: Sink) -> None:
        """Send nothing more to a consumer."""
        self._sinks.pop(sink, None)

    def published(self) -> None:
        """Send the frames that the source has received."""
        if self._sinks:
            self._pump.schedule(self)

    def sinks(self) -> list[Sink]:
        """Return the consumers that are up to date."""
        return list(self._sinks)

    def deliver(self, sink: Sink, data: bytes, position: int) -> int:
        """Send bytes to a consumer; wake its task if the socket does not take all of them.

        Returns:
          How many bytes were sent.
        """
        try:
            sent = sink.connection.send_nowait(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            sent = 0
        if sent < len(data):
            self._sinks.pop(sink, None)
            if sent or position == sink.position:  # else rule 5
                sink.rest = memoryview(data)[sent:]
                sink.position = position
            sink.wake()
        else:
            sink.position = position
        return sent


@final
class Pump:
    """Sends to all channels, from the task of `run`.

    Args:
      heartbeat: seconds between two heartbeats of an up-to-date consumer.

    Attributes:
      sent_bytes: how many bytes were sent without waiting.
      sent_frames: how many times bytes were sent to a consumer.
      woken: how many times a consumer's socket was full.
    """

    def __init__(self, heartbeat: float) -> None:
        self.sent_bytes = 0
        self.sent_frames = 0
        self.woken = 0
        self._heartbeat = heartbeat
        self._scheduled: dict[Channel, None] = {}
        self._channels: dict[Channel, None] = {}
        self._work = trio.Event()

    def open_channel(self, source: Source) -> Channel:
        """Return a channel for the consumers of a session."""
        channel = Channel(source, self)
        self._channels[channel] = None
        return channel

    def close_channel(self, channel: Channel) -> None:
        """Forget a channel; its consumers must be closed by their own tasks."""
        self._channels.pop(channel, None)
        self._scheduled.pop(channel, None)

    def schedule(self, channel: Channel) -> None:
        """Send what the channel's source holds, soon."""
        self._scheduled[channel] = None
        self._work.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            while True:
                await self._work.wait()
                self._work = trio.Event()
                while self._scheduled:
                    channel = next(iter(self._scheduled))
                    del self._scheduled[channel]
                    await self._serve(channel)

    async def _serve(self, channel: Channel) -> None:  # noqa: ASYNC910 - a checkpoint for each slice
        """Bring the consumers of a channel up to date."""
        source = channel.source
        joined: dict[tuple[int, Format], tuple[bytes, int] | None] = {}
        newest = source.newest
        sinks = channel.sinks()
        for start in range(0, len(sinks), _SLICE):
            if source.newest != newest:
                newest = source.newest
                joined.clear()
            for sink in sinks[start : start + _SLICE]:
                if sink.position == newest or sink not in channel:
                    continue
                key = sink.position, sink.format
                if key not in joined:
                    joined[key] = _read(source, sink)
                found = joined[key]
                if found is None:  # it was too slow for the frames in memory
                    channel.discard(sink)
                    self.woken += 1
                    sink.wake()
                    continue
                self._deliver(channel, sink, *found)
            await trio.lowlevel.checkpoint()
        if any(sink.position != source.newest for sink in channel.sinks()):
            self.schedule(channel)

    def _deliver(self, channel: Channel, sink: Sink, data: bytes, position: int) -> None:
        if data:
            sent = channel.deliver(sink, data, position)
            self.sent_bytes += sent
            self.sent_frames += 1
            self.woken += sent < len(data)
        else:  # all frames up to there are for other consumers
            sink.position = position

    async def _beat(self) -> None:
        """Send heartbeats (rule 4)."""
        while True:
            await trio.sleep(self._heartbeat)
            for channel in list(self._channels):
                sinks = channel.sinks()
                frames: dict[tuple[int, Format], bytes] = {}
                for start in range(0, len(sinks), _SLICE):
                    for sink in sinks[start : start + _SLICE]:
                        if sink.position != channel.source.newest:
                            continue  # frames are on their way to it
                        key = sink.position, sink.format
                        if key not in frames:
                            frames[key] = sink.format.heartbeat(sink.position)
                        if frames[key] and sink in channel:
                            self._deliver(channel, sink, frames[key], sink.position)
                    await trio.lowlevel.checkpoint()
                    # A consumer that was skipped receives its frames, which are signs of life too.


def _read(source: Source, sink: Sink) -> tuple[bytes, int] | None:
    chunk = source.read_nowait(sink.position, relay=sink.format.relay)
    return None if chunk is None else (sink.format.frame(chunk.data), chunk.position)
