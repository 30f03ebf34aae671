"""``serve``: the bundled server, until it is stopped.

What it knows: where the server listens.
What it must never know: what the server does.
"""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from trio_mix.testing import Api

_LOG = 1000
"""Records that the server keeps: enough to debug it, and no leak when it runs for days."""


async def serve(host: str, port: int, api: Api, *, pace: float) -> int:
    """Run the server until cancelled."""
    with ExitStack() as at_the_end:
        async with MixServer(
            api,
            host=host,
            port=port,
            pace=pace,
            log_limit=_LOG,
            # A client that outlives this server must not find its sessions' ids given to others.
            id_prefix=f"{secrets.token_hex(3)}-",
        ) as server:
            said = f"Mix server (API generation: {api}) at {server.url}; Ctrl-C stops it"
            print(said, flush=True)
            # A terminal puts no line end behind its ^C.
            last = "\nstopped" if sys.stdout.isatty() else "stopped"
            at_the_end.callback(print, last, flush=True)
            await trio.sleep_forever()
