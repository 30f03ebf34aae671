"""The page about SSE: its fragments run, and its program is the example, which also runs."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from pathlib import Path

import pytest
import trio

from tests.support.raw_server import serve
from tests.support.supervised import resuming

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/sse.md").read_text(encoding="utf-8")
BLOCKS = [
    textwrap.dedent(match["code"])
    for match in re.finditer(r"^ *```python\n(?P<code>.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
]
EXAMPLE = ROOT / "examples/sse_any_server.py"


def test_the_program_on_the_page_is_the_example() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") in BLOCKS


@pytest.mark.parametrize("code", [block for block in BLOCKS if '"__main__"' not in block])
async def test_a_fragment_of_the_page_runs(code: str, nursery: trio.Nursery) -> None:
    server = await serve(nursery, resuming)
    names = {"url": server.url}
    compiled = compile(code, "docs/how-to/sse.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with trio.fail_after(10):
        result = eval(compiled, names)  # noqa: S307 - a page of this repository
        if inspect.isawaitable(result):
            await result


async def test_the_example_reads_all_numbers_over_its_connections() -> None:
    with trio.fail_after(30):
        result = await trio.run_process(
            [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLE)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    assert result.returncode == 0, result.stderr.decode()
    lines = result.stdout.decode().splitlines()
    numbers = [line for line in lines if line.startswith("number")]
    assert numbers == [f"number {n}" for n in range(1, 11)]
    assert "over 4 connections" in result.stdout.decode()
    assert result.stderr == b""
