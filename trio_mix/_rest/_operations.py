"""The table of all operations of the Mix API, of every generation, in the order of the API's tags.

What it knows: which modules the table is made of: one for each of the resources, which need no
more than their own. What it must never know: how a request is made.

The resources' methods, the standalone functions, the documentation's table and the contract test
are all held against this.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Final

from trio_mix._rest._operation import Operation
from trio_mix._rest._tables import (
    _authentication,
    _files,
    _interaction,
    _messages,
    _preferences,
    _sessions,
    _streaming,
    _system,
)

__all__ = ["OPERATIONS"]

_TABLES: Final = (
    _authentication,
    _files,
    _messages,
    _interaction,
    _preferences,
    _sessions,
    _streaming,
    _system,
)

OPERATIONS: Final[MappingProxyType[str, Operation[Any]]] = MappingProxyType(
    {
        name: each
        for table in _TABLES
        for each in vars(table).values()
        if isinstance(each, Operation)
        for name in (each.name, *each.aliases)
    }
)
"""Every operation by its name and its aliases."""
