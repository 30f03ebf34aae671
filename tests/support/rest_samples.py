"""For each operation: arguments, the expected request, a response, and a malformed response.

Written by hand from the API's description, independently of the table under test.
"""

from __future__ import annotations

from typing import Any

import attrs

SESSION = {
    "id": "s1",
    "title": "Demo",
    "createdAt": "2025-01-02T03:04:05Z",
    "userMessageCount": 1,
    "assistantMessageCount": 1,
    "toolCallCount": 0,
    "promptTokens": 10,
    "completionTokens": 5,
    "cost": 0.25,
}
MESSAGE = {"id": "m1", "role": "assistant", "sessionId": "s1", "userInput": "hi"}
FILE = {"name": "a.txt", "size": 3, "modified": 1700000000, "isDir": False}
CREDENTIALS = {"status": "success", "message": "done", "provider": "anthropic"}
TOOLS = {
    "categories": {
        "search": {
            "display_name": "Search",
            "tools": [{"display_name": "Brave", "api_key_required": True, "authenticated": False}],
        }
    }
}
EXPORT = {
    "id": "s1",
    "title": "Demo",
    "messages": [
        {
            "id": "m1",
            "role": "assistant",
            "content": "Hi",
            "createdAt": "2025-01-02T03:04:05Z",
            "updatedAt": "2025-01-02T03:04:06Z",
            "toolCalls": [
                {"id": "t", "name": "Bash", "input": "{}", "type": "function", "finished": True}
            ],
        }
    ],
}
PREFERENCES = {"preferred_provider": "anthropic", "created_at": 1700000000}


@attrs.frozen(kw_only=True)
class Sample:
    """One call of one operation."""

    args: dict[str, Any] = attrs.Factory(dict)
    request: str
    body: dict[str, Any] | None = None
    status: int = 200
    answer: Any = None
    broken: Any = attrs.field(default=[1, 2])


SAMPLES: dict[str, Sample] = {
    "authentication.store_api_key": Sample(
        args={"api_key": "sk-secret-1", "provider": "anthropic"},
        request="POST /api/auth/api-key",
        body={"api_key": "sk-secret-1", "provider": "anthropic"},
        answer=CREDENTIALS,
    ),
    "authentication.handle_oauth_callback": Sample(
        args={"code": "c-123", "provider": "anthropic", "state": "st-123"},
        request="POST /api/auth/oauth-callback",
        body={"code": "c-123", "provider": "anthropic", "state": "st-123"},
        answer={**CREDENTIALS, "expires_in": 3600},
    ),
    "authentication.start_oauth_flow": Sample(
        args={"provider": "anthropic"},
        request="POST /api/auth/oauth/anthropic",
        answer={"auth_url": "https://login.test", "message": "go", "state": "st"},
    ),
    "authentication.get_auth_status": Sample(
        request="GET /api/auth/status",
        answer={"providers": {"anthropic": {"auth_method": "oauth", "authenticated": True}}},
    ),
    "authentication.validate_preferred_provider": Sample(
        request="GET /api/auth/validate",
        answer={"valid": True, "provider": "anthropic", "auth_method": "api_key"},
    ),
    "authentication.delete_credentials": Sample(
        args={"provider": "a/b"}, request="DELETE /api/auth/a%2Fb", answer=CREDENTIALS
    ),
    "authentication.get_oauth_health": Sample(
        request="GET /health/auth",
        answer={
            "status": "healthy",
            "timestamp": "2025-01-02T03:04:05Z",
            "providers": {
                "anthropic": {
                    "provider": "anthropic",
                    "status": "active",
                    "expires_at": "2025-01-02T05:04:05+02:00",
                }
            },
        },
        broken={"status": "healthy", "providers": {}},
    ),
    "authentication.refresh_oauth_tokens": Sample(
        request="POST /internal/auth/refresh-tokens", answer={"status": "ok", "message": "soon"}
    ),
    "files.list": Sample(
        args={"id": "s1"}, request="GET /api/sessions/s1/files", answer=[FILE], broken=[{}]
    ),
    "files.upload": Sample(
        args={"id": "s1", "file": b"abc", "filename": "a.txt"},
        request="POST /api/sessions/s1/files/upload",
        status=201,
        answer=FILE,
    ),
    "files.get": Sample(
        args={"id": "s1", "filename": "a b.mp4", "thumb": "w100", "time": 1.5},
        request="GET /api/sessions/s1/files/a%20b.mp4?thumb=w100&time=1.5",
        answer="any bytes",
        broken=None,
    ),
    "files.delete": Sample(
        args={"id": "s1", "filename": "a.txt"},
        request="DELETE /api/sessions/s1/files/a.txt",
        status=204,
        broken=None,
    ),
    "messages.get_history": Sample(
        args={"limit": 1000, "offset": 0},
        request="GET /api/messages/history?limit=1000&offset=0",
        answer=[MESSAGE],
        broken=[{**MESSAGE, "role": None}],
    ),
    "messages.cancel_processing": Sample(
        args={"id": "s1"}, request="POST /api/sessions/s1/cancel", answer={"cancelled": True}
    ),
    "messages.get_session": Sample(
        args={"id": "s1"},
        request="GET /api/sessions/s1/messages",
        answer=[MESSAGE],
        broken={"messages": []},
    ),
    "messages.send": Sample(
        args={
            "id": "s1",
            "text": "hi",
            "plan_mode": False,
            "thinking_level": "maximum",
            "max_steps": 1,
        },
        request="POST /api/sessions/s1/messages",
        body={"text": "hi", "plan_mode": False, "thinking_level": "maximum", "max_steps": 1},
        status=202,
        answer={"status": "processing", "sessionId": "s1"},
    ),
    "notifications.respond": Sample(
        args={"id": "n1", "type": "choice", "value": "a"},
        request="POST /api/notifications/n1/respond",
        body={"type": "choice", "value": "a"},
        status=204,
        broken=None,
    ),
    "permissions.grant": Sample(
        args={"id": "p1"}, request="POST /api/permissions/p1/grant", answer={"granted": True}
    ),
    "permissions.deny": Sample(
        args={"id": "p1"}, request="POST /api/permissions/p1/deny", answer={"denied": True}
    ),
    "preferences.get": Sample(
        request="GET /api/preferences",
        answer={
            "available_providers": {"anthropic": {"display_name": "A", "models": ["x"]}},
            "preferences": PREFERENCES,
        },
    ),
    "preferences.update": Sample(
        args={"main_agent_max_tokens": 5},
        request="POST /api/preferences",
        body={"main_agent_max_tokens": 5},
        answer=PREFERENCES,
    ),
    "preferences.get_providers": Sample(
        request="GET /api/preferences/providers",
        answer={"anthropic": {"display_name": "A", "models": ["x"]}},
    ),
    "preferences.reset": Sample(request="POST /api/preferences/reset", answer=PREFERENCES),
    "sessions.list": Sample(
        args={"include_subagents": True},
        request="GET /api/sessions?includeSubagents=true",
        answer=[SESSION],
        broken=[{"id": "s1"}],
    ),
    "sessions.create": Sample(
        args={
            "title": "Demo",
            "browser_mode": "remote-cdp-websocket",
            "cdp_url": "ws://chrome",
            "custom_system_prompt": "Be kind",
            "prompt_mode": "append",
        },
        request="POST /api/sessions",
        body={
            "title": "Demo",
            "browserMode": "remote-cdp-websocket",
            "cdpUrl": "ws://chrome",
            "customSystemPrompt": "Be kind",
            "promptMode": "append",
        },
        status=201,
        answer=SESSION,
    ),
    "sessions.get": Sample(args={"id": "s1"}, request="GET /api/sessions/s1", answer=SESSION),
    "sessions.delete": Sample(
        args={"id": "s1"}, request="DELETE /api/sessions/s1", status=204, broken=None
    ),
    "sessions.fork": Sample(
        args={"id": "s1", "message_index": 0, "title": "Copy"},
        request="POST /api/sessions/s1/fork",
        body={"messageIndex": 0, "title": "Copy"},
        status=201,
        answer=SESSION,
    ),
    "sessions.export_session": Sample(
        args={"id": "s1"},
        request="GET /api/sessions/s1/export",
        answer=EXPORT,
        broken={"id": "s1", "title": "x"},
    ),
    "sessions.rewind_session": Sample(
        args={"id": "s1", "message_id": "m1", "cleanup_media": False},
        request="POST /api/sessions/s1/rewind",
        body={"messageId": "m1", "cleanupMedia": False},
        answer=SESSION,
    ),
    "sessions.update_session_callbacks": Sample(
        args={"id": "s1", "callbacks": []},
        request="PATCH /api/sessions/s1/callbacks",
        body={"callbacks": []},
        answer=SESSION,
    ),
    "streaming.send_streaming_message": Sample(
        args={"id": "s1", "content": '{"text": "hi"}'},
        request="POST /stream/s1/message",
        body={"content": '{"text": "hi"}'},
        answer={"status": "broadcasted", "sessionId": "s1"},
    ),
    "system.list_commands": Sample(
        request="GET /api/commands", answer=[{"name": "clear", "description": "x"}], broken={"a": 1}
    ),
    "system.get_command": Sample(
        args={"name": "clear"},
        request="GET /api/commands/clear",
        answer={"name": "clear", "usage": "/clear"},
    ),
    "system.list_mcp_servers": Sample(
        request="GET /api/mcp",
        answer=[{"name": "m", "connected": True, "status": "ok", "tools": None}],
        broken=[{"name": "m", "connected": "yes", "status": "ok"}],
    ),
    "system.health_check": Sample(
        request="GET /health", answer={"status": "ok", "version": "0.11.4"}
    ),
    "system.get_system_info": Sample(
        request="GET /api/system/info", answer={"storageBasePath": "/srv"}, broken={}
    ),
    "tools.get_tools_status": Sample(request="GET /api/tools/status", answer=TOOLS),
    "tools.list_llm_tools": Sample(
        request="GET /api/tools",
        answer={"tools": [{"name": "Bash", "parameters": {"a": {}}, "required": ["a"]}]},
    ),
    "tools.get_tool_credentials_status": Sample(
        request="GET /api/tools/credentials-status", answer=TOOLS
    ),
}
SAMPLES["health.get_oauth_health"] = SAMPLES["authentication.get_oauth_health"]
SAMPLES["internal.refresh_oauth_tokens"] = SAMPLES["authentication.refresh_oauth_tokens"]
