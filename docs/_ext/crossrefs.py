"""Sphinx extension: find what docstrings and annotations name by its short or private name.

What it knows: what the pages document, and which names belong to others.
What it must never know: the network. Other projects' names stay plain text.

A name is looked for by its last parts (``RequestOptions``, ``Mix.open_stream``,
``trio_mix._rest._options.RequestOptions``). Where it is one of ours and not documented, the warning
stays, and fails the build.
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
"""Names of Trio's that docstrings write without their module."""


def resolve(
    app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.TextElement
) -> nodes.reference | nodes.TextElement | None:
    """Return a link to what is documented under a longer name, or plain text for others' names."""
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
    if last in _PRIVATE or _TYPE_VARIABLE.fullmatch(last):
        return contnode
    if not target.startswith("trio_mix") and _is_foreign(target):
        return contnode
    return None


def _candidates(objects: dict[str, Any], target: str, module: str) -> list[str]:
    """Return the documented names that a name may mean, the likeliest first."""
    parts = target.split(".")
    if parts[0] == "trio_mix":
        # Of a private module's name only what follows the modules counts.
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
    """Say whether a name is another project's: it has a module, or is one of the known ones."""
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
        "ClientResponse",
        "RecordedExchange",
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
"""Types of no importance to a caller, which stand in signatures all the same."""

_TYPE_VARIABLE = re.compile(r"_?[A-Z](_co)?")

_MADE_FOR_YOU = frozenset(
    {
        "EventSource",
        "EventStream",
        "EventStreamRequest",
        "FileRequest",
        "FileStream",
        "Message",
        "MessageRequest",
        "MemoryStream",
        "SessionScope",
        "SessionStream",
        "Subscription",
        "TextDeltas",
        "Tunnel",
    }
)
"""Classes that the library makes: how is not a caller's business."""


def leave_builtins_alone(_app: Sphinx, doctree: nodes.document) -> None:
    """Take the links off ``bytes`` and ``type``, which some classes have as attributes."""
    for node in list(doctree.findall(addnodes.pending_xref)):
        if node.get("refdomain") == "py" and hasattr(builtins, node.get("reftarget", "")):
            node.replace_self(node.children)


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
    """Find what stands below a public name's assignment, in the private module that has it."""
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
    """Put back what was set aside."""
    if what in _ATTRIBUTES:
        lines[:] = _set_aside.pop()


def tidy_bases(_app: Sphinx, _name: str, _obj: object, _options: object, bases: list[type]) -> None:
    """Show no private base class."""
    bases[:] = [base for base in bases if not base.__name__.startswith("_")] or [object]


def tidy_signature(
    _app: Sphinx,
    what: str,
    name: str,
    _obj: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Hide how a class is made that no caller makes."""
    if what == "class" and name.rpartition(".")[2] in _MADE_FOR_YOU:
        return "", None
    return signature, returns


def find_undocumented(_app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, which fails the build, of each public name that no page documents."""
    objects = env.domains.python_domain.objects
    known = {name.rpartition(".")[2] for name, entry in objects.items()}
    for home in ("trio_mix", *(f"trio_mix.{name}" for name in sorted(_MODULES))):
        module = importlib.import_module(home)
        for name in getattr(module, "__all__", ()):
            if not inspect.ismodule(getattr(module, name)) and name not in known:
                _log.warning("%s.%s is public, and no page documents it", home, name)


def go_by_the_sources() -> None:
    """Give classes the module back that they were written in, for this build.

    autodoc reads the texts under attributes, and their order, in the module that a class says it is
    from; what it calls the class is the page's affair.
    """
    for home in ("trio_mix", *(f"trio_mix.{name}" for name in sorted(_MODULES))):
        module = importlib.import_module(home)
        for name in getattr(module, "__all__", ()):
            getattr(module, name)  # loads what is loaded late
    for thing, module_name in written_in().items():
        thing.__module__ = module_name


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    go_by_the_sources()
    app.connect("missing-reference", resolve)
    app.connect("env-check-consistency", find_undocumented)
    app.connect("doctree-read", leave_builtins_alone)
    app.connect("autodoc-process-docstring", find_docstring, priority=300)
    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-process-bases", tidy_bases)
    app.connect("autodoc-process-signature", tidy_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
