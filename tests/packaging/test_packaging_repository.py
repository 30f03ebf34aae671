"""Rules for every file of the repository."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import trio_mix

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).name

# Paths of one machine. /tmp is allowed: tests use it as an example.
MACHINE_PATHS = re.compile(r"(?<![\w.*~-])/(?:home|Users|root|work|opt|mnt)/[\w.-]+|\bC:\\Users\\")
# The address of a mirror in a lock file would be used on every machine.
INDEX_HOSTS = re.compile(
    r"--(?:extra-)?index-url|--find-links|pythonhosted\.org|\bpypi\.org/simple|registry\.npmjs"
    r"|//[\w.-]*(?:artifactory|nexus|devpi|mirror|proxy\.golang)[\w.-]*",
    re.IGNORECASE,
)


def _tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - the git of the machine
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("NOT CHECKED: this is no git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


def _matches(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in _tracked():
        if path.name == HERE:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number} {match[0]}")
    return found


def test_no_file_names_a_path_of_one_machine() -> None:
    assert not _matches(MACHINE_PATHS)


def test_no_file_names_the_host_of_a_package_index() -> None:
    assert not _matches(INDEX_HOSTS)


def test_both_patterns_match() -> None:
    assert MACHINE_PATHS.search('open("/home/me/notes")')
    assert MACHINE_PATHS.search("see /work/somewhere")
    assert MACHINE_PATHS.search("file:///opt/packages")
    assert not MACHINE_PATHS.search("https://example.com/home/me")
    assert not MACHINE_PATHS.search("../work/notes, /api/home")
    assert INDEX_HOSTS.search("# --index-url https://x.invalid/simple")
    assert INDEX_HOSTS.search("https://files.pythonhosted.org/packages/x")


def test_the_version_is_defined_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"] == {"path": "trio_mix/_version.py"}
    quoted = re.compile(rf"(?<![\w.=])[\"']{re.escape(trio_mix.__version__)}[\"']")
    found = [
        str(path.relative_to(ROOT))
        for folder in ("trio_mix", "docs", "examples")
        for path in (ROOT / folder).rglob("*.py")
        if quoted.search(path.read_text())
    ]
    assert found == ["trio_mix/_version.py"]


def test_the_changelog_has_this_version_or_a_fragment() -> None:
    log = (ROOT / "CHANGELOG.md").read_text()
    fragments = list((ROOT / "docs" / "changes").glob("*.*.md"))
    assert f"## [{trio_mix.__version__}] - " in log or fragments


LOCKS = {
    "dev.lock": "dev",
    ".ci/bench.lock": "bench",
    ".ci/release.lock": "release",
    ".ci/fuzz.lock": "fuzz",
}


def _pins(lock: str) -> list[tuple[str, str, int]]:
    """Return the name, the version and the number of hashes of each entry of a lock file."""
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    found = [re.match(r"([\w.-]+)(?:\[[\w,-]+\])?==([\w.!+]+)", entry) for entry in entries]
    assert all(found), f"{lock} has an entry without a version"
    return [
        (_normal(match[1]), match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry)))
        for match, entry in zip(found, entries, strict=True)
        if match
    ]


def test_each_lock_pins_what_its_extra_names_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for lock, extra in LOCKS.items():
        pins = _pins(lock)
        assert all(hashes for _, _, hashes in pins), lock
        named = project["dependencies"] + _lines(extras, extra)
        names = {_normal(re.split(r"[\[<>=!~; ]", line)[0]) for line in named} - {"trio-mix"}
        assert not names - {name for name, _, _ in pins}, f"run .ci/lock for {lock}"


def test_the_locks_agree_on_the_versions() -> None:
    dev = {(name, version) for name, version, _ in _pins("dev.lock")}
    names = {name for name, _ in dev}
    for lock in LOCKS:
        other = {(name, version) for name, version, _ in _pins(lock) if name in names}
        assert other <= dev, f"run .ci/lock for {lock}"


def _lines(extras: dict[str, list[str]], extra: str) -> list[str]:
    """Return the requirements of an extra, with those of the extras that it includes."""
    lines = extras[extra]
    for line in list(lines):
        if included := re.match(r"trio-mix\[([\w,-]+)\]", line):
            lines = lines + [each for name in included[1].split(",") for each in extras[name]]
    return lines


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
