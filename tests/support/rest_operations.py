"""All operations of the API, collected from the methods of the resources."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, Any, Final

from trio_mix import resources
from trio_mix.resources import EventStream, Resource

if TYPE_CHECKING:
    from trio_mix._rest._operation import Operation


def _collected() -> dict[str, Operation[Any]]:
    found: dict[str, Operation[Any]] = {}
    for name in resources.__all__:
        group = getattr(resources, name)
        if not issubclass(group, Resource):
            continue
        for cls in group.__mro__:
            for method, function in vars(cls).items():
                declared = getattr(function, "__mix_operation__", None)
                if declared is not None and method != "download":  # another way to make `get`
                    found.setdefault(f"{name.lower()}.{method}", declared)
    return found


OPERATIONS: Final = _collected()
"""Every operation by its method. Those of `Health` and `Internal` are in `Authentication` too."""


def answers_json(operation: Operation[Any]) -> bool:
    """Whether the answer is a JSON value, rather than nothing, a file or a stream."""
    return operation.result not in (NoneType, bytes, EventStream)
