"""Renders Markdown on a terminal while it arrives, one block at a time.

Rules:

1. A block is shown as soon as it is complete: a paragraph, a list, a table, or lines of code. What
   has been shown is never changed.
2. All of the text is shown: HTML and link definitions stay as they are, a link is followed by its
   address, and a line end stays a line end.
3. The text of a server cannot control the terminal, also not through character references such as
   ``&#x202e;``: hidden characters are removed from what was rendered, and no link is made.
4. A block is about 4 KiB at most, and has a bounded number of marks, which take the time of parsing
   and rendering: of a longer one, the part so far is shown as a block. That does not depend on how
   much text arrives at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

import attrs
from markdown_it import MarkdownIt
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement, TableElement
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from trio_mix._terminal_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markdown_it.token import Token
    from rich.console import Console, ConsoleOptions, RenderResult

_LONGEST: Final = 4 * 1024
_MOST_MARKS: Final = 400
_MARK: Final = re.compile(r"[\[*_`~<>|\t]|\]\(|(?<=[-+*>.)] )(?:[-+]|\d+[.)]) ")
"""What may be a mark: of lists, those inside another one on the same line."""
_OF_LINE_END: Final = 2
"""The marks that a line end counts as: it may begin a list item or a heading."""
_AT_ONCE: Final = 256
"""The characters that are added before a line is found to be too long."""
_FENCE: Final = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_CONTINUED: Final = re.compile(r"[ \t]|[-*+] |\d{1,9}[.)] ")
"""The start of a line that continues a list after an empty line."""


@attrs.frozen
class _Size:
    """How much there is to parse and to render."""

    length: int = 0
    marks: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.length + other.length, self.marks + other.marks)

    @property
    def too_large(self) -> bool:
        """Whether it is more than one block may have."""
        return self.length > _LONGEST or self.marks > _MOST_MARKS


class MarkdownBlocks:
    """Divides a text that arrives in pieces into blocks."""

    def __init__(self) -> None:
        self._line: list[str] = []
        self._line_size = _Size()
        self._block: list[str] = []
        self._block_size = _Size()
        self._widest = 0  # the cells of a row, in the block
        self._ended = False  # an empty line was read after the block
        self._fence = ""  # the line that opened the code block
        self._mark = ""

    @property
    def pending(self) -> str:
        """The line that was read last and is not shown yet."""
        return "".join(self._line) or "".join(self._block[-1:])

    def feed(self, text: str) -> Iterator[str]:
        """Yield the blocks that the text completes."""
        for at in range(0, len(text), _AT_ONCE):
            *lines, rest = text[at : at + _AT_ONCE].split("\n")
            for line in lines:
                self._line.append(line)
                yield from self._add(self._take_line())
            if rest:
                self._line.append(rest)
                self._line_size += self._size(rest)
            if self._line_size.too_large:
                yield from self._divide_line()

    def finish(self) -> Iterator[str]:
        """Yield the rest, which has no line end."""
        if self._line:
            yield from self._add(self._take_line())
        yield from self._take()
        self._fence = self._mark = ""

    def _take_line(self) -> str:
        whole = "".join(self._line)
        self._line, self._line_size = [], _Size()
        return whole

    def _divide_line(self) -> Iterator[str]:
        """Yield the line so far, except its last word."""
        whole = self._take_line()
        kept = whole.rpartition(" ")[2] if not self._fence else ""
        size = self._size(kept)
        if kept and not size.too_large:
            self._line, self._line_size = [kept], size
            whole = whole[: -len(kept)]
        yield from self._add(whole)
        yield from self._take()

    def _add(self, line: str) -> Iterator[str]:
        if self._fence:
            if line.strip().startswith(self._mark) and not line.strip().strip(self._mark[0]):
                self._append(line)
                self._fence = self._mark = ""
                yield from self._take()
            else:
                yield from self._add_to_block(line)
            return
        if not line.strip():
            self._ended = bool(self._block)
            return
        if self._ended:
            is_list = _CONTINUED.match(self._block[0])
            if is_list and _CONTINUED.match(line):
                self._append("")
            else:
                yield from self._take()
        self._ended = False
        if fence := _FENCE.match(line):
            yield from self._take()
            self._fence, self._mark = line, fence[1]
        yield from self._add_to_block(line)

    def _add_to_block(self, line: str) -> Iterator[str]:
        """Append a line, and yield the block before it if the line does not fit in."""
        if (self._block_size + self._size_in_block(line)).too_large:
            yield from self._take()
        self._append(line)

    def _append(self, line: str) -> None:
        self._block_size += self._size_in_block(line)
        if not self._fence:
            self._widest = max(self._widest, line.count("|"))
        self._block.append(line)

    def _size_in_block(self, line: str) -> _Size:
        """Return the size of a line: a row of a table is filled up to the widest one."""
        size = self._size(line)
        return _Size(size.length, max(size.marks, self._widest) + _OF_LINE_END)

    def _size(self, text: str) -> _Size:
        return _Size(len(text), 0 if self._fence else len(_MARK.findall(text)))

    def _take(self) -> Iterator[str]:
        block, self._block, self._block_size, self._widest = self._block, [], _Size(), 0
        self._ended = False
        if self._fence:  # a part of a code block: each part is one
            if len(block) > 1:
                yield "\n".join([*block, self._mark])
            self._append(self._fence)
        elif block:
            yield "\n".join(block)


class _LeftHeading(Heading):
    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        self.text.justify = "left"
        yield self.text


class _PlainCode(CodeBlock):
    """Code without colours for its syntax, which would take ten times as long."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        del console, options
        code = self.text.plain.rstrip("\n")
        yield Text(code, style="markdown.code", no_wrap=True, overflow="ignore")


class _WholeTable(TableElement):
    """A table whose cells are wrapped, never cut."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for each in super().__rich_console__(console, options):
            if isinstance(each, Table):
                for column in each.columns:
                    column.overflow = "fold"
            yield each


class _Document(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _LeftHeading,
        "fence": _PlainCode,
        "code_block": _PlainCode,
        "table_open": _WholeTable,
    }

    def __init__(self, text: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = _PARSER.parse(text)
        for token in self.parsed:
            _keep_line_ends(token)


_PARSER: Final = (
    MarkdownIt("commonmark", {"html": False})
    .enable(["strikethrough", "table"])
    .disable(["reference", "html_block", "html_inline"])
)


def _keep_line_ends(token: Token) -> None:
    for child in token.children or ():
        if child.type == "softbreak":
            child.type = "hardbreak"


class RenderedBlock:
    """A block as rich renders it, without hidden characters, links, and blanks at its edges."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the segments of the block."""
        segments = console.render(_Document(self._text), options)
        lines = [_shown(line) for line in Segment.split_lines(segments)]
        while lines and not lines[-1]:
            lines.pop()
        first = next((at for at, line in enumerate(lines) if line), 0)
        for line in lines[first:]:
            yield from line
            yield Segment.line()


def _shown(line: list[Segment]) -> list[Segment]:
    shown = [
        Segment(clean(segment.text), _without_link(segment.style))
        for segment in line
        if not segment.control
    ]
    while shown:
        text = shown[-1].text.rstrip()
        if text:
            shown[-1] = Segment(text, shown[-1].style)
            return shown
        shown.pop()
    return shown


def _without_link(style: Style | None) -> Style | None:
    """Return a style without a link, and on the background of the terminal."""
    if style is None:
        return None
    if style.link:
        style = style.update_link(None)
    return style + _BACKGROUND if style.bgcolor else style


_BACKGROUND: Final = Style(bgcolor="default")
