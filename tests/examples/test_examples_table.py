"""The table of examples is complete, and a test runs each example."""

from __future__ import annotations

import re

import pytest

from tests.support.example_programs import ROOT

EXAMPLES = sorted(
    path.name
    for path in (ROOT / "examples").iterdir()
    if path.name[0] not in "_." and path.suffix in (".py", ".ipynb", "")
)
_ROW = re.compile(r"^\| \[(?P<name>[^\]]+)\]\((?P<link>[^)]+)\) \| .+ \| `(?P<command>.+)` \|$")


def rows() -> dict[str, str]:
    lines = (ROOT / "examples" / "README.md").read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := _ROW.match(line))]
    assert all(row["name"] == row["link"] for row in found)
    return {row["name"]: row["command"] for row in found}


def test_the_table_lists_exactly_the_examples() -> None:
    assert sorted(rows()) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_command_names_the_example(name: str) -> None:
    command = rows()[name]
    module = "examples." + name.removesuffix(".py")
    assert f"examples/{name}" in command or f"-m {module}" in command


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_program_begins_with_how_to_run_it(name: str) -> None:
    path = ROOT / "examples" / name
    program = path / "__init__.py" if path.is_dir() else path
    if program.exists() and program.suffix == ".py":
        head = program.read_text(encoding="utf-8")[:700]
        assert head.startswith('"""')
        assert re.search(r"python -m|python examples/|MIX_SERVER_URL|brings its own server", head)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_test_runs_it(name: str) -> None:
    here = ROOT / "tests" / "examples" / "test_examples_table.py"
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != here]
    named = re.compile(rf"examples[./]{re.escape(name)}|\"{re.escape(name)}\"")
    assert any(named.search(path.read_text(encoding="utf-8")) for path in tests)
