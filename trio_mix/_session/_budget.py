"""The memory that all buffers of a client may take together.

Rule 1  A buffer counts the data of its events from when they are put until they were received, and
        the consumer asks for the next batch.
Rule 2  Beyond the limit the largest buffer is reduced, whichever has just grown, and first those
        whose consumers were found to take no events.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

__all__ = ["Budget"]

_LARGE: Final = 16
"""A buffer with more than this part of the limit is large."""


class Reducible(Protocol):
    """A buffer."""

    bytes: int
    """How much it holds."""
    idle: bool
    """Whether its consumer was found to take no events."""

    def shed(self) -> None:
        """Drop at least some of what it holds."""


class Budget:
    """Counts the bytes in the buffers of one client.

    Args:
      limit: how many bytes they may hold together; None: no limit.

    Attributes:
      used: how many bytes they hold.
      mark: with more bytes than this a consumer is behind: a part of the limit, or nothing while
        half of the limit is used.
    """

    __slots__ = ("_buffers", "_half", "_part", "limit", "mark", "used")

    def __init__(self, limit: int | None = None) -> None:
        self.limit: float = math.inf if limit is None else limit
        self.used: int = 0
        self._half = self.limit / 2
        self._part = self.limit / _LARGE
        self.mark: float = self._part
        self._buffers: set[Reducible] = set()

    def grow(self, buffer: Reducible, size: int) -> None:
        """Note that a buffer holds more (rule 2)."""
        self.used += size
        self._buffers.add(buffer)
        if self.used > self._half:
            while self.used > self.limit and self._buffers:
                max(self._buffers, key=_first_to_reduce).shed()
            self.mark = 0 if self.used > self._half else self._part

    def shrink(self, buffer: Reducible, size: int) -> None:
        """Note that a buffer holds less."""
        self.used -= size
        if not buffer.bytes:
            self._buffers.discard(buffer)
        if not self.mark and self.used <= self._half:
            self.mark = self._part


def _first_to_reduce(buffer: Reducible) -> tuple[bool, int]:
    return buffer.idle, buffer.bytes
