"""Splits bytes into lines of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE: Final = 16 * 2**20
"""The longest line, in bytes."""


class LineTooLong(ValueError):
    """A line exceeds `MAX_LINE`; it was dropped, to its end."""


class LineSplitter:
    """Splits bytes at line feeds, in time linear in their number."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> Iterator[bytes | LineTooLong]:
        """Return the lines that end in the data, without their ends; for a long one its error."""
        *ended, rest = data.split(b"\n")
        for piece in ended:
            self._keep(piece)
            if self._size > self._limit:
                yield LineTooLong(f"a line has more than {self._limit} bytes")
            else:
                yield b"".join(self._pieces).removesuffix(b"\r")
            self._pieces, self._size = [], 0
        self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit:
            self._pieces.clear()
        elif piece:
            self._pieces.append(piece)
