"""``tools``: the agent's tools, commands and MCP servers, and missing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK, CommandUsageError
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import excerpt
from trio_mix.errors import MixError, NoSuchOperation

if TYPE_CHECKING:
    from trio_mix import Mix
    from trio_mix.cli._client import Connection
    from trio_mix.models import ToolsStatus

_DESCRIPTION = 120


@attrs.frozen
class ToolLine:
    """A line of ``tools status``."""

    category: str
    name: str | None
    provider: str | None
    key_required: bool | None
    authenticated: bool | None
    key_format: str | None
    description: str | None


async def list_tools(server: Connection, *, jsonl: bool) -> int:
    """Print the tools that the model may call.

    Raises:
      CommandUsageError: the server has no list of tools.
    """
    async with open_client(server) as mix:
        try:
            tools = (await mix.tools.list_llm_tools()).tools or ()
        except NoSuchOperation:
            raise
        except MixError as error:
            if error.status_code != 404:
                raise
            raise CommandUsageError(
                "this server has no list of tools (API before 0.11): `trio-mix tools status` lists "
                "those that need a key"
            ) from error
    show_records(
        tools,
        ("name", "parameters", "description"),
        lambda tool: (
            tool.name,
            ", ".join(tool.parameters.get("properties") or tool.parameters)  # type: ignore[arg-type]
            if tool.parameters
            else "",
            excerpt(tool.description or "", _DESCRIPTION),
        ),
        jsonl=jsonl,
        empty="no tools",
    )
    return OK


async def status(server: Connection, *, jsonl: bool) -> int:
    """Print the tools that need a key, and whether the server has it."""
    async with open_client(server) as mix:
        found = await _status(mix)
    lines = [
        ToolLine(
            category=clean(name),
            name=tool.display_name,
            provider=tool.provider,
            key_required=tool.api_key_required,
            authenticated=tool.authenticated,
            key_format=tool.api_key_format,
            description=tool.description,
        )
        for name, category in (found.categories or {}).items()
        for tool in category.tools or ()
    ]
    show_records(
        lines,
        ("provider", "tool", "key", "description"),
        lambda line: (line.provider, line.name, _key(line), excerpt(line.description or "", 120)),
        jsonl=jsonl,
        empty="no tool needs a key",
    )
    return OK


async def _status(mix: Mix) -> ToolsStatus:
    try:
        return await mix.tools.get_tool_credentials_status()
    except MixError as error:
        if error.status_code != 404:
            raise
    return await mix.tools.get_tools_status()


def _key(line: ToolLine) -> str:
    if line.authenticated:
        return "stored"
    if line.key_required is False:
        return "not needed"
    return f"missing ({line.key_format})" if line.key_format else "missing"


async def commands(server: Connection, *, jsonl: bool) -> int:
    """Print the slash commands."""
    async with open_client(server) as mix:
        found = await mix.system.list_commands()
    show_records(
        found,
        ("command", "description"),
        lambda command: (f"/{command.name}", command.description),
        jsonl=jsonl,
        empty="no slash commands",
    )
    return OK


async def mcp(server: Connection, *, jsonl: bool) -> int:
    """Print the MCP servers that the Mix server uses."""
    async with open_client(server) as mix:
        found = await mix.system.list_mcp_servers()
    show_records(
        found,
        ("name", "status", "tools"),
        lambda each: (each.name, each.status, ", ".join(tool.name for tool in each.tools or ())),
        jsonl=jsonl,
        empty="no MCP servers",
    )
    return OK
