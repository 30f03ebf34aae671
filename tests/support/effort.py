"""The work that a call takes, counted: the same on a busy machine as on an idle one."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["CountedText", "lines_run", "peak_memory"]


def lines_run(function: Callable[[], object]) -> int:
    """Return how many lines of Python *function* runs."""
    count = 0

    def trace(_: FrameType, event: str, __: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def peak_memory(function: Callable[[], object]) -> int:
    """Return the most bytes that were allocated at once while *function* ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


class CountedText(str):
    """Text that counts the characters that ``+`` copies."""

    copied = 0

    def __radd__(self, other: str) -> str:
        CountedText.copied += len(other) + len(self)
        return CountedText(str(other) + str(self))

    def __add__(self, other: str) -> str:
        CountedText.copied += len(other) + len(self)
        return CountedText(str(self) + str(other))
