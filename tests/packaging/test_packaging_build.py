"""The content of the wheel and of the source distribution."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import trio_mix

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def in_sdist(built: Path) -> set[str]:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def _metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith("dist-info/METADATA"))
    return Parser().parsestr(wheel.read(name).decode())


def test_the_wheel_contains_every_module_and_py_typed(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "trio_mix").rglob("*.py")}
    assert len(modules) > 100
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "trio_mix/relay/page").iterdir()}
    assert "trio_mix/relay/page/index.html" in page
    assert modules | page | {"trio_mix/py.typed"} <= names


def test_the_wheel_contains_no_development_files(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"trio_mix"}
    assert not [name for name in wheel.namelist() if name.endswith(".pyc")]


def test_the_metadata_names_version_licences_readme_and_extras(wheel: zipfile.ZipFile) -> None:
    metadata = _metadata(wheel)
    assert metadata["Name"] == "trio-mix"
    assert metadata["Version"] == trio_mix.__version__
    assert metadata["License-Expression"] == "MIT OR Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE-APACHE", "LICENSE-MIT"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()
    assert {"cli", "server", "otel", "dev"} <= set(metadata.get_all("Provides-Extra") or ())


def test_the_wheel_installs_the_command_and_the_pytest_plugin(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    points = wheel.read(name).decode()
    assert "trio-mix = trio_mix.cli:main" in points
    assert "[pytest11]" in points


def test_the_sdist_contains_everything_to_run_the_tests_and_build_the_docs(
    in_sdist: set[str],
) -> None:
    needed = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE-MIT", "LICENSE-APACHE"}
    needed |= {"pyproject.toml", "dev.lock", ".ci/run", "docs/conf.py", "PKG-INFO"}
    needed |= {
        str(path.relative_to(ROOT))
        for folder in ("trio_mix", "tests", "examples", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert not needed - in_sdist


def test_the_sdist_contains_no_generated_files(in_sdist: set[str]) -> None:
    generated = ("__pycache__", ".venv", "_build", ".git", ".hypothesis", "_cache")
    assert not [
        name for name in in_sdist if any(part.endswith(generated) for part in Path(name).parts)
    ]
