"""Attrs classes with a faster import, and a faster way to make instances of frozen ones.

attrs generates fast versions of equality, hash and repr for each class, which takes longer than the
rest of creating the class, and an import creates dozens. The methods of `Record` look up the fields
when they are called, which is rare for events and models. A subclass is decorated with
``@attrs.frozen(kw_only=True, eq=False, repr=False)`` and is an ordinary attrs class otherwise.

Private classes that are never compared or shown use the same decorator without this base.
"""

from __future__ import annotations

from typing import Any, cast

import attrs


class Record:
    """Base class: equality, hash and repr by the attrs fields, as attrs would generate them."""

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


def unfrozen(cls: type) -> Any:
    """Return a class like a frozen one with slots, but whose attributes can be set.

    The fastest way to make an instance of the frozen class is to make one of this class without
    ``__init__``, to set its attributes, and then its ``__class__``. attrs' ``__init__`` has to
    evade the frozen ``__setattr__`` for each attribute, and takes twice to three times as long.
    """
    settable = {
        "__slots__": (),
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
    }
    return type(cls.__name__, (cls,), settable)


def _fields(record: Record) -> tuple[attrs.Attribute[object], ...]:
    fields: tuple[attrs.Attribute[object], ...] = attrs.fields(
        cast("type[attrs.AttrsInstance]", type(record))
    )
    return fields
