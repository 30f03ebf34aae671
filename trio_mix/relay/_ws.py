"""All WebSockets of a relay: their handshake, heartbeats and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix.relay._problem import Problem
from trio_mix.relay._ws_messages import PROTOCOL, session_message
from trio_mix.relay._ws_socket import Handshake, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._consumer import Rooms
    from trio_mix.relay._exchange import Exchange, Takeover
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._hub import Hub

_SLICE: Final = 64
"""How many sockets are served between two checkpoints."""
_VERSION: Final = "13"
_UPGRADE: Final = (("Upgrade", "websocket"), ("Connection", "Upgrade"))


@final
class Sockets:
    """The WebSockets of a relay.

    Args:
      hub: the sessions.
      rooms: the consumers of all sessions.
      heartbeat: seconds between two heartbeats.

    Attributes:
      opened: how many sockets were opened.
    """

    def __init__(self, hub: Hub, rooms: Rooms, *, heartbeat: float) -> None:
        self._hub = hub
        self._rooms = rooms
        self.opened = 0
        self._heartbeat = heartbeat
        self._sockets: dict[Socket, None] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    async def open(
        self, exchange: Exchange, authorize: Callable[[], Grant], grant: Grant
    ) -> Takeover:
        """Check a request for a WebSocket; return what answers it and serves the socket.

        Args:
          exchange: the request.
          authorize: returns what the client's token allows now, or raises `Unauthorized`.
          grant: what it allows.

        Raises:
          Problem: the request is refused.
        """
        await exchange.read_body(0)
        request, early = _request(exchange.head.headers), exchange.early_bytes()
        headers = [
            (name.lower().encode("ascii"), value.encode("latin-1"))
            for name, value in exchange.added_headers
        ]
        handshake = [Handshake(request, early, headers)]
        socket = Socket(self._hub, self._rooms, authorize, grant)

        async def serve(connection: ServerConnection) -> None:
            self._sockets[socket] = None
            self.opened += 1
            try:
                await socket.serve(connection, handshake.pop())
            finally:
                del self._sockets[socket]

        return serve

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Send an event about a session to all sockets that may know of it."""
        frame = session_message(event, session_id, data)
        for socket in list(self._sockets):
            if socket.grant.covers(session_id) and "read" in socket.grant.verbs:
                socket.send(frame, optional=True)

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await trio.sleep(self._heartbeat)
            sockets = list(self._sockets)
            for start in range(0, len(sockets), _SLICE):
                for socket in sockets[start : start + _SLICE]:
                    if socket in self._sockets:
                        socket.heartbeat()
                await trio.lowlevel.checkpoint()

    def close(self, reason: str) -> None:
        """Close all sockets: the relay is shutting down."""
        for socket in list(self._sockets):
            socket.close(1012, reason)


def _request(headers: Mapping[str, str]) -> bytes:
    """Return the request as trio-websocket reads it: without the token, the query and extensions.

    Raises:
      Problem: it asks for no WebSocket that the relay serves.
    """
    key = headers.get("sec-websocket-key")
    if headers.get("upgrade", "").lower() != "websocket" or not key:
        raise Problem(426, "this path is a WebSocket", headers=_UPGRADE)
    if headers.get("sec-websocket-version") != _VERSION:
        version = ("Sec-WebSocket-Version", _VERSION)
        raise Problem(426, "the relay speaks version 13 of WebSocket", headers=[*_UPGRADE, version])
    offered = headers.get("sec-websocket-protocol", "")
    if PROTOCOL not in [each.strip() for each in offered.split(",")]:
        raise Problem(400, f"offer the subprotocol {PROTOCOL} (Sec-WebSocket-Protocol)")
    lines = {
        "Host": "relay",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Version": _VERSION,
        "Sec-WebSocket-Protocol": PROTOCOL,
    }
    fields = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET /relay/ws HTTP/1.1\r\n{fields}\r\n".encode("latin-1")
