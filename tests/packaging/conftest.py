"""The wheel and the source distribution, built once per session."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with both; the build needs no network."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("NOT BUILT: hatchling is not installed; the dev extra has it")
    where = tmp_path_factory.mktemp("dist")
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "hatchling", "build", "-d", str(where)],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return where
