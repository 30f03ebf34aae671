"""Shows several messages at once: in live panels on a terminal, else line by line.

Rules:

1. Without a terminal, lines are whole, numbered by message, and the same on every run.
2. The panels stay on the screen when the live display ends.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from trio_mix.cli.ui._screen import STYLES, LineScreen, Screen, terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from rich.console import Console, RenderableType

    from trio_mix.cli.ui._transcript import Piece

_SIDE_BY_SIDE = 90
"""The smallest width, in columns, for panels beside each other."""


class Panels(Protocol):
    """Shows the demo."""

    def note(self, text: str) -> None:
        """Show one line about what happens."""

    def messages(self, titles: Sequence[str]) -> AbstractContextManager[list[Screen]]:
        """Open one screen per message, until the block is left."""
        ...

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""


class LinePanels:
    """Writes plain lines to stdout."""

    def __init__(self) -> None:
        self._count = 0

    def note(self, text: str) -> None:
        """Write one line."""
        print(f"* {text}", flush=True)

    @contextmanager
    def messages(self, titles: Sequence[str]) -> Iterator[list[Screen]]:
        """Start a numbered message for each title; the numbers continue from call to call."""
        screens: list[Screen] = []
        for title in titles:
            self._count += 1
            screens.append(LineScreen(sys.stdout, f"[{self._count}] "))
            print(f"[{self._count}] send: {title}", flush=True)
        yield screens

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Align the columns with spaces."""
        lines = [columns, *rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            print("  ".join(cells).rstrip(), flush=True)


@attrs.define(eq=False)
class PanelScreen:
    """The panel of one message."""

    title: str
    refresh: Callable[[], object]
    body: Text = attrs.field(factory=Text, init=False)
    running: bool = attrs.field(default=False, init=False)

    def show(self, pieces: Sequence[Piece]) -> None:
        """Add the pieces to the panel."""
        for piece in pieces:
            self.running = True
            if piece.fresh:
                if self.body and not self.body.plain.endswith("\n"):
                    self.body.append("\n")
                label = "" if piece.streamed else f"{piece.kind}: "
                self.body.append("  " * piece.depth + label, STYLES[piece.kind])
            self.body.append(piece.text, STYLES[piece.kind])
        self.refresh()

    def finish(self) -> None:
        """Do nothing: a panel has no unfinished line."""

    def __rich__(self) -> RenderableType:
        """Return the panel for rich."""
        waiting = Text("queued: a session runs one message at a time", style="dim")
        return Panel(self.body if self.running else waiting, title=self.title, title_align="left")


class LivePanels:
    """Draws panels on a terminal, with the state of the stream on a line below."""

    def __init__(self, console: Console, status: Callable[[], str]) -> None:
        self._console = console
        self._status = status

    def note(self, text: str) -> None:
        """Write one line above the live panels, or between two sets of them."""
        self._console.print(Text(f"▸ {text}", style="bold"))

    @contextmanager
    def messages(self, titles: Sequence[str]) -> Iterator[list[Screen]]:
        """Draw the panels of messages, and update them until the block is left."""
        panels: list[PanelScreen] = []
        # Drawn on every change, by the thread that makes it: rich's refresh thread could draw a
        # panel in the middle of a change.
        live = Live(
            get_renderable=lambda: self._draw(panels), console=self._console, auto_refresh=False
        )
        panels += [PanelScreen(title, live.refresh) for title in titles]
        with live:
            yield [*panels]

    def _draw(self, panels: Sequence[PanelScreen]) -> RenderableType:
        if self._console.width >= _SIDE_BY_SIDE and len(panels) > 1:
            grid = Table.grid(expand=True)
            for _ in panels:
                grid.add_column(ratio=1)
            grid.add_row(*panels)
            shown: RenderableType = grid
        else:
            shown = Group(*panels)
        return Group(shown, Text(self._status(), style="dim"))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Draw a table."""
        table = Table(*columns)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        self._console.print(table)


def open_panels(status: Callable[[], str]) -> Panels:
    """Return panels for a terminal, or lines for any other stdout.

    Args:
      status: returns the state of the stream on one line; called on every change.
    """
    console = terminal()
    return LivePanels(console, status) if console else LinePanels()
