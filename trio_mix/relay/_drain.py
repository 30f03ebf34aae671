"""Shuts a relay down without losing anything: turns may finish, streams are closed one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio_mix.relay._health import ServerState
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._sse import Streams
    from trio_mix.relay._ws import Sockets

_PER_STREAM: Final = 0.02
"""Seconds between two streams that are closed, at most: their clients reconnect elsewhere."""


async def drain(
    hub: Hub, streams: Streams, sockets: Sockets, state: ServerState, timeout: float
) -> None:
    """Stop accepting messages, and return when nothing runs any more.

    The turns that are running may finish. The streams of other sessions are closed meanwhile,
    spread over the time; those of the running turns are closed at their end. Messages that are
    queued are sent by the next start. All leases are released.

    Args:
      hub: the sessions.
      streams: the consumers.
      sockets: the WebSockets.
      state: is marked as draining.
      timeout: seconds that this may take.
    """
    state.draining = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.drain, timeout)
        with trio.move_on_after(timeout):
            await streams.close_idle(min(timeout, streams.consumers * _PER_STREAM))
    await streams.close_idle(0.0, busy=True)
    sockets.close("the relay is shutting down")
