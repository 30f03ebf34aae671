"""What the packages bring whose names are loaded late: every name when it is asked for.

Each says three times what it has: for people (``__all__``), for type checkers, for the run time.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import trio_mix
from trio_mix import models, resources, sse

if TYPE_CHECKING:
    from types import ModuleType

PACKAGES = (trio_mix, models, resources, sse)


def names_for_type_checkers(package: ModuleType) -> dict[str, str]:
    """The names that a package imports, and from where, as its source says it."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trio_mix"):
            for alias in node.names:
                if alias.asname is not None:  # `import x as x`: a re-export
                    found[alias.asname] = node.module or ""
    return found


NAMES = [
    pytest.param(package, name, home, id=f"{package.__name__}.{name}")
    for package in PACKAGES
    for name, home in sorted(names_for_type_checkers(package).items())
]


def test_there_are_names_to_look_at() -> None:
    assert len(NAMES) > 80
    assert names_for_type_checkers(trio_mix)["Mix"] == "trio_mix._mix"


@pytest.mark.parametrize(("package", "name", "home"), NAMES)
def test_what_type_checkers_see_is_there(package: ModuleType, name: str, home: str) -> None:
    if home == "trio_mix":
        assert getattr(package, name) is importlib.import_module(f"trio_mix.{name}")
    else:
        assert getattr(package, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_readers_type_checkers_and_the_run_time_see_the_same_names(
    package: ModuleType,
) -> None:
    seen = set(names_for_type_checkers(package))
    assert set(package.__all__) == seen
    assert {name for name in dir(package) if name[:2] != "__" or name in seen} == seen
    everything: dict[str, object] = {}
    exec(f"from {package.__name__} import *", everything)  # noqa: S102 - what is tried here
    assert seen <= set(everything)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_name_that_does_not_exist_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'Mixx'"):
        package.Mixx  # noqa: B018


def test_importing_the_package_loads_none_of_its_parts() -> None:
    code = "import sys, trio_mix; print(*(m for m in sys.modules if m.startswith('trio_mix.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["trio_mix._lazy", "trio_mix._version"]
