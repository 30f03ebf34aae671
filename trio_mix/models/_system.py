"""Models of the server itself and its tools."""

from collections.abc import Mapping
from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Command(Record):
    """A slash command of the server."""

    name: str | None = None
    """The name, without the slash."""
    description: str | None = None
    """What it does."""
    usage: str | None = None
    """How it is used."""


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
    """Whether it is connected."""
    status: str
    """The server's status of it."""
    tools: tuple[McpTool, ...] | None = None
    """Its tools, if they are known."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class HealthStatus(Record):
    """The server's health and version."""

    status: str | None = None
    """``ok``."""
    version: str | None = None
    """The server's version; some real servers send ``dev``."""
    timestamp: datetime | None = None
    """The server's clock; ``None`` if it sends no date that can be read."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SystemInfo(Record):
    """Facts about the server's installation."""

    storage_base_path: str
    """The folder on the server's host under which it stores everything."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolStatus(Record):
    """A tool that may need credentials."""

    display_name: str | None = None
    """The tool's name, to be shown."""
    description: str | None = None
    """What it does."""
    provider: str | None = None
    """The provider whose key it needs."""
    api_key_required: bool | None = None
    """Whether it needs a key."""
    api_key_format: str | None = None
    """The form of such a key (from 0.11)."""
    authenticated: bool | None = None
    """Whether the server has the key."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolCategory(Record):
    """A group of tools."""

    display_name: str | None = None
    """The group's name, to be shown."""
    description: str | None = None
    """What they do (from 0.11)."""
    icon: str | None = None
    """The name of an icon (from 0.11)."""
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
