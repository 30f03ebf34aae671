"""The server's side of a browser tunnel: a WebSocket that carries DevTools commands.

Rules:

1. A session has one tunnel: a new tunnel replaces the old one.
2. A ping is sent every 30 seconds; a tunnel without a pong within 5 seconds is closed.
3. A command waits 30 seconds for its answer; a message over 10 MB closes the tunnel.
4. It does not compress: an offered compression is declined.
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
from wsproto.utilities import ProtocolError

from trio_mix.testing._records import TunnelClosed, TunnelMessage, TunnelOpened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wsproto.events import Event

    from trio_mix.testing._log import Log

PING_INTERVAL: Final = 30.0
PING_TIMEOUT: Final = 5.0
COMMAND_TIMEOUT: Final = 30.0
MAX_MESSAGE: Final = 10 * 2**20
_READ = 64 * 1024


@final
class BrowserTunnel:
    """One open tunnel; a test sends commands through it with `command`.

    Attributes:
      session_id: the session.
      closed: set when the tunnel has ended.
    """

    def __init__(self, session_id: str, stream: trio.abc.Stream, log: Log) -> None:
        self.session_id = session_id
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
        """Send a command and return the answer, unchanged.

        Args:
          method: the DevTools method.
          params: its parameters.
          id: the command's id; None: a new one. Several pending commands may have the same id.
          session_id: CDP's ``sessionId``.
          browser_id: the message's ``browserId``; None: left out.
          timeout: seconds to wait for the answer.

        Raises:
          trio.TooSlowError: there was no answer in time.
          trio.BrokenResourceError: the tunnel was closed.
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
            raise trio.BrokenResourceError("the tunnel was closed") from None
        finally:
            if answer in self._waiting.get(key, ()):
                self._waiting[key].remove(answer)

    async def send_text(self, text: str) -> None:
        """Send any message, unchanged."""
        await self._send(TextMessage(data=text))

    def end(self, reason: str, code: int = 1000) -> None:
        """Close the tunnel from the server's side."""
        self._reason = reason
        self._farewell = CloseConnection(code=code, reason=reason)
        self._scope.cancel(reason=reason)

    async def run(self, request: list[tuple[bytes, bytes]], path: str, early: bytes) -> None:
        """Accept the WebSocket and serve the tunnel until it ends."""
        self._ws.initiate_upgrade_connection(request, path)
        handshake = next(iter(self._ws.events()))
        if not isinstance(handshake, Request):
            raise TypeError(f"wsproto gave {handshake!r} for a handshake")
        await self._send(AcceptConnection())
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
        """Fail the pending commands and record the end."""
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
            return  # the WebSocket is closing
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._scope.cancel(reason="the connection of the tunnel is lost")

    async def _ping(self) -> None:
        while True:
            await trio.sleep(PING_INTERVAL)
            self._pong = trio.Event()
            await self._send(Ping(payload=b"mix"))
            with trio.move_on_after(PING_TIMEOUT) as patience:
                await self._pong.wait()
            if patience.cancelled_caught:
                self.end("ping", 1001)

    async def _receive(self, data: bytes) -> None:  # noqa: ASYNC910 - it reads, unless the tunnel has ended
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
        return True  # noqa: ASYNC910 - the caller reads next

    def _message(self, text: str) -> None:
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            self.end("protocol", 1007)
            return
        waiting = self._waiting.get(json.dumps(message.get("id")), [])
        if waiting:
            waiting.pop(0).send_nowait(message)
        else:
            self._log.add(TunnelMessage(session_id=self.session_id, message=message))


class BrowserTunnels:
    """The open tunnels, by session id."""

    def __init__(self) -> None:
        self._open: dict[str, BrowserTunnel] = {}

    def __getitem__(self, session_id: str) -> BrowserTunnel:
        return self._open[session_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, tunnel: BrowserTunnel) -> None:
        """Add a tunnel; the session's previous tunnel is closed."""
        old = self._open.get(tunnel.session_id)
        if old is not None:
            old.end("replaced", 1008)
        self._open[tunnel.session_id] = tunnel

    def remove(self, tunnel: BrowserTunnel) -> None:
        """Remove a tunnel that has ended."""
        if self._open.get(tunnel.session_id) is tunnel:
            del self._open[tunnel.session_id]
