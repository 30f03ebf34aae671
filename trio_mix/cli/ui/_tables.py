"""Lists of things: a table on a terminal, tab-separated lines in a pipe, or JSON lines.

What it knows: attrs records, columns.
What it must never know: what the records are.

Rules:

1. In a pipe a cell holds no tab and no line end, so that ``cut -f`` and ``read`` can be relied on.
2. JSON has the records' own field names, without what is null or hidden from their repr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs
from rich.table import Table
from rich.text import Text

from trio_mix.cli.ui._json import as_json
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

R = TypeVar("R", bound=attrs.AttrsInstance)

_CELL = 1000
_NARROW = 60
"""Columns of a terminal below which a table that does not fit becomes one block a record."""


def show_records(
    records: Iterable[R],
    columns: Sequence[str],
    row: Callable[[R], Sequence[object]],
    *,
    jsonl: bool,
    empty: str,
    extra: Callable[[R], Mapping[str, object]] = lambda _: {},
) -> None:
    """Print records as fits stdout.

    Args:
      records: what to print.
      columns: the cells' names.
      row: makes a record's cells.
      jsonl: whether to print JSON lines.
      empty: what a person is told when there are none.
      extra: what stands in a record's JSON before its own fields.
    """
    found = list(records)
    if jsonl:
        for record in found:
            print(as_json(record, extra(record)), flush=True)
        return
    rows = [[excerpt("" if cell is None else str(cell), _CELL) for cell in row(r)] for r in found]
    console = terminal()
    if console is None:
        for cells in rows:
            print("\t".join(cells), flush=True)
    elif not rows:
        console.print(Text(empty, style="dim"))
    else:
        table = _table(columns, rows)
        boundless = console.options.update(width=_CELL * len(columns))
        wanted = console.measure(table, options=boundless).maximum
        if console.width < min(_NARROW, wanted):
            for cells in rows:
                console.print(_block(columns, cells))
        else:
            console.print(table)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(columns):
        # The first is what the user copies into the next command: it must stay in one piece.
        table.add_column(name, no_wrap=at == 0, overflow="fold" if at == 0 else "ellipsis")
    for cells in rows:
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _block(columns: Sequence[str], cells: Sequence[str]) -> Table:
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, cell in zip(columns, cells, strict=True):
        if cell:
            grid.add_row(name, Text(cell))
    grid.add_row("", "")
    return grid
