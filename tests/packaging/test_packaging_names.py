"""Every public name says that it is public: in reprs, tracebacks, pickles and type hints."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
import re
import traceback
from types import FunctionType, ModuleType
from typing import TypeAlias, get_type_hints

import pytest

import trio_mix
from trio_mix._public import public, publish, written_in
from trio_mix.resources import EventStreamRequest

Named: TypeAlias = "type | FunctionType"

MODULES = [trio_mix] + [
    importlib.import_module(f"trio_mix.{module.name}")
    for module in pkgutil.iter_modules(trio_mix.__path__)
    if module.name[0] != "_" and module.name != "cli"  # a program, of no public names
]


def _named(module: ModuleType) -> dict[str, Named]:
    exported = {name: getattr(module, name) for name in module.__all__}
    return {name: each for name, each in exported.items() if isinstance(each, type | FunctionType)}


EXPORTED = [
    pytest.param(name, each, id=f"{module.__name__}.{name}")
    for module in MODULES
    for name, each in _named(module).items()
]
CLASSES = [param for param in EXPORTED if isinstance(param.values[1], type)]


def test_there_are_names_to_look_at() -> None:
    assert len(MODULES) >= 11
    assert len(EXPORTED) > 250


@pytest.mark.parametrize(("name", "thing"), EXPORTED)
def test_its_module_is_one_to_import_it_from(name: str, thing: Named) -> None:
    assert thing.__module__ in {module.__name__ for module in MODULES}
    assert getattr(importlib.import_module(thing.__module__), name) is thing
    assert thing.__qualname__ == name
    assert "._" not in repr(thing)


@pytest.mark.parametrize(("name", "thing"), EXPORTED)
def test_it_can_be_pickled(name: str, thing: Named) -> None:
    assert f"c{thing.__module__}\n{name}\n".encode() in pickle.dumps(thing, protocol=0)
    assert pickle.loads(pickle.dumps(thing)) is thing  # noqa: S301 - our own


@pytest.mark.parametrize(("name", "thing"), EXPORTED)
def test_it_has_a_docstring_of_its_own(name: str, thing: Named) -> None:
    assert thing.__doc__, name
    if isinstance(thing, type):
        assert "__doc__" in vars(thing), name


@pytest.mark.parametrize(("name", "thing"), CLASSES)
def test_the_types_of_its_fields_can_be_asked_for(name: str, thing: type) -> None:
    hints = get_type_hints(thing)
    assert set(inspect.get_annotations(thing)) <= set(hints), name
    assert not any(isinstance(hint, str) for hint in hints.values())


def _functions(thing: Named) -> dict[str, FunctionType]:
    """The function itself, or a class's methods and properties that are ours and public."""
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


@pytest.mark.parametrize(("name", "thing"), EXPORTED)
def test_no_signature_says_any(name: str, thing: Named) -> None:
    own = inspect.get_annotations(thing) if isinstance(thing, type) else {}
    said = {name: own}
    for each, function in _functions(thing).items():
        if each != "__await__":  # what is sent to and fro there is the business of Trio
            said[each] = inspect.get_annotations(function)
    hints = [(where, str(hint)) for where, found in said.items() for hint in found.values()]
    assert not [(where, hint) for where, hint in hints if re.search(r"\bAny\b", hint)]


def test_reprs_and_tracebacks_say_what_is_imported() -> None:
    assert repr(trio_mix.Mix) == "<class 'trio_mix.Mix'>"
    assert trio_mix.sse.ReconnectPolicy.__module__ == "trio_mix.sse"
    error = trio_mix.testing.LeftBehindError("a task")
    assert traceback.format_exception_only(error) == ["trio_mix.testing.LeftBehindError: a task\n"]


def test_a_signature_that_says_any_would_be_found() -> None:
    assert "connect_tcp" in _functions(trio_mix.testing.MemoryNetwork)
    assert {"sessions", "open_stream", "request", "server_url"} <= set(_functions(trio_mix.Mix))
    assert re.search(r"\bAny\b", str(inspect.get_annotations(EventStreamRequest.__await__)))


def test_tools_can_ask_where_a_class_was_written() -> None:
    home = written_in()[trio_mix.Mix]
    assert home == "trio_mix._mix"
    assert "class Mix(MixCore)" in inspect.getsource(importlib.import_module(home))


def test_a_class_with_hints_as_text_is_renamed_without_losing_them() -> None:
    class Before:
        pause: Pause

    assert get_type_hints(Before) == {"pause": float}
    after = public("trio_mix")(Before)
    assert after is Before
    assert (after.__module__, get_type_hints(after)) == ("trio_mix", {"pause": float})


def test_publishing_leaves_alone_what_is_not_the_packages_own() -> None:
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
