"""The routes that belong to no session: credentials, preferences, tools, commands, MCP."""

from __future__ import annotations

from trio_mix.testing.server._default_agent import COMMANDS
from trio_mix.testing.server._providers import DEFAULTS, MODELS, NAMES, Accounts
from trio_mix.testing.server._routes import ApiRoute, Problem, RouteCall, RouteResponse
from trio_mix.testing.server._store import iso

_NUMBERS = ("main_agent_max_tokens", "sub_agent_max_tokens")
_TEXTS = (
    "main_agent_model",
    "main_agent_reasoning_effort",
    "preferred_provider",
    "sub_agent_model",
    "sub_agent_reasoning_effort",
)
_TOOLS = {
    "bash": "Execute shell commands",
    "glob": "Find files by pattern",
    "grep": "Search in files",
    "write": "Write a file",
    "task": "Have a sub-agent do something",
}


_SEARCH = {"name": "docs_search", "description": "Search the documentation"}
MCP_SERVERS: dict[str, dict[str, object]] = {
    "docs": {"name": "docs", "connected": True, "status": "connected", "tools": [_SEARCH]},
    "broken": {"name": "broken", "connected": False, "status": "failed"},
}
"""The MCP servers by name: a connected one and a failed one."""


def store_api_key(call: RouteCall) -> RouteResponse:
    """``POST /api/auth/api-key``."""
    body = call.json(("api_key", "provider"), ("api_key", "provider"))
    provider = _known(call.text(body, "provider"))
    if not call.text(body, "api_key"):
        raise Problem(400, "api_key is required")
    call.backend.accounts.methods[provider] = "api_key"
    return _done(provider, f"API key stored for {NAMES[provider]}")


def start_oauth(call: RouteCall) -> RouteResponse:
    """``POST /api/auth/oauth/{provider}``."""
    provider = call.params["provider"]
    if provider != "anthropic":
        raise Problem(400, f"OAuth is not supported for {provider}")
    state = call.backend.store.new_id("state")
    call.backend.accounts.flows[state] = provider
    url = f"https://auth.invalid/authorize?state={state}"
    message = "Open the URL, then call oauth-callback with the code"
    return RouteResponse({"auth_url": url, "state": state, "message": message})


def oauth_callback(call: RouteCall) -> RouteResponse:
    """``POST /api/auth/oauth-callback``."""
    fields = ("code", "provider", "state")
    body = call.json(fields, fields)
    provider, state = call.text(body, "provider"), call.text(body, "state")
    if call.backend.accounts.flows.pop(state, None) != provider:
        raise Problem(400, "Invalid state")
    call.backend.accounts.methods[provider] = "oauth"
    shown = {"status": "success", "provider": provider, "message": "Authenticated"}
    return RouteResponse(shown | {"expires_in": 28800})


def auth_status(call: RouteCall) -> RouteResponse:
    """``GET /api/auth/status``."""
    methods = call.backend.accounts.methods
    return RouteResponse(
        {
            "providers": {
                provider: {
                    "display_name": name,
                    "authenticated": provider in methods,
                    "auth_method": methods.get(provider, "none"),
                }
                for provider, name in NAMES.items()
            }
        }
    )


def validate(call: RouteCall) -> RouteResponse:
    """``GET /api/auth/validate``."""
    accounts = call.backend.accounts
    provider = str(accounts.preferences["preferred_provider"])
    method = accounts.methods.get(provider, "none")
    valid = method != "none"
    message = "Provider is ready" if valid else "No credentials for the preferred provider"
    shown = {"provider": provider, "valid": valid, "auth_method": method, "message": message}
    return RouteResponse(shown)


def delete_credentials(call: RouteCall) -> RouteResponse:
    """``DELETE /api/auth/{provider}``."""
    provider = _known(call.params["provider"])
    call.backend.accounts.methods.pop(provider, None)
    return _done(provider, f"Credentials deleted for {NAMES[provider]}")


def oauth_health(call: RouteCall) -> RouteResponse:
    """``GET /health/auth``."""
    now = iso(call.backend.now())
    methods = call.backend.accounts.methods
    providers = {
        provider: {
            "provider": provider,
            "status": "active",
            "expires_in": "8h0m0s",
            "last_refresh": now,
        }
        for provider, method in methods.items()
        if method == "oauth"
    }
    status = "healthy" if providers else "degraded"
    return RouteResponse({"status": status, "timestamp": now, "providers": providers})


def refresh_tokens(call: RouteCall) -> RouteResponse:
    """``POST /internal/auth/refresh-tokens``."""
    del call
    return RouteResponse({"status": "success", "message": "Token refresh triggered successfully"})


def get_preferences(call: RouteCall) -> RouteResponse:
    """``GET /api/preferences``."""
    shown = _preferences(call.backend.accounts)
    return RouteResponse({"preferences": shown, "available_providers": _providers()})


def update_preferences(call: RouteCall) -> RouteResponse:
    """``POST /api/preferences``."""
    body = call.json((*_NUMBERS, *_TEXTS))
    for name, value in body.items():
        wanted = int if name in _NUMBERS else str
        if not isinstance(value, wanted):
            raise Problem(400, f"Invalid JSON: {name} has the wrong type")
    if body.get("preferred_provider", "anthropic") not in MODELS:
        raise Problem(400, f"unknown provider: {body['preferred_provider']}")
    accounts = call.backend.accounts
    accounts.preferences |= body
    accounts.updated = int(call.backend.now().timestamp())
    return RouteResponse(_preferences(accounts))


def reset_preferences(call: RouteCall) -> RouteResponse:
    """``POST /api/preferences/reset``."""
    call.backend.accounts.preferences = dict(DEFAULTS)
    return RouteResponse(_preferences(call.backend.accounts))


def providers(call: RouteCall) -> RouteResponse:
    """``GET /api/preferences/providers``."""
    del call
    return RouteResponse(_providers())


def tools_status(call: RouteCall) -> RouteResponse:
    """``GET /api/tools/status``."""
    tool = {"display_name": "Brave Search", "provider": "brave", "description": "Search the web"}
    ready = "brave" in call.backend.accounts.methods
    shown = {**tool, "api_key_required": True, "authenticated": ready}
    return RouteResponse(
        {"categories": {"search": {"display_name": "Web Search", "tools": [shown]}}}
    )


def credentials_status(call: RouteCall) -> RouteResponse:
    """``GET /api/tools/credentials-status``."""
    tool = {"display_name": "Brave Search", "provider": "brave", "description": "Search the web"}
    ready = "brave" in call.backend.accounts.methods
    tool |= {"api_key_format": "BSA..."}
    category = {"display_name": "Web Search", "description": "Search the web", "icon": "🔍"}
    shown = {**tool, "api_key_required": True, "authenticated": ready}
    return RouteResponse({"categories": {"search": {**category, "tools": [shown]}}})


def llm_tools(call: RouteCall) -> RouteResponse:
    """``GET /api/tools``."""
    spell = call.backend.traits.tool
    one = {"input": {"type": "string", "description": "What to work on"}}
    tools = [
        {"name": spell(name), "description": what, "parameters": one, "required": ["input"]}
        for name, what in _TOOLS.items()
    ]
    return RouteResponse({"tools": tools})


def list_commands(call: RouteCall) -> RouteResponse:
    """``GET /api/commands``."""
    del call
    return RouteResponse([{"name": name, "description": what} for name, what in COMMANDS.items()])


def get_command(call: RouteCall) -> RouteResponse:
    """``GET /api/commands/{name}``."""
    name = call.params["name"]
    if name not in COMMANDS:
        raise Problem(404, f"command not found: {name}")
    return RouteResponse({"name": name, "description": COMMANDS[name], "usage": f"/{name}"})


def mcp_servers(call: RouteCall) -> RouteResponse:
    """``GET /api/mcp``: one connected server and one failed server."""
    del call
    return RouteResponse(list(MCP_SERVERS.values()))


def system_info(call: RouteCall) -> RouteResponse:
    """``GET /api/system/info``."""
    del call
    return RouteResponse({"storageBasePath": "/var/lib/mix"})


def _known(provider: str) -> str:
    if provider not in NAMES:
        raise Problem(400, f"Invalid provider: {provider}")
    return provider


def _done(provider: str, message: str) -> RouteResponse:
    return RouteResponse({"status": "success", "provider": provider, "message": message})


def _preferences(accounts: Accounts) -> dict[str, object]:
    return {**accounts.preferences, "created_at": 0, "updated_at": accounts.updated}


def _providers() -> dict[str, object]:
    return {
        provider: {"display_name": NAMES[provider], "models": models}
        for provider, models in MODELS.items()
    }


ROUTES = (
    ApiRoute("POST", "/api/auth/api-key", store_api_key),
    ApiRoute("POST", "/api/auth/oauth-callback", oauth_callback),
    ApiRoute("POST", "/api/auth/oauth/{provider}", start_oauth),
    ApiRoute("GET", "/api/auth/status", auth_status),
    ApiRoute("GET", "/api/auth/validate", validate),
    ApiRoute("DELETE", "/api/auth/{provider}", delete_credentials),
    ApiRoute("GET", "/health/auth", oauth_health, since=(0, 11)),
    ApiRoute("POST", "/internal/auth/refresh-tokens", refresh_tokens, since=(0, 11)),
    ApiRoute("GET", "/api/preferences", get_preferences, until=(0, 11)),
    ApiRoute("POST", "/api/preferences", update_preferences, until=(0, 11)),
    ApiRoute("POST", "/api/preferences/reset", reset_preferences, until=(0, 11)),
    ApiRoute("GET", "/api/preferences/providers", providers, until=(0, 11)),
    ApiRoute("GET", "/api/tools/status", tools_status),
    ApiRoute("GET", "/api/tools/credentials-status", credentials_status, since=(0, 11)),
    ApiRoute("GET", "/api/tools", llm_tools, since=(0, 11)),
    ApiRoute("GET", "/api/commands", list_commands),
    ApiRoute("GET", "/api/commands/{name}", get_command),
    ApiRoute("GET", "/api/mcp", mcp_servers),
    ApiRoute("GET", "/api/system/info", system_info, since=(0, 7)),
)
"""The routes of this module."""
