"""Names of a package that are imported when they are first asked for.

What it knows: how a module is told what it has without having it yet.
What it must never know: any name.

Why: a program pays at its start for every module that an import pulls in, most of it for making
classes. With this, ``from trio_mix import Mix`` does not load the models of operations that are
never called.

How: a package's ``__init__.py`` says three times which names it has, and a test holds the three
against each other: ``__all__`` for people and ``import *``, imports under ``TYPE_CHECKING`` for the
type checkers, and a table for the run time::

    if TYPE_CHECKING:
        from trio_mix._mix import Mix as Mix
    else:
        __getattr__, __dir__ = lazy(__name__, {"trio_mix._mix": ("Mix",)})

Whoever else wants to load something late writes a plain ``import`` inside the function that needs
it.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["lazy"]


def lazy(
    package: str, homes: Mapping[str, Sequence[str]], submodules: Sequence[str] = ()
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return a package's ``__getattr__`` and ``__dir__`` (PEP 562).

    Args:
      package: its name.
      homes: for each module, the names that it has for the package.
      submodules: modules of the package that are its attributes as well.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    namespace = vars(sys.modules[package])

    def get(name: str) -> object:
        if name in home_of:
            value = getattr(import_module(home_of[name]), name)
        elif name in submodules:
            value = import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        namespace[name] = value  # so that it is asked for once
        return value

    def names() -> list[str]:
        return sorted({*namespace["__all__"], *(name for name in namespace if name[:2] == "__")})

    return get, names
