"""Markdown on a terminal: blocks, what is shown of them, and what a server cannot do."""

from __future__ import annotations

import functools
import io
import re
from typing import TYPE_CHECKING

import trio
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.support.effort import lines_run
from trio_mix._terminal_text import HIDDEN
from trio_mix.cli.commands._show_message import show_pieces
from trio_mix.cli.ui._markdown import MarkdownBlocks, RenderedBlock
from trio_mix.cli.ui._screen import TerminalScreen
from trio_mix.cli.ui._transcript import Piece
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from tests.support.command_line import OpenTerminal, RunCommand

DOCUMENT = """\
# Title

One **bold** word, `code`
and a second line.

- first

- second

  more of it

1. one
2. two

```python
def f():

    return 1
```
After.
"""
BLOCKS = [
    "# Title",
    "One **bold** word, `code`\nand a second line.",
    "- first\n\n- second\n\n  more of it\n\n1. one\n2. two",
    "```python\ndef f():\n\n    return 1\n```",
    "After.",
]


def _blocks(text: str, size: int) -> list[str]:
    blocks = MarkdownBlocks()
    found = [b for at in range(0, len(text), size) for b in blocks.feed(text[at : at + size])]
    return [*found, *blocks.finish()]


def _rendered(text: str, width: int = 60) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=width)
    for block in _blocks(text, 7):
        console.print(RenderedBlock(block), crop=False, end="")
    return out.getvalue()


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_blocks_are_the_same_however_the_text_is_divided() -> None:
    for size in (1, 2, 7, 1000):
        assert _blocks(DOCUMENT, size) == BLOCKS


LINES = ["a b", "- x", "  y", "", "```", "~~~~", "```py", "1. z", "# t", "    c", "|a|", "> q"]


@given(st.lists(st.sampled_from(LINES)).map("\n".join), st.integers(1, 20))
def test_no_line_of_a_text_is_lost(text: str, size: int) -> None:
    def lines(part: str) -> list[str]:
        return [line for line in part.split("\n") if line.strip().strip("`~py")]

    assert [line for block in _blocks(text, size) for line in lines(block)] == lines(text)


def test_a_long_block_is_shown_in_parts() -> None:
    for text in ("word " * 4000, "line\n" * 4000, "```\n" + "code\n" * 4000 + "```"):
        blocks = _blocks(text, 100)
        assert len(blocks) > 2
        assert max(map(len, blocks)) < 10_000
        assert all(block.startswith("```") for block in blocks) is text.startswith("```")
        words = re.findall(r"word|line|code", "".join(blocks))
        assert len(words) == 4000


def test_rendering_a_block_takes_a_bounded_number_of_steps() -> None:
    wide = "|" + "a|" * 400
    for part in (
        "![",
        "![](",
        "[a](b) ",
        "*a* ",
        "` ",
        "> ",
        "- a\n",
        "- - - - - - - - - a\n",
        "1. 1) 1. 1) 1. 1) 1. a\n",
        "```a`\n![a](b) " + "*a*" * 1500 + "\n",
        "|a|b|\n|-|-|\n" + "|c|d|\n" * 10_000,
        f"{wide}\n{wide.replace('a', '-')}\n" + "|a|\n" * 20_000,
    ):
        blocks = MarkdownBlocks()
        console = Console(file=io.StringIO(), force_terminal=True, width=80)
        found = [*blocks.feed((part * (65_536 // len(part) + 1))[:65_536]), *blocks.finish()]
        assert sum(map(len, found)) > 60_000
        assert max(map(len, found)) < 5000, part
        show = functools.partial(console.print, RenderedBlock(found[1]), crop=False, end="")
        assert lines_run(show) < 1_500_000, (part, len(found[1]))


async def test_other_tasks_run_while_a_long_text_is_rendered() -> None:
    turns = 0
    most: dict[int, int] = {}

    class Counted(TerminalScreen):
        def _show_block(self, block: str) -> None:
            most[turns] = most.get(turns, 0) + 1
            super()._show_block(block)

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        await show_pieces(Counted(console, markdown=True), [Piece("text", "a\n\n" * 2000)])
        nursery.cancel_scope.cancel()
    assert sum(most.values()) > 1900
    assert max(most.values()) < 200  # two steps of a task may follow each other


def test_backticks_in_the_first_line_are_no_code_block() -> None:
    assert _blocks("```x``` is code\n\nAfter.", 7) == ["```x``` is code", "After."]


def test_markdown_is_rendered_and_nothing_of_the_text_disappears() -> None:
    for text, shown in (
        ("# Title", "Title"),
        ("**bold** and `code`", "bold and code"),
        ("- one\n- two", " • one\n • two"),
        ("first line\nsecond line", "first line\nsecond line"),
        ("<b>tag</b> and <script>x</script>", "<b>tag</b> and <script>x</script>"),
        ("<div>\nblock\n</div>", "<div>\nblock\n</div>"),
        ("[ref]: http://x.example", "[ref]: http://x.example"),
        ("[bank](http://evil.example)", "bank (http://evil.example)"),
        ("```\n" + "x " * 40 + "\n```", ("x " * 40).strip()),
        ("|a|\n|-|\n|" + "x" * 90 + "|", "x" * 90),
        ("[bold]no markup[/bold]", "[bold]no markup[/bold]"),
    ):
        found = _plain(_rendered(text)).strip("\n")
        assert found == shown or "".join(re.findall("x", found)) == shown


def test_text_of_a_server_does_not_control_the_terminal() -> None:
    for text in (
        "&#x202e;gnp.exe &rlm; &zwnj; &#x200b; &#27;[31m &#x9b;31m",
        "`&#x202e;` [&#x202e;](http://x.example/&#x202e;)",
        "[click](http://x.example/%1b]8;;http://evil.example)",
        "![image](http://x.example/a.png)",
        "<http://x.example/\u202e>",
    ):
        out = _rendered(text)
        assert "\x1b]" not in out
        assert not HIDDEN.search(_plain(out))


async def test_ask_renders_markdown_on_a_terminal_only(
    open_terminal: OpenTerminal, run_command: RunCommand
) -> None:
    text = "# Title\n\nA **bold** word &#x202e;and more words than fit on one line of it.\n\n- one"
    async with MixServer(pace=0) as server:
        server.script(lambda _: True, Turn(Say(text)))
        url = ("--server", server.url)
        async with open_terminal("ask", "Hi", *url, columns=40) as terminal:
            assert await terminal.end() == 0
        assert terminal.shown.split("\n")[:6] == [
            "Title",
            "",
            "A bold word and more words than fit on",
            "one line of it.",
            "",
            " • one",
        ]
        for args, env in ((["--raw"], {}), ([], {"TERM": "dumb"})):
            async with open_terminal("ask", "Hi", *args, *url, env=env) as terminal:
                assert await terminal.end() == 0
            assert "# Title" in terminal.shown
            assert "**bold**" in terminal.shown
        assert (await run_command("ask", "Hi", *url)).out == f"{text}\n"
