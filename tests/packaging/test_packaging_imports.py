"""The modules that ``import trio_mix`` imports, and those that it must not import."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import trio_mix

# The packages of the extras, and the two that only the browser tunnel needs.
OPTIONAL = {"cyclopts", "hypothesis", "httpx2", "opentelemetry", "pytest", "rich"}
OPTIONAL |= {"trio_websocket", "wsproto", "trustme", "yaml"}
LATER = {"trio_mix.browser", "trio_mix.cli", "trio_mix.otel", "trio_mix.testing"}


def _imported_by(statement: str) -> set[str]:
    # If click is installed, httpx imports it and rich for its own command.
    begin = "import json, sys\nsys.modules['click'] = None"
    program = f"{begin}\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-W", "error", "-c", program],
        check=True,
        capture_output=True,
    )
    return set(json.loads(done.stdout))


def test_importing_trio_mix_imports_no_extra() -> None:
    modules = _imported_by(
        "import trio_mix\nassert trio_mix.Mix and trio_mix.sse and trio_mix.funcs"
    )
    assert "trio_mix.sse" in modules
    assert not OPTIONAL & {name.partition(".")[0] for name in modules}
    assert not LATER & modules


def test_the_bundled_server_imports_only_its_own_extra() -> None:
    modules = _imported_by("import trio_mix.testing")
    tops = {name.partition(".")[0] for name in modules}
    assert not tops & {"cyclopts", "rich", "opentelemetry", "pytest", "hypothesis", "httpx2"}


def test_the_sse_package_does_not_import_the_mix_client() -> None:
    modules = _imported_by("import trio_mix.sse\nassert trio_mix.sse.open_event_source")
    ours = {name for name in modules if name.startswith("trio_mix.")}
    assert not ours & {"trio_mix.events", "trio_mix.models", "trio_mix.funcs", "trio_mix.resources"}
    assert not {
        name
        for name in ours
        if name.startswith(("trio_mix._rest._core", "trio_mix._session._stream"))
    }


def test_importing_the_package_imports_none_of_its_modules() -> None:
    modules = {name for name in _imported_by("import trio_mix") if name.startswith("trio_mix")}
    assert modules == {"trio_mix", "trio_mix._lazy", "trio_mix._version"}


@pytest.mark.parametrize("name", ["browser", "otel", "relay", "testing"])
def test_a_submodule_is_imported_from_trio_mix_by_name(name: str) -> None:
    assert f"trio_mix.{name}" in _imported_by(f"from trio_mix import {name}")


def test_the_core_dependencies_are_what_the_library_imports_and_no_more() -> None:
    """The command line, the relay, the testing package and OpenTelemetry have extras."""
    root = Path(trio_mix.__file__).parent
    with_extras = ("cli/", "relay/", "testing/", "otel.py", "_pytest_plugin.py")
    imported = set()
    for path in root.rglob("*.py"):
        if path.relative_to(root).as_posix().startswith(with_extras):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
    project = tomllib.loads((root.parent / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {re.split("[<>=]", each)[0].replace("-", "_") for each in project["dependencies"]}
    assert declared == imported - {"trio_mix", *sys.stdlib_module_names}


def test_the_version_is_that_of_the_metadata() -> None:
    from importlib.metadata import version

    assert version("trio-mix") == trio_mix.__version__
