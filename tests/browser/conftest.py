"""Fixtures of the browser's tests: a bench, and a real Chromium if one is installed."""

from __future__ import annotations

import functools
import inspect
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.devtools_kit import open_bench
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from tests.support.devtools_kit import Bench

NO_CHROMIUM = "no Chromium on this machine: the tunnel was NOT tested with a real browser"

_HERE = Path(__file__).parent
_A_DAY = 86400.0

_missed: list[str] = []


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as bench:
        yield bench


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every async test of this folder a timeout on its own clock."""
    for item in items:
        if item.path.parent == _HERE and isinstance(item, pytest.Function):
            function = item.function
            if inspect.iscoroutinefunction(function):
                jumps = "autojump_clock" in item.fixturenames
                item.obj = _bounded(function, _A_DAY if jumps else 60.0)


def _bounded(
    function: Callable[..., Awaitable[None]], limit: float
) -> Callable[..., Awaitable[None]]:
    @functools.wraps(function)
    async def bounded(*args: object, **kwargs: object) -> None:
        with trio.fail_after(limit):
            await function(*args, **kwargs)

    return bounded


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Return a function that writes a stand-in for Chromium; the test can list the profiles."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as profiles:
        (tmp_path / "profiles").symlink_to(profiles)
        monkeypatch.setattr(tempfile, "tempdir", profiles)

        def write(body: str) -> Path:
            program = tmp_path / "browser"
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
            return program

        yield write


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
        terminalreporter.line("Install one (Debian: apt-get install chromium) to run them.")
