"""A nursery owned by a class whose instances are used with ``async with``.

Rule 1  An exception of the body never enters the nursery, so it leaves the ``async with`` as the
        same object, never in a group. A cancellation of the body does, too, however many tasks of
        the nursery were cancelled along with it.
Rule 2  Closing cancels the nursery's tasks and waits for them, shielded: a task that cleans up for
        a long time must bound that time itself.
Rule 3  ``KeyboardInterrupt`` and ``SystemExit`` raised by a task leave bare.
Rule 4  Another exception of a task leaves alone, not in a group, unless the body raised one that is
        neither a cancellation nor a group of cancellations: then the body's exception wins. Where
        several tasks failed, the first exception leaves, and notes name the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix._usage import check_trio
from trio_mix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager


class OwnedNursery:
    """Opens a nursery once and closes it once.

    Args:
      name: the class of the owner, for errors.
    """

    __slots__ = ("_manager", "_name", "_nursery")

    def __init__(self, name: str) -> None:
        self._name = name
        self._manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def nursery(self) -> trio.Nursery | None:
        """The nursery while it is open, else None."""
        return self._nursery

    @property
    def closed(self) -> bool:
        """Whether it was opened and closed again."""
        return self._manager is not None and self._nursery is None

    async def open(self) -> trio.Nursery:
        """Open the nursery and return it.

        Raises:
          UsageError: it was opened before, or the caller does not run in Trio.
        """
        check_trio()
        if self._manager is not None:
            await trio.lowlevel.checkpoint()
            raise UsageError(f"A {self._name} can be entered once: make a new one.")
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        return self._nursery

    async def close(  # noqa: ASYNC910 - leaving the nursery is a checkpoint
        self, reason: str, leaving: BaseException | None = None
    ) -> None:
        """Cancel the tasks and wait for their end; without effect when closed already.

        Args:
          reason: why the tasks are cancelled, for their `trio.Cancelled`.
          leaving: the exception with which the body is being left, if any (rule 4).

        Raises:
          BaseException: what a task raised (rules 3 and 4).

        A shielded checkpoint: an outer cancellation takes effect after it.
        """
        nursery, self._nursery = self._nursery, None
        if self._manager is None or nursery is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        nursery.cancel_scope.shield = True
        nursery.cancel_scope.cancel(reason=reason)
        try:
            await self._manager.__aexit__(None, None, None)
        except BaseExceptionGroup as group:
            failures = list(_leaves(group))
        else:
            return
        for failure in failures:
            if isinstance(failure, KeyboardInterrupt | SystemExit):
                raise failure from leaving
        defects = [failure for failure in failures if isinstance(failure, Exception)]
        if leaving is not None and not isinstance(one_cancellation(leaving), trio.Cancelled):
            return  # noqa: ASYNC910 - leaving the nursery was one
        if defects:
            for other in defects[1:]:
                defects[0].add_note(f"another task failed as well: {other!r}")
            raise defects[0] from leaving

    def runs_current_task(self) -> bool:
        """Return whether the current task runs inside the nursery, however deep."""
        task: trio.lowlevel.Task | None = trio.lowlevel.current_task()
        while task is not None and self._nursery is not None:
            parent = task.parent_nursery
            if parent is self._nursery:
                return True
            task = None if parent is None else parent.parent_task
        return False


def one_cancellation(error: BaseException) -> BaseException:
    """Return what leaves in place of an exception that another library's nursery raised.

    That is one `trio.Cancelled` for a group of nothing else, and ``KeyboardInterrupt`` or
    ``SystemExit`` for a group with one; any other exception, or group, as it is.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    failures = list(_leaves(error))
    for failure in failures:
        if isinstance(failure, KeyboardInterrupt | SystemExit):
            return failure
    only_cancelled = all(isinstance(failure, trio.Cancelled) for failure in failures)
    return failures[0] if only_cancelled else error


async def open_tcp_stream(
    host: str, port: int, *, local_address: str | None = None
) -> trio.SocketStream:
    """Connect to a host; as `trio.open_tcp_stream`, which raises groups of cancellations.

    Raises:
      OSError: no address of the host accepts a connection.
    """
    # For text, the socket module imports a codec for names that are not ASCII: half a millisecond.
    name = host.encode() if host.isascii() else host
    try:
        return await trio.open_tcp_stream(name, port, local_address=local_address)
    except BaseExceptionGroup as group:  # of its attempts for several addresses
        raise one_cancellation(group) from None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc
