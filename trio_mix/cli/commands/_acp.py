"""``acp``: an editor drives sessions through standard input and output."""

from __future__ import annotations

from trio_mix import Mix
from trio_mix.cli._errors import OK
from trio_mix.cli.acp._agent import Agent
from trio_mix.cli.acp._stdio import protocol_streams


async def acp(server: str | None) -> int:
    """Serve an editor until it closes the connection.

    The server may be down when the editor starts the command: then each request says so.
    """
    async with Mix(server or None) as mix:
        with protocol_streams() as (receive, send):
            await Agent(mix, receive, send).run()
    return OK
