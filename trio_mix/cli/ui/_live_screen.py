"""Shows a message on a terminal with a status line below it.

Rules:

1. What was shown is never redrawn, so that it can be read and copied at any time. The status line
   is drawn below the cursor, which then returns; it has the end of the text that is incomplete.
2. The status line is erased before anything else is written, and at the end.
3. The input of a tool call is cut to one line; `/tools` shows it in full.
4. Not shown: a tool's success after its call, and the end of the message, which is summed up.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs
from rich.cells import cell_len, set_cell_size
from rich.text import Text

from trio_mix._terminal_text import clean
from trio_mix.cli.ui._screen import TerminalScreen
from trio_mix.cli.ui._terminal_modes import typing_hidden
from trio_mix.cli.ui._warnings import suppress_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from trio_mix.cli.ui._transcript import Piece

_ERASE = "\r\x1b[2K"
_BELOW = "\x1b7\x1b[B"  # save the cursor's position; move down
_BACK = "\x1b8"
_MAKE_ROOM = "\x1bD\x1b[A"  # down, scrolling if necessary, column kept; up again


class LiveScreen(TerminalScreen):
    """Shows pieces as they arrive, and a status line below them while a message runs."""

    def __init__(
        self, console: Console, status: Callable[[], str], *, markdown: bool = False
    ) -> None:
        """Begin at the start of a line.

        Args:
          console: the terminal.
          status: returns the text of the status line.
          markdown: whether to render the text of the reply.
        """
        super().__init__(console, markdown=markdown)
        self._status = status
        self._on = False
        self._drawn_below: bool | None = None

    def show(self, pieces: Sequence[Piece]) -> None:
        """Show the pieces, each tool call on one line."""
        self._clear()
        super().show([self._folded(piece) for piece in pieces if not self._leaves_out(piece)])
        self._draw()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Show the status line until the block is left; `tick` updates it."""
        self._on = True
        self._draw()
        try:
            with typing_hidden(), suppress_warnings():
                yield
        finally:
            self._clear()
            self._on = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Hide the status line until the block is left, for a prompt."""
        self.finish()
        self._clear()
        on, self._on = self._on, False
        try:
            yield
        finally:
            self._on = on
            self._draw()

    def tick(self) -> None:
        """Update the status line."""
        self._clear()
        self._draw()

    def finish(self) -> None:
        """End the unfinished line, if any."""
        self._clear()
        super().finish()
        self._draw()

    def _leaves_out(self, piece: Piece) -> bool:
        """Return whether a piece is not shown here (rule 4)."""
        if piece.kind == "done":
            return piece.text == "complete" and not piece.depth
        return piece.kind == "tool" and piece.text.endswith(" done") and " " in piece.text

    def _folded(self, piece: Piece) -> Piece:
        if piece.kind not in ("tool", "permission"):
            return piece
        label = 2 * piece.depth + len(piece.kind) + 2
        room = max(20, self._console.width - label - 1)
        if cell_len(piece.text) <= room:
            return piece
        return attrs.evolve(piece, text=set_cell_size(piece.text, room - 1) + "…")

    def _draw(self) -> None:
        width = self._console.width
        if not self._on or width < 10:
            return
        column = self._wrap.column
        if column and column % width == 0:
            return  # the terminal is about to wrap: moving the cursor would prevent it
        status = self._status()
        if self._blocks is not None and self._blocks.pending:
            room = max(0, width - cell_len(status) - 5)
            status += f" · {chop_start(clean(self._blocks.pending), room)}" if room else ""
        status = set_cell_size(status, width - 1).rstrip()
        with self._console.capture() as capture:
            self._console.print(Text(status, style="dim"), end="", soft_wrap=True)
        self._drawn_below = column > 0
        if self._drawn_below:
            self._write(f"{_MAKE_ROOM}{_BELOW}{_ERASE}{capture.get()}{_BACK}")
        else:
            self._write(f"{_ERASE}{capture.get()}\r")

    def _clear(self) -> None:
        if self._drawn_below is None:
            return
        self._write(f"{_BELOW}{_ERASE}{_BACK}" if self._drawn_below else _ERASE)
        self._drawn_below = None

    def _write(self, codes: str) -> None:
        self._console.file.write(codes)
        self._console.file.flush()


def chop_start(text: str, cells: int) -> str:
    """Return the end of a text, at most so many cells wide."""
    end = text[-cells:]
    while cell_len(end) > cells:
        end = end[1:]
    return end if len(end) == len(text) else f"…{end[1:]}"
