"""Make TCP and TLS connections with Trio, as a `NetworkBackend`.

httpcore has such a backend too. This one closes the socket when a handshake is cancelled, and
opens no cancel scope if no timeout is given, which is most of the cost of a small read. A timeout
that expires is a `TimeoutError`.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import trio

from trio_mix._http._errors import WriteError
from trio_mix._lifetime import open_tcp_stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from trio_mix._http._protocols import NetworkStream, SocketOption

    Transport: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


@functools.cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the context for all connections, created at its first use: that takes 20 ms."""
    return httpx.create_ssl_context()


class TrioStream:
    """A TCP or TLS connection."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes, ``b""`` at the end; if cancelled or timed out, no bytes are lost."""
        if timeout is None:
            return bytes(await self._transport.receive_some(max_bytes))
        with trio.move_on_after(timeout):
            return bytes(await self._transport.receive_some(max_bytes))
        raise TimeoutError(f"no byte arrived for {timeout:g} s")

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes."""
        try:
            if timeout is None:
                await self._transport.send_all(buffer)
                return
            with trio.move_on_after(timeout):
                await self._transport.send_all(buffer)
                return
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise WriteError(str(error)) from error
        raise TimeoutError(f"the peer accepted no byte for {timeout:g} s")

    async def aclose(self) -> None:
        """Close the connection; the socket is closed even if the call is cancelled."""
        await self._transport.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        """Perform the TLS handshake; if it fails or is cancelled, the connection is closed."""
        if isinstance(self._transport, trio.SSLStream):
            raise RuntimeError("TLS within TLS is not supported here")
        stream = trio.SSLStream(
            self._transport, ssl_context, server_hostname=server_hostname, https_compatible=True
        )
        try:
            with trio.move_on_after(float("inf") if timeout is None else timeout):
                await stream.do_handshake()
                return TrioStream(stream)
            raise TimeoutError("the TLS handshake took too long")
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._transport)
            raise

    def get_extra_info(self, info: str) -> Any:
        """Return ``socket`` or ``is_readable``, `None` for any other name."""
        transport = self._transport
        plain = transport.transport_stream if isinstance(transport, trio.SSLStream) else transport
        if info == "socket":
            return plain.socket
        if info == "is_readable":
            return plain.socket.is_readable()
        return None


class TrioBackend:
    """Connect over TCP, to the first address of the name that accepts."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Connect, and set the socket options."""
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            stream = await open_tcp_stream(host, port, local_address=local_address)
            for option in socket_options or ():
                stream.socket.setsockopt(*option)  # pyright: ignore
            return TrioStream(stream)
        raise TimeoutError(f"no connection in {timeout:g} s")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await trio.sleep(seconds)
