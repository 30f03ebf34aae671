"""The layout of the test files, so that pytest, mypy and pyright find them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_shared_modules_are_in_the_support_package() -> None:
    """A module must have one name only for mypy; further folders of helpers would add names."""
    misplaced = [
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_")
        and path.name not in ("conftest.py", "__init__.py", "__main__.py")
        and path.parent.name not in ("support", "campaign")
    ]
    assert not misplaced, "move them to tests/support"


def test_no_two_modules_have_the_same_name() -> None:
    allowed = ("conftest.py", "__init__.py", "__main__.py")
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name not in allowed)
    assert [name for name, times in names.items() if times > 1] == []
