"""``serve``: runs the bundled server until it is stopped."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from trio_mix.testing import Api

_LOG_LIMIT = 1000
"""The number of records that the server keeps, so that a long run does not fill the memory."""


async def serve(host: str, port: int, api: Api, *, pace: float) -> int:
    """Run the server until cancelled."""
    with ExitStack() as at_the_end:
        async with MixServer(
            api,
            host=host,
            port=port,
            pace=pace,
            log_limit=_LOG_LIMIT,
            # A client that outlives this server must not find its session ids reused.
            id_prefix=f"{secrets.token_hex(3)}-",
        ) as server:
            line = f"Mix server (API generation: {api}) at {server.url}; Ctrl-C stops it"
            print(line, flush=True)
            # A terminal writes no line end after its ^C.
            last = "\nstopped" if sys.stdout.isatty() else "stopped"
            at_the_end.callback(print, last, flush=True)
            await trio.sleep_forever()
