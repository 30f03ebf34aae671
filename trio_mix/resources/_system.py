"""The server itself: its health, its commands, its tools.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._tables import _system as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import (
        Command,
        HealthStatus,
        LLMTools,
        McpServer,
        SystemInfo,
        ToolsStatus,
    )

__all__ = ["System", "Tools"]


@public("trio_mix.resources")
class System(Resource):
    """The server itself."""

    @implements(op.LIST_COMMANDS)
    async def list_commands(self, *, options: RequestOptions | None = None) -> list[Command]:
        """List the slash commands.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.LIST_COMMANDS, {}, options)

    @implements(op.GET_COMMAND)
    async def get_command(self, *, name: str, options: RequestOptions | None = None) -> Command:
        """Return a slash command.

        Args:
          name: its name, without the slash.
          options: what differs for this call.
        """
        return await self._core.request(op.GET_COMMAND, {"name": name}, options)

    @implements(op.LIST_MCP_SERVERS)
    async def list_mcp_servers(self, *, options: RequestOptions | None = None) -> list[McpServer]:
        """List the MCP servers that the Mix server uses.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.LIST_MCP_SERVERS, {}, options)

    @implements(op.HEALTH_CHECK)
    async def health_check(self, *, options: RequestOptions | None = None) -> HealthStatus:
        """Say that the server is alive, and which it is.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.HEALTH_CHECK, {}, options)

    @implements(op.GET_SYSTEM_INFO)
    async def get_system_info(self, *, options: RequestOptions | None = None) -> SystemInfo:
        """Return facts about the server's installation.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_SYSTEM_INFO, {}, options)


@public("trio_mix.resources")
class Tools(Resource):
    """What the agents can use."""

    @implements(op.GET_TOOLS_STATUS)
    async def get_tools_status(self, *, options: RequestOptions | None = None) -> ToolsStatus:
        """Return which tools have the credentials that they need.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_TOOLS_STATUS, {}, options)

    @implements(op.LIST_LLM_TOOLS)
    async def list_llm_tools(self, *, options: RequestOptions | None = None) -> LLMTools:
        """Return the tools that the model may call.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.LIST_LLM_TOOLS, {}, options)

    @implements(op.GET_TOOL_CREDENTIALS_STATUS)
    async def get_tool_credentials_status(
        self, *, options: RequestOptions | None = None
    ) -> ToolsStatus:
        """Return which outside services the server has keys for.

        Args:
          options: what differs for this call.
        """
        return await self._core.request(op.GET_TOOL_CREDENTIALS_STATUS, {}, options)
