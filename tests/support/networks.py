"""Networks that interfere with a client's connections, such as at the POST of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpcore
import trio

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable


class WrappedStream(httpcore.AsyncNetworkStream):
    """A connection that passes on everything to another one."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await self._inner.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class WrappedNetwork(httpcore.AsyncNetworkBackend):
    """A network that wraps each connection of another one."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        self._inner = inner

    def wrap(self, stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
        """Return what takes the place of a new connection."""
        raise NotImplementedError

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return self.wrap(stream)

    async def sleep(self, seconds: float) -> None:
        await self._inner.sleep(seconds)


class _Stream(WrappedStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, network: PostCutter) -> None:
        super().__init__(inner)
        self._network = network
        self._posting = False

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._posting:
            await self._network.before_cut()
            await self._inner.aclose()
            raise httpcore.ReadError("cut while waiting for the response")
        return await self._inner.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._network.armed and b"/message" in buffer and buffer.startswith(b"POST"):
            self._network.armed = False
            self._posting = True
            if not self._network.arrives:
                await trio.lowlevel.checkpoint()
                return
        if self._posting and not self._network.arrives:
            await trio.lowlevel.checkpoint()
            return
        await self._inner.write(buffer, timeout)


class PostCutter(WrappedNetwork):
    """Cut the connection of the next POST of a message while the client waits for the response.

    Args:
      inner: the network.
      arrives: whether the server receives the request.
      before_cut: awaited before the connection is cut.
    """

    def __init__(
        self,
        inner: httpcore.AsyncNetworkBackend,
        *,
        arrives: bool,
        before_cut: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint,
    ) -> None:
        super().__init__(inner)
        self.arrives = arrives
        self.before_cut = before_cut
        self.armed = False

    def wrap(self, stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
        return _Stream(stream, self)
