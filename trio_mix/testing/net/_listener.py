"""Accepts connections on a socket, on a network in memory, or on both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix.errors import ConfigurationError
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from urllib.parse import SplitResult

MEMORY_URL = "http://mix.test"


class Reachable(Protocol):
    """Something in this process to connect to: a server, a proxy, a recorder, a replay."""

    @property
    def url(self) -> str:
        """The address."""
        ...

    @property
    def network(self) -> MemoryNetwork:
        """The network in memory that leads to it."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether it is reachable through `network` only."""
        ...


def check_port(port: int) -> int:
    """Return the port.

    Raises:
      ConfigurationError: the port is out of range; the operating system would use it modulo 65536.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"port must be between 0 (any free port) and 65535, not {port}")
    return port


def parse_server_url(url: str, *schemes: str) -> SplitResult | None:
    """Return the parts of a server's URL.

    None: the URL has another scheme, no host or an invalid port. The caller's error must not show
    the URL, which may contain a password.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in schemes and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        return None
    return parts if valid else None


async def open_listener(host: str, port: int) -> tuple[trio.SocketListener, str]:
    """Bind one listener; return it and the URL of its address.

    Args:
      host: the name or address to bind; of several addresses the first one is bound.
      port: the port; 0: any free port.

    Raises:
      OSError: the address cannot be bound.
    """
    listener, *others = await trio.open_tcp_listeners(port, host=host)
    for other in others:
        other.socket.close()
    bound = listener.socket.getsockname()[1]
    return listener, f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"


class Listener:
    """Accepts connections and passes each to a handler, in a task of its own.

    Args:
      handler: serves one connection; what it raises is raised by `close`.
      host: the address to bind.
      port: the port to bind; 0: any free port.
      listen: whether to open a socket.
    """

    def __init__(
        self,
        handler: Callable[[trio.abc.Stream], Awaitable[None]],
        *,
        host: str,
        port: int,
        listen: bool,
    ) -> None:
        self.network = MemoryNetwork(self._accept)
        self.url = "" if listen else MEMORY_URL
        self.listen = listen
        self._handler = handler
        self._host = host
        self._port = check_port(port)
        self._tasks = OwnedNursery("Listener")

    async def open(self) -> None:
        """Accept connections.

        Raises:
          UsageError: it was opened before.
          OSError: the address cannot be bound.
        """
        nursery = await self._tasks.open()
        if not self.listen:
            await trio.lowlevel.checkpoint()
            return
        try:
            listener, self.url = await open_listener(self._host, self._port)
        except BaseException:
            await self._tasks.close("the address could not be bound")
            raise
        nursery.start_soon(self._listen, listener, nursery)

    async def close(self, reason: str, leaving: BaseException | None = None) -> None:
        """Close all connections and wait for their handlers.

        Args:
          reason: why the handlers are cancelled.
          leaving: the exception of the body that is being left, which takes precedence.

        Raises:
          BaseException: what a handler raised.
        """
        await self._tasks.close(reason, leaving)

    def _accept(self, stream: MemoryStream) -> bool:
        if self._tasks.nursery is None:
            return False
        self._tasks.nursery.start_soon(self._handler, stream)
        return True

    async def _listen(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._handler, [listener], handler_nursery=nursery)
