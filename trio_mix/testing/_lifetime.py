"""A nursery that lives as long as an ``async with`` of somebody else's class.

What it knows: how to open a nursery and to leave it without an ExceptionGroup.
What it must never know: what runs inside.

Rules:

1. The body's exception never enters the nursery, so it comes out of the ``async with`` as it was.
2. Leaving cancels all that runs and waits for it, shielded; what is left to wait for must be
   bounded by those who run it.
3. A real failure inside comes out alone, not in a group; several of them come out in their group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

__all__ = ["Lifetime", "runs_inside"]


def runs_inside(nursery: trio.Nursery | None) -> bool:
    """Return whether the present task lives in a nursery, however deep."""
    if nursery is None:
        return False
    task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
    while task is not None:
        parent = task.parent_nursery
        if parent is nursery:
            return True
        task = None if parent is None else parent.parent_task
    return False


class Lifetime:
    """Opens a nursery once and closes it once."""

    def __init__(self) -> None:
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery | None:
        """The nursery, while it is open."""
        return self._nursery

    async def open(self) -> trio.Nursery:
        """Open the nursery.

        Raises:
          RuntimeError: it was opened before.
        """
        if self._manager is not None:
            raise RuntimeError("this object can be entered once; make a new one")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self._nursery

    async def close(self, reason: str) -> None:  # noqa: ASYNC910 - the nursery's exit is one
        """Cancel what runs and wait until it is over; does nothing when that was done before."""
        nursery, self._nursery = self._nursery, None
        if self._manager is None or nursery is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        # Shielded, or an outer cancellation would come out in the place of the body's exception.
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel(reason=reason)
        failure: BaseException | None = None
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            failure = group
            while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
                failure = failure.exceptions[0]
        if failure is not None:
            raise failure
