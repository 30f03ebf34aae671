"""Forwards the bytes of one connection through a `FaultProxy` and applies its faults.

Rules:

1. A fault at byte 0 occurs when the first byte has arrived; a fault at a later byte occurs as soon
   as the bytes before it were forwarded, without waiting for more.
2. When either side ends, so does the other, in the same way: an end as an end, a reset as a reset.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_mix.testing.faults._plan import Corrupt, Cut, Direction, Fault, Split, Stall, Throttle
from trio_mix.testing.net._memory import sever as sever_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_READ = 64 * 1024


class Forwarder:
    """Forwards bytes between two streams, with faults.

    Args:
      client: the client's side.
      server: the server's side.
      faults: the faults of this connection.
      occurred: called with each fault when it occurs.
      forwarded: called with the direction and size of each piece that is forwarded.
    """

    def __init__(
        self,
        client: trio.abc.Stream,
        server: trio.abc.Stream,
        faults: Sequence[Fault],
        occurred: Callable[[Fault], None],
        forwarded: Callable[[Direction, int], None],
    ) -> None:
        self._client = client
        self._server = server
        self._faults = faults
        self._occurred = occurred
        self._forwarded = forwarded
        self._client_lost = False

    async def run(self, head: bytes) -> None:
        """Forward bytes until either side ends; ``head`` was read from the client before."""
        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(self._pump, "up", head, scope)
            nursery.start_soon(self._pump, "down", b"", scope)

    def sever(self, how: str, *, server_too: bool = True) -> None:
        """Close the client's side and, by default, the server's."""
        sever_stream(self._client, "reset" if how == "reset" else "cut")
        if server_too:
            sever_stream(self._server, "cut")

    async def _pump(self, direction: Direction, data: bytes, scope: trio.CancelScope) -> None:  # noqa: ASYNC910 - started as a task
        try:
            await self._forward(direction, data)
        except trio.BrokenResourceError:
            if not self._client_lost:
                self.sever("reset")
        except trio.ClosedResourceError:
            pass  # the other pump, or the proxy, has closed the connection
        if self._client_lost:
            if direction == "down":
                await self._drain()
        else:
            scope.cancel()

    async def _forward(self, direction: Direction, data: bytes) -> None:
        source, sink = self._client, self._server
        if direction == "down":
            source, sink = sink, source
        these = [fault for fault in self._faults if _direction(fault) == direction]
        writer = _Writer(sink, these, self._occurred, partial(self._forwarded, direction))
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
                    await self._apply(due.pop(0))
                    continue
                size = due[0].at - done if due else len(data)
                piece, data = data[:size], data[size:]
                await writer.write(piece, done)
                done += len(piece)
            while due and due[0].at <= done:
                await self._apply(due.pop(0))

    async def _apply(self, fault: Cut | Stall) -> None:
        self._occurred(fault)
        if isinstance(fault, Stall):
            if fault.seconds is None:
                await trio.sleep_forever()
            else:
                await trio.sleep(fault.seconds)
            return
        self._client_lost = not fault.server_notices
        self.sever(fault.how, server_too=fault.server_notices)
        raise trio.ClosedResourceError("the fault plan has cut this connection")

    async def _drain(self) -> None:  # noqa: ASYNC910 - it reads, or the server has gone
        """Discard the server's data, as a network that lost the client unnoticed."""
        try:
            while await self._server.receive_some(_READ):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        sever_stream(self._server, "cut")


class _Writer:
    """Writes with the faults that change how bytes are written."""

    def __init__(
        self,
        sink: trio.abc.Stream,
        faults: Sequence[Fault],
        occurred: Callable[[Fault], None],
        forwarded: Callable[[int], None],
    ) -> None:
        self._sink = sink
        self._occurred = occurred
        self._forwarded = forwarded
        self._reported: set[int] = set()
        self._corrupt = [fault for fault in faults if isinstance(fault, Corrupt)]
        self._split = next((fault for fault in faults if isinstance(fault, Split)), None)
        self._throttle = next((fault for fault in faults if isinstance(fault, Throttle)), None)

    async def write(self, data: bytes, start: int) -> None:
        """Write bytes; ``start`` is the position of the first one."""
        await trio.lowlevel.checkpoint()  # there may be no bytes
        data = self._corrupted(data, start)
        size = len(data)
        if self._throttle is not None:
            # The bytes of a tenth of a second at a time, so that they trickle.
            size = min(size, max(1, round(self._throttle.bytes_per_second / 10)))
            self._report(self._throttle)
        if self._split is not None:
            size = min(size, max(1, self._split.size))
            self._report(self._split)
        for at in range(0, len(data), size):
            piece = data[at : at + size]
            self._forwarded(
                len(piece)
            )  # before sending: the reader may end the connection meanwhile
            await self._sink.send_all(piece)
            if self._throttle is not None:
                await trio.sleep(len(piece) / self._throttle.bytes_per_second)

    def _corrupted(self, data: bytes, start: int) -> bytes:
        changed = bytearray(data)
        for fault in self._corrupt:
            first = max(fault.at, start) - start
            last = min(fault.at + fault.count, start + len(data)) - start
            if first < last:
                self._report(fault)
            for at in range(first, last):
                changed[at] ^= fault.mask
        return bytes(changed)

    def _report(self, fault: Fault) -> None:
        if id(fault) not in self._reported:
            self._reported.add(id(fault))
            self._occurred(fault)


def _direction(fault: Fault) -> Direction | None:
    return getattr(fault, "direction", None)
