"""Sphinx extension: resolve the short and private names in docstrings and annotations.

A name is resolved by its last parts (``RequestOptions``, ``Mix.open_stream``,
``trio_mix._rest._options.RequestOptions``). If it belongs to trio_mix and is not documented, the
warning stays, and fails the build. Names of other projects stay plain text: no network is needed.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
import sys
from typing import TYPE_CHECKING, Any

from sphinx import addnodes
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

from trio_mix._public import written_in

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

_log = logging.getLogger(__name__)

_THEIRS = frozenset(
    {
        "BusyResourceError",
        "Cancelled",
        "CancelScope",
        "ClosedResourceError",
        "autojump_clock",
    }
)
"""Trio's names that docstrings use without their module."""


def resolve(
    app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.TextElement
) -> nodes.reference | nodes.TextElement | None:
    """Return a link to the documented object, or plain text for names of other projects."""
    if node.get("refdomain") != "py":
        return None
    target = str(node.get("reftarget", ""))
    objects = env.domains.python_domain.objects
    found = _candidates(objects, target, str(node.get("py:module") or ""))
    if len(found) >= 1:
        name = found[0]
        entry = objects[name]
        return make_refnode(
            app.builder, node["refdoc"], entry.docname, entry.node_id, contnode, name
        )
    last = target.rpartition(".")[2]
    if last in _PRIVATE or last in _PRIVATE_BASES or _TYPE_VARIABLE.fullmatch(last):
        return contnode
    if not target.startswith("trio_mix") and _is_foreign(target):
        return contnode
    return None


def _candidates(objects: dict[str, Any], target: str, module: str) -> list[str]:
    """Return the documented names that a name may refer to, the likeliest first."""
    parts = target.split(".")
    if parts[0] == "trio_mix":
        # Of a private module's name only the part after the modules counts.
        parts = [part for part in parts[1:] if not part.startswith("_") and part not in _MODULES]
    wanted = ".".join(parts)
    if not wanted:
        return []
    ends = [
        name
        for name, entry in objects.items()
        if entry.objtype != "module" and (name == wanted or name.endswith(f".{wanted}"))
    ]
    ends.sort(key=lambda name: (not name.startswith(module), name.count("."), name))
    return ends


_MODULES = frozenset(
    [
        "browser",
        "errors",
        "events",
        "funcs",
        "hooks",
        "models",
        "otel",
        "resources",
        "sse",
        "testing",
    ]
)


def _is_foreign(target: str) -> bool:
    """Return whether a name belongs to another project."""
    head, dot, _ = target.partition(".")
    return (dot != "" and head.islower()) or target in _THEIRS or target in _TYPING


_TYPING = frozenset(
    {
        "Any",
        "AsyncGenerator",
        "AsyncIterable",
        "AsyncIterator",
        "Awaitable",
        "Callable",
        "Collection",
        "Concatenate",
        "Coroutine",
        "Final",
        "Generator",
        "Generic",
        "Iterable",
        "Iterator",
        "KeyboardInterrupt",
        "Literal",
        "Mapping",
        "MutableMapping",
        "NoneType",
        "OSError",
        "Path",
        "Protocol",
        "RuntimeError",
        "Self",
        "Sequence",
        "SystemExit",
        "TracebackType",
        "TypeAlias",
        "Unpack",
        "ValueError",
        "type",
    }
)


_PRIVATE = frozenset(
    {
        "Baseline",
        "Job",
        "Torn",
        "ClientResponse",
        "RecordedExchange",
        "RequestGuard",
        "Expected",
        "Log",
        "Masker",
        "MeterProvider",
        "Opener",
        "Reachable",
        "TracerProvider",
        "Uniform",
    }
)
"""Private types that appear in signatures."""

_PRIVATE_BASES = frozenset({"AsyncScope", "BodyStream", "Request"})
"""Private base classes whose members are shown in the public classes."""

_TYPE_VARIABLE = re.compile(r"_?[A-Z](_co)?")

_NOT_CONSTRUCTED = frozenset(
    {
        "EventSource",
        "EventStream",
        "EventStreamRequest",
        "FileRequest",
        "FileStream",
        "Message",
        "MemoryStream",
        "RawSubscription",
        "SessionScope",
        "SessionStream",
        "Subscription",
        "TextDeltas",
        "Tunnel",
    }
)
"""Classes that only the library constructs: their signature is not shown."""


def leave_builtins_alone(_app: Sphinx, doctree: nodes.document) -> None:
    """Remove the links from ``bytes`` and ``type``, which some classes have as attributes."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and hasattr(builtins, node.get("reftarget", "")):
            node.replace_self(node.children)


_PRIVATE_MODULE = re.compile(r" \((?:class )?in (?:module )?trio_mix\.(?:\w+\.)*_[\w.]+\)")


def hide_object_base(_app: Sphinx, doctree: nodes.document) -> None:
    """Remove the line "Bases: object"."""
    for line in list(doctree.findall(lambda node: node.tagname == "paragraph")):
        if line.astext() == "Bases: object":
            line.parent.remove(line)


def shorten_index(_app: Sphinx, env: BuildEnvironment) -> None:
    """Remove private modules from the entries of the general index."""
    for entries in env.domains.index_domain.entries.values():
        entries[:] = [(kind, _PRIVATE_MODULE.sub("", text), *rest) for kind, text, *rest in entries]


_ATTRIBUTES = ("attribute", "data", "property")
_set_aside: list[list[str]] = []


def before_napoleon(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Set an attribute's docstring aside: its first words, up to a colon, are not its type."""
    if what in _ATTRIBUTES:
        docstring = GoogleDocstring(lines, app.config, app, "method", name, obj, options)
        _set_aside.append(docstring.lines())
        lines.clear()


def find_docstring(
    _app: Sphinx, what: str, name: str, obj: object, _options: Any, lines: list[str]
) -> None:
    """Use the docstring below a public name's assignment in its private module."""
    if what != "data":
        return
    variable = name.rpartition(".")[2]
    for home, module in sorted(sys.modules.items()):
        if home.startswith("trio_mix.") and vars(module).get(variable) is obj:
            found = ModuleAnalyzer.for_module(home).find_attr_docs().get(("", variable))
            if found:
                lines[:] = found
                return


def after_napoleon(
    _app: Sphinx, what: str, _name: str, _obj: object, _options: Any, lines: list[str]
) -> None:
    """Restore the docstring that was set aside."""
    if what in _ATTRIBUTES:
        lines[:] = _set_aside.pop()


_RULE = re.compile(r" ?\(rules? \d[\d, and]*\)")


def hide_rules(
    _app: Sphinx, _what: str, _name: str, _obj: object, _options: Any, lines: list[str]
) -> None:
    """Remove the numbers of a module's rules, which only readers of the source can see."""
    lines[:] = _RULE.sub("", "\n".join(lines)).split("\n") if lines else lines


def tidy_bases(_app: Sphinx, _name: str, _obj: object, _options: object, bases: list[type]) -> None:
    """Show no private base class."""
    shown = [
        base for base in bases if base.__name__[0] != "_" and base.__name__ not in _PRIVATE_BASES
    ]
    bases[:] = shown or [object]


def tidy_signature(
    _app: Sphinx,
    what: str,
    name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Hide the constructor of a class that only the library constructs."""
    if what == "class" and name.rpartition(".")[2] in _NOT_CONSTRUCTED:
        return "", None
    return signature, returns


def find_undocumented(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that no page documents; warnings fail the build."""
    objects = env.domains.python_domain.objects
    known = {name.rpartition(".")[2] for name, entry in objects.items()}
    for home in ("trio_mix", *(f"trio_mix.{name}" for name in sorted(_MODULES))):
        module = importlib.import_module(home)
        for name in getattr(module, "__all__", ()):
            if not inspect.ismodule(getattr(module, name)) and name not in known:
                _log.warning("%s.%s is public, and no page documents it", home, name)


def restore_modules() -> None:
    """Set ``__module__`` of all classes to the module with their source, for this build.

    autodoc reads the docstrings of attributes, and their order, in that module. The pages decide
    under which name a class is documented.
    """
    for home in ("trio_mix", *(f"trio_mix.{name}" for name in sorted(_MODULES))):
        module = importlib.import_module(home)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)  # loads lazy attributes
    for thing, module_name in written_in().items():
        thing.__module__ = module_name


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    restore_modules()
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", find_undocumented)
    app.connect("doctree-read", leave_builtins_alone)
    app.connect("doctree-read", hide_object_base)
    app.connect("env-updated", shorten_index)
    app.connect("autodoc-process-docstring", find_docstring, priority=300)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-process-docstring", hide_rules, priority=700)
    app.connect("autodoc-process-bases", tidy_bases)
    app.connect("autodoc-process-signature", tidy_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
