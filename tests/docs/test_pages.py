"""What the pages name exists: files, folders, tests, links; and the pages name nothing private."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page.relative_to(ROOT)
    for page in [
        *ROOT.glob("*.md"),
        *ROOT.glob("examples/**/*.md"),
        *ROOT.glob(".github/*.md"),
        *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
    ]
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)|(?:src|srcset)=\"(?!https?:)([^\"]+)\"")
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:tests|docs|examples|benchmarks|trio_mix|\.ci|\.github)/[\w./-]*")


def read(page: Path) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return re.sub(r"```.*?```", "", read(page), flags=re.DOTALL)


def test_links_lead_to_files() -> None:
    broken = [
        (str(page), link)
        for page in PAGES
        for link in map("".join, _LINK.findall(read(page)))
        if not ((ROOT / page).parent / link).exists()
    ]
    assert not broken


def test_paths_exist() -> None:
    generated = {"docs/_build/html"}
    missing = [
        (str(page), code)
        for page in PAGES
        for code in _CODE.findall(prose(page))
        if _PATH.fullmatch(code) and code not in generated and not (ROOT / code).exists()
    ]
    assert not missing


def test_named_tests_exist() -> None:
    modules = {path.name: path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    source = "".join(modules.values())
    missing = [
        (str(page), code)
        for page in PAGES
        for code in _CODE.findall(prose(page))
        if re.fullmatch(r"test_\w+", code) and f"def {code}(" not in source
    ]
    assert not missing
    named = {code for page in PAGES for code in _CODE.findall(prose(page))}
    files = {name for name in named if re.fullmatch(r"test_\w+\.py", name)}
    assert files - {"test_reviewer.py"} <= set(modules)  # the example's own


def test_each_row_of_the_threat_model_names_a_test_or_is_out_of_scope() -> None:
    page = read(Path("docs/explanation/threat-model.md"))
    rows = [row for row in page.splitlines() if row.startswith("| ") and "| --- |" not in row]
    rows = [row for row in rows if not row.startswith("| attack |")]
    assert len(rows) > 20
    assert not [row for row in rows if "`test_" not in row and "out of scope" not in row]


def test_pages_for_users_name_no_private_module() -> None:
    directives = re.compile(r"^\.\. auto\w+:: .*$", re.MULTILINE)  # which need the module
    named = [
        (str(page), found)
        for page in PAGES
        if page.name != "CONTRIBUTING.md"
        for found in re.findall(
            r"trio_mix[./](?:\w+[./])*_[a-z]\w*", directives.sub("", read(page))
        )
    ]
    assert not named


def test_the_table_of_layers_has_the_modules_of_the_package() -> None:
    section = read(Path("CONTRIBUTING.md")).partition("## Where things live")[2]
    table, _, rest = section.partition("\n## ")[0].rpartition("|\n")
    rows = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    names = [name for row in [*rows, rest.partition(" are ")[0]] for name in _CODE.findall(row)]
    assert len(names) > 20
    package = ROOT / "trio_mix"
    assert not [n for n in names if not ((package / n).exists() or (package / f"{n}.py").exists())]
    tops = {path.stem for path in package.iterdir() if path.suffix in ("", ".py")}
    named = {name.partition("/")[0] for name in names}
    assert tops - named - {"__pycache__"} == {"__init__", "_version"}


def test_the_pictures_show_what_the_demo_prints() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trio_mix.cli", "demo"], check=True, capture_output=True, text=True
    )
    lines = done.stdout.splitlines()
    notes = [line.removeprefix("* ") for line in lines if line.startswith("* ")][:-1]
    titles = [line.partition("] send: ")[2] for line in lines if "] send: " in line]
    assert len(notes) > 5
    assert len(titles) == 4
    for name in ("light.svg", "dark.svg"):
        picture = (DOCS / "_static" / "demo" / name).read_text(encoding="utf-8")
        words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", picture))
        missing = [text for text in notes + titles if f" {text} " not in words]
        assert not missing, "run: python docs/pictures/demo.py"
