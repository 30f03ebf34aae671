"""Why a JSON value is not of the expected shape: one place in the tree of cattrs' exceptions."""

from __future__ import annotations

import json
from typing import Any, Final, cast, get_origin

from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
)

from trio_mix._wire._large_json import Unreadable
from trio_mix._wire._names import wire_name


class Mismatch(Exception):
    """A JSON value that is not of the expected shape.

    Attributes:
      problem: what is wrong, as text.
      path: the JSON path, as ``$[3].createdAt``.
      value: the value at the path; an `Unreadable` has the beginning of its text only.
      items: of the outermost list that the path goes through, the items that fit.
    """

    def __init__(self, problem: str, path: str, value: object) -> None:
        super().__init__(f"{path}: {problem}")
        self.problem = problem
        self.path = path
        self.value = value
        self.items: tuple[object, ...] = ()


UNFIT: Final = (BaseValidationError, ValueError, TypeError)
"""What is raised for a value that does not fit."""


class WrongType(ValueError):
    """Raised by the hooks; the text says what was expected."""


class ItemsError(IterableValidationError):
    """Raised if an item of a list does not fit; ``items`` are those that do."""

    items: list[object]


def first_leaf(error: BaseException, shape: Any, value: object, path: str) -> Mismatch:
    """Follow the first branch of a tree of cattrs' exceptions, and the JSON value along with it."""
    if not isinstance(error, BaseValidationError):
        if isinstance(value, Unreadable):
            return Mismatch(f"expected JSON: {value.problem}", path, value)
        if isinstance(error, KeyError):
            return Mismatch("a required field is missing", path, None)
        if isinstance(error, WrongType):
            return Mismatch(str(error), path, value)
        return Mismatch(f"not of the shape {_shape_name(shape)}", path, value)
    inner = error.exceptions[0]
    for note in getattr(inner, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            name = wire_name(error.cl, note.name)
            below = value.get(name) if isinstance(value, dict) else None
            return first_leaf(inner, note.type, below, f"{path}.{name}")
        if isinstance(note, IterableValidationNote):
            key = note.index
            try:
                below = cast("Any", value)[key]
            except (LookupError, TypeError):
                below = None
            mismatch = first_leaf(inner, note.type, below, f"{path}[{json.dumps(key)}]")
            if isinstance(error, ItemsError):
                mismatch.items = tuple(error.items)  # those of an outer list replace these
            return mismatch
    return first_leaf(inner, shape, value, path)


def _shape_name(shape: Any) -> str:
    return getattr(shape, "__name__", str(shape)) if get_origin(shape) is None else str(shape)
