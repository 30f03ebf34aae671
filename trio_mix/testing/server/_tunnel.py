"""The browser tunnel's end at the server: the WebSocket, and the commands that go through it.

What it knows: wsproto, the tunnel's messages and its limits.
What it must never know: browsers; the client; the requests that ask for tunnels.

Rules:

1. A session has one tunnel: a new one takes the place of the old.
2. A ping goes out every 30 seconds; a tunnel that does not answer it within 5 is given up.
3. A command waits 30 seconds for its answer; a message over 10 MB ends the tunnel.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from typing import TYPE_CHECKING, Final, final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, RsvBits
from wsproto.utilities import ProtocolError

from trio_mix.testing._records import TunnelClosed, TunnelMessage, TunnelOpened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.events import Event
    from wsproto.frame_protocol import FrameDecoder, FrameProtocol, Opcode

    from trio_mix.testing._log import Log

__all__ = [
    "BrowserTunnel",
    "BrowserTunnels",
]

PING_INTERVAL: Final = 30.0
PING_TIMEOUT: Final = 5.0
COMMAND_TIMEOUT: Final = 30.0
MAX_MESSAGE: Final = 10 * 2**20
_READ = 64 * 1024


@final
class BrowserTunnel:
    """One open tunnel. A test sends its commands through it with `command`.

    Attributes:
      session_id: the session.
      compressed: whether permessage-deflate was agreed upon.
    """

    def __init__(self, session_id: str, stream: trio.abc.Stream, log: Log) -> None:
        self.session_id = session_id
        self.compressed: bool = False
        self.closed: trio.Event = trio.Event()
        self._stream = stream
        self._log = log
        self._ws = WSConnection(ConnectionType.SERVER)
        self._sending = trio.StrictFIFOLock()
        self._numbers = itertools.count(1)
        self._waiting: dict[str, list[trio.MemorySendChannel[dict[str, object]]]] = {}
        self._pong = trio.Event()
        self._reason = "gone"
        self._parts: list[str] = []
        self._size = 0
        self._scope = trio.CancelScope()
        self._farewell: CloseConnection | None = None

    async def command(
        self,
        method: str,
        params: Mapping[str, object] | None = None,
        *,
        id: object = None,  # noqa: A002 - the message's own name for it
        session_id: str | None = None,
        browser_id: object = None,
        timeout: float = COMMAND_TIMEOUT,
    ) -> dict[str, object]:
        """Send a command and return its answer as it came.

        Args:
          method: the DevTools method.
          params: its parameters.
          id: the command's id; None: a new one. Two that wait may have the same.
          session_id: CDP's ``sessionId``.
          browser_id: sent where it is not None.
          timeout: seconds to wait for the answer.

        Raises:
          trio.TooSlowError: it did not come in time.
          trio.BrokenResourceError: the tunnel has ended.
        """
        message: dict[str, object] = {"id": next(self._numbers) if id is None else id}
        message["method"] = method
        if params is not None:
            message["params"] = params
        if session_id is not None:
            message["sessionId"] = session_id
        if browser_id is not None:
            message["browserId"] = browser_id
        answer, answers = trio.open_memory_channel[dict[str, object]](1)
        key = json.dumps(message["id"])
        self._waiting.setdefault(key, []).append(answer)
        try:
            with trio.fail_after(timeout):
                await self.send_text(json.dumps(message))
                return await answers.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise trio.BrokenResourceError("the tunnel has ended") from None
        finally:
            if answer in self._waiting.get(key, ()):
                self._waiting[key].remove(answer)

    async def send_text(self, text: str) -> None:
        """Send a message of any kind, as it is."""
        await self._send(TextMessage(data=text))

    def end(self, reason: str, code: int = 1000) -> None:
        """Close the tunnel from the server's side."""
        self._reason = reason
        self._farewell = CloseConnection(code=code, reason=reason)
        self._scope.cancel(reason=reason)

    # Inside

    async def run(self, request: list[tuple[bytes, bytes]], path: str, early: bytes) -> None:
        """Shake hands, and serve until it ends."""
        self._ws.initiate_upgrade_connection(request, path)
        handshake = next(iter(self._ws.events()))
        if not isinstance(handshake, Request):
            raise TypeError(f"wsproto gave {handshake!r} for a handshake")
        deflate = _Deflate()
        await self._send(AcceptConnection(extensions=[deflate]))
        self.compressed = deflate.enabled()
        self._log.add(TunnelOpened(session_id=self.session_id))
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._ping)
                await self._receive(early)
                nursery.cancel_scope.cancel(reason="the tunnel has ended")
        if self._farewell is not None:
            with trio.move_on_after(1):
                await self._send(self._farewell)

    def finished(self) -> None:
        """Tell everybody that it is over."""
        for waiting in self._waiting.values():
            for answer in waiting:
                answer.close()
        self.closed.set()
        self._log.add(TunnelClosed(session_id=self.session_id, reason=self._reason))

    async def _send(self, event: Event) -> None:
        try:
            data = self._ws.send(event)
        except ProtocolError:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return  # it is closing
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._scope.cancel(reason="the tunnel broke")

    async def _ping(self) -> None:
        while True:
            await trio.sleep(PING_INTERVAL)
            self._pong = trio.Event()
            await self._send(Ping(payload=b"mix"))
            with trio.move_on_after(PING_TIMEOUT) as patience:
                await self._pong.wait()
            if patience.cancelled_caught:
                self.end("ping", 1001)

    async def _receive(self, data: bytes) -> None:  # noqa: ASYNC910 - it reads, unless the tunnel is over
        try:
            while True:
                if data:
                    self._ws.receive_data(data)
                for event in self._ws.events():
                    if not await self._take(event):
                        return
                data = bytes(await self._stream.receive_some(_READ))
                if not data:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ProtocolError:
            self._reason = "protocol"

    async def _take(self, event: Event) -> bool:
        if isinstance(event, TextMessage):
            self._parts.append(event.data)
            self._size += len(event.data.encode())
            if self._size > MAX_MESSAGE:
                self.end("too large", 1009)
            elif event.message_finished:
                text = "".join(self._parts)
                self._parts, self._size = [], 0
                self._message(text)
        elif isinstance(event, Ping):
            await self._send(event.response())
        elif isinstance(event, Pong):
            self._pong.set()
        elif isinstance(event, CloseConnection):
            self._reason = "client"
            await self._send(event.response())
            return False
        elif isinstance(event, BytesMessage):
            self.end("protocol", 1003)
        return True  # noqa: ASYNC910 - its caller reads next

    def _message(self, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            self.end("protocol", 1007)
            return
        waiting = self._waiting.get(json.dumps(message.get("id")), [])
        if waiting:
            waiting.pop(0).send_nowait(message)
        else:
            self._log.add(TunnelMessage(session_id=self.session_id, message=message))


class BrowserTunnels:
    """The open tunnels, by session."""

    def __init__(self) -> None:
        self._open: dict[str, BrowserTunnel] = {}

    def __getitem__(self, session_id: str) -> BrowserTunnel:
        return self._open[session_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, tunnel: BrowserTunnel) -> None:
        """Take a new one; one that the session has already is closed."""
        old = self._open.get(tunnel.session_id)
        if old is not None:
            old.end("replaced", 1008)
        self._open[tunnel.session_id] = tunnel

    def remove(self, tunnel: BrowserTunnel) -> None:
        """Forget one that has ended."""
        if self._open.get(tunnel.session_id) is tunnel:
            del self._open[tunnel.session_id]


class _Deflate(PerMessageDeflate):
    """wsproto's extension, which must not see control frames: they confuse its state."""

    def __init__(self) -> None:
        super().__init__()
        self._control = False

    def frame_inbound_header(
        self,
        proto: FrameDecoder | FrameProtocol,
        opcode: Opcode,
        rsv: RsvBits,
        payload_length: int,
    ) -> CloseReason | RsvBits:
        self._control = opcode.iscontrol()
        if self._control:
            return RsvBits(False, False, False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(
        self, proto: FrameDecoder | FrameProtocol, data: bytes
    ) -> bytes | CloseReason:
        return data if self._control else super().frame_inbound_payload_data(proto, data)

    def frame_inbound_complete(
        self, proto: FrameDecoder | FrameProtocol, fin: bool
    ) -> bytes | CloseReason | None:
        return None if self._control else super().frame_inbound_complete(proto, fin)
