"""The server itself: its health, its commands, its tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._operation import LATEST, RpcMethod
from trio_mix.models import Command, HealthStatus, LLMTools, McpServer, SystemInfo, ToolsStatus
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class System(Resource):
    """The server itself."""

    @operation(
        "GET",
        "/api/commands",
        operation_id="listCommands",
        result=list[Command],
        errors=(401, 500),
        retry="safe",
        rpc=RpcMethod("commands.list"),
    )
    async def list_commands(self, *, options: RequestOptions | None = None) -> list[Command]:
        """List the slash commands.

        Args:
          options: what differs for this call.
        """
        return await self._call(System.list_commands, options)

    @operation(
        "GET",
        "/api/commands/{name}",
        operation_id="getCommand",
        result=Command,
        errors=(404,),
        retry="safe",
        rpc=RpcMethod("commands.get", {"name": "name"}),
    )
    async def get_command(self, *, name: str, options: RequestOptions | None = None) -> Command:
        """Return a slash command.

        Args:
          name: its name, without the slash.
          options: what differs for this call.
        """
        return await self._call(System.get_command, options, name=name)

    @operation(
        "GET",
        "/api/mcp",
        operation_id="listMcpServers",
        result=list[McpServer],
        errors=(401, 500),
        retry="safe",
        rpc=RpcMethod("mcp.list"),
    )
    async def list_mcp_servers(self, *, options: RequestOptions | None = None) -> list[McpServer]:
        """List the MCP servers that the Mix server uses.

        Args:
          options: what differs for this call.
        """
        return await self._call(System.list_mcp_servers, options)

    @operation(
        "GET",
        "/health",
        operation_id="healthCheck",
        result=HealthStatus,
        errors=(500,),
        retry="safe",
    )
    async def health_check(self, *, options: RequestOptions | None = None) -> HealthStatus:
        """Return the server's health and version.

        Args:
          options: what differs for this call.
        """
        return await self._call(System.health_check, options)

    @operation(
        "GET",
        "/api/system/info",
        operation_id="getSystemInfo",
        result=SystemInfo,
        errors=(500,),
        generations=LATEST,
        retry="safe",
    )
    async def get_system_info(self, *, options: RequestOptions | None = None) -> SystemInfo:
        """Return facts about the server's installation.

        Args:
          options: what differs for this call.
        """
        return await self._call(System.get_system_info, options)


@public("trio_mix.resources")
class Tools(Resource):
    """The tools of the agents."""

    @operation(
        "GET",
        "/api/tools/status",
        operation_id="getToolsStatus",
        result=ToolsStatus,
        errors=(500,),
        retry="safe",
    )
    async def get_tools_status(self, *, options: RequestOptions | None = None) -> ToolsStatus:
        """Return which tools have the credentials that they need.

        Args:
          options: what differs for this call.
        """
        return await self._call(Tools.get_tools_status, options)

    @operation(
        "GET",
        "/api/tools",
        operation_id="listLLMTools",
        result=LLMTools,
        errors=(500,),
        generations=LATEST,
        retry="safe",
    )
    async def list_llm_tools(self, *, options: RequestOptions | None = None) -> LLMTools:
        """Return the tools that the model may call.

        Args:
          options: what differs for this call.
        """
        return await self._call(Tools.list_llm_tools, options)

    @operation(
        "GET",
        "/api/tools/credentials-status",
        operation_id="getToolCredentialsStatus",
        result=ToolsStatus,
        errors=(500,),
        generations=LATEST,
        retry="safe",
    )
    async def get_tool_credentials_status(
        self, *, options: RequestOptions | None = None
    ) -> ToolsStatus:
        """Return which outside services the server has keys for.

        Args:
          options: what differs for this call.
        """
        return await self._call(Tools.get_tool_credentials_status, options)
