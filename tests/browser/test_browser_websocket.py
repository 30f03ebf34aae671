"""What trio-websocket and wsproto leave to be done: control frames, pieces, hang-ups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Ping, Pong, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from trio_mix.browser._deflate import Deflate
from trio_mix.browser._websocket import WebSocket, WebSocketAddress, WebSocketLost

if TYPE_CHECKING:
    from wsproto.events import Event


def connected(
    client: PerMessageDeflate, server: PerMessageDeflate
) -> tuple[WSConnection, WSConnection]:
    here, there = WSConnection(ConnectionType.CLIENT), WSConnection(ConnectionType.SERVER)
    there.receive_data(here.send(Request(host="x", target="/", extensions=[client])))
    assert len(list(there.events())) == 1
    here.receive_data(there.send(AcceptConnection(extensions=[server])))
    assert len(list(here.events())) == 1
    assert client.enabled()
    assert server.enabled()
    return here, there


def received(end: WSConnection, data: bytes) -> list[Event]:
    end.receive_data(data)
    return list(end.events())


@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("size", [10, 10_000])
def test_a_ping_between_the_pieces_of_a_compressed_message_harms_nothing(
    upwards: bool, size: int
) -> None:
    here, there = connected(Deflate(), Deflate())
    source, sink = (here, there) if upwards else (there, here)
    for _ in range(3):
        data = source.send(TextMessage(data="a" * size, message_finished=False))
        data += source.send(Ping(payload=b"p"))
        data += source.send(TextMessage(data="ö" * size, message_finished=False))
        data += source.send(Pong(payload=b"q"))
        data += source.send(TextMessage(data="c" * size, message_finished=True))
        events = received(sink, data)
        texts = [event.data for event in events if isinstance(event, TextMessage)]
        assert "".join(texts) == "a" * size + "ö" * size + "c" * size
        assert [type(event) for event in events if not isinstance(event, TextMessage)] == [
            Ping,
            Pong,
        ]


def test_a_small_message_goes_uncompressed_and_a_large_one_shrinks() -> None:
    here, there = connected(Deflate(), PerMessageDeflate())
    small = here.send(TextMessage(data="small"))
    assert len(small) == len("small") + 6
    large = here.send(TextMessage(data="large" * 10_000))
    assert len(large) < 1000
    (first, *more) = received(there, small + large)
    assert isinstance(first, TextMessage)
    assert first.data == "small"
    texts = [event.data for event in more if isinstance(event, TextMessage)]
    assert "".join(texts) == "large" * 10_000


async def test_a_long_message_lets_pongs_through_between_its_pieces() -> None:
    """Over a line that takes a piece at a time, the answer to a ping is not the last to go."""
    mine, theirs = lockstep_stream_pair()
    server = WSConnection(ConnectionType.SERVER)
    seen: list[str] = []

    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return mine

    async def serve() -> None:
        pinged = False
        while data := await theirs.receive_some(10_000):
            for event in received(server, bytes(data)):
                if isinstance(event, Request):
                    await theirs.send_all(server.send(AcceptConnection()))
                elif isinstance(event, Pong):
                    seen.append("pong")
                elif isinstance(event, TextMessage):
                    if not pinged:
                        pinged = True
                        await theirs.send_all(server.send(Ping(payload=b"p")))
                    if event.message_finished:
                        seen.append("end")
                        return

    address = WebSocketAddress("x", 1, "x", "/")
    socket = WebSocket(address, connect=connect, deflate=False, max_message=1000)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await socket.open(nursery)
            await socket.send("x" * 2_000_000)
            await socket.aclose(0)
    assert seen == ["pong", "end"]


async def test_a_message_over_the_limit_ends_the_connection_with_words() -> None:
    mine, theirs = memory_stream_pair()
    server = WSConnection(ConnectionType.SERVER)

    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return mine

    async def serve() -> None:
        list(received(server, bytes(await theirs.receive_some())))
        await theirs.send_all(server.send(AcceptConnection()))
        await theirs.send_all(server.send(TextMessage(data="x" * 1001)))

    socket = WebSocket(
        WebSocketAddress("x", 1, "x", "/"), connect=connect, deflate=False, max_message=1000
    )
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await socket.open(nursery)
            with pytest.raises(WebSocketLost, match="1009"):
                await socket.receive()
            with pytest.raises(WebSocketLost):
                await socket.send("x")
            with pytest.raises(WebSocketLost):
                await socket.ping(1)
            await socket.aclose(0)
