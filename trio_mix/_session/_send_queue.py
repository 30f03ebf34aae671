"""Who may send next: first come, first served, and only while the stream is up.

What it knows: who waits, whether a turn is under way, whether the stream takes messages. What it
must never know: what is sent, or why the stream does not take any.

Rule 1  At most one holder at a time; the longest waiting is next, and nobody overtakes.
Rule 2  Nobody passes while the queue is paused (not connected, or about to be rotated). It may be
        paused behind somebody who has passed: before sending, that one asks `wait_resumed`.
Rule 3  Once it is closed for good, everyone waiting, and everyone to come, gets the reason.
Rule 4  A cancelled wait leaves no trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SendQueue"]


class SendQueue:
    """Lets one sender through at a time."""

    def __init__(self) -> None:
        self._waiting: list[trio.lowlevel.Task] = []
        self._held = False
        self._heir: trio.lowlevel.Task | None = None
        self._open = False
        self._opened: trio.Event | None = None  # made by whoever waits for it first
        self._failure: Callable[[], BaseException] | None = None

    @property
    def waiting(self) -> int:
        """How many senders wait."""
        return len(self._waiting)

    @property
    def is_resumed(self) -> bool:
        """Whether the stream takes messages."""
        return self._open

    @property
    def held(self) -> bool:
        """Whether somebody has passed and not come back yet."""
        return self._held

    async def acquire(self) -> None:
        """Wait for one's turn. A checkpoint; raises what `close` was given."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._failure is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._raise_if_closed()
        if self._open and not self._held and not self._waiting:
            self._held = True
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        # Handed over, and closed before this task could run: it counts as still waiting.
        if self._heir is task:
            self._heir = None
            self._held = self._failure is None
        self._raise_if_closed()

    async def wait_resumed(self) -> None:
        """Wait, as the one who has passed, until the send_queue is open (again): rule 2.

        A checkpoint; raises what `close` was given.
        """
        await trio.lowlevel.checkpoint()
        while not self._open:
            self._raise_if_closed()
            if self._opened is None:
                self._opened = trio.Event()
            await self._opened.wait()
        self._raise_if_closed()

    def release(self) -> None:
        """Let the next one through."""
        self._held = False
        self._advance()

    def resume(self) -> None:
        """Take senders."""
        self._open = True
        self._wake()
        self._advance()

    def pause(self) -> None:
        """Take no senders until `open`."""
        self._open = False

    def close(self, failure: Callable[[], BaseException]) -> None:
        """Take no senders any more: each gets an exception of its own, made by ``failure``."""
        if self._failure is None:
            self._failure = failure
            self._wake()
            while self._waiting:
                trio.lowlevel.reschedule(self._waiting.pop(0))

    def _advance(self) -> None:
        if self._open and not self._held and self._waiting and self._failure is None:
            self._held = True
            self._heir = self._waiting.pop(0)
            trio.lowlevel.reschedule(self._heir)

    def _wake(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.set()

    def _raise_if_closed(self) -> None:
        if self._failure is not None:
            raise self._failure()
