"""The part of `trio_mix.models` about the server itself: credentials, preferences, tools, health.

It keeps the rules that `trio_mix.models` lists, and is not imported by anything else.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # cattrs reads the annotations at run time
from datetime import datetime  # noqa: TC003  # the same

import attrs


@attrs.frozen(kw_only=True)
class CredentialsResult:
    """What came of storing or deleting a provider's credentials."""

    status: str | None = None
    """The server's word, as ``success``."""
    message: str | None = None
    """The server's text."""
    provider: str | None = None
    """The provider."""


@attrs.frozen(kw_only=True)
class OAuthFlow:
    """A started login at a provider: the user opens the URL and brings back the code."""

    auth_url: str | None = None
    """What the user opens."""
    state: str | None = None
    """What `handle_oauth_callback` must be given along with the code."""
    message: str | None = None
    """The server's text."""


@attrs.frozen(kw_only=True)
class OAuthCallbackResult:
    """What came of finishing a login."""

    status: str | None = None
    """The server's word."""
    message: str | None = None
    """The server's text."""
    provider: str | None = None
    """The provider."""
    expires_in: int | None = None
    """How long the login holds, in seconds."""


@attrs.frozen(kw_only=True)
class ProviderAuth:
    """How the server is authenticated at one provider."""

    auth_method: str | None = None
    """``oauth``, ``api_key`` or ``none``."""
    authenticated: bool | None = None
    """Whether it can be used."""
    display_name: str | None = None
    """The provider's name for people to read."""


@attrs.frozen(kw_only=True)
class AuthStatus:
    """How the server is authenticated at each provider."""

    providers: Mapping[str, ProviderAuth] | None = attrs.field(default=None, hash=False)
    """By the provider's short name."""


@attrs.frozen(kw_only=True)
class ProviderValidation:
    """Whether the preferred provider can be used."""

    valid: bool | None = None
    """Whether it can."""
    provider: str | None = None
    """The provider."""
    auth_method: str | None = None
    """``oauth``, ``api_key`` or ``none``."""
    message: str | None = None
    """The server's text."""


@attrs.frozen(kw_only=True)
class ProviderOAuthHealth:
    """The state of one provider's login."""

    provider: str
    """The provider."""
    status: str
    """``active``, ``expired``, ``expired_no_refresh``, ``error`` or ``not_found``."""
    error: str | None = None
    """What went wrong."""
    expires_at: datetime | None = None
    """When the login ends."""
    expires_in: str | None = None
    """How long that is, for people to read."""
    last_refresh: datetime | None = None
    """When it was last renewed."""


@attrs.frozen(kw_only=True)
class OAuthHealth:
    """The state of all logins."""

    status: str
    """``healthy``, ``degraded`` or ``unhealthy``."""
    providers: Mapping[str, ProviderOAuthHealth] = attrs.field(hash=False)
    """By the provider's short name."""
    timestamp: datetime
    """When it was looked at."""


@attrs.frozen(kw_only=True)
class TokenRefresh:
    """What came of asking the server to renew its logins."""

    status: str | None = None
    """The server's word."""
    message: str | None = None
    """The server's text."""


@attrs.frozen(kw_only=True)
class Provider:
    """A provider and its models."""

    display_name: str | None = None
    """The provider's name for people to read."""
    models: tuple[str, ...] | None = None
    """The models' ids."""


@attrs.frozen(kw_only=True)
class Preferences:
    """What the user prefers."""

    preferred_provider: str | None = None
    """The provider."""
    main_agent_model: str | None = None
    """The model of the main agent."""
    main_agent_max_tokens: int | None = None
    """How many tokens the main agent may answer with."""
    main_agent_reasoning_effort: str | None = None
    """How much the main agent may reason."""
    sub_agent_model: str | None = None
    """The model of sub-agents."""
    sub_agent_max_tokens: int | None = None
    """How many tokens a sub-agent may answer with."""
    sub_agent_reasoning_effort: str | None = None
    """How much a sub-agent may reason."""
    created_at: datetime | None = None
    """When they were first stored."""
    updated_at: datetime | None = None
    """When they last changed."""


@attrs.frozen(kw_only=True)
class PreferencesResult:
    """What the user prefers, and what there is to choose from."""

    available_providers: Mapping[str, Provider] = attrs.field(hash=False)
    """By the provider's short name."""
    preferences: Preferences | None = None
    """``None`` where nothing was ever stored."""


@attrs.frozen(kw_only=True)
class Command:
    """A slash command of the server."""

    name: str | None = None
    """The name, without the slash."""
    description: str | None = None
    """What it does."""
    usage: str | None = None
    """How it is written."""


@attrs.frozen(kw_only=True)
class McpTool:
    """A tool of an MCP server."""

    name: str
    """The tool's name."""
    description: str
    """What it does."""


@attrs.frozen(kw_only=True)
class McpServer:
    """An MCP server that the Mix server uses."""

    name: str
    """Its name."""
    connected: bool
    """Whether it is there."""
    status: str
    """The server's word on it."""
    tools: tuple[McpTool, ...] | None = None
    """Its tools, where they are known."""


@attrs.frozen(kw_only=True)
class HealthStatus:
    """That the server is alive, and which it is."""

    status: str | None = None
    """``ok``."""
    version: str | None = None
    """The server's version; real ones are known to say ``dev``."""
    timestamp: datetime | None = None
    """The server's clock; ``None`` where it sends no date that can be read."""


@attrs.frozen(kw_only=True)
class SystemInfo:
    """Facts about the server's installation."""

    storage_base_path: str
    """The folder on the server's host under which it stores everything."""


@attrs.frozen(kw_only=True)
class ToolStatus:
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


@attrs.frozen(kw_only=True)
class ToolCategory:
    """A group of tools."""

    display_name: str | None = None
    """The group's name for people to read."""
    description: str | None = None
    """What they do (from 0.11)."""
    icon: str | None = None
    """A picture's name (from 0.11)."""
    tools: tuple[ToolStatus, ...] | None = None
    """The tools."""


@attrs.frozen(kw_only=True)
class ToolsStatus:
    """Which tools have the credentials that they need."""

    categories: Mapping[str, ToolCategory] | None = attrs.field(default=None, hash=False)
    """By the group's short name."""


@attrs.frozen(kw_only=True)
class LLMTool:
    """A tool that the model may call."""

    name: str | None = None
    """The tool's name."""
    description: str | None = None
    """What it does."""
    parameters: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The parameters as a JSON schema."""
    required: tuple[str, ...] | None = None
    """The parameters that must be given."""


@attrs.frozen(kw_only=True)
class LLMTools:
    """The tools that the model may call."""

    tools: tuple[LLMTool, ...] | None = None
    """The tools."""
