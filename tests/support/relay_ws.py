"""A client of the relay's WebSocket that checks every message against the published schema."""

from __future__ import annotations

import json
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.support.wire_client import Target, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = [
    "PATH",
    "PROTOCOL",
    "RawSocket",
    "TestSocket",
    "client_frame",
    "open_socket",
    "raw_socket",
]

PROTOCOL = "mix.relay.v1"
PATH = "/relay/ws"
SCHEMA = Path(__file__).parents[2] / "docs" / "_static" / "mix.relay.v1.schema.json"

_schema = json.loads(SCHEMA.read_text())


def _validator(kind: str) -> Any:
    return fastjsonschema.compile({**_schema, "anyOf": [{"$ref": f"#/definitions/{kind}"}]})


check_client, check_relay = _validator("client"), _validator("relay")


class TestSocket:
    """One WebSocket."""

    __test__ = False

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._events: list[dict[str, str]] = []

    async def send(self, type_: str, **fields: Any) -> None:
        message = {"type": type_, **fields}
        check_client(message)
        await self.connection.send_message(json.dumps(message))

    async def next(self, *types: str) -> dict[str, Any]:
        """Return the next message of one of these types; any without types."""
        while True:
            text = await self.connection.get_message()
            assert isinstance(text, str)
            message: dict[str, Any] = json.loads(text)
            check_relay(message)
            if not types or message["type"] in types:
                return message

    async def subscribe(self, session_id: str, **fields: Any) -> dict[str, Any]:
        await self.send("subscribe", sessionId=session_id, **fields)
        return await self.next("subscribed", "closed")

    async def event(self, *names: str) -> dict[str, str]:
        """Return the next event, of one of these names."""
        while True:
            while not self._events:
                self._events = (await self.next("events"))["events"]
            event = self._events.pop(0)
            if event["event"] in names or (not names and event["event"] != "presence"):
                return event

    async def closed(self) -> tuple[int, str]:
        """Wait until the relay closes the socket; return the code and the reason."""
        try:
            while True:
                await self.connection.get_message()
        except ConnectionClosed as closed:
            reason = closed.reason
            return (0, "") if reason is None else (reason.code, reason.reason or "")


@asynccontextmanager
async def open_socket(
    relay: Target,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = PATH,
    protocols: tuple[str, ...] = (PROTOCOL,),
) -> AsyncIterator[TestSocket]:
    stream = await connect(relay)
    async with trio.open_nursery() as nursery:
        connection = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            "localhost",
            path,
            subprotocols=protocols,
            extra_headers=[(k.encode(), v.encode()) for k, v in (headers or {}).items()],
            max_message_size=2**26,
        )
        try:
            yield TestSocket(connection)
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


HANDSHAKE = (
    "GET /relay/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {PROTOCOL}\r\n"
).encode()


def client_frame(payload: bytes, *, first: int = 0x81) -> bytes:
    """Return a frame of a client, with a mask of zeros."""
    size = len(payload)
    if size < 126:
        head = bytes([first, 0x80 | size])
    elif size < 2**16:
        head = bytes([first, 0xFE]) + struct.pack("!H", size)
    else:
        head = bytes([first, 0xFF]) + struct.pack("!Q", size)
    return head + b"\0\0\0\0" + payload


class RawSocket:
    """A WebSocket on the level of bytes."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._data = b""

    async def _read(self, size: int) -> bytes:
        while len(self._data) < size:
            data = await self.stream.receive_some(65536)
            if not data:
                raise EOFError
            self._data += data
        found, self._data = self._data[:size], self._data[size:]
        return found

    async def head(self) -> bytes:
        while b"\r\n\r\n" not in self._data:
            self._data += await self.stream.receive_some(65536)
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        return head

    async def frame(self) -> tuple[int, bytes]:
        """Return the opcode and the payload of the next frame."""
        first, size = await self._read(2)
        if size == 126:
            [size] = struct.unpack("!H", await self._read(2))
        elif size == 127:
            [size] = struct.unpack("!Q", await self._read(8))
        return first & 0x0F, await self._read(size)

    async def close_code(self) -> tuple[int, str]:
        """Return the code and the reason of the frame that closes the socket."""
        while True:
            opcode, payload = await self.frame()
            if opcode == 8:
                [code] = struct.unpack("!H", payload[:2])
                return code, payload[2:].decode()


@asynccontextmanager
async def raw_socket(
    relay: Target, early: bytes = b"", headers: bytes = b""
) -> AsyncIterator[RawSocket]:
    """Open a WebSocket, and send bytes together with its request."""
    stream = await connect(relay)
    async with stream:
        await stream.send_all(HANDSHAKE + headers + b"\r\n" + early)
        socket = RawSocket(stream)
        assert (await socket.head()).startswith(b"HTTP/1.1 101 ")
        yield socket
