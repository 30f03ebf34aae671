"""The table of all operations of the Mix API, of every generation: the one definition of each.

What it knows: what `Operation` asks for, one entry each, in the order of the API's tags.
What it must never know: how a request is made.

The resources' methods, the standalone functions, the documentation's table and the contract test
are all held against this.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Final, get_args

from trio_mix import models as m
from trio_mix._rest._operation import Generation, Operation, body_param, path_param, query_param
from trio_mix._rest._operation import Param as Param

_SINCE_069: Final[tuple[Generation, ...]] = ("0.6.9", "0.11.4")
_UNTIL_069: Final[tuple[Generation, ...]] = ("0.6.4", "0.6.9")
_LATEST: Final[tuple[Generation, ...]] = ("0.11.4",)
_ERR = (401, 404, 500)

# --- authentication -------------------------------------------------------------------------------

STORE_API_KEY: Final = Operation(
    name="authentication.store_api_key",
    operation_id="storeApiKey",
    method="POST",
    path="/api/auth/api-key",
    params=(
        body_param("api_key", wire="api_key", required=True, secret=True),
        body_param("provider", required=True, choices=get_args(m.KeyProvider)),
    ),
    result=m.CredentialsResult,
    answers={200: "{status, message, provider}"},
    errors=(400, 500),
    retry="safe",
)
HANDLE_OAUTH_CALLBACK: Final = Operation(
    name="authentication.handle_oauth_callback",
    operation_id="handleOAuthCallback",
    method="POST",
    path="/api/auth/oauth-callback",
    params=(
        body_param("code", required=True, secret=True),
        body_param("provider", required=True),
        body_param("state", required=True, secret=True),
    ),
    result=m.OAuthCallbackResult,
    answers={200: "{status, message, provider, expires_in}"},
    errors=(400, 500),
    retry="unsent",  # a code works once
)
START_OAUTH_FLOW: Final = Operation(
    name="authentication.start_oauth_flow",
    operation_id="startOAuthFlow",
    method="POST",
    path="/api/auth/oauth/{provider}",
    params=(path_param("provider"),),
    result=m.OAuthFlow,
    answers={200: "{auth_url, message, state}"},
    errors=(400, 500),
    retry="safe",  # the flow that counts is the one whose URL the caller got: the last
)
GET_AUTH_STATUS: Final = Operation(
    name="authentication.get_auth_status",
    operation_id="getAuthStatus",
    method="GET",
    path="/api/auth/status",
    result=m.AuthStatus,
    answers={200: "{providers}"},
    errors=(500,),
    retry="safe",
)
VALIDATE_PREFERRED_PROVIDER: Final = Operation(
    name="authentication.validate_preferred_provider",
    operation_id="validatePreferredProvider",
    method="GET",
    path="/api/auth/validate",
    result=m.ProviderValidation,
    answers={200: "{valid, provider, auth_method, message}"},
    errors=(500,),
    retry="safe",
)
DELETE_CREDENTIALS: Final = Operation(
    name="authentication.delete_credentials",
    operation_id="deleteCredentials",
    method="DELETE",
    path="/api/auth/{provider}",
    params=(path_param("provider"),),
    result=m.CredentialsResult,
    answers={200: "{status, message, provider}"},
    errors=(400, 500),
    retry="safe",
)
GET_OAUTH_HEALTH: Final = Operation(
    name="authentication.get_oauth_health",
    aliases=("health.get_oauth_health",),
    operation_id="getOAuthHealth",
    method="GET",
    path="/health/auth",
    result=m.OAuthHealth,
    answers={200: "{status, providers, timestamp}"},
    errors=(500,),
    generations=_LATEST,
    retry="safe",
)
REFRESH_OAUTH_TOKENS: Final = Operation(
    name="authentication.refresh_oauth_tokens",
    aliases=("internal.refresh_oauth_tokens",),
    operation_id="refreshOAuthTokens",
    method="POST",
    path="/internal/auth/refresh-tokens",
    result=m.TokenRefresh,
    answers={200: "{status, message}"},
    errors=(500,),
    generations=_LATEST,
    retry="safe",
)

# --- files ----------------------------------------------------------------------------------------

LIST_FILES: Final = Operation(
    name="files.list",
    operation_id="listSessionFiles",
    method="GET",
    path="/api/sessions/{id}/files",
    params=(path_param("id"),),
    result=list[m.FileInfo],
    answers={200: "[FileInfo]"},
    errors=(404,),
    retry="safe",
)
UPLOAD_FILE: Final = Operation(
    name="files.upload",
    operation_id="uploadSessionFile",
    method="POST",
    path="/api/sessions/{id}/files/upload",
    params=(
        path_param("id"),
        Param(name="file", wire="file", where="form", kind="file", required=True),
    ),
    result=m.FileInfo,
    answers={201: "FileInfo"},
    errors=(400, 404, 413),
    retry="unsent",
    long=True,
)
GET_FILE: Final = Operation(
    name="files.get",
    operation_id="getSessionFile",
    method="GET",
    path="/api/sessions/{id}/files/{filename}",
    params=(
        path_param("id"),
        path_param("filename"),
        query_param("thumb", pattern=r"\d+|w\d+|h\d+"),
        query_param("time", "number", minimum=0, maximum=86400),
    ),
    result=bytes,
    answers={200: "the file"},
    errors=(400, 404),
    retry="safe",
)
DELETE_FILE: Final = Operation(
    name="files.delete",
    operation_id="deleteSessionFile",
    method="DELETE",
    path="/api/sessions/{id}/files/{filename}",
    params=(path_param("id"), path_param("filename")),
    result=type(None),
    answers={204: ""},
    errors=(400, 404),
    retry="safe",
)

# --- messages -------------------------------------------------------------------------------------

GET_HISTORY: Final = Operation(
    name="messages.get_history",
    operation_id="getMessageHistory",
    method="GET",
    path="/api/messages/history",
    params=(
        query_param("limit", "int", minimum=1, maximum=1000),
        query_param("offset", "int", minimum=0),
    ),
    result=list[m.BackendMessage],
    answers={200: "[BackendMessage]"},
    errors=(401, 500),
    retry="safe",
)
CANCEL_PROCESSING: Final = Operation(
    name="messages.cancel_processing",
    operation_id="cancelSessionProcessing",
    method="POST",
    path="/api/sessions/{id}/cancel",
    params=(path_param("id"),),
    result=m.CancelResult,
    answers={200: "{cancelled} or {status, sessionId}"},
    errors=(404,),
    retry="safe",
)
GET_SESSION_MESSAGES: Final = Operation(
    name="messages.get_session",
    operation_id="getSessionMessages",
    method="GET",
    path="/api/sessions/{id}/messages",
    params=(path_param("id"),),
    result=list[m.BackendMessage],
    answers={200: "[BackendMessage]"},
    errors=(404,),
    retry="safe",
)
SEND_MESSAGE: Final = Operation(
    name="messages.send",
    operation_id="sendMessage",
    method="POST",
    path="/api/sessions/{id}/messages",
    params=(
        path_param("id"),
        body_param("text", required=True),
        body_param("plan_mode", "bool", wire="plan_mode"),
        body_param(
            "thinking_level",
            wire="thinking_level",
            choices=get_args(m.ThinkingLevel),
            generations=_LATEST,
        ),
        body_param("max_steps", "int", wire="max_steps", minimum=1, generations=_LATEST),
        body_param("media", "texts", generations=("0.6.4",)),
        body_param("apps", "texts", generations=("0.6.4",)),
    ),
    result=m.SendResult,
    answers={200: "BackendMessage", 202: "{status, sessionId}"},
    errors=(400, 404),
    retry="unsent",
    long=True,
)

# --- notifications, permissions -------------------------------------------------------------------

RESPOND_TO_NOTIFICATION: Final = Operation(
    name="notifications.respond",
    operation_id="respondToNotification",
    method="POST",
    path="/api/notifications/{id}/respond",
    params=(
        path_param("id"),
        body_param("type", required=True, choices=get_args(m.NotificationAnswer)),
        body_param("value"),
    ),
    result=type(None),
    answers={204: ""},
    errors=_ERR,
    generations=_LATEST,
    retry="safe",
)
GRANT_PERMISSION: Final = Operation(
    name="permissions.grant",
    operation_id="grantPermission",
    method="POST",
    path="/api/permissions/{id}/grant",
    params=(path_param("id"),),
    result=m.PermissionResult,
    answers={200: "{granted}"},
    errors=_ERR,
    retry="safe",
)
DENY_PERMISSION: Final = Operation(
    name="permissions.deny",
    operation_id="denyPermission",
    method="POST",
    path="/api/permissions/{id}/deny",
    params=(path_param("id"),),
    result=m.PermissionResult,
    answers={200: "{denied}"},
    errors=_ERR,
    retry="safe",
)

# --- preferences ----------------------------------------------------------------------------------

GET_PREFERENCES: Final = Operation(
    name="preferences.get",
    operation_id="getPreferences",
    method="GET",
    path="/api/preferences",
    result=m.PreferencesResult,
    answers={200: "{available_providers, preferences}"},
    errors=(500,),
    generations=_UNTIL_069,
    retry="safe",
)
UPDATE_PREFERENCES: Final = Operation(
    name="preferences.update",
    operation_id="updatePreferences",
    method="POST",
    path="/api/preferences",
    params=(
        body_param("preferred_provider", wire="preferred_provider"),
        body_param("main_agent_model", wire="main_agent_model"),
        body_param("main_agent_max_tokens", "int", wire="main_agent_max_tokens"),
        body_param("main_agent_reasoning_effort", wire="main_agent_reasoning_effort"),
        body_param("sub_agent_model", wire="sub_agent_model"),
        body_param("sub_agent_max_tokens", "int", wire="sub_agent_max_tokens"),
        body_param("sub_agent_reasoning_effort", wire="sub_agent_reasoning_effort"),
    ),
    result=m.Preferences,
    answers={200: "Preferences"},
    errors=(400, 500),
    generations=_UNTIL_069,
    retry="safe",
)
GET_PROVIDERS: Final = Operation(
    name="preferences.get_providers",
    operation_id="getAvailableProviders",
    method="GET",
    path="/api/preferences/providers",
    result=dict[str, m.Provider],
    answers={200: "{name: Provider}"},
    errors=(500,),
    generations=_UNTIL_069,
    retry="safe",
)
RESET_PREFERENCES: Final = Operation(
    name="preferences.reset",
    operation_id="resetPreferences",
    method="POST",
    path="/api/preferences/reset",
    result=m.Preferences,
    answers={200: "Preferences"},
    errors=(500,),
    generations=_UNTIL_069,
    retry="safe",
)

# --- sessions -------------------------------------------------------------------------------------

LIST_SESSIONS: Final = Operation(
    name="sessions.list",
    operation_id="listSessions",
    method="GET",
    path="/api/sessions",
    params=(query_param("include_subagents", "bool", generations=_LATEST),),
    result=list[m.SessionData],
    answers={200: "[SessionData]"},
    errors=(401, 500),
    retry="safe",
)
CREATE_SESSION: Final = Operation(
    name="sessions.create",
    operation_id="createSession",
    method="POST",
    path="/api/sessions",
    params=(
        body_param("title", required=True),
        body_param("browser_mode", choices=get_args(m.BrowserMode), generations=_LATEST),
        body_param("callbacks", "callbacks", generations=_LATEST),
        body_param("cdp_url", secret=True, generations=_LATEST),
        body_param("custom_system_prompt"),
        body_param("model_id", generations=_LATEST),
        body_param("prompt_mode", choices=get_args(m.PromptMode)),
        body_param("provider", generations=_LATEST),
        body_param("session_type", choices=get_args(m.SessionType), generations=_LATEST),
        body_param("subagent_type", generations=_LATEST),
    ),
    result=m.SessionData,
    answers={201: "SessionData"},
    errors=(400,),
    retry="unsent",
)
DELETE_SESSION: Final = Operation(
    name="sessions.delete",
    operation_id="deleteSession",
    method="DELETE",
    path="/api/sessions/{id}",
    params=(path_param("id"),),
    result=type(None),
    answers={204: ""},
    errors=(404,),
    retry="safe",
)
GET_SESSION: Final = Operation(
    name="sessions.get",
    operation_id="getSession",
    method="GET",
    path="/api/sessions/{id}",
    params=(path_param("id"),),
    result=m.SessionData,
    answers={200: "SessionData"},
    errors=(404,),
    retry="safe",
)
UPDATE_SESSION_CALLBACKS: Final = Operation(
    name="sessions.update_session_callbacks",
    operation_id="updateSessionCallbacks",
    method="PATCH",
    path="/api/sessions/{id}/callbacks",
    params=(path_param("id"), body_param("callbacks", "callbacks", required=True)),
    result=m.SessionData,
    answers={200: "SessionData"},
    errors=(400, 404),
    generations=_LATEST,
    retry="safe",
)
EXPORT_SESSION: Final = Operation(
    name="sessions.export_session",
    operation_id="exportSession",
    method="GET",
    path="/api/sessions/{id}/export",
    params=(path_param("id"),),
    result=m.ExportSession,
    answers={200: "ExportSession"},
    errors=(404, 500),
    generations=_SINCE_069,
    retry="safe",
)
FORK_SESSION: Final = Operation(
    name="sessions.fork",
    operation_id="forkSession",
    method="POST",
    path="/api/sessions/{id}/fork",
    params=(
        path_param("id"),
        body_param("message_index", "int", required=True, minimum=0),
        body_param("title"),
    ),
    result=m.SessionData,
    answers={201: "SessionData"},
    errors=(400, 404),
    generations=_UNTIL_069,
    retry="unsent",
)
REWIND_SESSION: Final = Operation(
    name="sessions.rewind_session",
    operation_id="rewindSession",
    method="POST",
    path="/api/sessions/{id}/rewind",
    params=(
        path_param("id"),
        body_param("message_id", required=True),
        body_param("cleanup_media", "bool"),
    ),
    result=m.SessionData,
    answers={200: "SessionData"},
    errors=(400, 404),
    generations=_SINCE_069,
    retry="safe",
)

# --- streaming ------------------------------------------------------------------------------------

STREAM_EVENTS: Final = Operation(
    name="streaming.stream_events",
    operation_id="streamEvents",
    method="GET",
    path="/stream",
    params=(
        query_param("session_id", required=True),
        Param(name="last_event_id", wire="Last-Event-ID", where="header"),
    ),
    result=bytes,
    answers={200: "text/event-stream"},
    errors=(404, 500),
    retry="safe",
)
SEND_STREAMING_MESSAGE: Final = Operation(
    name="streaming.send_streaming_message",
    operation_id="sendStreamingMessage",
    method="POST",
    path="/stream/{id}/message",
    params=(path_param("id"), body_param("content", required=True)),
    result=m.StreamMessageResponse,
    answers={200: "StreamMessageResponse"},
    errors=(400, 404, 500),
    generations=_UNTIL_069,
    retry="unsent",
)

# --- system, tools --------------------------------------------------------------------------------

LIST_COMMANDS: Final = Operation(
    name="system.list_commands",
    operation_id="listCommands",
    method="GET",
    path="/api/commands",
    result=list[m.Command],
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
    result=m.Command,
    answers={200: "Command"},
    errors=(404,),
    retry="safe",
)
LIST_MCP_SERVERS: Final = Operation(
    name="system.list_mcp_servers",
    operation_id="listMcpServers",
    method="GET",
    path="/api/mcp",
    result=list[m.McpServer],
    answers={200: "[McpServer]"},
    errors=(401, 500),
    retry="safe",
)
HEALTH_CHECK: Final = Operation(
    name="system.health_check",
    operation_id="healthCheck",
    method="GET",
    path="/health",
    result=m.HealthStatus,
    answers={200: "{status, timestamp, version}"},
    errors=(500,),
    retry="safe",
)
GET_SYSTEM_INFO: Final = Operation(
    name="system.get_system_info",
    operation_id="getSystemInfo",
    method="GET",
    path="/api/system/info",
    result=m.SystemInfo,
    answers={200: "{storageBasePath}"},
    errors=(500,),
    generations=_LATEST,
    retry="safe",
)
GET_TOOLS_STATUS: Final = Operation(
    name="tools.get_tools_status",
    operation_id="getToolsStatus",
    method="GET",
    path="/api/tools/status",
    result=m.ToolsStatus,
    answers={200: "{categories}"},
    errors=(500,),
    retry="safe",
)
LIST_LLM_TOOLS: Final = Operation(
    name="tools.list_llm_tools",
    operation_id="listLLMTools",
    method="GET",
    path="/api/tools",
    result=m.LLMTools,
    answers={200: "{tools}"},
    errors=(500,),
    generations=_LATEST,
    retry="safe",
)
GET_TOOL_CREDENTIALS_STATUS: Final = Operation(
    name="tools.get_tool_credentials_status",
    operation_id="getToolCredentialsStatus",
    method="GET",
    path="/api/tools/credentials-status",
    result=m.ToolsStatus,
    answers={200: "{categories}"},
    errors=(500,),
    generations=_LATEST,
    retry="safe",
)

OPERATIONS: Final = MappingProxyType(
    {
        name: each
        for each in tuple(globals().values())
        if isinstance(each, Operation)
        for name in (each.name, *each.aliases)
    }
)
"""Every operation by its name and its aliases."""
