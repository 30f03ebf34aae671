"""The pump: shared bytes to many sockets, from one task that never waits for any of them."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_mix.relay._connection import SocketConnection, StreamConnection
from trio_mix.relay._pump import Format, Pump, Sink
from trio_mix.relay._records import Chunk
from trio_mix.testing.net._memory import memory_pipe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PLAIN = Format(relay=False, framed=False)
CHUNKED = Format(relay=False, framed=True)
AWARE = Format(relay=True, framed=False)


class Frames:
    """A session's frames; the first `forgotten` are no longer in memory."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.hidden: set[int] = set()
        self.forgotten = 0
        self.reads = 0

    @property
    def newest(self) -> int:
        return len(self.frames)

    def read_nowait(self, position: int, *, relay: bool, limit: int = 65536) -> Chunk | None:
        self.reads += 1
        if position < self.forgotten:
            return None
        data, end = b"", position
        while end < len(self.frames) and len(data) < limit:
            data += b"" if end in self.hidden and not relay else self.frames[end]
            end += 1
        return Chunk(data, end)


@asynccontextmanager
async def running(pump: Pump) -> AsyncIterator[None]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump.run)
        yield
        nursery.cancel_scope.cancel()


def pair(buffer: int = 0) -> tuple[SocketConnection, socket.socket]:
    ours, theirs = socket.socketpair()
    if buffer:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    theirs.setblocking(False)
    return SocketConnection(ours), theirs


def received(sock: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            data += sock.recv(2**20)
        except BlockingIOError:
            return data


async def settled(pump: Pump) -> None:
    with trio.fail_after(10):
        while pump._scheduled:
            await trio.testing.wait_all_tasks_blocked()
    await trio.testing.wait_all_tasks_blocked()


class Consumer:
    def __init__(self, format_: Format = PLAIN, buffer: int = 0) -> None:
        self.connection, self.client = pair(buffer)
        self.woken = 0
        self.sink = Sink(format_, 0, self._wake)
        self.sink.connection = self.connection

    def _wake(self) -> None:
        self.woken += 1

    async def close(self) -> None:
        self.client.close()
        await self.connection.aclose()


async def test_all_consumers_receive_the_same_bytes_which_are_joined_once() -> None:
    frames, pump = Frames(), Pump(1000)
    channel = pump.open_channel(frames)
    consumers = [Consumer(CHUNKED if n % 2 else PLAIN) for n in range(200)]
    for consumer in consumers:
        channel.add(consumer.sink)
    served: set[int] = set()

    async def watch() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            served.add(sum(each.sink.position == 3 for each in consumers))

    async with running(pump):
        frames.frames += [b"one", b"two"]
        channel.published()
        await settled(pump)
        assert frames.reads == 2  # one for each format
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            frames.frames += [b"three"]
            channel.published()
            while consumers[-1].sink.position < 3:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await settled(pump)
    data = [received(each.client) for each in consumers]
    woken = [each.woken for each in consumers]
    for each in consumers:
        await each.close()
    assert data == [b"onetwothree", b"6\r\nonetwo\r\n5\r\nthree\r\n"] * 100
    assert not any(woken)
    assert served - {0, 200}, "no other task ran between two slices"


async def test_a_consumer_whose_socket_is_full_gets_the_rest_from_its_own_task() -> None:
    frames, pump = Frames(), Pump(1000)
    channel = pump.open_channel(frames)
    slow, fast = Consumer(buffer=4096), Consumer()
    channel.add(slow.sink)
    channel.add(fast.sink)
    sent, seen_fast, seen_slow = b"", b"", b""
    async with running(pump):
        for number in range(50):
            frames.frames.append(bytes([number]) * 1000)
            sent += frames.frames[-1]
            channel.published()
            await settled(pump)
            seen_fast += received(fast.client)
        assert seen_fast == sent
        assert (slow.woken, fast.woken, len(channel)) == (1, 0, 1)
        # What its task does: send the rest, catch up from the source, and return to the pump.
        seen_slow += received(slow.client)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(slow.connection.send_all, slow.sink.rest)
            while len(seen_slow) < slow.sink.position * 1000:
                await trio.lowlevel.checkpoint()
                seen_slow += received(slow.client)
        assert seen_slow == sent[: len(seen_slow)]
        slow.sink.rest = memoryview(b"")
        channel.add(slow.sink)
        await settled(pump)
        seen_slow += received(slow.client)
        while slow.sink.rest:
            slow.sink.rest = slow.sink.rest[slow.connection.send_nowait(slow.sink.rest) :]
            seen_slow += received(slow.client)
    assert seen_slow == sent[: slow.sink.position * 1000]
    await slow.close()
    await fast.close()


async def test_a_consumer_behind_the_frames_in_memory_is_left_to_its_task() -> None:
    frames, pump = Frames(), Pump(1000)
    channel = pump.open_channel(frames)
    consumer = Consumer()
    frames.frames, frames.forgotten = [b"a", b"b"], 1
    async with running(pump):
        channel.add(consumer.sink)
        await settled(pump)
    assert (consumer.woken, len(channel), received(consumer.client)) == (1, 0, b"")
    await consumer.close()


async def test_frames_for_other_consumers_move_the_position_without_a_byte() -> None:
    frames, pump = Frames(), Pump(1000)
    channel = pump.open_channel(frames)
    plain, aware = Consumer(PLAIN), Consumer(AWARE)
    for each in (plain, aware):
        channel.add(each.sink)
    frames.frames, frames.hidden = [b"turn"], {0}
    async with running(pump):
        channel.published()
        await settled(pump)
    assert (plain.sink.position, received(plain.client)) == (1, b"")
    assert (aware.sink.position, received(aware.client)) == (1, b"turn")
    for each in (plain, aware):
        await each.close()


async def test_a_consumer_that_has_left_is_woken_and_the_others_go_on() -> None:
    frames, pump = Frames(), Pump(1000)
    channel = pump.open_channel(frames)
    gone, here = Consumer(), Consumer()
    for each in (gone, here):
        channel.add(each.sink)
    gone.client.close()
    async with running(pump):
        for frame in (b"a", b"b"):
            frames.frames.append(frame)
            channel.published()
            await settled(pump)
    assert (gone.woken, len(channel), received(here.client)) == (1, 1, b"ab")
    await gone.close()
    await here.close()


async def test_idle_consumers_receive_heartbeats_with_their_position(
    autojump_clock: trio.testing.MockClock,
) -> None:
    frames = Frames()
    frames.frames = [b"a"] * 7
    pump = Pump(15)
    channel = pump.open_channel(frames)
    _, server = memory_pipe()
    woken: list[float] = []
    beats = [trio.Event(), trio.Event()]

    def wake() -> None:
        beats[len(woken)].set()
        woken.append(trio.current_time())

    sink = Sink(CHUNKED, 7, wake)
    sink.connection = StreamConnection(server)
    start = trio.current_time()
    async with running(pump):
        for beat in beats:
            channel.add(sink)
            await beat.wait()
            assert b"id: 7\nevent: heartbeat\n" in bytes(sink.rest)
    assert [round(each - start) for each in woken] == [15, 30]
