"""Sphinx extension: show the values of defaults in signatures, not names that readers cannot see.

autodoc shows defaults as the source writes them. In constructors that attrs generates, and where a
private constant is the default, the source does not help: show the value instead.
"""

from __future__ import annotations

import inspect
import re
import sys
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sphinx.application import Sphinx


class _Shown:
    """A default that is shown as a given text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


_CONSTANT: Final = re.compile(r"[A-Z_][A-Z0-9_]*$")
_EMPTY: Final[dict[object, str]] = {dict: "{}", list: "[]", tuple: "()"}


def show_values(_app: Sphinx, obj: Any, _bound_method: bool) -> None:
    """Replace the defaults of a function by their values."""
    try:
        signature = inspect.signature(obj)
    except (TypeError, ValueError):
        return
    shown = [_shown(obj, parameter) for parameter in signature.parameters.values()]
    if shown != list(signature.parameters.values()):
        function = getattr(obj, "__func__", obj)
        function.__signature__ = signature.replace(parameters=shown)


def _shown(function: Callable[..., object], parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    # autodoc's own object for a default has the text of the source as its name.
    source = str(getattr(default, "name", ""))
    if default is not attrs.NOTHING and "attr_dict" not in source and not _CONSTANT.match(source):
        return parameter
    for value in _values(function, parameter.name, source):
        return parameter.replace(default=_Shown(value))
    return parameter


def _values(function: Any, name: str, source: str) -> Iterator[str]:
    """Return the text of a default, if its value is known."""
    owner = _class_of(function)
    if owner is not None and attrs.has(owner):
        for field in attrs.fields(owner):
            if field.alias == name and field.default is not attrs.NOTHING:
                yield _text(field.default)
    constants = getattr(inspect.unwrap(function), "__globals__", {})
    if source in constants:
        yield _text(constants[source])


def _class_of(function: Any) -> type | None:
    """Return the class that a constructor belongs to."""
    owner: Any = sys.modules.get(getattr(function, "__module__", ""))
    for part in getattr(function, "__qualname__", "").split(".")[:-1]:
        owner = getattr(owner, part, None)
    return owner if isinstance(owner, type) else None


def _text(value: Any) -> str:
    if type(value).__name__ == "Factory":
        return _EMPTY.get(value.factory, _call(value.factory))
    if attrs.has(type(value)) and value == type(value)():
        return _call(type(value))
    return repr(value)


def _call(factory: Any) -> str:
    name = getattr(factory, "__name__", "")
    return f"{name}()" if isinstance(factory, type) else "..."


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-before-process-signature", show_values, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
