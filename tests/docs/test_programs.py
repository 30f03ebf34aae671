"""The programs in the README, the docs and examples/ run as written, against the bundled server."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import trio_mix
from trio_mix import Mix
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DEFAULT_URL = "http://localhost:8088"
_BLOCK = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n)?"
    r"```python\n(?P<code>.*?)^```$"
    r"(?:\n<!-- then:\n(?P<then>.*?)^-->$)?",
    re.MULTILINE | re.DOTALL,
)


def blocks(page: str) -> Iterator[tuple[str, str | None, str]]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        # Code that only the test needs stands in a comment, hidden from the page's readers.
        yield f"{page}:{line}", match["file"], match["code"] + (match["then"] or "")


ELSEWHERE = ("sse.md", "proxies.md", "coredis.md")
"""Pages whose programs need other servers: test_sse_docs.py and test_proxies.py run them, and
test_relay_redis_upstream.py looks for the same faults."""
PAGES = [
    str(page.relative_to(ROOT))
    for page in [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md"))]
    if page.name not in ELSEWHERE and not {"changes", "_build"} & set(page.parts)
]
ALL = [block for page in PAGES for block in blocks(page)]
COPIES = [block for block in ALL if block[1]]
FRAGMENTS = [block for block in ALL if not block[1]]


def test_the_pages_have_programs() -> None:
    assert COPIES
    assert FRAGMENTS


@pytest.mark.parametrize(("where", "file", "code"), COPIES, ids=[block[0] for block in COPIES])
def test_a_program_on_a_page_is_the_file_it_names(where: str, file: str, code: str) -> None:
    assert (ROOT / file).read_text(encoding="utf-8") == code, where


@pytest.mark.parametrize(("where", "file", "code"), FRAGMENTS, ids=[b[0] for b in FRAGMENTS])
async def test_a_fragment_runs_with_mix_and_session_defined(
    where: str, file: None, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with (
        MixServer(pace=0) as server,
        Mix(server.url) as mix,
        mix.open_session(title="Docs") as session,
    ):
        names = {"trio_mix": trio_mix, "trio": trio, "mix": mix, "session": session}
        program = compile(
            code.replace(DEFAULT_URL, server.url),
            where,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        with trio.fail_after(30):
            running = eval(program, names)  # noqa: S307 - the project's own pages
            if inspect.iscoroutine(running):
                await running
    assert capsys.readouterr().err == ""


async def test_the_quickstart_prints_the_answer() -> None:
    async with MixServer(pace=0) as server:
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-W", "error", ROOT / "examples" / "quickstart.py"],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={"MIX_SERVER_URL": server.url},
            )
        deleted = server.requests("DELETE", "/api/sessions/")
    assert (done.returncode, done.stderr.decode()) == (0, "")
    (answer,) = done.stdout.decode().splitlines()
    assert "files" in answer
    assert len(deleted) == 1
