"""Shows pieces on a terminal, or writes them to plain streams.

Rules:

1. A terminal shows text as it arrives, wrapped at words, and the reply's Markdown rendered block by
   block; elsewhere whole lines are written, the same on every run.
2. ``NO_COLOR`` and ``TERM=dumb`` are honoured (by rich).
3. Nothing is markup: brackets in a reply stay brackets.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console
from rich.text import Text

from trio_mix.cli.ui._markdown import MarkdownBlocks, RenderedBlock
from trio_mix.cli.ui._transcript import Piece, PieceKind, PlainLines
from trio_mix.cli.ui._wrapping import WordWrap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

STYLES: Final[dict[PieceKind, str]] = {
    "text": "",
    "thinking": "dim italic",
    "tool": "cyan",
    "permission": "yellow",
    "notice": "magenta",
    "user": "bold",
    "done": "dim green",
    "error": "bold red",
    "gap": "yellow",
    "info": "dim",
}


_RENDERED_AT_MOST: Final = 256 * 1024
"""The characters of a reply that are rendered, which takes much longer than showing them."""


class Screen(Protocol):
    """Shows pieces."""

    def show(self, pieces: Sequence[Piece]) -> None:
        """Show the pieces."""

    def finish(self) -> None:
        """End the unfinished line, if any."""


class TerminalScreen:
    """Shows pieces on a terminal as they arrive, with colours."""

    def __init__(self, console: Console, *, markdown: bool = False) -> None:
        """Begin at the start of a line.

        Args:
          console: the terminal.
          markdown: whether to render the text of the reply.
        """
        self._console = console
        self._open = False
        self._wrap = WordWrap(lambda: console.width)
        self._style = ""
        self._blocks = MarkdownBlocks() if markdown else None
        self._rendered = 0
        self._after_block = False

    def show(self, pieces: Sequence[Piece]) -> None:
        """Show the pieces."""
        for piece in pieces:
            if piece.kind == "text" and not piece.depth and self._renders(piece):
                continue
            if piece.fresh:
                self._end_line()
                self._label(piece)
            if piece.text:
                self._put(piece.text, STYLES[piece.kind])
                self._open = not piece.text.endswith("\n")
            if not piece.streamed:
                self._end_line()

    def finish(self) -> None:
        """End the unfinished line, if any."""
        self._end_line()
        self._rendered = 0

    def _renders(self, piece: Piece) -> bool:
        """Add a piece to the rendered text; return False if it is to be shown as it is."""
        if self._blocks is None or self._rendered > _RENDERED_AT_MOST:
            return False
        if piece.fresh:
            self._end_line()
        self._rendered += len(piece.text)
        for block in self._blocks.feed(piece.text):
            self._show_block(block)
        if self._rendered > _RENDERED_AT_MOST:
            self._end_line()
            self._put("(the reply is long: its rest is shown without formatting)\n", STYLES["info"])
        return True

    def _show_block(self, block: str) -> None:
        if self._after_block:
            self._print("\n", "")
        self._console.print(RenderedBlock(block), crop=False, end="")
        self._after_block = True

    def _end_line(self) -> None:
        if self._blocks is not None:
            for block in self._blocks.finish():
                self._show_block(block)
        self._after_block = False
        self._print(self._wrap.finish(), self._style)
        if self._open:
            self._put("\n", "")
        self._open = False

    def _label(self, piece: Piece) -> None:
        label = "  " * piece.depth
        if piece.kind not in ("text", "thinking"):
            label += f"{piece.kind}: "
        if label:
            self._put(label, STYLES[piece.kind])
            self._open = True

    def _put(self, text: str, style: str) -> None:
        if style != self._style:
            self._print(self._wrap.finish(), self._style)
            self._style = style
        self._print(self._wrap.feed(text), style)

    def _print(self, text: str, style: str) -> None:
        if text:
            # soft_wrap: rich sees a line in parts and would cut it.
            self._console.print(Text(text, style=style), end="", soft_wrap=True)


class LineScreen:
    """Writes whole lines with labels to one stream."""

    def __init__(self, stream: TextIO, prefix: str = "") -> None:
        self._stream = stream
        self._lines = PlainLines(prefix)

    def show(self, pieces: Sequence[Piece]) -> None:
        """Write the lines that the pieces complete."""
        self._write(self._lines.feed(pieces))

    def finish(self) -> None:
        """Write the unfinished line, if any."""
        self._write(self._lines.finish())

    def _write(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._stream.write(line + "\n")
        if lines:
            self._stream.flush()


class PipeScreen:
    """Writes the top-level text to stdout, with a line end added, and everything else to stderr."""

    def __init__(self, text: TextIO, rest: TextIO) -> None:
        self._text = text
        self._rest = LineScreen(rest)
        self._open = False

    def show(self, pieces: Sequence[Piece]) -> None:
        """Write each piece to its stream."""
        for piece in pieces:
            if piece.kind != "text" or piece.depth:
                self._rest.show([piece])
                continue
            if piece.fresh:
                self.finish()
            self._text.write(piece.text)
            self._text.flush()
            self._open = not piece.text.endswith("\n") if piece.text else self._open

    def finish(self) -> None:
        """End the last line of the text, and the unfinished line on stderr."""
        self._rest.finish()
        if self._open:
            self._text.write("\n")
            self._text.flush()
        self._open = False


class TextOnly:
    """Passes on the text of the reply, and that events are missing."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen

    def show(self, pieces: Sequence[Piece]) -> None:
        """Show the pieces of the text."""
        self._screen.show(
            [
                each
                for each in pieces
                if each.kind == "gap" or (each.kind, each.depth) == ("text", 0)
            ]
        )

    def finish(self) -> None:
        """End the unfinished line, if any."""
        self._screen.finish()


def terminal() -> Console | None:
    """Return a console on stdout, or ``None`` if stdout is no terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal and sys.stdout.isatty() else None


def is_capable() -> bool:
    """Return whether the terminal supports escape sequences."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def line_screen(*, markdown: bool = False) -> Screen:
    """Return the screen for stdout: text as it arrives, or lines with labels."""
    console = terminal()
    return _terminal_screen(console, markdown) if console else LineScreen(sys.stdout)


def pipe_screen(*, markdown: bool = False) -> Screen:
    """Return the screen for stdout: text as it arrives; or text only, and the rest on stderr."""
    console = terminal()
    return _terminal_screen(console, markdown) if console else PipeScreen(sys.stdout, sys.stderr)


def _terminal_screen(console: Console, markdown: bool) -> Screen:
    return TerminalScreen(console, markdown=markdown and is_capable())
