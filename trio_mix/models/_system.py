"""The part of `trio_mix.models` about the server itself, and its tools.

It keeps the rules that are listed there, and knows no more than that.
"""

from collections.abc import Mapping
from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record

__all__ = [
    "Command",
    "HealthStatus",
    "LLMTool",
    "LLMTools",
    "McpServer",
    "McpTool",
    "SystemInfo",
    "ToolCategory",
    "ToolStatus",
    "ToolsStatus",
]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Command(Record):
    """A slash command of the server."""

    name: str | None = None
    """The name, without the slash."""
    description: str | None = None
    """What it does."""
    usage: str | None = None
    """How it is written."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class McpTool(Record):
    """A tool of an MCP server."""

    name: str
    """The tool's name."""
    description: str
    """What it does."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class McpServer(Record):
    """An MCP server that the Mix server uses."""

    name: str
    """Its name."""
    connected: bool
    """Whether it is there."""
    status: str
    """The server's word on it."""
    tools: tuple[McpTool, ...] | None = None
    """Its tools, where they are known."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class HealthStatus(Record):
    """That the server is alive, and which it is."""

    status: str | None = None
    """``ok``."""
    version: str | None = None
    """The server's version; real ones are known to say ``dev``."""
    timestamp: datetime | None = None
    """The server's clock; ``None`` where it sends no date that can be read."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SystemInfo(Record):
    """Facts about the server's installation."""

    storage_base_path: str
    """The folder on the server's host under which it stores everything."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolStatus(Record):
    """A tool that needs credentials of its own."""

    display_name: str | None = None
    """The tool's name for people to read."""
    description: str | None = None
    """What it does."""
    provider: str | None = None
    """Whose key it needs."""
    api_key_required: bool | None = None
    """Whether it needs one at all."""
    api_key_format: str | None = None
    """What such a key looks like (from 0.11)."""
    authenticated: bool | None = None
    """Whether the server has one."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolCategory(Record):
    """A group of tools."""

    display_name: str | None = None
    """The group's name for people to read."""
    description: str | None = None
    """What they do (from 0.11)."""
    icon: str | None = None
    """A picture's name (from 0.11)."""
    tools: tuple[ToolStatus, ...] | None = None
    """The tools."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolsStatus(Record):
    """Which tools have the credentials that they need."""

    categories: Mapping[str, ToolCategory] | None = attrs.field(default=None, hash=False)
    """By the group's short name."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class LLMTool(Record):
    """A tool that the model may call."""

    name: str | None = None
    """The tool's name."""
    description: str | None = None
    """What it does."""
    parameters: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The parameters as a JSON schema."""
    required: tuple[str, ...] | None = None
    """The parameters that must be given."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class LLMTools(Record):
    """The tools that the model may call."""

    tools: tuple[LLMTool, ...] | None = None
    """The tools."""
