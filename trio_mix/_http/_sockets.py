"""Make TCP and TLS connections with Trio, as a `NetworkBackend`.

What it knows: Trio's sockets. What it must never know: HTTP.

httpcore has such a back end too. This one closes the socket when a handshake is cancelled, and
arms no timer where no timeout is asked for, which is most of the cost of a small read. Where a
timeout is asked for, it is a `TimeoutError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from trio_mix._http._errors import WriteError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from trio_mix._http._protocols import NetworkStream, SocketOption

    Transport: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]

__all__ = ["TrioBackend", "TrioStream"]


class TrioStream:
    """A TCP or TLS connection."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes, ``b""`` at the end; cancelled or timed out, nothing is lost."""
        if timeout is None:
            return bytes(await self._transport.receive_some(max_bytes))
        with trio.move_on_after(timeout):
            return bytes(await self._transport.receive_some(max_bytes))
        raise TimeoutError(f"nothing came for {timeout:g} s")

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
        raise TimeoutError(f"nothing was taken for {timeout:g} s")

    async def aclose(self) -> None:
        """Close the connection; the socket is closed even if this is cancelled."""
        await self._transport.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        """Shake hands; on failure, cancellation included, the connection is closed."""
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
        """Return ``socket``, ``ssl_object`` or ``is_readable``, `None` for anything else."""
        transport = self._transport
        plain = transport.transport_stream if isinstance(transport, trio.SSLStream) else transport
        if info == "socket":
            return plain.socket
        if info == "is_readable":
            return plain.socket.is_readable()
        if info == "ssl_object" and isinstance(transport, trio.SSLStream):
            return transport._ssl_object
        return None


class TrioBackend:
    """Connects over TCP, to whichever of a name's addresses answers first."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Connect, and set the options."""
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            stream = await trio.open_tcp_stream(host, port, local_address=local_address)
            for option in socket_options or ():
                stream.socket.setsockopt(*option)  # pyright: ignore
            return TrioStream(stream)
        raise TimeoutError(f"no connection in {timeout:g} s")

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await trio.sleep(seconds)
