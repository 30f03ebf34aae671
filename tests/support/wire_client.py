"""A client on the level of the wire: h11 over any stream, and the frames of a stream as text."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import attrs
import h11
import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from trio_mix.testing import MemoryNetwork, MixServer


class CutError(Exception):
    """The connection ended before the response did."""


@attrs.frozen
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Frame:
    raw: str

    def field(self, name: str) -> str | None:
        for line in self.raw.split("\n"):
            if line.startswith(f"{name}: "):
                return line.removeprefix(f"{name}: ")
        return None

    @property
    def id(self) -> str | None:
        return self.field("id")

    @property
    def event(self) -> str | None:
        return self.field("event")

    @property
    def retry(self) -> str | None:
        return self.field("retry")

    @property
    def data(self) -> Any:
        return json.loads(self.field("data") or "null")


class Target(Protocol):
    """Something to connect to: a server or a proxy."""

    @property
    def url(self) -> str: ...
    @property
    def network(self) -> MemoryNetwork: ...


async def connect(server: Target) -> trio.abc.Stream:
    if server.url.startswith("http://mix.test"):
        return server.network.connect()
    parts = urlsplit(server.url)
    assert parts.hostname is not None
    assert parts.port is not None
    return await trio.open_tcp_stream(parts.hostname, parts.port)


class Wire:
    """One HTTP/1.1 connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h11 = h11.Connection(h11.CLIENT)

    async def send(
        self, method: str, target: str, body: object, headers: Mapping[str, str]
    ) -> None:
        content = b"" if body is None else body if isinstance(body, bytes) else _dump(body)
        every = {"Host": "localhost", **headers}
        if body is not None:
            every |= {"Content-Length": str(len(content))}
        out = self.h11.send(h11.Request(method=method, target=target, headers=list(every.items())))
        assert out is not None
        if content:
            out += self.h11.send(h11.Data(data=content)) or b""
        out += self.h11.send(h11.EndOfMessage()) or b""
        await self.stream.send_all(out)

    async def next_event(self) -> h11.Event:
        while True:
            try:
                event = self.h11.next_event()
            except h11.RemoteProtocolError as error:
                raise CutError(str(error)) from error
            if isinstance(event, h11.Event):
                return event
            self.h11.receive_data(bytes(await self.stream.receive_some()))

    async def head(self) -> h11.Response:
        event = await self.next_event()
        while isinstance(event, h11.InformationalResponse):
            event = await self.next_event()
        assert isinstance(event, h11.Response)
        return event

    async def reply(self) -> Reply:
        head = await self.head()
        body = bytearray()
        while isinstance(event := await self.next_event(), h11.Data):
            body += event.data
        headers = {k.decode().lower(): v.decode() for k, v in head.headers}
        return Reply(head.status_code, headers, bytes(body))


async def call(
    server: Target,
    method: str,
    target: str,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Make one request on a new connection."""
    stream = await connect(server)
    async with stream:
        wire = Wire(stream)
        await wire.send(method, target, body, headers or {})
        return await wire.reply()


class Frames:
    """An open stream; `ended` is how it ended, once a read has noticed it."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.text = ""
        self.ended = ""

    async def next(self) -> Frame:
        while "\n\n" not in self.text:
            try:
                event = await self.wire.next_event()
            except CutError:
                self.ended = "cut"
                raise
            except trio.BrokenResourceError:
                self.ended = "reset"
                raise CutError("reset") from None
            if not isinstance(event, h11.Data):
                self.ended = "clean"
                raise EOFError
            self.text += bytes(event.data).decode()
        raw, self.text = self.text.split("\n\n", 1)
        return Frame(raw)

    async def until(self, *events: str) -> list[Frame]:
        frames = [await self.next()]
        while frames[-1].event not in events:
            frames.append(await self.next())
        return frames

    async def rest(self) -> list[Frame]:
        frames: list[Frame] = []
        try:
            while True:
                frames.append(await self.next())
        except (EOFError, CutError):
            return frames

    async def close(self) -> None:
        await self.wire.stream.aclose()


@asynccontextmanager
async def open_frames(
    server: Target, session_id: str, last_event_id: str | None = None, *, connected: bool = True
) -> AsyncIterator[Frames]:
    """Open a stream and, by default, read its `connected`."""
    stream = await connect(server)
    try:
        wire = Wire(stream)
        headers = {} if last_event_id is None else {"Last-Event-ID": last_event_id}
        await wire.send("GET", f"/stream?sessionId={session_id}", None, headers)
        head = await wire.head()
        assert head.status_code == 200
        frames = Frames(wire)
        if connected:
            assert (await frames.next()).event == "connected"
        yield frames
    finally:
        await stream.aclose()


async def send(
    server: MixServer, session_id: str, text: str, *, via: Target | None = None, **more: object
) -> Reply:
    """Send a message with the operation of the server's generation."""
    target = server if via is None else via
    if server.api.startswith("pipeline"):
        content = {"content": json.dumps({"text": text, **more})}
        return await call(target, "POST", f"/stream/{session_id}/message", content)
    path = f"/api/sessions/{session_id}/messages"
    return await call(target, "POST", path, {"text": text, **more})


def _dump(body: object) -> bytes:
    return json.dumps(body).encode()
