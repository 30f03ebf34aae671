"""Processes that die and start again, with what they have stored, in memory."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import trio

from trio_mix import Mix, Ticket
from trio_mix.testing import FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from types import TracebackType

    from trio_mix import SessionStream
    from trio_mix.testing import MixServer


class Machine:
    """Runs one process after the other; `saved` is its disk, which survives them.

    Use it as ``async with Machine(server, session_id) as machine``.
    """

    def __init__(self, server: MixServer, session_id: str, *, settle_timeout: float = 60.0) -> None:
        self.saved: list[str] = []
        self._server = server
        self._session_id = session_id
        self._settle_timeout = settle_timeout
        self._proxy = FaultProxy(server)
        self._killed = False

    async def __aenter__(self) -> Self:
        await self._proxy.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._proxy.__aexit__(exc_type, exc, traceback)

    @property
    def states(self) -> list[str]:
        """The states of the tickets that were saved, oldest first."""
        return [json.loads(saved)["state"] for saved in self.saved]

    @property
    def ticket(self) -> Ticket:
        """The last ticket that was stored."""
        return Ticket.from_json(self.saved[-1])

    async def save(self, ticket: Ticket) -> None:
        """Store a ticket; a process that was killed stores nothing."""
        await trio.lowlevel.checkpoint()
        if not self._killed:
            self.saved.append(ticket.to_json())

    @asynccontextmanager
    async def process(self) -> AsyncIterator[SessionStream]:
        """A process with a stream of the session, which ends in order."""
        async with (
            Mix(self._proxy.url, network=self._proxy.network) as mix,
            mix.open_stream(
                self._session_id, settle_timeout=self._settle_timeout, cleanup_timeout=0.001
            ) as session,
        ):
            yield session

    async def run_killed(
        self,
        work: Callable[[SessionStream], Awaitable[object]],
        when: Callable[[], Awaitable[object]],
    ) -> None:
        """Run a process that is killed: none of its bytes reach the server from then on."""
        async with trio.open_nursery() as nursery:

            async def process() -> None:
                async with self.process() as session:
                    await work(session)

            nursery.start_soon(process)
            await when()
            self._killed = True
            await self._proxy.unplug()
            await self._proxy.drop("reset")
            nursery.cancel_scope.cancel()
        self._killed = False
        await self._proxy.plug_in()

    async def resume(self) -> str:
        """Resume the stored ticket in a new process, and return the text of its reply."""
        async with self.process() as session:
            async with session.resume(self.ticket, save=self.save) as message:
                return (await message.wait()).text
