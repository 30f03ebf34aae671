"""The public module's name on what is imported from it, in place of the private one's.

What it knows: what reprs, tracebacks, pickles and type hints make of ``__module__``.
What it must never know: any name.

Rules:

1. What a user meets says the name that he imports: ``trio_mix.Mix``, not ``trio_mix._mix.Mix``.
2. Annotations are still resolved where they were written: `typing.get_type_hints` works as before.
3. `written_in` tells tools that read the source, as that of the documentation, where it is.
"""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, ForwardRef, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["public", "publish", "written_in"]

T = TypeVar("T")

_written_in: dict[type | FunctionType, str] = {}


def public(module: str) -> Callable[[T], T]:
    """Return a decorator for what is imported from a module, the outermost one of all.

    Args:
      module: its full name.
    """

    def name(thing: T) -> T:
        _rename(thing, module)
        return thing

    return name


def publish(namespace: Mapping[str, Any]) -> None:
    """Do for all that a package exports what `public` does, at the end of its ``__init__.py``.

    For packages that are loaded whole; where parts are loaded late, `public` marks each of them.

    Args:
      namespace: the package's ``globals()``.
    """
    package = namespace["__name__"]
    for exported in namespace["__all__"]:
        thing = namespace[exported]
        if getattr(thing, "__module__", "").startswith(f"{package}."):
            _rename(thing, package)


def written_in() -> dict[type | FunctionType, str]:
    """Return the module that each class and function was written in, for those renamed so far."""
    return dict(_written_in)


def _rename(thing: object, module: str) -> None:
    if not isinstance(thing, type | FunctionType):
        return
    home = thing.__module__
    _written_in[thing] = home
    if isinstance(thing, type):
        # A class's hints are looked up in the module that it says it is from (rule 2).
        hints = thing.__dict__.get("__annotations__", {})  # noqa: RUF063 - to be changed
        for field, hint in hints.items():
            if isinstance(hint, str):
                hints[field] = ForwardRef(hint, module=home, is_class=True)
    thing.__module__ = module
