"""Prints records: as a table on a terminal, as tab-separated lines, or as JSON lines.

Rules:

1. In tab-separated lines a cell has no tab and no line end, so that ``cut -f`` and ``read`` work.
2. JSON has the records' field names, without null fields and fields hidden from their repr.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs
from rich.table import Table
from rich.text import Text

from trio_mix.cli.ui._json import print_record
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

R = TypeVar("R", bound=attrs.AttrsInstance)

_CELL = 1000
_NARROW = 60
"""The width, in columns, below which a table that does not fit becomes one block per record."""


def show_records(
    records: Iterable[R],
    columns: Sequence[str],
    row: Callable[[R], Sequence[object]],
    *,
    jsonl: bool,
    empty: str,
    extra: Callable[[R], Mapping[str, object]] = lambda _: {},
) -> None:
    """Print records in the form that suits stdout.

    Args:
      records: the records.
      columns: the names of the columns.
      row: returns the cells of a record.
      jsonl: whether to print JSON lines.
      empty: the text that a terminal shows if there are no records.
      extra: returns fields for a record's JSON line, which precede those of the record.
    """
    found = list(records)
    if jsonl:
        for record in found:
            print_record(record, extra(record))
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
        # The user copies the first column into the next command: it must not be cut.
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
