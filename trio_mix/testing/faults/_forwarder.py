"""One connection through a `FaultProxy`.

What it knows: both sides, how many bytes were passed on, how each fault is done.
What it must never know: plans, listeners, HTTP.

Rules:

1. A fault at byte 0 strikes when the first byte is there to be passed on; one at a later byte
   strikes as soon as the bytes before it have been passed on, without waiting for more.
2. When either side ends, so does the other, in the same way: an end as an end, a reset as a reset.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_mix.testing.faults._plan import Corrupt, Cut, Direction, Fault, Split, Stall, Throttle
from trio_mix.testing.net._memory import sever

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Forwarder"]

_READ = 64 * 1024


class Forwarder:
    """Passes bytes between two streams, with faults.

    Args:
      client: the client's side.
      server: the server's side.
      faults: what goes wrong.
      struck: told of each fault when it strikes.
      passed: told of each piece that was passed on.
    """

    def __init__(
        self,
        client: trio.abc.Stream,
        server: trio.abc.Stream,
        faults: Sequence[Fault],
        struck: Callable[[Fault], None],
        passed: Callable[[Direction, int], None],
    ) -> None:
        self._client = client
        self._server = server
        self._faults = faults
        self._struck = struck
        self._passed = passed
        self._client_lost = False

    async def run(self, head: bytes) -> None:
        """Pass bytes on until either side ends; ``head`` was read from the client before."""
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._pump, "up", head, scope)
            nursery.start_soon(self._pump, "down", b"", scope)

    def lose(self, how: str, *, server_too: bool = True) -> None:
        """Lose the client's side and, unless told otherwise, the server's."""
        sever(self._client, "reset" if how == "reset" else "cut")
        if server_too:
            sever(self._server, "cut")

    async def _pump(self, direction: Direction, data: bytes, scope: trio.CancelScope) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        try:
            await self._pass_on(direction, data)
        except trio.BrokenResourceError:
            if not self._client_lost:
                self.lose("reset")
        except trio.ClosedResourceError:
            pass  # the other pump, or the proxy, has lost the connection
        if self._client_lost:
            if direction == "down":
                await self._drain()
        else:
            scope.cancel()

    async def _pass_on(self, direction: Direction, data: bytes) -> None:
        source, sink = self._client, self._server
        if direction == "down":
            source, sink = sink, source
        here = [fault for fault in self._faults if _where(fault) == direction]
        writer = _Writer(sink, here, self._struck, partial(self._passed, direction))
        due = sorted(
            (f for f in self._faults if isinstance(f, Cut | Stall) and f.direction == direction),
            key=lambda fault: fault.at,
        )
        done = 0
        while True:  # noqa: ASYNC913 - it reads, or writes what it has
            if not data:
                data = bytes(await source.receive_some(_READ))
                if not data:
                    return
            while data:
                if due and due[0].at <= done:
                    await self._strike(due.pop(0))
                    continue
                size = due[0].at - done if due else len(data)
                piece, data = data[:size], data[size:]
                await writer.write(piece, done)
                done += len(piece)
            while due and due[0].at <= done:
                await self._strike(due.pop(0))

    async def _strike(self, fault: Cut | Stall) -> None:
        self._struck(fault)
        if isinstance(fault, Stall):
            if fault.seconds is None:
                await trio.sleep_forever()
            else:
                await trio.sleep(fault.seconds)
            return
        self._client_lost = not fault.server_notices
        self.lose(fault.how, server_too=fault.server_notices)
        raise trio.ClosedResourceError("the plan has cut this connection")

    async def _drain(self) -> None:  # noqa: ASYNC910 - it reads, or the server has gone
        """Be a network that has lost the client without telling the server."""
        try:
            while await self._server.receive_some(_READ):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        sever(self._server, "cut")


class _Writer:
    """Writes with the faults that concern how bytes are written."""

    def __init__(
        self,
        sink: trio.abc.Stream,
        faults: Sequence[Fault],
        struck: Callable[[Fault], None],
        passed: Callable[[int], None],
    ) -> None:
        self._sink = sink
        self._struck = struck
        self._passed = passed
        self._told: set[int] = set()
        self._corrupt = [fault for fault in faults if isinstance(fault, Corrupt)]
        self._split = next((fault for fault in faults if isinstance(fault, Split)), None)
        self._throttle = next((fault for fault in faults if isinstance(fault, Throttle)), None)

    async def write(self, data: bytes, start: int) -> None:
        """Write bytes, of which the first has the number ``start``."""
        await trio.lowlevel.checkpoint()  # there may be no bytes
        data = self._corrupted(data, start)
        size = len(data)
        if self._throttle is not None:
            # A tenth of a second's worth at a time, so that slow is a trickle and not a jerk.
            size = min(size, max(1, round(self._throttle.bytes_per_second / 10)))
            self._tell(self._throttle)
        if self._split is not None:
            size = min(size, max(1, self._split.size))
            self._tell(self._split)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self._passed(len(piece))  # before: the reader may end all this while we are sending
            await self._sink.send_all(piece)
            if self._throttle is not None:
                await trio.sleep(len(piece) / self._throttle.bytes_per_second)

    def _corrupted(self, data: bytes, start: int) -> bytes:
        changed = bytearray(data)
        for fault in self._corrupt:
            first = max(fault.at, start) - start
            last = min(fault.at + fault.count, start + len(data)) - start
            if first < last:
                self._tell(fault)
            for at in range(first, last):
                changed[at] ^= fault.mask
        return bytes(changed)

    def _tell(self, fault: Fault) -> None:
        if id(fault) not in self._told:
            self._told.add(id(fault))
            self._struck(fault)


def _where(fault: Fault) -> Direction | None:
    return getattr(fault, "direction", None)
