"""Decode single values of JSON, as hooks of cattrs: nothing is coerced to another type."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from trio_mix._wire._large_json import Unreadable
from trio_mix._wire._mismatch import WrongType

_INT64: Final = 2**63
_MILLISECONDS_FROM: Final = 10**11
"""From here on a timestamp is in milliseconds: in seconds it would be the year 5138."""


def text(value: object, _: object) -> str:
    """Return a string."""
    if not isinstance(value, str):
        raise WrongType("expected a string")
    return value


def truth(value: object, _: object) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise WrongType("expected true or false")
    return value


def whole(value: object, _: object) -> int:
    """Return a whole number; JSON has one kind of number, so ``5.0`` is one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType("expected a whole number")
    if not -_INT64 <= value < _INT64:
        raise WrongType("expected a whole number of at most 64 bits")
    return value


def number(value: object, _: object) -> float:
    """Return a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise WrongType("expected a number")
    try:
        return float(value)
    except OverflowError:
        raise WrongType("expected a number that a float can hold") from None


def time(value: object, _: object) -> datetime:
    """Return an aware time; see the rules of `_models`."""
    try:
        if isinstance(value, str):
            found = datetime.fromisoformat(value.strip().replace("z", "Z"))
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise WrongType("expected a time")


def json_object(value: object, _: object) -> dict[str, object]:
    """Return an object as it is."""
    if not isinstance(value, dict) or any(isinstance(each, Unreadable) for each in value.values()):
        raise WrongType("expected an object")
    return value


def health_time(value: object, _: object) -> datetime | None:
    """Return the one time that is plain text in the specification, or None."""
    try:
        return time(value, datetime)
    except WrongType:
        return None
