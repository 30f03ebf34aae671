"""Cancels a call after a number of checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["outcome"]


async def outcome(call: Callable[[], Awaitable[object]], checkpoints: int) -> str:
    """Cancel a call after a number of checkpoints; return the name of what it raised."""
    raised = "nothing"

    async def cancelled() -> None:
        nonlocal raised
        try:
            await call()
        except BaseException as error:
            raised = type(error).__name__
            raise
        finally:
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return raised
