"""What `import trio_mix` brings: every public name when it is asked for, and next to no cost."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import trio_mix


def names_for_type_checkers() -> dict[str, str]:
    """The names that `__init__.py` imports under TYPE_CHECKING, and from where."""
    tree = ast.parse(inspect.getsource(trio_mix))
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trio_mix"):
            for alias in node.names:
                found[alias.asname or alias.name] = node.module or ""
    return found


@pytest.mark.parametrize(("name", "home"), sorted(names_for_type_checkers().items()))
def test_what_type_checkers_see_is_there(name: str, home: str) -> None:
    if home == "trio_mix":
        assert getattr(trio_mix, name) is importlib.import_module(f"trio_mix.{name}")
    else:
        assert getattr(trio_mix, name) is getattr(importlib.import_module(home), name)
    assert name in dir(trio_mix)


def test_no_other_public_name_is_offered() -> None:
    offered = {*trio_mix._SUBMODULES, *trio_mix._HOMES, "__version__"}  # type: ignore[attr-defined]
    assert offered == set(names_for_type_checkers())


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'trio_mix' has no attribute 'Mixx'"):
        trio_mix.Mixx  # type: ignore[attr-defined]  # noqa: B018


def test_importing_it_loads_none_of_its_modules() -> None:
    code = "import sys, trio_mix; print(*(m for m in sys.modules if m.startswith('trio_mix.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split() == ["trio_mix._version"]
