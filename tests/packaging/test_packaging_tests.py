"""How the tests' own files are laid out, so that pytest, mypy and pyright all find them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]


def test_what_test_modules_share_lies_in_one_folder_under_names_of_its_own() -> None:
    """mypy knows a module by one name only, and each further folder of helpers would add names."""
    astray = [
        str(path.relative_to(TESTS))
        for path in TESTS.rglob("*.py")
        if not path.name.startswith("test_")
        and path.name not in ("conftest.py", "__init__.py", "__main__.py")
        and path.parent.name not in ("support", "campaign")
    ]
    assert not astray, "put them into tests/support"


def test_no_two_modules_have_the_same_name_but_what_each_folder_may_have() -> None:
    each_folders_own = ("conftest.py", "__init__.py", "__main__.py")
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name not in each_folders_own)
    assert [name for name, times in names.items() if times > 1] == []
