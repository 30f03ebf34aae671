"""The table of layers, compared with the imports of every module."""

from __future__ import annotations

import ast
from pathlib import Path

import attrs

ROOT = Path(__file__).parents[2]

# The lowest layer first. A module imports only from its own layer and the previous ones, also for
# type checking. The name of a package includes its modules, except those in another row.
LAYERS = (
    (
        "_json",
        "_lazy",
        "_private_files",
        "_public",
        "_record",
        "_redact",
        "_terminal_text",
        "_version",
    ),
    ("_reply", "events", "models"),
    ("errors",),
    (
        "_allowed_hosts",
        "_lifetime",
        "_ticket",
        "_usage",
        "sse._decoder",
        "sse._reconnect",
    ),
    ("_http",),
    ("sse",),
    ("_wire",),
    ("_turns",),
    ("_rest._options", "_rest._retry", "_rest._operation"),
    ("hooks", "_rest._request_hooks", "_rest._debug_log"),
    ("_rest",),
    ("resources", "funcs"),
    ("_session",),
    (
        "_session._begin",
        "_session._controller",
        "_session._message",
        "_session._scope",
        "_session._statistics",
        "_session._stream",
        "_session._subscription",
        "_session._tickets",
    ),
    ("_mix",),
    ("browser", "testing", "otel", "relay", ""),
    ("cli", "_pytest_plugin"),
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# Packages that are independent of Mix, and those that perform no I/O.
GENERIC = ("_allowed_hosts", "_http", "_lifetime", "_usage", "sse")
OF_MIX = ("_reply", "_ticket", "events", "models", "_wire", "_turns", "_rest")
SANS_IO = (
    *("_reply", "_ticket", "_turns", "_wire", "events", "models", "sse._decoder", "sse._reconnect"),
    *("relay._ids", "relay._records", "relay._cursor", "relay._outbox", "relay._grants"),
    *("relay._turn_events", "relay._turn_progress"),
)


@attrs.frozen
class Import:
    """One import of one module."""

    module: str
    line: int
    typing_only: bool


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


PATHS = {_name(path): path for path in sorted((ROOT / "trio_mix").rglob("*.py"))}


def _imports(source: str) -> list[Import]:
    tree = ast.parse(source)
    guarded = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found: list[Import] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: use an absolute import, `from trio_mix…`"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            names = [name for name in submodules if name in PATHS] or [module]
        else:
            continue
        found += [Import(name, node.lineno, id(node) in guarded) for name in names]
    return found


def _rank(module: str) -> int | None:
    """Return the layer of a module by its longest matching name in the table."""
    parts = module.split(".")[1:]
    for size in range(len(parts), 0, -1):
        if ".".join(parts[:size]) in RANKS:
            return RANKS[".".join(parts[:size])]
    return None if parts else RANKS[""]


def _is_part_of(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _modules(names: tuple[str, ...]) -> list[str]:
    return [m for m in PATHS if _is_part_of(m, *(f"trio_mix.{name}" for name in names))]


def _cycle(graph: dict[str, list[str]]) -> list[str]:
    """Return the modules of one import cycle; empty if there is none."""
    done: set[str] = set()
    for start in graph:
        path: list[str] = []
        work = [(start, iter(graph[start]))] if start not in done else []
        path += [start] * bool(work)
        while work:
            _, further = work[-1]
            module = next(further, None)
            if module is None:
                done.add(path.pop())
                work.pop()
            elif module in path:
                return path[path.index(module) :]
            elif module not in done:
                path.append(module)
                work.append((module, iter(graph[module])))
    return []


def _lines(source_of: str, wrong: list[Import]) -> list[str]:
    path = PATHS[source_of].relative_to(ROOT)
    return [f"{path}:{item.line} imports {item.module}" for item in wrong]


IMPORTS = {module: _imports(path.read_text()) for module, path in PATHS.items()}


def test_every_module_has_its_layer() -> None:
    missing = [module for module in PATHS if _rank(module) is None]
    assert not missing, f"add to LAYERS in {__file__}: {missing}"
    gone = [name for name in RANKS if name and f"trio_mix.{name}" not in PATHS]
    assert not gone, f"LAYERS in {__file__} has modules that do not exist: {gone}"


def test_no_module_imports_a_layer_above_its_own() -> None:
    wrong = [
        line
        for module in PATHS
        for line in _lines(
            module,
            [
                item
                for item in IMPORTS[module]
                if _is_part_of(item.module, "trio_mix")
                and (_rank(item.module) or 0) > (_rank(module) or 0)
            ],
        )
    ]
    assert not wrong


def test_there_is_no_import_cycle() -> None:
    graph = {
        module: sorted({item.module for item in found if item.module in PATHS} - {module})
        for module, found in IMPORTS.items()
    }
    assert _cycle(graph) == []


def test_generic_packages_import_nothing_of_mix() -> None:
    wrong = [
        line
        for module in _modules(GENERIC)
        for line in _lines(
            module,
            [
                item
                for item in IMPORTS[module]
                if _is_part_of(item.module, *(f"trio_mix.{name}" for name in OF_MIX))
            ],
        )
    ]
    assert not wrong


def test_only_the_http_package_imports_httpx() -> None:
    wrong = [
        line
        for module in PATHS
        if not _is_part_of(module, "trio_mix._http")
        for line in _lines(
            module,
            [item for item in IMPORTS[module] if _is_part_of(item.module, "httpx", "httpx2")],
        )
    ]
    assert not wrong


def test_the_layers_without_io_import_neither_trio_nor_a_clock() -> None:
    wrong = [
        line
        for module in _modules(SANS_IO)
        for line in _lines(
            module,
            [
                item
                for item in IMPORTS[module]
                if _is_part_of(item.module, "trio", "time", "socket", "threading", "httpcore")
            ],
        )
    ]
    assert not wrong


def test_an_import_of_a_higher_layer_is_found() -> None:
    """The tests above must find imports anywhere in a module."""
    source = (
        "import trio_mix.cli\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from trio_mix import testing\n"
        "def later():\n    from trio_mix._mix import Mix, open_it\n"
    )
    found = [item for item in _imports(source) if item.module != "typing"]
    assert [(item.module, item.typing_only) for item in found] == [
        ("trio_mix.cli", False),
        ("trio_mix.testing", True),
        ("trio_mix._mix", False),
    ]
    assert (_rank("trio_mix.sse._decoder"), _rank("trio_mix.sse._supervisor")) == (3, 5)
    assert _cycle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c"]
    assert _rank("trio_mix.browser._tunnel") == _rank("trio_mix.browser") == _rank("trio_mix")
    assert _rank("trio_mix._new") is None
