"""Public names are shown as public: in reprs, tracebacks, pickles and type hints."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
import subprocess
import sys
import traceback
from types import FunctionType, ModuleType
from typing import TypeAlias, get_type_hints

import pytest

import trio_mix
from tests.support.cases import case
from trio_mix._public import public, publish, written_in
from trio_mix.resources import EventStreamRequest

Named: TypeAlias = "type | FunctionType"

MODULES = [trio_mix] + [
    importlib.import_module(f"trio_mix.{module.name}")
    for module in pkgutil.iter_modules(trio_mix.__path__)
    if module.name[0] != "_" and module.name != "cli"  # a program without public names
]


def _named(module: ModuleType) -> dict[str, Named]:
    exported = {name: getattr(module, name) for name in module.__all__}
    return {name: each for name, each in exported.items() if isinstance(each, type | FunctionType)}


@pytest.fixture(params=MODULES, ids=lambda module: module.__name__)
def exported(request: pytest.FixtureRequest) -> dict[str, Named]:
    """Return the classes and functions that a public module exports."""
    return _named(request.param)


def test_the_public_modules_export_many_names() -> None:
    assert len(MODULES) >= 11
    assert sum(len(_named(module)) for module in MODULES) > 250


def test_module_and_name_are_those_of_the_import(exported: dict[str, Named]) -> None:
    for name, each in exported.items():
        with case(name):
            assert each.__module__ in {module.__name__ for module in MODULES}
            assert getattr(importlib.import_module(each.__module__), name) is each
            assert each.__qualname__ == name
            assert "._" not in repr(each)


def test_every_export_can_be_pickled_by_its_public_name(exported: dict[str, Named]) -> None:
    for name, each in exported.items():
        with case(name):
            assert f"c{each.__module__}\n{name}\n".encode() in pickle.dumps(each, protocol=0)
            assert pickle.loads(pickle.dumps(each)) is each  # noqa: S301 - pickled above


def test_every_export_has_its_own_docstring(exported: dict[str, Named]) -> None:
    for name, each in exported.items():
        assert each.__doc__, name
        if isinstance(each, type):
            assert "__doc__" in vars(each), name


def test_the_type_hints_of_every_class_can_be_resolved(exported: dict[str, Named]) -> None:
    for name, each in exported.items():
        if isinstance(each, type):
            with case(name):
                hints = get_type_hints(each)
                assert set(inspect.get_annotations(each)) <= set(hints)
                assert not any(isinstance(hint, str) for hint in hints.values())


def _functions(thing: Named) -> dict[str, FunctionType]:
    """Return the function itself, or the public methods and properties that a class has here."""
    if isinstance(thing, FunctionType):
        return {thing.__name__: thing}
    found: dict[str, FunctionType] = {}
    for base in thing.__mro__:
        if base.__module__.startswith("trio_mix"):
            for name, each in vars(base).items():
                function = inspect.unwrap(getattr(each, "fget", getattr(each, "func", each)))
                function = getattr(function, "__func__", function)
                if isinstance(function, FunctionType) and (name[0] != "_" or name[:2] == "__"):
                    found[name] = function
    return found


def test_no_signature_contains_any(exported: dict[str, Named]) -> None:
    for name, each in exported.items():
        annotations = {name: inspect.get_annotations(each) if isinstance(each, type) else {}}
        for method, function in _functions(each).items():
            if method != "__await__":  # its types are Trio's
                annotations[method] = inspect.get_annotations(function)
        hints = [(where, str(hint)) for where, own in annotations.items() for hint in own.values()]
        assert not [(name, where, hint) for where, hint in hints if re.search(r"\bAny\b", hint)]


def test_reprs_and_tracebacks_have_the_name_of_the_import() -> None:
    assert repr(trio_mix.Mix) == "<class 'trio_mix.Mix'>"
    assert trio_mix.sse.ReconnectPolicy.__module__ == "trio_mix.sse"
    error = trio_mix.testing.LeftBehindError("a task")
    assert traceback.format_exception_only(error) == ["trio_mix.testing.LeftBehindError: a task\n"]


def test_a_signature_with_any_is_found() -> None:
    assert "connect_tcp" in _functions(trio_mix.testing.MemoryNetwork)
    assert {"sessions", "open_stream", "request", "server_url"} <= set(_functions(trio_mix.Mix))
    assert re.search(r"\bAny\b", str(inspect.get_annotations(EventStreamRequest.__await__)))


def test_written_in_returns_the_module_of_the_source() -> None:
    home = written_in()[trio_mix.Mix]
    assert home == "trio_mix._mix"
    assert "class Mix(MixCore)" in inspect.getsource(importlib.import_module(home))


def test_a_class_keeps_hints_that_are_strings() -> None:
    class Before:
        pause: Pause

    assert get_type_hints(Before) == {"pause": float}
    after = public("trio_mix")(Before)
    assert after is Before
    assert (after.__module__, get_type_hints(after)) == ("trio_mix", {"pause": float})


def test_publish_changes_only_the_package_s_own_classes() -> None:
    class Own:
        pass

    class Others:
        pass

    Own.__module__, Others.__module__ = "pack._own", "other._private"
    publish(
        {
            "__name__": "pack",
            "__all__": ["Own", "Others", "A"],
            "Own": Own,
            "Others": Others,
            "A": 1,
        }
    )
    assert (Own.__module__, Others.__module__) == ("pack", "other._private")


Pause: TypeAlias = float


def test_a_program_that_imports_only_the_package_resolves_hints_and_reads_tickets() -> None:
    # In a new interpreter: what resolves hints once remembers them.
    program = """
from typing import get_type_hints
from trio_mix import Reply, Ticket
ticket = Ticket(session_id="s", text="Hi", ticket_id="t")
assert Ticket.from_json(ticket.to_json()) == ticket
print(get_type_hints(Ticket)["text"], "tool_calls" in get_type_hints(Reply))
"""
    done = subprocess.run(  # noqa: S603 - a fixed program
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=100
    )
    assert (done.stdout, done.stderr) == ("<class 'str'> True\n", "")
