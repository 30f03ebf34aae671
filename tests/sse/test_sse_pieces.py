"""A large read is decoded in pieces that end where an event ends, without losing any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.raw_server import LAST_CHUNK, SSE_HEAD, Peer, chunk, memory_server
from tests.support.supervised import supervisor
from trio_mix.sse import ReconnectPolicy, _decoder
from trio_mix.sse._supervisor import Events

if TYPE_CHECKING:
    import pytest

    from trio_mix.sse._supervisor import Supervisor

FRAMES = [
    "id: 1\ndata: a\n\n",
    "\n\n\n: a comment\n\n",
    "id: 2\ndata: b\ndata:\ndata: c\n\n",
    "id: 3\r\ndata: d\r\n\r\n",
    "data: e\n\n",
    "id: 4\rdata: f\r\r",
    "id: 5\nevent: x\n\n",
    "id: 6\ndata: " + "g" * 500 + "\n\n",
    "id: 7\ndata: h\n\n",
    "id: 8\ndata: cut off",
]
BODY = "".join(FRAMES).encode()


async def open_with(nursery: trio.Nursery, *bodies: bytes) -> Supervisor:
    async def handler(peer: Peer) -> None:
        await peer.request()
        body = bodies[min(peer.server.connections, len(bodies)) - 1]
        await peer.send(SSE_HEAD + chunk(body))
        await peer.closed()

    _, http = memory_server(nursery, handler)
    source = supervisor(http, reconnect=ReconnectPolicy(initial_interval=0.001))
    await source.next()
    return source


def left(source: Supervisor) -> bool:
    return source.has_more


async def came(source: Supervisor) -> list[tuple[str, str]]:
    found = []
    while True:
        item = await source.next()
        assert isinstance(item, Events)
        found += [(frame.id, frame.data) for frame in item.events]
        if found[-1][0] == "7":
            return found


async def test_the_same_events_are_decoded_whatever_the_size_of_a_piece(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in [1, 2, 3, 7, 20, 64, 600]:
        whole = await came(await open_with(nursery, BODY))
        monkeypatch.setattr(_decoder, "PIECE_SIZE", size)
        source = await open_with(nursery, BODY)
        assert await came(source) == whole
        assert source.bytes_received == len(BODY) or source.has_more


async def test_a_cancellation_between_two_pieces_loses_no_event(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decoder, "PIECE_SIZE", 1)
    source = await open_with(nursery, b"".join(b"data: %d\n\n" % n for n in range(5)))
    got: list[str] = []
    cancelled = 0
    while len(got) < 5:
        if source.has_more:
            with trio.CancelScope() as scope:
                scope.cancel()
                await source.next()
            cancelled += scope.cancelled_caught
        item = await source.next()
        assert isinstance(item, Events)
        got += [frame.data for frame in item.events]
    assert got == ["0", "1", "2", "3", "4"]
    assert cancelled >= 2


async def test_bytes_of_a_lost_connection_are_not_mixed_into_the_next(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_decoder, "PIECE_SIZE", 1)
    source = await open_with(nursery, b"data: a\n\ndata: b\n\n", b"data: c\n\n" + LAST_CHUNK)
    item = await source.next()
    assert isinstance(item, Events)
    assert left(source)
    await source.drop("enough", planned=True)
    await source.next()
    assert not left(source)
    item = await source.next()
    assert isinstance(item, Events)
    assert [frame.data for frame in item.events] == ["c"]
