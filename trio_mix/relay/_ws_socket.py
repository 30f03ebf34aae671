"""One WebSocket: the commands of its client, and its subscriptions.

Rules (tests cite the numbers):

1. Everything that a client sends is bounded: the size of a message, the number of subscriptions,
   of commands that are carried out at once and of answers that it has not taken. A limit that is
   exceeded closes the socket with a code and a reason; a client that is only faster than the relay
   is read more slowly.
2. A subscription is a position, not a buffer. All sockets that are up to date are sent the same
   frame by the pump; one that is not reads the events itself, one session after the other.
3. The token is checked again for every command and with every heartbeat.
4. The messages for one session are accepted in the order in which they arrive.
5. A socket that is closed cancels nothing: messages that were accepted are sent.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, final

import attrs
import trio
from trio_websocket import ConnectionClosed, wrap_server_stream
from wsproto.utilities import ProtocolError

from trio_mix._terminal_text import get_logger
from trio_mix.relay import _ws_messages as messages
from trio_mix.relay._errors import RelayError, Unauthorized
from trio_mix.relay._ws_commands import carry_out
from trio_mix.relay._ws_output import FrameOutput, WebSocketStream
from trio_mix.relay._ws_sender import BROKEN, SocketSender
from trio_mix.relay._ws_subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_websocket import WebSocketConnection

    from trio_mix.relay._connection import ServerConnection
    from trio_mix.relay._consumer import Rooms
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._ws_commands import Carried

_log = get_logger("trio_mix.relay")

MAX_MESSAGE: Final = 10 * 2**20
"""The largest message of a client, in characters."""
MAX_SUBSCRIPTIONS: Final = 1000
_MAX_PART: Final = MAX_MESSAGE * 2
"""How many bytes may arrive without a message being complete."""
_MAX_RUNNING: Final = 32
"""How many commands are carried out at once."""
_READ: Final = 8 * 1024
_CLEANUP: Final = 2.0
_DISCARDED: Final = 16 * 2**20


@attrs.frozen
class Handshake:
    """The request for a WebSocket."""

    request: bytes = attrs.field(repr=False)
    """The request, as trio-websocket reads it."""
    early: bytes = attrs.field(repr=False)
    """What the client sent after it."""
    headers: list[tuple[bytes, bytes]]
    """Further headers of the response."""


@final
class Socket:
    """One WebSocket.

    Args:
      hub: the sessions.
      rooms: the consumers of all sessions.
      authorize: returns what the client's token allows now, or raises `Unauthorized`.
      grant: what it allows.

    Attributes:
      grant: what the token allowed when it was checked last.
    """

    __slots__ = (
        "_authorize",
        "_closing",
        "_hub",
        "_life",
        "_nursery",
        "_room",
        "_rooms",
        "_running",
        "_sender",
        "_sending",
        "_subscriptions",
        "grant",
    )

    _nursery: trio.Nursery

    def __init__(
        self, hub: Hub, rooms: Rooms, authorize: Callable[[], Grant], grant: Grant
    ) -> None:
        self.grant = grant
        self._hub = hub
        self._rooms = rooms
        self._authorize = authorize
        self._sender: SocketSender | None = None
        self._subscriptions: dict[str, Subscription] = {}
        self._running = 0
        self._sending: dict[str, trio.Event] = {}
        self._room: trio.Event | None = None
        self._life = trio.CancelScope()
        self._closing: tuple[int, str] | None = None

    @property
    def subscriptions(self) -> int:
        """How many sessions are subscribed to."""
        return len(self._subscriptions)

    # -- life ---------------------------------------------------------------------------------

    async def serve(  # noqa: ASYNC910 - serving waits
        self,
        connection: ServerConnection,
        handshake: Handshake,
    ) -> None:
        """Serve until either side closes the socket.

        Args:
          connection: the connection.
          handshake: the request, and how it is answered.
        """
        output = FrameOutput(connection, self._rooms.stall_timeout)
        stream = WebSocketStream(
            connection,
            output,
            handshake.request,
            handshake.early,
            _MAX_PART,
            self._flooded,
        )
        try:
            async with trio.open_nursery() as self._nursery:
                asked = await wrap_server_stream(
                    self._nursery,
                    stream,
                    message_queue_size=0,
                    max_message_size=MAX_MESSAGE,
                    receive_buffer_size=_READ,
                )
                socket = await asked.accept(
                    subprotocol=messages.PROTOCOL, extra_headers=handshake.headers
                )
                stream.accepted()
                del asked, handshake
                self._sender = SocketSender(self._nursery, output, self.close, self._wake)
                await self._receive(socket, stream)
                await self._close(socket, output)
                self._nursery.cancel_scope.cancel(reason="the WebSocket is closed")
        except* ProtocolError as errors:  # of trio-websocket, for what it is sent while it closes
            _log.debug("a WebSocket was closed: %r", errors.exceptions)
        else:
            if output.closing:
                await _discard(connection)
        finally:
            self._rooms.stalled += output.stalled
            self._sender = None
            with trio.CancelScope(shield=True):  # noqa: ASYNC912 - there may be none
                for subscription in list(self._subscriptions.values()):
                    await subscription.leave()

    def close(self, code: int, reason: str) -> None:
        """Close the socket.

        Args:
          code: the code, of which 4000 and more are the relay's own.
          reason: why.
        """
        if self._closing is None:
            self._closing = code, reason
            self._life.cancel(reason=reason)

    def check_token(self) -> bool:
        """Return whether the token is still valid; otherwise close the socket (rule 3)."""
        try:
            self.grant = self._authorize()
        except Unauthorized:
            self.close(4401, "the token is not valid any more")
            return False
        return True

    def heartbeat(self) -> None:
        """Send a heartbeat, unless bytes are on their way already."""
        if self._sender is not None and self.check_token() and not self._sender.busy:
            self._sender.send(messages.HEARTBEAT)

    def send(self, frame: bytes, *, optional: bool = False) -> None:
        """Send a frame; see `SocketSender.send`."""
        if self._sender is not None:
            self._sender.send(frame, optional=optional)

    def _flooded(self) -> None:
        self.close(1009, f"more than {_MAX_PART} bytes without a whole message")

    async def _close(self, socket: WebSocketConnection, output: FrameOutput) -> None:
        """Close the socket; also after what trio-websocket closes without sending a code."""
        await trio.lowlevel.checkpoint()
        code, reason = self._closing or (1000, "")
        if code == BROKEN:
            return
        if socket.closed is None:
            with trio.move_on_after(_CLEANUP):
                reason = messages.short_reason(reason)
                await socket.aclose(code, reason)
        elif socket.closed.code != BROKEN and not output.closing:
            with trio.move_on_after(_CLEANUP):
                frame = messages.close_frame(socket.closed.code, socket.closed.reason or "")
                await output.send_all(frame)

    # -- commands -----------------------------------------------------------------------------

    async def _receive(self, socket: WebSocketConnection, stream: WebSocketStream) -> None:
        expires = self.grant.expires_at
        if expires is not None:
            self._life.deadline = trio.current_time() + max(0.0, expires - time.time())
        with self._life:
            while True:
                try:
                    message = await socket.get_message()
                except ConnectionClosed:
                    return  # noqa: ASYNC910 - receiving waits
                stream.begin_message()
                await self._take(message)
                while self._running >= _MAX_RUNNING or self._full:
                    self._room = trio.Event()
                    await self._room.wait()
        self._closing = self._closing or (4401, "the token has expired")

    async def _take(self, message: str | bytes) -> None:
        await trio.lowlevel.checkpoint()
        if not isinstance(message, str):
            self.close(1003, "send text messages: this one is binary")
            return
        try:
            command = messages.decode_command(message)
        except messages.BadMessage as error:
            self.close(4400, f"no message of {messages.PROTOCOL}: {error}")
            return
        if not self.check_token():
            return
        match command:
            case messages.Subscribe():
                self._subscribe(command)
            case messages.Unsubscribe():
                subscription = self._subscriptions.get(command.session_id)
                if subscription is not None:
                    await subscription.end(200, "unsubscribed")
            case _:
                self._running += 1
                self._nursery.start_soon(self._carry_out, command, *self._turn_of(command))

    def _turn_of(self, command: Carried) -> tuple[trio.Event | None, trio.Event]:
        """Return what a command waits for, and what it sets at its end (rule 4)."""
        done = trio.Event()
        if not isinstance(command, messages.Send):
            return None, done
        before = self._sending.get(command.session_id)
        self._sending[command.session_id] = done
        return before, done

    async def _carry_out(
        self, command: Carried, before: trio.Event | None, done: trio.Event
    ) -> None:
        """Carry out a command, and answer."""
        try:
            if before is not None:
                await before.wait()
            self.send(await carry_out(command, self._hub, self.grant))
        finally:
            done.set()
            if isinstance(command, messages.Send) and (
                self._sending.get(command.session_id) is done
            ):
                del self._sending[command.session_id]
            self._finished()

    def _subscribe(self, command: messages.Subscribe) -> None:
        session_id = command.session_id
        try:
            self.grant.check("read", session_id)
        except RelayError as error:
            self.send(messages.closed_message(session_id, error.status, str(error)))
            return
        subscription = self._subscriptions.get(session_id)
        if subscription is None:
            if len(self._subscriptions) >= MAX_SUBSCRIPTIONS:
                self.close(4429, f"more than {MAX_SUBSCRIPTIONS} subscriptions on one WebSocket")
                return
            assert self._sender is not None  # noqa: S101 - commands are received after accept
            subscription = Subscription(
                session_id,
                self.grant,
                self._subscriptions,
                self._sender,
                self._rooms,
                self._drain,
            )
        self._running += 1
        self._nursery.start_soon(self._open, subscription, subscription.renew(), command)

    async def _open(
        self, subscription: Subscription, scope: trio.CancelScope, command: messages.Subscribe
    ) -> None:
        try:
            with scope:
                await subscription.open(self._hub, command)
        finally:
            self._finished()

    def _finished(self) -> None:
        self._running -= 1
        self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()

    @property
    def _full(self) -> bool:
        return self._sender is not None and self._sender.full

    def _drain(self, subscription: Subscription, reason: str) -> None:
        """End a subscription because the relay is shutting down, and the socket with the last."""
        if len(self._subscriptions) > 1 and not self._nursery.cancel_scope.cancel_called:
            self._nursery.start_soon(subscription.end, 503, reason)
        else:
            self.close(1012, reason)


async def _discard(connection: ServerConnection) -> None:  # noqa: ASYNC910 - receiving waits
    """Read for a moment what the client sends: closing at once could reset the reason away."""
    size = 0
    with trio.move_on_after(_CLEANUP):  # noqa: ASYNC912 - receiving waits
        while size < _DISCARDED and (data := await connection.receive_some(_READ)):
            size += len(data)
