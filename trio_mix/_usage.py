"""Recognise mistakes in using the API: outside Trio, and outside the block of an ``async with``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ClassVar

import trio

from trio_mix.errors import StreamClosed, UsageError

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

    Type checkers report other ways to use them, so these methods are hidden from them. A class that
    is entered once calls `_enter`, and raises `_outside` for what needs the block.
    """

    _entered_as: ClassVar[str]
    """How an instance is entered, for errors."""

    _used: bool = False
    """Whether the instance was entered."""

    _left: bool = False
    """Whether its block was left."""

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise self._misused("`with`")

        def __exit__(self, *_: object) -> None:
            raise self._misused("`with`")

        def __aiter__(self) -> NoReturn:
            raise self._misused("`async for`")

        def __await__(self) -> NoReturn:
            raise self._misused("`await`")

    def _enter(self, session_id: str = "") -> None:
        """Note that the instance is being entered.

        Args:
          session_id: the session, if there is one.

        Raises:
          UsageError: it was entered before, or the caller does not run in Trio.
        """
        check_trio()
        if self._used:
            raise UsageError(
                f"{self._named(session_id)} can be entered once: make a new one with"
                f" `{self._entered_as}`."
            )
        self._used = True

    def _check_inside(self, session_id: str = "") -> None:
        """Check that the instance was entered and not left; raises `_outside`."""
        if self._left or not self._used:
            raise self._outside(session_id)

    def _outside(self, session_id: str = "", url: str = "") -> UsageError | StreamClosed:
        """Return the error of a call outside the block.

        Args:
          session_id: the session, if there is one.
          url: the address of the server, if it is known.
        """
        named = self._named(session_id)
        if not self._left:
            return UsageError(f"{named} is not open: use it as `{self._entered_as}`.")
        return StreamClosed(
            f"{named} was closed, because its block was left: use it inside"
            f" `{self._entered_as}`, or open a new one.",
            url=url,
            session_id=session_id,
        )

    def _named(self, session_id: str) -> str:
        return f"The {type(self).__name__}" + (f" of session {session_id!r}" if session_id else "")

    def _misused(self, how: str) -> UsageError:
        return UsageError(
            f"{type(self).__name__} cannot be used with {how}: use it as `{self._entered_as}`."
        )
