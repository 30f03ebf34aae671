"""One WebSocket connection that can be opened, used and closed without surprises.

What it knows: trio-websocket, wsproto, TCP and TLS.
What it must never know: the tunnel, DevTools; it never logs or shows a path or a header.

The rules it keeps (the tests cite the numbers):

1. Whatever ends the connection comes out as `WebSocketLost`, whatever refuses it as
   `WebSocketRefused`; both say why in words that are safe to show.
2. A long message goes out in pieces, so that a ping is answered between two of them: a slow line
   does not look like a dead one.
3. `WebSocket.aclose` is polite for a bounded time, then closes the socket in any case. It must be
   called once `WebSocket.open` was, however that came out.
4. A connect that hangs up without an answer fails at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection
from wsproto import ConnectionType, WSConnection
from wsproto.events import Event, Request, TextMessage
from wsproto.utilities import ProtocolError as WebSocketProtocolError

from trio_mix.browser._deflate import Deflate

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

__all__ = [
    "Connect",
    "WebSocket",
    "WebSocketAddress",
    "WebSocketLost",
    "WebSocketRefused",
    "open_tcp",
]

Connect: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Makes a connection to a host and a port; TLS, where it is due, comes on top of it."""

_PIECE = 64 * 1024
_READ = 64 * 1024
_QUEUE = 16


class WebSocketLost(Exception):
    """The connection is over, or was not to be had; the text says why."""


class WebSocketRefused(Exception):
    """The handshake was answered with a status other than 101."""

    def __init__(self, status_code: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.headers = headers
        self.body = body


@attrs.frozen
class WebSocketAddress:
    """Where a WebSocket is."""

    host: str
    port: int
    authority: str
    """For the ``Host`` header."""
    resource: str = attrs.field(repr=False)
    """Path and query, with the token."""
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False, default=())
    """Further headers of the handshake."""
    ssl_context: ssl.SSLContext | None = None
    """For TLS, else None."""


async def open_tcp(host: str, port: int) -> trio.abc.Stream:
    """Connect as anybody would."""
    return await trio.open_tcp_stream(host, port)


@final
class WebSocket:
    """A client's end of a WebSocket.

    Args:
      address: where to connect.
      connect: makes the TCP connection.
      deflate: whether to offer permessage-deflate.
      max_message: the most characters of a message that comes in; a longer one ends the connection.
    """

    def __init__(
        self, address: WebSocketAddress, *, connect: Connect, deflate: bool, max_message: int
    ) -> None:
        self._address = address
        self._connect = connect
        self._deflate = deflate
        self._max_message = max_message
        self._stream: trio.abc.Stream | None = None
        self._connection: _Connection | None = None
        self._opening: trio.CancelScope | None = None
        self._reading = trio.CancelScope(shield=True)
        self._failure: WebSocketLost | WebSocketRefused | None = None
        self._sending = trio.Lock()

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect; the nursery gets the task that reads, which ends with `aclose`.

        Raises:
          WebSocketRefused: the server answered something else.
          WebSocketLost: there was no answer.
        """
        try:
            self._stream = await self._dial()
        except OSError as error:
            raise WebSocketLost(error.strerror or str(error)) from error
        except trio.BrokenResourceError as error:
            cause = error.__cause__ or error
            raise WebSocketLost(f"the TLS handshake failed: {cause}") from error
        self._connection = connection = _Connection(
            self._stream,
            _Offering([Deflate()] if self._deflate else []),
            host=self._address.authority,
            path=self._address.resource,
            client_extra_headers=list(self._address.headers),
            message_queue_size=_QUEUE,
            max_message_size=self._max_message,
            receive_buffer_size=_READ,
        )
        with trio.CancelScope() as self._opening:
            nursery.start_soon(self._read, connection)
            await connection.wait_opened()
        self._opening = None
        if self._failure is not None:
            raise self._failure
        if not connection.opened:
            raise WebSocketLost("the connection was closed before the handshake was answered")

    async def receive(self) -> str | bytes:
        """Return the next message."""
        assert self._connection is not None  # noqa: S101 - used after open()
        try:
            return await self._connection.get_message()
        except ConnectionClosed as closed:
            raise self._lost(closed) from None

    async def send(self, text: str) -> None:
        """Send a message, in pieces if it is long (rule 2); cancelled, the connection is spoilt."""
        assert self._connection is not None  # noqa: S101 - used after open()
        async with self._sending:
            try:
                for start in range(0, max(len(text), 1), _PIECE):
                    last = start + _PIECE >= len(text)
                    await self._connection.send_piece(text[start : start + _PIECE], last=last)
            except ConnectionClosed as closed:
                raise self._lost(closed) from None
            except WebSocketProtocolError:
                raise WebSocketLost("the connection is closing") from None

    async def ping(self, timeout: float) -> None:
        """Send a ping and wait for its answer."""
        assert self._connection is not None  # noqa: S101 - used after open()
        with trio.move_on_after(timeout):
            try:
                await self._connection.ping()
            except ConnectionClosed as closed:
                raise self._lost(closed) from None
            except WebSocketProtocolError:
                raise WebSocketLost("the connection is closing") from None
            return
        raise WebSocketLost(f"a ping was not answered for {timeout:g} s")

    async def aclose(self, timeout: float, code: int = 1000) -> None:
        """Say goodbye, wait a bounded time for the answer, and close; shielded (rule 3)."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - there may be nothing to close
            if self._connection is not None and self._connection.opened:
                over = (ConnectionClosed, WebSocketProtocolError, trio.BrokenResourceError)
                with trio.move_on_after(timeout), contextlib.suppress(*over):
                    await self._connection.aclose(code)
            self._reading.cancel(reason="the WebSocket is closed")
            if self._stream is not None:
                await trio.aclose_forcefully(self._stream)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _dial(self) -> trio.abc.Stream:
        address = self._address
        stream = await self._connect(address.host, address.port)
        if address.ssl_context is None:
            return stream
        secure = trio.SSLStream(
            stream, address.ssl_context, server_hostname=address.host, https_compatible=True
        )
        try:
            await secure.do_handshake()
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
            raise
        return secure

    async def _read(self, connection: _Connection) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        # Shielded, or closing politely could not hear the other side's goodbye (rule 3).
        with self._reading:
            try:
                await connection.read()
                if connection.rejection is not None and not connection.opened:
                    self._failure = connection.rejection
            except ConnectionRejected as rejected:
                self._failure = _refused(rejected.status_code, rejected.headers, rejected.body)
            except Exception as error:  # noqa: BLE001 - the peer's garbage finds many ways out
                # Only the kind of error is told: its text may quote the request, token and all.
                self._failure = WebSocketLost(f"no WebSocket: {type(error).__name__}")
        if self._opening is not None:
            self._opening.cancel(reason="the connection has ended")

    def _lost(self, closed: ConnectionClosed) -> WebSocketLost:
        if isinstance(self._failure, WebSocketLost):
            return self._failure
        reason = closed.reason
        if reason is None or reason.code == 1006:
            return WebSocketLost("the connection broke")
        said = f": {reason.reason}" if reason.reason else ""
        return WebSocketLost(f"it was closed with {reason.code} {reason.name}{said}")


class _Connection(WebSocketConnection):
    """trio-websocket's connection, with the doors that its own helpers go through.

    Those helpers log the address with the token in it, cannot offer an extension, and wait for a
    handshake even after the connection has ended.
    """

    @property
    def opened(self) -> bool:
        return self._open_handshake.is_set()

    async def wait_opened(self) -> None:
        await self._open_handshake.wait()

    async def read(self) -> None:
        await self._reader_task()

    async def send_piece(self, text: str, *, last: bool) -> None:
        if self.closed:
            raise ConnectionClosed(self.closed)
        await self._send(TextMessage(data=text, message_finished=last))

    @property
    def rejection(self) -> WebSocketRefused | None:
        """A refusal whose body was ended by the end of the connection."""
        if not self._reject_status:
            return None
        return _refused(self._reject_status, self._reject_headers, self._reject_body)


class _Offering(WSConnection):
    """A client's protocol that offers extensions, which trio-websocket has no argument for."""

    def __init__(self, extensions: list[Deflate]) -> None:
        super().__init__(ConnectionType.CLIENT)
        self._extensions = extensions

    def send(self, event: Event) -> bytes:
        if isinstance(event, Request):
            event = dataclasses.replace(event, extensions=list(self._extensions))
        return super().send(event)


def _refused(
    status_code: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes | None
) -> WebSocketRefused:
    pairs = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    return WebSocketRefused(status_code, pairs, body or b"")
