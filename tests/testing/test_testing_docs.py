"""Run the tests on the docs page about testing and in the example, as in a user's project."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

from trio_mix import testing

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "test_your_program"
PAGE = (ROOT / "docs" / "how-to" / "testing.md").read_text(encoding="utf-8")
TESTS = re.findall(r"^```py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
INI = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def run(folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_test_on_the_page_passes(tmp_path: Path) -> None:
    for name in ("reviewer.py", "review.jsonl"):
        shutil.copy(EXAMPLE / name, tmp_path)
    (ini,) = INI
    (tmp_path / "pytest.ini").write_text(ini, encoding="utf-8")
    for number, code in enumerate(TESTS):
        (tmp_path / f"test_{number}.py").write_text(code, encoding="utf-8")
    passed = re.search(r"(\d+) passed", run(tmp_path))
    assert passed is not None
    assert int(passed[1]) >= len(TESTS) >= 9


def test_the_examples_tests_pass(tmp_path: Path) -> None:
    folder = tmp_path / "test_your_program"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    assert "8 passed" in run(folder)


def test_the_recording_of_the_example_contains_no_secret() -> None:
    text = (EXAMPLE / "review.jsonl").read_text(encoding="utf-8")
    assert '"authorization": "***"' in text
    assert "my-secret" not in text


def test_the_page_lists_every_step() -> None:
    steps = [step.__name__ for step in get_args(testing.Step)]
    assert [step for step in steps if f"\n| `{step}(" not in PAGE] == []


def test_names_on_the_page_exist() -> None:
    faults = [fault.__name__ for fault in get_args(testing.Fault)]
    assert all(f"`{fault}`" in PAGE for fault in faults)
    for name in re.findall(r"\b(assert_\w+|expect_\w+|cancel_at_\w+)\b", PAGE):
        assert name in testing.__all__
    for name in re.findall(r"`(?:mix_server|server)\.(\w+)", PAGE):
        assert (
            hasattr(testing.MixServer, name)
            or hasattr(testing.Replay, name)
            or name == ("unexpected")
        )
