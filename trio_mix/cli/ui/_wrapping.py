"""Wraps text at words while it arrives.

Rule 1: a word is held until its end is known, unless it is as wide as the terminal. Between wide
characters, as of Chinese, a line may end anywhere.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS: Final = re.compile(
    r"\n|[^\S\n]+|[\u1100-\ufaff\uff00-\uffef]|[^\s\u1100-\ufaff\uff00-\uffef]+"
)
_TAB: Final = 8
_MOST_BLANKS: Final = 4096
"""The blanks in a row that are kept."""


class WordWrap:
    """Inserts line ends into a text, so that no word is broken at the edge of the terminal."""

    def __init__(self, width: Callable[[], int]) -> None:
        """Begin at the start of a line.

        Args:
          width: returns the width of the terminal in columns.
        """
        self._width = width
        self._word: list[str] = []
        self._word_cells = 0
        self._spaces = ""
        self._is_long = False
        """Whether the start of a word as wide as the terminal was returned."""
        self.column = 0
        """The cursor's column, of the text that was returned."""

    def feed(self, text: str) -> str:
        """Return what can be written now."""
        out: list[str] = []
        for part in _PARTS.findall(text):
            if part.isspace():
                out.append(self.finish())
                self._is_long = False
            if part == "\n":
                out.append("\n")
                self._spaces, self.column = "", 0
            elif part.isspace():
                self._spaces = (self._spaces + part)[:_MOST_BLANKS]
            else:
                cells = cell_len(part)
                is_wide = len(part) == 1 and cells > 1
                if is_wide:
                    out.append(self.finish())
                self._word.append(part)
                self._word_cells += cells
                if is_wide:
                    out.append(self.finish())
                elif self._is_long or self._word_cells >= self._width():
                    out.append(self.finish())
                    self._is_long = True
        return "".join(out)

    def finish(self) -> str:
        """Return the word that is held, and the spaces before it."""
        width = self._width()
        spaces, word, cells = self._spaces, "".join(self._word), self._word_cells
        self._spaces, self._word, self._word_cells = "", [], 0
        if not word:
            self._spaces = spaces
            return ""
        blank = sum(_TAB if each == "\t" else 1 for each in spaces)
        if not self._is_long and self.column and self.column + blank + cells > width:
            self.column = cells if cells <= width else cells % width
            return f"\n{word}"
        self.column += blank + cells
        if self.column > width:
            self.column %= width
        return spaces + word
