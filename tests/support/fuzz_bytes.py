"""The bytes that a fuzzer has chosen, as small numbers."""

from __future__ import annotations

__all__ = ["Bytes"]


class Bytes:
    """Reads small numbers from the front of the input; past its end all are zero."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, bound: int) -> int:
        """Return a number from 0 up to, not including, a bound of at most 256."""
        self._at += 1
        return self._data[self._at - 1] % bound if self._at <= len(self._data) else 0

    def rest(self) -> bytes:
        return self._data[self._at :]

    def __bool__(self) -> bool:
        return self._at < len(self._data)
