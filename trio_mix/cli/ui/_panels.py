"""Several messages at once on one screen: side by side and live on a terminal, else line by line.

What it knows: rich's live display.
What it must never know: the client, what a demo is.

Rules:

1. Off a terminal the lines are whole, numbered by message, and the same on every run.
2. What was shown stays on the screen when the live display ends.
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
"""The least width, in columns, for panels beside each other."""


class Panels(Protocol):
    """What the demo draws on."""

    def note(self, text: str) -> None:
        """Say one thing about what happens."""

    def act(self, titles: Sequence[str]) -> AbstractContextManager[list[Screen]]:
        """Open one screen for each message, until the block is left."""
        ...

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""


class LinePanels:
    """Plain lines on stdout."""

    def __init__(self) -> None:
        self._count = 0

    def note(self, text: str) -> None:
        """Write one line."""
        print(f"* {text}", flush=True)

    @contextmanager
    def act(self, titles: Sequence[str]) -> Iterator[list[Screen]]:
        """Begin a numbered message for each title; the numbers run through all acts."""
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
    """One message's panel; its pieces are joined as they come."""

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
        """Nothing is left open in a panel."""

    def __rich__(self) -> RenderableType:
        """Draw it."""
        waiting = Text("waits its turn: one message at a time on a session", style="dim")
        return Panel(self.body if self.running else waiting, title=self.title, title_align="left")


class LivePanels:
    """Panels on a terminal, with a line below that says how the stream is."""

    def __init__(self, console: Console, status: Callable[[], str]) -> None:
        self._console = console
        self._status = status

    def note(self, text: str) -> None:
        """Write one line between the acts, or above the live panels."""
        self._console.print(Text(f"▸ {text}", style="bold"))

    @contextmanager
    def act(self, titles: Sequence[str]) -> Iterator[list[Screen]]:
        """Draw the messages' panels, live, until the block is left."""
        panels: list[PanelScreen] = []
        # Drawn on every change, by the thread that makes it: a refresh thread of rich's own could
        # catch a panel half changed.
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
    """Return what fits stdout.

    Args:
      status: says in one line how the stream is; asked again and again.
    """
    console = terminal()
    return LivePanels(console, status) if console else LinePanels()
