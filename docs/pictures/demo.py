"""Draw what ``trio-mix demo`` shows on a terminal, as one SVG for light and one for dark pages.

``python docs/pictures/demo.py`` runs the demo in a pseudo-terminal and writes both pictures to
``docs/_static/demo``. It needs the ``dev`` extra (pyte) and a POSIX system.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyte

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pyte.screens import Char

FOLDER: Final = Path(__file__).parents[1] / "_static" / "demo"

COLUMNS: Final = 110
_ROWS: Final = 80
_CELL: Final = 8.4
_LINE: Final = 18
_PADDING: Final = 16
_FONT: Final = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"

_LIGHT: Final = {
    "paper": "#ffffff",
    "frame": "#d0d7de",
    "default": "#1f2328",
    "brightblack": "#59636e",
    "green": "#116329",
    "brown": "#7d4e00",
    "cyan": "#0a6c74",
    "red": "#a40e26",
    "prompt": "#0550ae",
}
_DARK: Final = {
    "paper": "#0d1117",
    "frame": "#30363d",
    "default": "#e6edf3",
    "brightblack": "#9198a1",
    "green": "#7ee787",
    "brown": "#e3b341",
    "cyan": "#76e3ea",
    "red": "#ff7b72",
    "prompt": "#79c0ff",
}
PICTURES: Final[Mapping[str, Mapping[str, str]]] = {"light.svg": _LIGHT, "dark.svg": _DARK}

_FRAME: Final[Mapping[str, Sequence[tuple[float, float]]]] = {
    "─": [(0, 0.5), (1, 0.5)],
    "│": [(0.5, 0), (0.5, 1)],
    "╭": [(0.5, 1), (0.5, 0.75), (1, 0.5)],
    "╮": [(0, 0.5), (0.5, 0.75), (0.5, 1)],
    "╰": [(0.5, 0), (0.5, 0.25), (1, 0.5)],
    "╯": [(0, 0.5), (0.5, 0.25), (0.5, 0)],
}
"""How the characters of frames are drawn, in parts of a cell: fonts leave gaps between them."""

_BOLD: Final = ' font-weight="bold"'
_STYLE: Final = re.compile(rb"\x1b\[([0-9;]+)m")


def record() -> bytes:
    """Run the demo in a pseudo-terminal and return everything that it wrote."""
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, COLUMNS, 0, 0))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")
    }
    demo = subprocess.Popen(
        [sys.executable, "-m", "trio_mix.cli", "demo"],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**environment, "TERM": "xterm-256color", "LANG": "C.UTF-8"},
    )
    os.close(follower)
    written = bytearray()
    try:
        while data := os.read(leader, 65536):
            written += data
    except OSError:  # Linux reports the end of a pseudo-terminal as EIO
        pass
    os.close(leader)
    if demo.wait() != 0:
        raise RuntimeError(f"the demo failed with exit code {demo.returncode}: run trio-mix demo")
    return bytes(written)


def last_screen(written: bytes) -> list[list[Char]]:
    """Return the demo's last screen without its closing table, row by row."""
    screen = pyte.Screen(COLUMNS, _ROWS)
    pyte.ByteStream(screen).feed(_STYLE.sub(_without_faint, written))
    rows = [[screen.buffer[y][x] for x in range(COLUMNS)] for y in range(_ROWS)]
    texts = ["".join(cell.data for cell in row).rstrip() for row in rows]
    end = next(y for y, text in enumerate(texts) if text.startswith("┏"))
    return rows[:end]


def _without_faint(match: re.Match[bytes]) -> bytes:
    """Write the faint style, which pyte does not know, as a colour."""
    codes = match[1].split(b";")
    if b"2" in codes:
        codes.remove(b"2")
        if not any(code.startswith(b"3") and len(code) == 2 for code in codes):
            codes.append(b"90")
    return b"\x1b[" + b";".join(codes) + b"m"


def draw(rows: Sequence[Sequence[Char]], colours: Mapping[str, str]) -> str:
    """Return rows of a terminal as an SVG."""
    width = COLUMNS * _CELL + 2 * _PADDING
    height = (len(rows) + 2) * _LINE + 2 * _PADDING
    title = "What trio-mix demo shows on a terminal"
    prompt = _text(0, 0, "$ trio-mix demo", colours["prompt"], _BOLD)
    frames = "".join(_frames(rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" role="img"'
        f' width="{width:g}" height="{height:g}" aria-label="{title}">\n<title>{title}</title>\n'
        f'<rect x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1:g}" rx="8"'
        f' fill="{colours["paper"]}" stroke="{colours["frame"]}"/>\n'
        f'<path d="{frames}" fill="none" stroke="{colours["brightblack"]}"/>\n'
        f'<g font-family="{_FONT}" font-size="14">\n'
        f"{prompt}\n"
        + "\n".join(_row(y + 2, row, colours) for y, row in enumerate(rows))
        + "\n</g>\n</svg>\n"
    )


def _row(y: int, row: Sequence[Char], colours: Mapping[str, str]) -> str:
    return "".join(
        _text(x, y, text, colours.get(cell.fg, colours["default"]), _attributes(cell))
        for x, text, cell in _pieces(row)
    )


def _pieces(row: Sequence[Char]) -> Iterator[tuple[int, str, Char]]:
    """Split a row into pieces of one style, without frames and runs of spaces."""
    x = 0
    for _, cells in groupby(row, key=lambda cell: (cell.fg, cell.bold, cell.italics)):
        piece = list(cells)
        text = "".join(" " if cell.data in _FRAME else cell.data for cell in piece)
        for part in re.finditer(r"\S+(?: \S+)*", text):
            yield x + part.start(), part[0], piece[0]
        x += len(piece)


def _frames(rows: Sequence[Sequence[Char]]) -> Iterator[str]:
    """Return the drawing commands of all frame characters."""
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            if cell.data in _FRAME:
                left, top = _PADDING + x * _CELL, _PADDING + (y + 2) * _LINE
                for at, (dx, dy) in enumerate(_FRAME[cell.data]):
                    yield f"{'L' if at else 'M'}{left + dx * _CELL:.1f} {top + dy * _LINE:.1f}"


def _attributes(cell: Char) -> str:
    return (_BOLD if cell.bold else "") + (' font-style="italic"' if cell.italics else "")


def _text(x: int, y: int, text: str, colour: str, attributes: str) -> str:
    # The fixed length keeps frames straight in whatever monospaced font the reader has.
    return (
        f'<text x="{_PADDING + x * _CELL:.1f}" y="{_PADDING + (y + 0.75) * _LINE:.1f}"'
        f' fill="{colour}" textLength="{len(text) * _CELL:.1f}"{attributes}>{escape(text)}</text>'
    )


def main() -> None:
    """Run the demo and write the pictures."""
    rows = last_screen(record())
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, colours in PICTURES.items():
        (FOLDER / name).write_text(draw(rows, colours), encoding="utf-8")


if __name__ == "__main__":
    main()
