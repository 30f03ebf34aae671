"""The base of classes of which there are many: equality, hash and repr, written once for all.

What it knows: what attrs knows of a class's fields. What it must never know: any class.

attrs writes these methods anew for each class, as fast as can be, which takes longer than the rest
of making the class; an import makes dozens. Here they look the fields up when they are called,
which for events and answers is seldom. A class says so by
``@attrs.frozen(kw_only=True, eq=False, repr=False)``, and is an attrs class in all else.

Private classes that nobody compares or looks at say the same and go without.
"""

from __future__ import annotations

from typing import cast

import attrs

__all__ = ["Record"]


class Record:
    """Compares, hashes and shows itself by its fields, as classes by attrs do."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(
            getattr(self, field.name) == getattr(other, field.name)
            for field in _fields(self)
            if field.eq
        )

    def __hash__(self) -> int:
        hashed = (
            field for field in _fields(self) if (field.eq if field.hash is None else field.hash)
        )
        return hash((self.__class__, *(getattr(self, field.name) for field in hashed)))

    def __repr__(self) -> str:
        shown = []
        for field in _fields(self):
            if field.repr:
                text = field.repr if callable(field.repr) else repr
                shown.append(f"{field.name}={text(getattr(self, field.name))}")
        return f"{type(self).__qualname__}({', '.join(shown)})"


def _fields(record: Record) -> tuple[attrs.Attribute[object], ...]:
    fields: tuple[attrs.Attribute[object], ...] = attrs.fields(
        cast("type[attrs.AttrsInstance]", type(record))
    )
    return fields
