"""Runs pytest in a process of its own, as in a project that uses trio_mix."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from pathlib import Path

_QUIET = ("-p", "no:randomly", "-p", "no:cacheprovider", "--color=no")


class RunPytest(Protocol):
    def __call__(self, source: str, *args: str, ini: str = ...) -> tuple[int, str]: ...


@pytest.fixture
def run_pytest(tmp_path: Path) -> RunPytest:
    """Return a function that runs pytest on a source text and returns exit code and output."""

    def run(source: str, *args: str, ini: str = "trio_mode = true") -> tuple[int, str]:
        (tmp_path / "test_it.py").write_text(source, encoding="utf-8")
        head = "[pytest]\nfilterwarnings = error\naddopts = --strict-markers\n"
        (tmp_path / "pytest.ini").write_text(head + ini + "\n", encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - our own file
            [sys.executable, "-m", "pytest", *_QUIET, *args],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run
