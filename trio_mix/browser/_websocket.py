"""One WebSocket connection, made with the public functions of trio-websocket.

Rules that the tests cite:

1. Whatever ends the connection is raised as `TransportLost`, and a refused handshake as
   `WebSocketRefused`. The text of both contains no path and no header, so it is safe to log.
2. A long message is sent in fragments, so that a ping is answered between two of them: a slow line
   is not taken for a dead one.
3. `WebSocket.aclose` waits a bounded time for the closing handshake, then closes the socket in any
   case. Call it after `WebSocket.open`, also if `WebSocket.open` failed.
4. A connect fails at once when the peer closes the connection without an answer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, cast, final

import attrs
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream
from wsproto.events import TextMessage
from wsproto.utilities import ProtocolError

from trio_mix._lifetime import open_tcp_stream
from trio_mix.browser._opening import OpeningStream
from trio_mix.browser._transport import TransportLost

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from trio_websocket import WebSocketConnection

Connect: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a connection to a host and a port, without TLS."""

_FRAGMENT = 64 * 1024
_READ = 64 * 1024
_QUEUE = 16


class WebSocketRefused(Exception):
    """The handshake was answered with a status other than 101."""

    def __init__(self, status_code: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(f"HTTP {status_code}")
        self.status_code = status_code
        self.headers = headers
        self.body = body


@attrs.frozen
class WebSocketAddress:
    """The address of a WebSocket, with the headers of its handshake."""

    host: str
    port: int
    authority: str
    """For the ``Host`` header."""
    resource: str = attrs.field(repr=False)
    """Path and query, with the token."""
    headers: tuple[tuple[bytes, bytes], ...] = attrs.field(repr=False, default=())
    """Further headers of the handshake."""
    subprotocols: tuple[str, ...] = ()
    """The subprotocols that are offered."""
    ssl_context: ssl.SSLContext | None = None
    """The context for TLS, or None for a plain connection."""


async def open_tcp(host: str, port: int) -> trio.abc.Stream:
    """Open a TCP connection."""
    return await open_tcp_stream(host, port)


@final
class WebSocket:
    """The client's end of a WebSocket.

    Args:
      address: where to connect.
      connect: opens the TCP connection.
      max_message: the maximum number of characters of a message that is received; a longer one
        ends the connection.
    """

    def __init__(self, address: WebSocketAddress, *, connect: Connect, max_message: int) -> None:
        self._address = address
        self._connect = connect
        self._max_message = max_message
        self._stream: trio.abc.Stream | None = None
        self._connection: WebSocketConnection | None = None
        self._reading = trio.CancelScope(shield=True)
        self._ended = trio.Event()
        self._failure: TransportLost | WebSocketRefused | None = None
        self._sending = trio.Lock()

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect; the nursery runs the task that reads, which ends with `aclose`.

        Raises:
          WebSocketRefused: the server answered with a status other than 101.
          TransportLost: the connection could not be made, or was closed during the handshake.
        """
        try:
            self._stream = await self._open_stream()
        except OSError as error:
            raise TransportLost(error.strerror or str(error)) from error
        except trio.BrokenResourceError as error:
            cause = error.__cause__ or error
            raise TransportLost(f"the TLS handshake failed: {cause}") from error
        settled = trio.Event()
        nursery.start_soon(self._run, self._stream, settled)
        await settled.wait()
        if self._failure is not None:
            raise self._failure

    async def receive(self) -> str | bytes:
        """Return the next message."""
        connection = self._open_connection()
        try:
            return await connection.get_message()
        except ConnectionClosed as closed:
            if closed.reason is None:
                await self._ended.wait()  # the reader failed: its error is recorded as it ends
            raise self._lost(closed) from None

    async def send(self, text: str) -> None:
        """Send a message, in fragments if it is long (rule 2).

        If it is cancelled, the connection is unusable.
        """
        connection = self._open_connection()
        async with self._sending:
            try:
                for start in range(0, max(len(text), 1), _FRAGMENT):
                    last = start + _FRAGMENT >= len(text)
                    await _send_fragment(connection, text[start : start + _FRAGMENT], last=last)
            except ConnectionClosed as closed:
                raise self._lost(closed) from None
            except ProtocolError:
                raise TransportLost("the connection is closing") from None

    async def ping(self, timeout: float) -> None:
        """Send a ping and wait for its answer."""
        connection = self._open_connection()
        with trio.move_on_after(timeout):
            try:
                await connection.ping()
            except ConnectionClosed as closed:
                raise self._lost(closed) from None
            except ProtocolError:
                raise TransportLost("the connection is closing") from None
            return
        raise TransportLost(f"a ping was not answered for {timeout:g} s")

    async def aclose(self, timeout: float) -> None:
        """Close the connection; shielded, with at most ``timeout`` seconds for the handshake."""
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - there may be nothing to close
            if self._connection is not None:
                with (
                    trio.move_on_after(timeout),
                    contextlib.suppress(ConnectionClosed, ProtocolError, trio.BrokenResourceError),
                ):
                    await self._connection.aclose()
            self._reading.cancel(reason="the WebSocket is closed")
            if self._stream is not None:
                await trio.aclose_forcefully(self._stream)
        await trio.lowlevel.cancel_shielded_checkpoint()

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server has chosen; None: none."""
        return self._open_connection().subprotocol

    def _open_connection(self) -> WebSocketConnection:
        assert self._connection is not None  # noqa: S101 - used after open()
        return self._connection

    async def _open_stream(self) -> trio.abc.Stream:
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

    async def _run(self, stream: trio.abc.Stream, settled: trio.Event) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        """Run trio-websocket's reader until the connection ends; report its failure."""
        opening = OpeningStream(stream)
        try:
            # Shielded: closing waits for the peer's answer, which the reader receives (rule 3).
            with self._reading:
                async with trio.open_nursery() as nursery:
                    with opening.scope:
                        self._connection = await wrap_client_stream(
                            nursery,
                            # It takes any stream; its annotation names two classes.
                            cast("trio.SocketStream", opening),
                            self._address.authority,
                            self._address.resource,
                            subprotocols=self._address.subprotocols,
                            extra_headers=list(self._address.headers),
                            message_queue_size=_QUEUE,
                            max_message_size=self._max_message,
                            receive_buffer_size=_READ,
                        )
                        opening.opened()
                        settled.set()
            if self._connection is None:
                refusal = opening.refusal()
                self._failure = (
                    TransportLost("the connection was closed before the handshake was answered")
                    if refusal is None
                    else _refused(*refusal)
                )
        except* ConnectionRejected as rejected:
            self._failure = _rejected(rejected)
        except* Exception as errors:  # noqa: BLE001 - many kinds, from what a peer sends
            # Only the class of the error is shown: its text may quote the request with the token.
            kind = type(_leaf(errors)).__name__
            self._failure = TransportLost(f"the peer does not speak WebSocket: {kind}")
        self._ended.set()
        settled.set()

    def _lost(self, closed: ConnectionClosed) -> TransportLost:
        if isinstance(self._failure, TransportLost):
            return self._failure
        reason = closed.reason
        if reason is None or reason.code == 1006:
            return TransportLost("the connection broke")
        text = f": {reason.reason}" if reason.reason else ""
        return TransportLost(f"it was closed with {reason.code} {reason.name}{text}", reason.code)


async def _send_fragment(connection: WebSocketConnection, text: str, *, last: bool) -> None:
    """Send a part of a message; trio-websocket's ``send_message`` sends only whole ones.

    This is the one use of a private method of trio-websocket, which pyproject.toml pins for it.
    """
    if connection.closed:
        raise ConnectionClosed(connection.closed)
    await connection._send(TextMessage(data=text, message_finished=last))


def _leaf(group: BaseExceptionGroup) -> BaseException:
    error = group.exceptions[0]
    return _leaf(error) if isinstance(error, BaseExceptionGroup) else error


def _rejected(group: ExceptionGroup[ConnectionRejected]) -> WebSocketRefused:
    error = _leaf(group)
    assert isinstance(error, ConnectionRejected)  # noqa: S101 - the group has no other class
    return _refused(error.status_code, error.headers or (), error.body or b"")


def _refused(
    status_code: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes
) -> WebSocketRefused:
    pairs = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    return WebSocketRefused(status_code, pairs, body)
