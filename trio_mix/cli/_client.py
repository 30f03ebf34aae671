"""Opens the client that the commands use."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from trio_mix import Mix, RetryConfig
from trio_mix.errors import MixError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def open_client(server: str | None) -> AsyncIterator[Mix]:
    """Open a client on a server that responds.

    A stream retries its first connection for some time, but a user at a terminal wants to see at
    once that the address is wrong. So one plain request is sent first. Any response to it is
    accepted: the oldest servers have no ``/health``.

    Raises:
      ConnectionFailed, RequestTimeout: nothing responds at the address.
    """
    async with Mix(server or None, retries=RetryConfig(strategy="none")) as mix:
        with suppress(MixError):
            await mix.system.health_check()
        yield mix
