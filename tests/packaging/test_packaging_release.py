"""What is published works for those who get it: judged by the index's tools, installed, and run."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from typing import TYPE_CHECKING

import pytest

import trio_mix

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own programs
        command,
        cwd=cwd,
        env={**os.environ, **env},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _needs(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"NOT CHECKED: {module} is not installed; the release extra has it")


def test_twine_finds_nothing_to_say(built: Path) -> None:
    _needs("twine")
    said = _run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert said.count("PASSED") == 2


def test_the_wheel_has_no_contents_that_do_not_belong_there(built: Path) -> None:
    _needs("check_wheel_contents")
    (wheel,) = built.glob("*.whl")
    said = _run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=built)
    assert said.strip().endswith(": OK")


@pytest.fixture
def unpacked(built: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the sdist's content, gone before anybody looks for what tests left in files."""
    (sdist,) = built.glob("*.tar.gz")
    where = tmp_path / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(where, filter="data")
    (source,) = where.iterdir()
    yield source
    shutil.rmtree(where)


def test_the_wheel_made_from_the_sdist_is_the_one_made_from_the_checkout(
    built: Path, unpacked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out), cwd=unpacked)
    (theirs,), (ours,) = out.glob("*.whl"), built.glob("*.whl")
    with zipfile.ZipFile(theirs) as one, zipfile.ZipFile(ours) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


@pytest.fixture
def installed(built: Path, tmp_path: Path) -> Path:
    """Return the programs' folder of an environment that holds the wheel and nothing else."""
    where = tmp_path / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", where, cwd=tmp_path)
    programs = where / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index", "--no-compile")
    _run(*pip, "--python", programs / "python", "install", *offline, wheel, cwd=tmp_path)
    return programs


def _dependencies() -> str:
    """Return where the dependencies lie. On PYTHONPATH no .pth file counts, so no checkout does."""
    return sysconfig.get_path("purelib")


def test_the_demo_runs_from_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    where = _run(
        installed / "python",
        "-c",
        "import trio_mix; print(trio_mix.__file__, trio_mix.__version__)",
        cwd=tmp_path,
    )
    assert where.split()[0].startswith(str(installed.parent))
    assert where.split()[1] == trio_mix.__version__
    shown = _run(installed / "trio-mix", "demo", cwd=tmp_path, PYTHONPATH=_dependencies())
    assert "connection" in shown


def test_the_command_without_its_extra_says_what_to_install(
    installed: Path, tmp_path: Path
) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        [installed / "trio-mix", "--help"],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "pip install 'trio-mix[cli]'" in done.stderr
