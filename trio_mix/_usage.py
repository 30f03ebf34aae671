"""Recognise mistakes in using the API: outside Trio or a block, and functions that cannot work."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, ClassVar, TypeVar

import trio

from trio_mix.errors import ConfigurationError, StreamClosed, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

T = TypeVar("T")


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


def check_callback(callback: object, name: str, arguments: int) -> None:
    """Check that a callback can be called with a number of arguments.

    Args:
      callback: what the caller has passed.
      name: how the caller passes it, for the error, as ``open_stream(on_permission=...)``.
      arguments: how many positional arguments it is called with.

    Raises:
      ConfigurationError: it is not callable, or not with that many arguments.
    """
    if not callable(callback):
        raise ConfigurationError(f"{name}: {callback!r} is not callable; pass a function.")
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):
        return  # some builtins have none
    try:
        signature.bind(*[None] * arguments)
    except TypeError as exc:
        plural = "" if arguments == 1 else "s"
        raise ConfigurationError(
            f"{name}: it is called with {arguments} argument{plural}, which "
            f"{getattr(callback, '__qualname__', repr(callback))}{signature} cannot take ({exc})."
        ) from None


async def call(callback: Callable[..., T | Awaitable[T]], *arguments: object) -> T:
    """Call a sync or async function and return its result; a sync one has no checkpoint."""
    result = callback(*arguments)
    if inspect.isawaitable(result):
        return await result
    return result  # noqa: ASYNC910 - the caller has checkpoints of its own


def check_awaited(result: object, name: str) -> None:
    """Check that the result of a callback is no coroutine, which nobody would ever run.

    Args:
      result: what `call` returned.
      name: the callback, for the error.

    Raises:
      UsageError: it is one.
    """
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # without this, Python warns about it a second time
        raise UsageError(
            f"{name} returned a coroutine that was never awaited: write `return await ...`."
        )
