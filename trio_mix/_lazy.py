"""Names of a package that are imported when they are first used.

Every imported module makes the start of a program slower, mostly by creating its classes. With lazy
names, ``from trio_mix import Mix`` does not load the models of operations that are never called.

A package's ``__init__.py`` lists its names twice, and a test compares the lists: imports under
``TYPE_CHECKING`` for type checkers, and a table for run time::

    if TYPE_CHECKING:
        from trio_mix._mix import Mix as Mix

        __all__: list[str]
    else:
        __getattr__, __dir__, __all__ = lazy(__name__, {"trio_mix._mix": ("Mix",)})

Other code that loads a module late has a plain ``import`` in the function that needs it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def lazy(
    package: str,
    homes: Mapping[str, Sequence[str]],
    submodules: Sequence[str] = (),
    eager: Sequence[str] = (),
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562), and its ``__all__``.

    Args:
      package: the name of the package.
      homes: the names of the package that each module defines.
      submodules: modules of the package that are also its attributes.
      eager: the names that the package has imported already.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    namespace = vars(sys.modules[package])
    exported = sorted({*home_of, *submodules, *eager})

    def get(name: str) -> object:
        if name in home_of:
            value = getattr(import_module(home_of[name]), name)
        elif name in submodules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value  # so that __getattr__ is called once for each name
        return value

    def names() -> list[str]:
        return sorted({*exported, *(name for name in namespace if name[:2] == "__")})

    return get, names, exported
