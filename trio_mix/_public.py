"""Set ``__module__`` of public classes and functions to the module that users import them from.

1. Reprs, tracebacks and pickles have the public name: ``trio_mix.Mix``, not ``trio_mix._mix.Mix``.
2. Annotations are still resolved in the module that contains them: `typing.get_type_hints` works.
3. `written_in` returns the module that contains the source, for the documentation's tools.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import TYPE_CHECKING, Any, ForwardRef, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_written_in: dict[type | FunctionType, str] = {}


def public(module: str) -> Callable[[T], T]:
    """Return a decorator for a public class or function. It must be the outermost decorator.

    Args:
      module: the full name of the module that users import it from.
    """

    def name(thing: T) -> T:
        _rename(thing, module)
        return thing

    return name


def publish(namespace: Mapping[str, Any]) -> None:
    """Apply `public` to everything that a package exports, at the end of its ``__init__.py``.

    In a package with lazy names, `public` decorates each class and function instead.

    Args:
      namespace: the package's ``globals()``.
    """
    package = namespace["__name__"]
    for exported in namespace["__all__"]:
        thing = namespace[exported]
        if getattr(thing, "__module__", "").startswith(f"{package}."):
            _rename(thing, package)


def written_in() -> dict[type | FunctionType, str]:
    """Return the module that contains the source of each class and function renamed so far."""
    return dict(_written_in)


def _rename(thing: object, module: str) -> None:
    if not isinstance(thing, type | FunctionType):
        return
    home = thing.__module__
    _written_in[thing] = home
    if isinstance(thing, type):
        # The hints of a class are resolved in the module named by its __module__ (rule 2).
        hints = thing.__dict__.get("__annotations__", {})  # noqa: RUF063 - to be changed
        if sys.version_info < (3, 14):
            for field, hint in hints.items():
                if isinstance(hint, str):
                    hints[field] = ForwardRef(hint, module=home, is_class=True)
        elif hints:  # these Pythons ignore the module of a ForwardRef
            del thing.__annotations__
            thing.__annotate__ = _annotate(dict(hints), home)
    thing.__module__ = module


def _annotate(hints: Mapping[str, object], home: str) -> Callable[[int], dict[str, object]]:
    """Return what resolves the hints of a class in its home module, when they are asked for."""
    as_strings = 4  # annotationlib.Format.STRING; the module would have to be imported

    def annotate(format_: int, /) -> dict[str, object]:
        if format_ == as_strings:
            return dict(hints)
        return {field: _resolved(hint, home) for field, hint in hints.items()}

    return annotate


def _resolved(hint: object, home: str) -> object:
    if not isinstance(hint, str):
        return hint
    try:
        return eval(hint, vars(sys.modules[home]))  # noqa: S307 - a hint of this package
    except NameError:  # a name that only type checkers import
        return ForwardRef(hint, module=home, is_class=True)
