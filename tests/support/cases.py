"""Loops over cases in one test, whose failure names the case."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["case"]


@contextmanager
def case(*parts: object) -> Iterator[None]:
    """Add the parts to whatever the block raises, failed assertions included."""
    try:
        yield
    except BaseException as error:
        error.add_note("in the case: " + ", ".join(str(part) for part in parts))
        raise
