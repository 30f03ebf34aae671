"""One WebSocket through trio-websocket: fragments, limits, a peer that closes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio_websocket
from trio.testing import memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    CloseConnection,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import WebSocket, WebSocketAddress, WebSocketRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio.testing import MockClock
    from wsproto.events import Event

    from trio_mix.browser._websocket import Connect


def socket_over(stream: trio.abc.Stream) -> WebSocket:
    async def connect(_host: str, _port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return stream

    return socket_with(connect)


def socket_with(connect: Connect) -> WebSocket:
    return WebSocket(WebSocketAddress("x", 1, "x", "/"), connect=connect, max_message=1000)


def received(end: WSConnection, data: bytes) -> list[Event]:
    end.receive_data(data)
    return list(end.events())


class SlowStream(trio.abc.Stream):
    """A stream that takes a fixed time for each kibibyte that is sent."""

    def __init__(self, stream: trio.abc.Stream, seconds_per_kibibyte: float) -> None:
        self._stream = stream
        self._pace = seconds_per_kibibyte

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(len(data) / 1024 * self._pace)
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._stream.aclose()


async def test_ten_megabytes_on_a_slow_line_do_not_delay_a_ping_in_either_direction(
    autojump_clock: MockClock,
) -> None:
    """Rule 2. At 64 KiB a second, the message takes 160 s: a ping must not wait for it."""
    mine, theirs = memory_stream_pair()
    server = WSConnection(ConnectionType.SERVER)
    text = "0123456789" * 2**20
    pongs: list[float] = []
    pings: list[float] = []
    size = 0

    async def ping_regularly() -> None:
        while True:
            await trio.sleep(20)
            pings.append(trio.current_time())
            await theirs.send_all(server.send(Ping(payload=b"p")))

    async def serve(scope: trio.CancelScope) -> None:
        nonlocal size
        async with trio.open_nursery() as nursery:
            while data := await theirs.receive_some():
                for event in received(server, bytes(data)):
                    if isinstance(event, Request):
                        await theirs.send_all(server.send(AcceptConnection()))
                        nursery.start_soon(ping_regularly)
                    elif isinstance(event, Pong):
                        pongs.append(trio.current_time())
                    elif isinstance(event, Ping):
                        await theirs.send_all(server.send(event.response()))
                    elif isinstance(event, Message):
                        size += len(event.data)
                        if event.message_finished:
                            nursery.cancel_scope.cancel()
                            return

    sent = trio.Event()
    socket = socket_over(SlowStream(mine, 1 / 64))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, nursery.cancel_scope)
        await socket.open(nursery)
        start = trio.current_time()
        async with trio.open_nursery() as sending:

            async def send() -> None:
                await socket.send(text)
                sent.set()
                sending.cancel_scope.cancel()

            sending.start_soon(send)
            while not sent.is_set():
                await trio.sleep(20)
                await socket.ping(5)
        assert trio.current_time() - start == pytest.approx(160, abs=5)
        await socket.aclose(0)
    assert size == len(text)
    assert len(pongs) >= 7
    assert max(pong - ping for ping, pong in zip(pings, pongs, strict=False)) < 5


def test_the_private_method_that_sends_fragments_is_that_of_the_pinned_version() -> None:
    assert trio_websocket.__version__.startswith("0.12.")


async def test_a_message_over_the_limit_ends_the_connection_and_the_error_names_the_code() -> None:
    mine, theirs = memory_stream_pair()
    server = WSConnection(ConnectionType.SERVER)

    async def serve() -> None:
        list(received(server, bytes(await theirs.receive_some())))
        await theirs.send_all(server.send(AcceptConnection()))
        await theirs.send_all(server.send(TextMessage(data="x" * 1001)))

    socket = socket_over(mine)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await socket.open(nursery)
            with pytest.raises(TransportLost, match="1009"):
                await socket.receive()
            with pytest.raises(TransportLost):
                await socket.send("x")
            with pytest.raises(TransportLost):
                await socket.ping(1)
            await socket.aclose(0)


async def failure_against(
    answer: bytes | Callable[[WSConnection], bytes],
) -> TransportLost | WebSocketRefused:
    """Open and read a WebSocket to a peer that sends an answer and closes; return the error."""
    mine, theirs = memory_stream_pair()
    server = WSConnection(ConnectionType.SERVER)

    async def serve() -> None:
        list(received(server, bytes(await theirs.receive_some())))
        await theirs.send_all(answer if isinstance(answer, bytes) else answer(server))
        await theirs.aclose()

    socket = socket_over(mine)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                await socket.open(nursery)
                await socket.receive()
            except (TransportLost, WebSocketRefused) as error:
                return error
            finally:
                await socket.aclose(0)
    raise AssertionError("a message was received")


async def test_a_refused_handshake_is_raised_with_its_status_headers_and_body() -> None:
    def framed(server: WSConnection) -> bytes:
        headers = [(b"content-length", b"4"), (b"retry-after", b"7")]
        refused = RejectConnection(status_code=503, headers=headers, has_body=True)
        return server.send(refused) + server.send(RejectData(data=b"busy"))

    unframed = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\nbusy"
    for answer in (framed, unframed):
        refused = await failure_against(answer)
        assert isinstance(refused, WebSocketRefused)
        assert (refused.status_code, refused.body) == (503, b"busy")
        assert refused.headers["retry-after"] == "7"


async def test_a_peer_that_does_not_speak_websocket_is_an_error_at_once() -> None:
    answers = (
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 10\r\n\r\ncut",
    )
    for answer in answers:
        assert isinstance(await failure_against(answer), TransportLost)


async def test_a_connection_that_ends_after_its_handshake_is_lost_with_the_reason() -> None:
    def accepted(server: WSConnection) -> bytes:
        return server.send(AcceptConnection())

    def closed(server: WSConnection) -> bytes:
        return accepted(server) + server.send(CloseConnection(1001, "restart"))

    def broken(server: WSConnection) -> bytes:
        return accepted(server) + b"\xff\xff\xff\xff"

    for answer, reason in (
        (closed, "it was closed with 1001 GOING_AWAY: restart"),
        (accepted, "the connection broke"),
        (broken, "it was closed with 1002 PROTOCOL_ERROR: Invalid opcode 0xf"),
    ):
        assert str(await failure_against(answer)) == reason
