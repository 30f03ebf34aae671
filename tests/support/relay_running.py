"""A relay in memory in front of a bundled server, as something that clients connect to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.support.relay_memory_log import MemoryLog, MemoryStore
from trio_mix import Mix
from trio_mix.relay import Relay
from trio_mix.testing import MemoryNetwork
from trio_mix.testing.net._listener import MEMORY_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import MixServer
    from trio_mix.testing.net._memory import MemoryStream

__all__ = ["RelayInMemory", "open_relay"]


class RelayInMemory:
    """A running relay. `network` leads to the newest one, also after `restart`.

    Attributes:
      relay: the relay.
      log: its log.
      network: for clients.
      store: the disk of its log.
    """

    url = MEMORY_URL

    def __init__(self, server: MixServer, store: MemoryStore, options: dict[str, Any]) -> None:
        self.store = store
        self.network = MemoryNetwork(self._accept)
        self.relay: Relay
        self.log: MemoryLog
        self._server = server
        self._options = options
        self._nursery: trio.Nursery | None = None
        self._ended = trio.Event()

    def client(self) -> Mix:
        """Return a new client of the relay."""
        return Mix(self.url, network=self.network)

    def _accept(self, stream: MemoryStream) -> bool:
        if self._nursery is None:
            return False
        self._nursery.start_soon(self.relay.serve_stream, stream)
        return True

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._ended = trio.Event()
        try:
            self.log = MemoryLog(self.store)
            self.relay = Relay(
                self._server.url,
                log=self.log,
                network=self._server.network,
                allowed_hosts=("mix.test",),
                **self._options,
            )
            async with self.relay, trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    await self.relay.wait_ready()
                    task_status.started()
                    await trio.sleep_forever()
                finally:
                    self._nursery = None  # it is closed to new connections now
        finally:
            self._ended.set()

    async def kill(self) -> None:
        """End the relay at once, as a killed process would; its disk stays."""
        assert self._nursery is not None
        nursery, self._nursery = self._nursery, None
        nursery.cancel_scope.cancel()
        await self._ended.wait()


@asynccontextmanager
async def open_relay(
    server: MixServer, store: MemoryStore | None = None, **options: Any
) -> AsyncIterator[RelayInMemory]:
    """Run a relay in front of a server."""
    running = RelayInMemory(server, store or MemoryStore(), options)
    async with trio.open_nursery() as nursery:
        await nursery.start(running.run)
        yield running
        nursery.cancel_scope.cancel()
