"""The root of the exceptions, and those for mistakes of the calling program."""

from __future__ import annotations

import copy

from trio_mix._terminal_text import escape


def clone_error(error: BaseException) -> BaseException:
    """Return a copy of an exception without its traceback, so that it can be raised again."""
    clone = type(error).__new__(type(error), *error.args)
    clone.args = error.args
    clone.__dict__.update(error.__dict__)
    if "__notes__" in clone.__dict__:
        clone.__notes__ = list(clone.__notes__)
    clone.__cause__ = error.__cause__
    return clone


def beginning(text: str, limit: int = 2000) -> str:
    """Return a server's text for an error's text: at most its first characters."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def _new(cls: type[BaseException], *args: object) -> BaseException:
    """Return an exception as `clone_error` does, without calling its ``__init__``."""
    return cls.__new__(cls, *args)


def _can_leave(cause: BaseException | None) -> bool:
    """Return whether a cause is pickled with an exception.

    The exceptions of other libraries are not: they may hold requests with credentials, sockets and
    locks. What they say is part of the text of the exception that they have caused.
    """
    if isinstance(cause, TrioMixError):
        return True
    return type(cause).__module__ == "builtins" and not isinstance(cause, BaseExceptionGroup)


class TrioMixError(Exception):
    """The base class of all exceptions of trio_mix.

    Its text may quote a server: in it, characters that control a terminal or are invisible are
    shown as escapes.

    Exceptions can be pickled and copied, with their attributes and notes. A pickle contains the
    ``__cause__`` if that is an exception of trio_mix or of Python itself; a copy always has it.
    """

    def __str__(self) -> str:
        return escape(super().__str__())

    def __copy__(self) -> BaseException:
        return clone_error(self)

    def __deepcopy__(self, memo: dict[int, object]) -> BaseException:
        clone = clone_error(self)
        clone.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return clone

    def __reduce__(self) -> tuple[object, ...]:
        state = dict(self.__dict__)
        if _can_leave(self.__cause__):
            state["__cause__"] = self.__cause__
        return _new, (type(self), *self.args), state


class ConfigurationError(TrioMixError, ValueError):
    """An argument or environment variable is invalid. Nothing was sent.

    What to do: Fix the argument or the variable that the text names.
    """


class UsageError(TrioMixError, RuntimeError):
    """The API was used in the wrong order, for example an object outside its ``async with``.

    What to do: Fix the program: the text contains the call that is needed.
    """
