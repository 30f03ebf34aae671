"""The tables of the docs that are generated from the operations and the cases of the contract.

``python -m tests.support.contract_pages`` writes them into their pages; a test fails when they are
out of date.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.support.contract_cases import PROVOKED
from tests.support.rest_operations import OPERATIONS, answers_json
from trio_mix import resources
from trio_mix._rest._operation import GENERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_mix._rest._operation import Operation

DOCS: Final = Path(__file__).parents[2] / "docs"

_RETRIED: Final = {"safe": "yes", "unsent": "only if unsent"}
_BLOCK: Final = re.compile(
    r"(?P<begin><!-- made: (?P<name>\w+) -->\n)(?P<table>.*?)(?P<end><!-- /made -->)", re.DOTALL
)


def operations_table() -> Iterator[str]:
    """The operations, resource by resource."""
    resource = ""
    for name in sorted(OPERATIONS, key=_order):
        operation = OPERATIONS[name]
        group, _, method = name.partition(".")
        if group != resource:
            resource = group
            yield f"\n## `mix.{resource}`\n"
            yield _row(
                "method", "function", "request", *GENERATIONS, "JSON-RPC", "retried", "tested"
            )
            yield _row(*["---"] * (6 + len(GENERATIONS)))
        yield _row(
            f"`{method}`" + (f" (as `{operation.name}`)" if name != operation.name else ""),
            f"`{group}_{method}`",
            f"`{operation.method} {operation.path}`",
            *("✓" if each in operation.generations else "-" for each in GENERATIONS),
            "-" if operation.rpc is None else f"`{operation.rpc.name}`",
            _RETRIED[operation.retry],
            _tested(name, operation),
        )


def _order(name: str) -> tuple[str, int]:
    return name.partition(".")[0], list(OPERATIONS).index(name)


def _tested(name: str, operation: Operation[Any]) -> str:
    own = [str(s) for s in operation.errors if (name, s) in PROVOKED]
    said = [f"({s})" for s in operation.errors if (name, s) not in PROVOKED]
    kinds = ["S", "E " + " ".join(own + said)]
    if answers_json(operation):
        kinds.append("F B")
    if name != "files.get":  # a file may be a web page
        kinds.append("H")
    if set(operation.generations) != set(GENERATIONS):
        kinds.append("L")
    return " · ".join(kinds)


def retries_table() -> Iterator[str]:
    """All operations: what is tried again, and what is not."""
    yield _row("operation", "after 408, 429, 5XX", "after no response", "if nothing was sent")
    yield _row("---", "---", "---", "---")
    for name in sorted(OPERATIONS, key=_order):
        other = "retried" if OPERATIONS[name].retry == "safe" else "-"
        yield _row(f"`{name}`", other, other, "retried")


def migration_table() -> Iterator[str]:
    """Their names and ours."""
    yield _row("mix-python-sdk 0.5.7", "mix-typescript-sdk", "trio_mix")
    yield _row("---", "---", "---")
    for name in sorted(OPERATIONS, key=_order):
        operation = OPERATIONS[name]
        if name != operation.name:
            continue
        theirs = PYTHON_SDK.get(name, "-")
        typescript = TYPESCRIPT_SDK.get(name) or _typescript(name, operation)
        yield _row(
            f"`{theirs}`" if theirs != "-" else theirs,
            f"`{typescript}`",
            f"`{name}({_arguments(name)})`",
        )


def _typescript(name: str, operation: Operation[Any]) -> str:
    group, _, method = name.partition(".")
    head, *rest = method.split("_")
    camel = head + "".join(each.capitalize() for each in rest)
    if camel.lower() == operation.operation_id.lower():
        camel = operation.operation_id
    return f"{group}.{camel}"


def _arguments(name: str) -> str:
    group, _, method = name.partition(".")
    signature = inspect.signature(getattr(getattr(resources, group.capitalize()), method))
    return ", ".join(
        f"{each.name}=" if each.default is each.empty else f"{each.name}=…"
        for each in signature.parameters.values()
        if each.name not in ("self", "options")
    )


PYTHON_SDK: Final[dict[str, str]] = {
    "authentication.store_api_key": "authentication.store_api_key",
    "authentication.handle_oauth_callback": "authentication.handle_o_auth_callback",
    "authentication.start_oauth_flow": "authentication.start_o_auth_flow",
    "authentication.get_auth_status": "authentication.get_auth_status",
    "authentication.validate_preferred_provider": "authentication.validate_preferred_provider",
    "authentication.delete_credentials": "authentication.delete_credentials",
    "files.list": "files.list_session_files",
    "files.upload": "files.upload_session_file",
    "files.get": "files.get_session_file",
    "files.delete": "files.delete_session_file",
    "messages.get_history": "messages.get_history",
    "messages.cancel_processing": "sessions.cancel_processing",
    "messages.get_session": "messages.list_session",
    "messages.send": "messages.send",
    "permissions.grant": "permissions.grant",
    "permissions.deny": "permissions.deny",
    "preferences.get": "preferences.get_preferences",
    "preferences.update": "preferences.update_preferences",
    "preferences.get_providers": "preferences.get_available_providers",
    "preferences.reset": "preferences.reset_preferences",
    "sessions.list": "sessions.list",
    "sessions.create": "sessions.create",
    "sessions.get": "sessions.get",
    "sessions.delete": "sessions.delete",
    "sessions.fork": "sessions.fork",
    "sessions.export_session": "sessions.export_session",
    "sessions.rewind_session": "sessions.rewind_session",
    "streaming.stream_events": "streaming.stream_events",
    "streaming.send_streaming_message": "streaming.send_streaming_message",
    "system.list_commands": "system.list_commands",
    "system.get_command": "system.get_command",
    "system.list_mcp_servers": "system.list_mcp_servers",
    "system.health_check": "system.get_health",
    "system.get_system_info": "system.get_system_info",
    "tools.get_tools_status": "tools.get_tools_status",
}
"""Ours, and the method of mix-python-sdk 0.5.7 (each has an ``_async`` twin)."""

TYPESCRIPT_SDK: Final[dict[str, str]] = {
    "notifications.respond": "notifications.respondToNotification",
}
"""Ours, and the method of mix-typescript-sdk where it is not ours in camelCase."""

TABLES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "operations": operations_table,
    "retries": retries_table,
    "migration": migration_table,
}
PAGES: Final = ("reference/operations.md", "reference/retries.md", "how-to/migrating.md")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def renewed(text: str) -> str:
    """The text of a page with its tables as they ought to be."""

    def table(match: re.Match[str]) -> str:
        lines = "\n".join(TABLES[match["name"]]()).strip("\n")
        return f"{match['begin']}{lines}\n{match['end']}"

    return _BLOCK.sub(table, text)


def main() -> None:
    """Write the tables into the pages."""
    for name in PAGES:
        page = DOCS / name
        page.write_text(renewed(page.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
