"""Packages with lazy names: every name is imported when it is first used.

Each package lists its names twice: for type checkers, and for run time.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from typing import TYPE_CHECKING

import pytest

import trio_mix
from tests.support.cases import case
from trio_mix import models, resources, sse

if TYPE_CHECKING:
    from types import ModuleType

PACKAGES = (trio_mix, models, resources, sse)


def names_for_type_checkers(package: ModuleType) -> dict[str, str]:
    """Return the names that the source of a package re-exports, with their modules."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(package))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trio_mix"):
            for alias in node.names:
                if alias.asname is not None:  # `import x as x`: a re-export
                    found[alias.asname] = node.module or ""
    return found


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_name_that_type_checkers_see_exists(package: ModuleType) -> None:
    names = names_for_type_checkers(package)
    assert len(names) >= 9
    for name, home in names.items():
        with case(f"{package.__name__}.{name} from {home}"):
            if home == "trio_mix":
                assert getattr(package, name) is importlib.import_module(f"trio_mix.{name}")
            else:
                assert getattr(package, name) is getattr(importlib.import_module(home), name)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_the_two_lists_of_names_agree(package: ModuleType) -> None:
    seen = set(names_for_type_checkers(package))
    assert set(package.__all__) == seen
    assert {name for name in dir(package) if name[:2] != "__" or name in seen} == seen
    everything: dict[str, object] = {}
    exec(f"from {package.__name__} import *", everything)  # noqa: S102 - the statement under test
    assert seen <= set(everything)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_name_that_does_not_exist_is_an_attribute_error(package: ModuleType) -> None:
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'Mixx'"):
        package.Mixx  # noqa: B018
