"""The idle connections of a client.

Rule 1: a client keeps a few of them; those in use do not count towards that limit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from trio_mix._http._connection import Connection

MAX_IDLE = 8
MAX_IDLE_TIME = 4.0  # many servers close an idle connection after five seconds

_Origin = tuple[str, str, int]


class IdleConnections:
    """The idle connections of one client; the most recently used is reused first."""

    def __init__(self) -> None:
        self._idle: list[tuple[float, _Origin, Connection]] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._idle)

    async def take(self, origin: _Origin) -> Connection | None:
        """Remove and return a live connection, or `None`; close the dead ones."""
        now = trio.current_time()
        found: Connection | None = None
        kept: list[tuple[float, _Origin, Connection]] = []
        dead: list[Connection] = []
        for entry in reversed(self._idle):
            since, to, connection = entry
            limit = min(MAX_IDLE_TIME, connection.idle_limit)
            if now - since > limit or connection.is_dead():
                dead.append(connection)
            elif found is None and to == origin:
                found = connection
            else:
                kept.append(entry)
        self._idle = kept[::-1]
        for connection in dead:
            await connection.aclose()
        return found  # noqa: ASYNC910 - a checkpoint here could leak the connection; the request itself has one

    async def put(self, origin: _Origin, connection: Connection) -> None:  # noqa: ASYNC910 - follows the request, which is a checkpoint
        """Add a connection whose response has been read to the end."""
        if self._closed:
            await connection.aclose()
            return
        self._idle.append((trio.current_time(), origin, connection))
        if len(self._idle) > MAX_IDLE:
            _, _, oldest = self._idle.pop(0)
            await oldest.aclose()

    async def aclose(self) -> None:
        """Close all connections, and those that are added later."""
        self._closed = True
        idle, self._idle = self._idle, []
        for _, _, connection in idle:
            await connection.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()
