"""Functions that a caller passes in: checked where they are given, called sync or async."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

from trio_mix.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


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
