"""A subscription that is healed: it reads the stored messages after a lost connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix._session._buffers import SubscriberBuffer
from trio_mix._turns._healing import Healer
from trio_mix._turns._turn import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix import events as ev
    from trio_mix._session._stored_messages import SessionHistory
    from trio_mix._turns._limits import Limits
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix.events import Event

_PAUSES: Final = 10
"""Into how many steps the wait for a replay is divided."""
_BETWEEN_READINGS: Final = 0.5


class HealingBuffer(SubscriberBuffer["Event"]):
    """A subscriber's buffer behind a `Healer`."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.healer: Healer = Healer()
        self.due: trio.Event = trio.Event()
        """The stored messages have to be read."""

    def put(self, events: Sequence[Event | ev.StreamGapEvent], size: int = 0) -> None:  # noqa: ARG002
        """Append what is passed on of a batch of events."""
        self.pass_on(self.healer.feed(events))
        if self.healer.holding and self.healer.ended:
            self.due.set()

    def close(self, failure: BaseException | None = None) -> None:
        """End the buffer, after what was held back."""
        if not self.closed:
            self.pass_on(self.healer.abandon())
        super().close(failure)

    def pass_on(self, events: Sequence[Event]) -> None:
        """Append events that were healed, or held back."""
        super().put(events, sum(map(size_of, events)))


class Healing:
    """Reads the stored messages for one subscriber.

    Args:
      buffer: the subscriber's buffer.
      stored: reads the stored messages.
      limits: the time limits.
      continued: returns whether the event ids continue those of the last connection; None: unknown.
    """

    def __init__(
        self,
        buffer: HealingBuffer,
        stored: SessionHistory,
        limits: Limits,
        continued: Callable[[], bool | None],
    ) -> None:
        self.buffer: HealingBuffer = buffer
        self.scope: trio.CancelScope = trio.CancelScope()
        self._stored = stored
        self._limits = limits
        self._continued = continued

    def lost(self) -> None:
        """Note that the connection was lost."""
        self.buffer.healer.lost()

    def connected(self) -> None:
        """Note that the stream is connected again."""
        if self.buffer.healer.holding:
            self.buffer.due.set()

    async def run(self) -> None:
        """Heal the subscription until `scope` is cancelled."""
        with self.scope:
            while True:
                await self.buffer.due.wait()
                self.buffer.due = trio.Event()
                await self._heal()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _heal(self) -> None:
        healer, pause = self.buffer.healer, self._limits.replay / _PAUSES
        for _ in range(_PAUSES):
            if healer.ended or self._continued() is not None:
                break
            await trio.sleep(pause)
        if not healer.ended and self._continued():
            self.buffer.pass_on(healer.replayed())
            return  # noqa: ASYNC910 - its own task
        self.buffer.pass_on(healer.stored(await self._rows()))
        while healer.again:
            await trio.sleep(self._limits.confirmation)
            self.buffer.pass_on(healer.stored(await self._rows()))

    async def _rows(self) -> list[StoredRow] | None:
        with trio.move_on_after(self._limits.gap):
            while True:
                try:
                    return await self._stored.rows()
                except Exception:  # noqa: BLE001 - refused, unreachable, or vetoed by a hook
                    await trio.sleep(_BETWEEN_READINGS)
        return None
