"""The client as the command line uses it: impatient at first, patient afterwards.

What it knows: which client settings suit somebody who sits in front of the screen.
What it must never know: what the commands do with it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from trio_mix import Mix, RetryConfig
from trio_mix.errors import MixError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def open_client(server: str | None) -> AsyncIterator[Mix]:
    """Open a client on a server that is there.

    A stream's first connect would try for minutes; a person wants to hear at once that the address
    is wrong. So one plain request goes ahead, and any answer to it will do: the oldest servers have
    no ``/health``.

    Raises:
      ConnectionFailed, RequestTimeout: nobody answers at the address.
    """
    async with Mix(server or None, retries=RetryConfig(strategy="none")) as mix:
        with suppress(MixError):
            await mix.system.health_check()
        yield mix
