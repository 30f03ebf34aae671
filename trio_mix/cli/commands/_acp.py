"""``acp``: an editor drives sessions through standard input and output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import RetryConfig
from trio_mix.cli._errors import OK
from trio_mix.cli.acp._agent import Agent
from trio_mix.cli.acp._stdio import protocol_streams

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection


async def acp(server: Connection) -> int:
    """Serve an editor until it closes the connection.

    The server may be down when the editor starts the command: then each request says so.
    """
    async with server.client(retries=RetryConfig()) as mix:
        with protocol_streams() as (receive, send):
            await Agent(mix, receive, send).run()
    return OK
