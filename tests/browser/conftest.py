"""What the browser's tests share: a bench, and a real Chromium where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from devtools_kit import open_bench

from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._chromium import find_chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from devtools_kit import Bench

NO_CHROMIUM = "no Chromium on this machine: the tunnel was NOT tried with a real browser"

_missed: list[str] = []


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with trio.fail_after(60):
        async with open_bench() as bench:
            yield bench


@pytest.fixture
def chromium_program(request: pytest.FixtureRequest) -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        _missed.append(request.node.nodeid)
        pytest.skip(NO_CHROMIUM)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missed:
        terminalreporter.section("no Chromium", sep="!", red=True, bold=True)
        terminalreporter.line(f"{len(_missed)} tests skipped: {NO_CHROMIUM}.")
        terminalreporter.line("Install one (Debian: apt-get install chromium) to have them run.")
