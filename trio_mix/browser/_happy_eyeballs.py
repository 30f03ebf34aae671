"""Connect to one of several IP addresses, without resolving a name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix._lifetime import open_tcp_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

_STAGGER: Final = 0.3


async def connect_to_one(addresses: Sequence[str], port: int) -> trio.SocketStream | None:
    """Return a connection to the first address that accepts one, or None if none does.

    An attempt starts when the one before it fails, or after 0.3 seconds.
    """
    winner: trio.SocketStream | None = None

    async def attempt(address: str, failed: trio.Event) -> None:
        nonlocal winner
        try:
            stream = await open_tcp_stream(address, port)
        except OSError:
            failed.set()
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        if winner is None:
            winner = stream
            nursery.cancel_scope.cancel(reason="another attempt succeeded")
        else:
            await trio.aclose_forcefully(stream)
        await trio.lowlevel.cancel_shielded_checkpoint()

    async with trio.open_nursery() as nursery:
        for address in addresses:
            failed = trio.Event()
            nursery.start_soon(attempt, address, failed)
            with trio.move_on_after(_STAGGER):
                await failed.wait()
    return winner
