"""The table's entries for the server itself, and its tools.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final

from trio_mix._rest._operation import (
    LATEST,
    Operation,
    path_param,
)
from trio_mix.models import Command, HealthStatus, LLMTools, McpServer, SystemInfo, ToolsStatus

LIST_COMMANDS: Final = Operation(
    name="system.list_commands",
    operation_id="listCommands",
    method="GET",
    path="/api/commands",
    result=list[Command],
    answers={200: "[Command]"},
    errors=(401, 500),
    retry="safe",
)
GET_COMMAND: Final = Operation(
    name="system.get_command",
    operation_id="getCommand",
    method="GET",
    path="/api/commands/{name}",
    params=(path_param("name"),),
    result=Command,
    answers={200: "Command"},
    errors=(404,),
    retry="safe",
)
LIST_MCP_SERVERS: Final = Operation(
    name="system.list_mcp_servers",
    operation_id="listMcpServers",
    method="GET",
    path="/api/mcp",
    result=list[McpServer],
    answers={200: "[McpServer]"},
    errors=(401, 500),
    retry="safe",
)
HEALTH_CHECK: Final = Operation(
    name="system.health_check",
    operation_id="healthCheck",
    method="GET",
    path="/health",
    result=HealthStatus,
    answers={200: "{status, timestamp, version}"},
    errors=(500,),
    retry="safe",
)
GET_SYSTEM_INFO: Final = Operation(
    name="system.get_system_info",
    operation_id="getSystemInfo",
    method="GET",
    path="/api/system/info",
    result=SystemInfo,
    answers={200: "{storageBasePath}"},
    errors=(500,),
    generations=LATEST,
    retry="safe",
)
GET_TOOLS_STATUS: Final = Operation(
    name="tools.get_tools_status",
    operation_id="getToolsStatus",
    method="GET",
    path="/api/tools/status",
    result=ToolsStatus,
    answers={200: "{categories}"},
    errors=(500,),
    retry="safe",
)
LIST_LLM_TOOLS: Final = Operation(
    name="tools.list_llm_tools",
    operation_id="listLLMTools",
    method="GET",
    path="/api/tools",
    result=LLMTools,
    answers={200: "{tools}"},
    errors=(500,),
    generations=LATEST,
    retry="safe",
)
GET_TOOL_CREDENTIALS_STATUS: Final = Operation(
    name="tools.get_tool_credentials_status",
    operation_id="getToolCredentialsStatus",
    method="GET",
    path="/api/tools/credentials-status",
    result=ToolsStatus,
    answers={200: "{categories}"},
    errors=(500,),
    generations=LATEST,
    retry="safe",
)
