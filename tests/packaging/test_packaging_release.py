"""The wheel and the sdist pass the release tools, can be installed, and run."""

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
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(  # noqa: S603 - fixed commands
        command,
        cwd=cwd,
        env={**inherited, **env},
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


def test_twine_reports_no_problem(built: Path) -> None:
    _needs("twine")
    output = _run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert output.count("PASSED") == 2


def test_check_wheel_contents_reports_no_problem(built: Path) -> None:
    _needs("check_wheel_contents")
    (wheel,) = built.glob("*.whl")
    output = _run(sys.executable, "-m", "check_wheel_contents", wheel, cwd=built)
    assert output.strip().endswith(": OK")


@pytest.fixture
def unpacked(built: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the content of the sdist; it is deleted before the check of files for keys."""
    (sdist,) = built.glob("*.tar.gz")
    where = tmp_path / "unpacked"
    with tarfile.open(sdist) as archive:
        archive.extractall(where, filter="data")
    (source,) = where.iterdir()
    yield source
    shutil.rmtree(where)


def test_the_wheel_built_from_the_sdist_equals_the_one_from_the_checkout(
    built: Path, unpacked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out), cwd=unpacked)
    (from_sdist,), (from_checkout,) = out.glob("*.whl"), built.glob("*.whl")
    with zipfile.ZipFile(from_sdist) as one, zipfile.ZipFile(from_checkout) as other:
        assert {i.filename: i.CRC for i in one.infolist()} == {
            i.filename: i.CRC for i in other.infolist()
        }


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of programs of an environment that contains only the wheel."""
    pytest.importorskip("pip", reason="an environment made by uv has no pip")
    folder = tmp_path_factory.mktemp("installed")
    where = folder / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", where, cwd=folder)
    programs = where / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = built.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    offline = ("--no-deps", "--no-index", "--no-compile")
    _run(*pip, "--python", programs / "python", "install", *offline, wheel, cwd=folder)
    return programs


def _dependencies() -> str:
    """Return the folder of the dependencies. PYTHONPATH ignores .pth files, so no checkout."""
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
    output = _run(installed / "trio-mix", "demo", cwd=tmp_path, PYTHONPATH=_dependencies())
    assert "connection" in output


def test_the_command_without_its_extra_names_the_package_to_install(
    installed: Path, tmp_path: Path
) -> None:
    done = subprocess.run(  # noqa: S603 - a fixed command
        [installed / "trio-mix", "--help"],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "pip install '.[cli]' in a clone" in done.stderr
