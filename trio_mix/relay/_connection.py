"""The server's side of one connection, with sends that never wait.

A `SocketConnection` adds to a Trio stream what a fan-out needs: a send that takes what the socket
has room for, at once. A `StreamConnection` gives any other stream the same interface, for networks
in memory: it never takes anything at once, so that its consumer's own task sends everything.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from typing import Protocol, final

import trio

_READ = 64 * 1024
_RESET = struct.pack("ii", 1, 0)
_BROKEN = "the client has closed the connection"
_CLOSED = "this connection is closed"


class ServerConnection(Protocol):
    """A connection to one client."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send what fits into the socket's buffer and return how many bytes that was.

        Raises:
          trio.BrokenResourceError: the client has closed the connection.
          trio.ClosedResourceError: the connection is closed.
        """
        ...

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all bytes, waiting while the socket's buffer is full."""
        ...

    async def send_some(self, data: memoryview) -> int:
        """Wait until the connection takes bytes; return how many it took."""
        ...

    async def receive_some(self, max_bytes: int = _READ) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        ...

    def abort(self) -> None:
        """Close the connection at once with a reset; bytes in flight may be lost."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


@final
class SocketConnection(trio.abc.AsyncResource):
    """A connection that was accepted on a socket.

    Args:
      sock: the accepted socket, which is closed with the connection.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise trio.ClosedResourceError(_CLOSED)
        return self._socket

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Send what fits into the socket's buffer and return how many bytes that was."""
        try:
            return self._open().send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise trio.BrokenResourceError(_BROKEN) from error

    async def send_some(self, data: memoryview) -> int:
        """Wait until the connection takes bytes; return how many it took."""
        await trio.lowlevel.checkpoint()
        while True:
            if sent := self.send_nowait(data):
                return sent
            await trio.lowlevel.wait_writable(self._open())

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all bytes, waiting while the socket's buffer is full."""
        await trio.lowlevel.checkpoint()
        view = memoryview(data)
        while view:
            view = view[await self.send_some(view) :]

    async def receive_some(self, max_bytes: int = _READ) -> bytes:
        """Return the next bytes, ``b""`` at the end.

        Raises:
          trio.BrokenResourceError: the client has reset the connection.
          trio.ClosedResourceError: the connection is closed.
        """
        await trio.lowlevel.checkpoint()
        while True:  # noqa: ASYNC913 - each iteration waits, returns or raises
            try:
                return self._open().recv(max_bytes)
            except (BlockingIOError, InterruptedError):
                await trio.lowlevel.wait_readable(self._open())
            except OSError as error:
                raise trio.BrokenResourceError(_BROKEN) from error

    def abort(self) -> None:
        """Close the connection at once with a reset; bytes in flight may be lost."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._close()

    def _close(self) -> None:
        sock, self._socket = self._socket, None
        if sock is not None:
            trio.lowlevel.notify_closing(sock)
            sock.close()

    async def aclose(self) -> None:
        """Close the connection."""
        self._close()
        await trio.lowlevel.checkpoint()


@final
class StreamConnection(trio.abc.AsyncResource):
    """A connection over any Trio stream, for networks in memory.

    Args:
      stream: the stream, which is closed with the connection.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._closed = False

    def send_nowait(self, data: bytes | memoryview) -> int:
        """Return 0: a stream cannot send without waiting."""
        del data
        if self._closed:
            raise trio.ClosedResourceError(_CLOSED)
        return 0

    async def send_some(self, data: memoryview) -> int:
        """Send a piece of the data and return its size."""
        piece = bytes(data[:_READ])
        await self._stream.send_all(piece)
        return len(piece)

    async def send_all(self, data: bytes | memoryview) -> None:
        """Send all bytes, waiting while the stream is full."""
        await self._stream.send_all(bytes(data))

    async def receive_some(self, max_bytes: int = _READ) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        return bytes(await self._stream.receive_some(max_bytes))

    def abort(self) -> None:
        """Close the stream at once."""
        self._closed = True
        close = getattr(self._stream, "close", None)
        if callable(close):
            close()

    async def aclose(self) -> None:
        """Close the stream."""
        self._closed = True
        await self._stream.aclose()


@final
class ConnectionListener(trio.abc.Listener[SocketConnection]):
    """Accepts connections on a listening socket.

    Args:
      sock: the socket, bound and listening.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket: socket.socket | None = sock
        sock.setblocking(False)

    @property
    def port(self) -> int:
        """The port that is bound."""
        sock = self._open()
        return int(sock.getsockname()[1])

    def _open(self) -> socket.socket:
        if self._socket is None:
            raise trio.ClosedResourceError("this listener is closed")
        return self._socket

    async def accept(self) -> SocketConnection:
        """Return the next connection.

        Raises:
          OSError: no connection can be accepted now, as without free file descriptors.
          trio.ClosedResourceError: the listener is closed.
        """
        await trio.lowlevel.checkpoint()
        while True:  # noqa: ASYNC913 - each iteration waits, returns or raises
            try:
                accepted, _ = self._open().accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                await trio.lowlevel.wait_readable(self._open())
            else:
                return SocketConnection(accepted)

    async def aclose(self) -> None:
        """Stop accepting connections."""
        sock, self._socket = self._socket, None
        if sock is not None:
            trio.lowlevel.notify_closing(sock)
            sock.close()
        await trio.lowlevel.checkpoint()


async def open_listeners(host: str, port: int, backlog: int = 1024) -> list[ConnectionListener]:
    """Bind all addresses of a host and return their listeners.

    Args:
      host: a name or an address.
      port: the port; 0: any free port, the same for all addresses where possible.
      backlog: how many connections may wait to be accepted.

    Raises:
      OSError: the host has no address, or an address cannot be bound.
    """
    try:
        found = await trio.socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except UnicodeError as error:
        raise OSError(f"{host!r} is not the name of a host") from error
    listeners: list[ConnectionListener] = []
    problem = OSError(f"{host!r} has no address")
    for family, kind, protocol, _, address in dict.fromkeys(found):
        # Where port 0 is asked for, all addresses get the port of the first one.
        chosen = listeners[0].port if listeners and not port else port
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # this machine has no IPv6
            problem = error
            continue
        try:
            if os.name != "nt":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address[0], chosen, *address[2:]))
            sock.listen(backlog)
        except OSError as error:
            sock.close()
            problem = error
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
        else:
            listeners.append(ConnectionListener(sock))
    else:
        if listeners:
            return listeners
    for listener in listeners:
        with trio.CancelScope(shield=True):
            await listener.aclose()
    raise problem
