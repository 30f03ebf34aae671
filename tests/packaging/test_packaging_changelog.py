"""The changelog, and the fragments that the next release adds to it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAGMENTS = ROOT / "docs" / "changes"
NO_FRAGMENTS = {"README.md", "template.md"}

pytest.importorskip("towncrier", reason="NOT CHECKED: the release extra has towncrier")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the files that towncrier reads; a release deletes fragments."""
    shutil.copytree(FRAGMENTS, tmp_path / "docs" / "changes")
    for name in ("pyproject.toml", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "trio_mix").mkdir()
    for name in ("__init__.py", "_version.py"):
        shutil.copy(ROOT / "trio_mix" / name, tmp_path / "trio_mix")
    return tmp_path


def _towncrier(project: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - a fixed command
        [sys.executable, "-m", "towncrier", "build", *arguments],
        cwd=project,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _fragments() -> list[Path]:
    return [path for path in FRAGMENTS.iterdir() if path.name not in NO_FRAGMENTS]


def test_every_fragment_has_a_known_type_and_a_text() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    types = {entry["directory"] for entry in settings["type"]}
    wrong = [
        path.name
        for path in _fragments()
        if path.name.split(".")[1:] not in [[kind, "md"] for kind in types]
        or not path.read_text().strip()
    ]
    assert not wrong, "see docs/changes/README.md"


def test_the_draft_of_the_next_release_has_every_fragment(project: Path) -> None:
    draft = _towncrier(project, "--draft", "--version", "9.9.9", "--date", "2030-01-31")
    assert draft.count("## [9.9.9] - 2030-01-31\n\n#") == 1
    flat = " ".join(draft.split())
    missing = [path.name for path in _fragments() if " ".join(path.read_text().split()) not in flat]
    assert not missing


def test_a_release_is_added_above_the_previous_one_in_the_same_format(project: Path) -> None:
    changes = project / "docs" / "changes"
    (changes / "7.fixed.md").write_text("A thing\nis right now.\n")
    _towncrier(project, "--keep", "--version", "9.9.8", "--date", "2030-01-30")
    for path in changes.iterdir():
        if path.name not in NO_FRAGMENTS:
            path.unlink()
    (changes / "+why.removed.md").write_text("A thing is gone.\n")
    _towncrier(project, "--keep", "--version", "9.9.9", "--date", "2030-01-31")

    log = (project / "CHANGELOG.md").read_text()
    before = (ROOT / "CHANGELOG.md").read_text()
    marker = "<!-- towncrier release notes start -->\n"
    assert log.startswith(before.partition(marker)[0] + marker)
    newest = "\n## [9.9.9] - 2030-01-31\n\n### Removed\n\n- A thing is gone.\n\n## [9.9.8] - "
    assert log.partition(marker)[2].startswith(newest)
    assert "\n### Fixed\n\n- A thing\n  is right now. (#7)\n" in log


def test_the_docs_do_not_publish_the_fragments() -> None:
    source = (ROOT / "docs" / "conf.py").read_text()
    (line,) = (line for line in source.splitlines() if line.startswith("exclude_patterns"))
    assert '"changes"' in line
