"""Recognise two mistakes in using the API: outside Trio, and without ``async with``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import trio

from trio_mix.errors import UsageError

if TYPE_CHECKING:
    from typing import NoReturn


def check_trio() -> None:
    """Return if the caller runs in a Trio task.

    Raises:
      UsageError: it does not, for example because asyncio runs it.
    """
    if trio.lowlevel.in_trio_task():
        return
    raise UsageError(
        f"trio_mix works in Trio tasks only, and this code runs {_where()}. Start the program with"
        " trio.run(main). In a program that needs asyncio, run Trio in guest mode on its loop"
        " (trio.lowlevel.start_guest_run), and call trio_mix from Trio's tasks."
    )


def _where() -> str:
    asyncio = sys.modules.get("asyncio")  # imported if it runs
    if asyncio is not None and asyncio._get_running_loop() is not None:
        return "under asyncio"
    return "outside Trio"


class AsyncScope:
    """The base of classes whose instances are used with ``async with`` only.

    Type checkers report other uses, so these methods are hidden from them.
    """

    __slots__ = ()

    _entered_as: ClassVar[str]
    """How an instance is entered, for errors."""

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise self._misused("`with`")

        def __exit__(self, *_: object) -> None:
            raise self._misused("`with`")

        def __aiter__(self) -> NoReturn:
            raise self._misused("`async for`")

        def __await__(self) -> NoReturn:
            raise self._misused("`await`")

    def _misused(self, how: str) -> UsageError:
        return UsageError(
            f"{type(self).__name__} cannot be used with {how}: use it as `{self._entered_as}`."
        )
