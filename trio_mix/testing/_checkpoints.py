"""Cancels an async function at each of its checkpoints and reports leaked tasks and files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._usage import check_trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_FILES = "/proc/self/fd"


class LeftBehindError(AssertionError):
    """A cancelled function left a task or an open file behind, or never runs to its end.

    What to do: Await what the function started and close what it opened in a ``finally``, shielded
    where that is itself a checkpoint. The text names the checkpoint and the tasks.
    """


@attrs.frozen(kw_only=True)
class Sweep:
    """The result of a sweep over an async function's checkpoints."""

    checkpoints: int
    """How many checkpoints the function has, which is how often it was cancelled."""
    absorbed: int
    """How often it returned or raised something else despite the cancellation."""


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope when a task suspends for the n-th time."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, stop: int) -> None:
        self._task = task
        self._scope = scope
        self._left = stop

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == 0:
                self._scope.cancel(reason="cancelled at this checkpoint by the sweep")

    @property
    def reached(self) -> bool:
        return self._left <= 0


async def cancel_at_every_checkpoint(
    function: Callable[[], Awaitable[object]],
    *,
    check: Callable[[], Awaitable[None]] | None = None,
    settle: float = 5.0,
    limit: int = 10_000,
) -> Sweep:
    """Call a function repeatedly and cancel it at each of its checkpoints in turn.

    The function is called without arguments, once per checkpoint and once more to its end. After
    each run the number of tasks and, on Linux, of open files must return to what it was before.

    Args:
      function: the function; each call must be able to run from the start.
      check: called after each run, to check that nothing else is left (a turn, a slot of a pool)
        and that the next call works.
      settle: within how many seconds tasks and files must be back to their number.
      limit: after how many checkpoints to give up.

    Returns:
      The number of checkpoints, and how often the cancellation was absorbed.

    Raises:
      LeftBehindError: something was left behind, or the function still does not run to its end
        after ``limit`` checkpoints; the text names the checkpoint.

    What the function or ``check`` raises is passed on, with a note that names the checkpoint.
    Cancelled from outside, the sweep stops at once.
    """
    check_trio()
    absorbed = 0
    for stop in range(1, limit + 1):
        before, known = _count(), set(_tasks())
        try:
            finished, cancelled = await _run(function, stop)
            await _wait_for(before, known, settle, stop)
            if check is not None:
                await check()
        except Exception as exc:
            exc.add_note(f"during the sweep: cancelled at checkpoint {stop}")
            raise
        if finished:
            return Sweep(checkpoints=stop - 1, absorbed=absorbed)
        absorbed += not cancelled
    raise LeftBehindError(f"after {limit} checkpoints the function still does not run to its end")


async def _run(function: Callable[[], Awaitable[object]], stop: int) -> tuple[bool, bool]:
    """Return whether the function ended before the checkpoint, and whether `Cancelled` left it."""
    scope = trio.CancelScope()
    instrument = _CancelAt(trio.lowlevel.current_task(), scope, stop)
    with scope:
        trio.lowlevel.add_instrument(instrument)
        try:
            await function()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return not instrument.reached, scope.cancelled_caught


def _count() -> tuple[int, int]:
    files = len(os.listdir(_FILES)) if os.path.isdir(_FILES) else 0
    return trio.lowlevel.current_statistics().tasks_living, files


def _tasks() -> Iterator[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        yield task
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


async def _wait_for(
    before: tuple[int, int], known: set[trio.lowlevel.Task], settle: float, stop: int
) -> None:
    """Wait until tasks and files are back to their number; closing a socket takes a moment."""
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(settle):  # noqa: ASYNC912 - it sleeps, unless nothing is left behind
        while any(now > then for now, then in zip(_count(), before, strict=True)):  # noqa: ASYNC110 - there is nothing to wait on
            await trio.sleep(0.001)
        return
    tasks, files = (now - then for now, then in zip(_count(), before, strict=True))
    names = ", ".join(sorted(task.name for task in _tasks() if task not in known))
    named = f" ({names})" if names else ""
    raise LeftBehindError(
        f"cancelled at checkpoint {stop}, the function left {max(tasks, 0)} tasks and "
        f"{max(files, 0)} open files behind{named}: in a finally, await what it started and close "
        f"what it opened"
    )
