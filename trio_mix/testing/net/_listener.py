"""Where connections come in: a socket, a network in memory, or both.

What it knows: addresses, listeners, the nursery that connections run in.
What it must never know: HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from trio_mix.testing._lifetime import Lifetime
from trio_mix.testing.net._memory import MemoryNetwork, MemoryStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["MEMORY_URL", "Listener", "Reachable", "checked_port"]

MEMORY_URL = "http://mix.test"


class Reachable(Protocol):
    """What can be connected to in this process: a server, a proxy, a recorder, a replay."""

    @property
    def url(self) -> str:
        """Its address."""
        ...

    @property
    def network(self) -> MemoryNetwork:
        """The way to it without sockets."""
        ...

    @property
    def in_memory(self) -> bool:
        """Whether it can be reached through `network` alone."""
        ...


def checked_port(port: int) -> int:
    """Return the port to bind.

    Raises:
      ValueError: it is none. The system would take it for another one, 65536 lower.
    """
    if not 0 <= port <= 65535:
        raise ValueError(f"port must be between 0 (any free one) and 65535, not {port}")
    return port


class Listener:
    """Takes connections and gives each to a handler, in a task of its own.

    Args:
      handler: serves one connection; what it raises comes out of `close`.
      host: the address to bind.
      port: the port to bind; 0: any free one.
      listen: whether to open a socket at all.
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
        self._port = checked_port(port)
        self._lifetime = Lifetime()

    async def open(self) -> None:
        """Take connections.

        Raises:
          RuntimeError: it was opened before.
          OSError: the address cannot be bound.
        """
        nursery = await self._lifetime.open()
        if not self.listen:
            await trio.lowlevel.checkpoint()
            return
        try:
            (listener, *_) = await trio.open_tcp_listeners(self._port, host=self._host)
        except BaseException:
            await self._lifetime.close("the address could not be bound")
            raise
        port = listener.socket.getsockname()[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.url = f"http://{host}:{port}"
        nursery.start_soon(self._listen, listener, nursery)

    async def close(self, reason: str) -> None:
        """End all connections and wait until they are over; raises what a handler has raised."""
        await self._lifetime.close(reason)

    def _accept(self, stream: MemoryStream) -> bool:
        if self._lifetime.nursery is None:
            return False
        self._lifetime.nursery.start_soon(self._handler, stream)
        return True

    async def _listen(self, listener: trio.SocketListener, nursery: trio.Nursery) -> None:
        await trio.serve_listeners(self._handler, [listener], handler_nursery=nursery)
