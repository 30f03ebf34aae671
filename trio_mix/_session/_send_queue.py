"""A queue of senders: one at a time, first come, first served, only while the stream is connected.

Rule 1  At most one task holds the queue; the task that has waited longest is next.
Rule 2  No task acquires a paused queue (the stream is not connected, or is about to be rotated).
        The queue can be paused while a task holds it: that task calls `wait_resumed` before it
        sends.
Rule 3  Once the queue is closed, every waiting task and every later one raises the reason.
Rule 4  A cancelled wait has no effect on the other tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Callable


class SendQueue:
    """A lock for senders with a FIFO queue, which can be paused and closed."""

    def __init__(self) -> None:
        self._waiting: list[trio.lowlevel.Task] = []
        self.held: bool = False
        """Whether a task holds the queue."""
        self._next: trio.lowlevel.Task | None = None
        self._is_open = False
        self._resumed: trio.Event | None = None  # made by the first task that waits for it
        self._failure: Callable[[], BaseException] | None = None

    @property
    def waiting(self) -> int:
        """The number of tasks that wait in `acquire`."""
        return len(self._waiting)

    async def acquire(self) -> None:
        """Wait until the calling task holds the queue.

        Raises the exception of `close`. A checkpoint; a cancelled wait leaves the queue.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._failure is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            self._raise_if_closed()
        if self._is_open and not self.held and not self._waiting:
            self.held = True
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        task = trio.lowlevel.current_task()
        self._waiting.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)
        # Passed to this task, but closed before the task ran: it counts as still waiting.
        if self._next is task:
            self._next = None
            self.held = self._failure is None
        self._raise_if_closed()

    async def wait_resumed(self) -> None:
        """Wait, as the task that holds the queue, until the queue is not paused (rule 2).

        Raises the exception of `close`. A checkpoint.
        """
        await trio.lowlevel.checkpoint()
        while not self._is_open:
            self._raise_if_closed()
            if self._resumed is None:
                self._resumed = trio.Event()
            await self._resumed.wait()

    def release(self) -> None:
        """Pass the queue to the next waiting task."""
        self.held = False
        self._advance()

    def resume(self) -> None:
        """Let tasks acquire the queue (again)."""
        if self._failure is None:
            self._is_open = True
            self._wake()
            self._advance()

    def pause(self) -> None:
        """Let no task acquire the queue until `resume`."""
        self._is_open = False

    def close(self, failure: Callable[[], BaseException]) -> None:
        """Close the queue: every waiting and every later task raises an exception.

        Args:
          failure: makes the exception, once for each task.
        """
        if self._failure is None:
            self._failure = failure
            self._is_open = False
            self._wake()
            while self._waiting:
                trio.lowlevel.reschedule(self._waiting.pop(0))

    def _advance(self) -> None:
        if self._is_open and not self.held and self._waiting:
            self.held = True
            self._next = self._waiting.pop(0)
            trio.lowlevel.reschedule(self._next)

    def _wake(self) -> None:
        opened, self._resumed = self._resumed, None
        if opened is not None:
            opened.set()

    def _raise_if_closed(self) -> None:
        if self._failure is not None:
            raise self._failure()
