"""Clients of a relay in memory, whose line a test can cut."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.support.relay_running import RelayInMemory, open_relay
from trio_mix import ReconnectPolicy
from trio_mix.relay import (
    RelayClient,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.wire_client import Target
    from trio_mix.testing import (
        MixServer,
    )
    from trio_mix.testing.net._memory import MemoryStream

__all__ = ["SOON", "Line", "connected", "in_front_of"]


SOON = ReconnectPolicy(initial_interval=0.01, max_interval=0.05, stable_after=0)


class Line:
    """The connections of a client in memory, which a test can cut."""

    def __init__(self, relay: Target) -> None:
        self.relay = relay
        self.streams: list[MemoryStream] = []
        self.broken = False

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        del host, port
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("no route")
        stream = self.relay.network.connect()
        self.streams.append(stream)
        return stream

    async def cut(self) -> None:
        await trio.aclose_forcefully(self.streams[-1])


@asynccontextmanager
async def connected(relay: Target, **options: Any) -> AsyncIterator[tuple[RelayClient, Line]]:
    line = Line(relay)
    client = RelayClient("http://localhost", connect=line.connect, **{"reconnect": SOON, **options})
    async with client:
        yield client, line


@asynccontextmanager
async def in_front_of(
    server: MixServer, **options: Any
) -> AsyncIterator[tuple[RelayClient, Line, RelayInMemory, str]]:
    session_id = server.create_session()
    async with open_relay(server) as relay, connected(relay, **options) as (client, line):
        yield client, line, relay, session_id
