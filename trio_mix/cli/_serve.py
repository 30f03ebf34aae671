"""``serve``: the bundled server, until it is stopped.

What it knows: where the server listens.
What it must never know: what the server does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from trio_mix.testing import Api

_LOG = 1000
"""Records that the server keeps: enough to debug it, and no leak when it runs for days."""


async def serve(host: str, port: int, api: Api) -> int:
    """Run the server until cancelled."""
    async with MixServer(api, host=host, port=port, log_limit=_LOG) as server:
        print(f"Mix server (API generation: {api}) at {server.url}; Ctrl-C stops it", flush=True)
        await trio.sleep_forever()
