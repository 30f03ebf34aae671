"""The data of the REST API: one set of frozen classes for all generations.

What it knows: the fields of each answer and of what is sent, in snake_case.
What it must never know: JSON, HTTP, or which server it came from.

Rules:

1. What one generation requires and another lacks is optional, and ``None`` where it did not come.
2. Times are aware `datetime.datetime` objects; other numbers are the wire's own, in the unit that
   each field's documentation names.
3. A value outside a list of known ones is kept as it came: newer servers know more.
4. Tool inputs are the wire's JSON text; ``parsed_input`` parses it when asked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003  # cattrs reads the annotations at run time
from datetime import datetime  # noqa: TC003  # the same
from typing import Literal, TypeAlias

import attrs

from trio_mix._models_system import AuthStatus as AuthStatus
from trio_mix._models_system import Command as Command
from trio_mix._models_system import CredentialsResult as CredentialsResult
from trio_mix._models_system import HealthStatus as HealthStatus
from trio_mix._models_system import LLMTool as LLMTool
from trio_mix._models_system import LLMTools as LLMTools
from trio_mix._models_system import McpServer as McpServer
from trio_mix._models_system import McpTool as McpTool
from trio_mix._models_system import OAuthCallbackResult as OAuthCallbackResult
from trio_mix._models_system import OAuthFlow as OAuthFlow
from trio_mix._models_system import OAuthHealth as OAuthHealth
from trio_mix._models_system import Preferences as Preferences
from trio_mix._models_system import PreferencesResult as PreferencesResult
from trio_mix._models_system import Provider as Provider
from trio_mix._models_system import ProviderAuth as ProviderAuth
from trio_mix._models_system import ProviderOAuthHealth as ProviderOAuthHealth
from trio_mix._models_system import ProviderValidation as ProviderValidation
from trio_mix._models_system import SystemInfo as SystemInfo
from trio_mix._models_system import TokenRefresh as TokenRefresh
from trio_mix._models_system import ToolCategory as ToolCategory
from trio_mix._models_system import ToolsStatus as ToolsStatus
from trio_mix._models_system import ToolStatus as ToolStatus

__all__ = [
    "AuthStatus",
    "BackendMessage",
    "BrowserMode",
    "Callback",
    "CallbackResultData",
    "CallbackType",
    "CancelResult",
    "Command",
    "CredentialsResult",
    "ExportMessage",
    "ExportSession",
    "ExportToolCall",
    "FileInfo",
    "HealthStatus",
    "KeyProvider",
    "LLMTool",
    "LLMTools",
    "McpServer",
    "McpTool",
    "NotificationAnswer",
    "OAuthCallbackResult",
    "OAuthFlow",
    "OAuthHealth",
    "PermissionResult",
    "Preferences",
    "PreferencesResult",
    "PromptMode",
    "Provider",
    "ProviderAuth",
    "ProviderOAuthHealth",
    "ProviderValidation",
    "SendResult",
    "SessionData",
    "SessionType",
    "StreamMessageResponse",
    "SystemInfo",
    "ThinkingLevel",
    "TokenRefresh",
    "ToolCallData",
    "ToolCategory",
    "ToolStatus",
    "ToolsStatus",
]

BrowserMode: TypeAlias = Literal[
    "electron-embedded-browser", "local-browser-service", "remote-cdp-websocket"
]
"""Which browser a session's agent drives."""
CallbackType: TypeAlias = Literal["bash_script", "sub_agent", "send_message"]
"""What a session callback does."""
KeyProvider: TypeAlias = Literal["anthropic", "openai", "openrouter", "gemini", "brave"]
"""Whose API keys a server stores."""
NotificationAnswer: TypeAlias = Literal["acknowledge", "text", "choice"]
"""How a notification is answered."""
PromptMode: TypeAlias = Literal["default", "append", "replace"]
"""How a custom system prompt joins the server's own."""
SessionType: TypeAlias = Literal["main"]
"""What kind of session a client may create."""
ThinkingLevel: TypeAlias = Literal["off", "basic", "medium", "maximum"]
"""How much the model may reason."""


def _parse_input(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


@attrs.frozen(kw_only=True)
class Callback:
    """Something that the server does whenever a tool has run (from 0.7.4)."""

    tool_name: str
    """The tool after whose runs it is done."""
    type: CallbackType | str
    """What is done."""
    name: str | None = None
    """A name for people to read."""
    bash_command: str | None = None
    """The command, for ``bash_script``."""
    bash_timeout: int | None = None
    """How long the command may run, in milliseconds; the server's default is 120,000."""
    sub_agent_prompt: str | None = None
    """The task, for ``sub_agent``."""
    sub_agent_type: str | None = None
    """Which agent does the task; the server's default is ``general-purpose``."""
    include_full_history: bool | None = None
    """Whether the sub-agent is shown the whole session."""
    message_content: str | None = None
    """The text, for ``send_message``."""
    exclude_from_context: bool | None = None
    """Whether the result is kept from the model."""


@attrs.frozen(kw_only=True)
class CallbackResultData:
    """What came of one callback."""

    callback_type: CallbackType | str
    """What was done."""
    success: bool
    """Whether it succeeded."""
    tool_call_id: str
    """The tool call after which it was done."""
    tool_name: str
    """That tool's name."""
    callback_name: str | None = None
    """The callback's name."""
    error: str | None = None
    """What went wrong."""
    exclude_from_context: bool | None = None
    """Whether the model was not shown it."""
    exit_code: int | None = None
    """The command's exit status."""
    stdout: str | None = None
    """The command's output."""
    stderr: str | None = None
    """The command's error output."""
    subagent_id: str | None = None
    """The sub-agent's session."""
    subagent_result: str | None = None
    """The sub-agent's answer."""


@attrs.frozen(kw_only=True)
class SessionData:
    """A session: a conversation with the agent, and its counters."""

    id: str
    """The session's id."""
    title: str
    """The title."""
    created_at: datetime
    """When it was made."""
    user_message_count: int
    """Messages from the user."""
    assistant_message_count: int
    """Messages from the agent."""
    tool_call_count: int
    """Tool calls."""
    prompt_tokens: int
    """Tokens that went to the model."""
    completion_tokens: int
    """Tokens that came from the model."""
    cost: float
    """What it has cost, in US dollars."""
    first_user_message: str | None = None
    """The text of the first message."""
    browser_mode: BrowserMode | str | None = None
    """Which browser the agent drives (from 0.11)."""
    cdp_url: str | None = attrs.field(default=None, repr=False)
    """The DevTools address, for ``remote-cdp-websocket``; it may hold a token."""
    callbacks: tuple[Callback, ...] | None = None
    """What is done after tools have run."""
    model_id: str | None = None
    """The model."""
    provider: str | None = None
    """The model's provider."""
    session_type: str | None = None
    """``main`` or ``subagent``."""
    subagent_type: str | None = None
    """Which sub-agent it is."""
    parent_session_id: str | None = None
    """The session whose agent started this one."""
    parent_tool_call_id: str | None = None
    """The tool call that started this one."""


@attrs.frozen(kw_only=True)
class ToolCallData:
    """A tool call of a stored message."""

    id: str
    """The tool call's id."""
    name: str
    """The tool's name."""
    input: str
    """The parameters as JSON text."""
    type: str
    """The call's kind, as ``function``."""
    finished: bool
    """Whether it is over."""
    result: str | None = None
    """What the tool gave back."""
    is_error: bool | None = None
    """Whether the tool failed."""
    screenshot_urls: tuple[str, ...] | None = None
    """Pictures that were taken while it ran."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` where ``input`` is no JSON text (yet)."""
        return _parse_input(self.input)


@attrs.frozen(kw_only=True)
class BackendMessage:
    """A stored message: the user's text, or what the agent answered."""

    id: str
    """The message's id."""
    role: str
    """``user``, ``assistant`` or ``tool``."""
    session_id: str
    """The session it belongs to."""
    user_input: str
    """The user's text; empty in the agent's own messages."""
    assistant_response: str | None = None
    """The agent's text."""
    reasoning: str | None = None
    """The agent's reasoning."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    tool_calls: tuple[ToolCallData, ...] | None = None
    """The tool calls it made."""
    callback_results: tuple[CallbackResultData, ...] | None = None
    """What came of the session's callbacks."""
    model: str | None = None
    """The model that answered."""
    input_tokens: int | None = None
    """Tokens that went to the model."""
    output_tokens: int | None = None
    """Tokens that came from the model."""
    cache_creation_tokens: int | None = None
    """Tokens written to the provider's cache."""
    cache_read_tokens: int | None = None
    """Tokens read from the provider's cache."""
    cost: float | None = None
    """What it has cost, in US dollars."""


@attrs.frozen(kw_only=True)
class SendResult:
    """How the server took a message: accepted for later (202), or answered at once (200)."""

    status_code: int
    """The HTTP status: 202 accepted, 200 answered."""
    status: str | None = None
    """What the server says it does with it, as ``processing``; ``None`` with an answer."""
    session_id: str | None = None
    """The session."""
    message: BackendMessage | None = None
    """The answer: of a blocking server, and of any server to a slash command."""


@attrs.frozen(kw_only=True)
class CancelResult:
    """What came of a request to stop what a session is doing."""

    cancelled: bool
    """Whether something was told to stop."""
    status: str | None = None
    """The server's word, where it gives one."""
    session_id: str | None = None
    """The session, where the server names it."""


@attrs.frozen(kw_only=True)
class PermissionResult:
    """What came of granting or denying a permission."""

    granted: bool | None
    """Whether the tool may run; ``None`` where the server accepts without saying so."""
    id: str | None = None
    """The permission, where the server names it."""
    status: str | None = None
    """The server's word, where it gives one."""
    message: str | None = None
    """The server's text, where it gives one."""


@attrs.frozen(kw_only=True)
class StreamMessageResponse:
    """How a pipeline server took a message; it says so even when no stream is there to run it."""

    status: str
    """``broadcasted``."""
    session_id: str
    """The session."""


@attrs.frozen(kw_only=True)
class ExportToolCall:
    """A tool call in an exported session."""

    id: str
    """The tool call's id."""
    name: str
    """The tool's name."""
    input: str
    """The parameters as JSON text."""
    type: str
    """The call's kind, as ``function``."""
    finished: bool
    """Whether it is over."""
    input_json: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The parameters as the server has parsed them."""
    result: str | None = None
    """What the tool gave back."""
    is_error: bool | None = None
    """Whether the tool failed (up to 0.6.9)."""
    metadata: str | None = None
    """What the tool noted besides (up to 0.6.9)."""
    screenshot_urls: tuple[str, ...] | None = None
    """Pictures that were taken while it ran (from 0.11)."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` where ``input`` is no JSON text (yet)."""
        return _parse_input(self.input)


@attrs.frozen(kw_only=True)
class ExportMessage:
    """A message in an exported session."""

    id: str
    """The message's id."""
    role: str
    """``user``, ``assistant`` or ``tool``."""
    content: str
    """The text."""
    created_at: datetime
    """When it was stored."""
    updated_at: datetime
    """When it last changed."""
    finish_reason: str | None = None
    """Why the model stopped; ``None`` while it has not."""
    model: str | None = None
    """The model that answered."""
    reasoning: str | None = None
    """The reasoning."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    tool_calls: tuple[ExportToolCall, ...] | None = None
    """The tool calls it made."""


@attrs.frozen(kw_only=True)
class ExportSession:
    """A session with all that was said in it."""

    id: str
    """The session's id."""
    title: str
    """The title."""
    messages: tuple[ExportMessage, ...]
    """The messages, oldest first."""
    created_at: datetime | None = None
    """When it was made."""
    updated_at: datetime | None = None
    """When it last changed."""
    user_message_count: int | None = None
    """Messages from the user."""
    assistant_message_count: int | None = None
    """Messages from the agent."""
    tool_call_count: int | None = None
    """Tool calls."""
    prompt_tokens: int | None = None
    """Tokens that went to the model."""
    completion_tokens: int | None = None
    """Tokens that came from the model."""
    cost: float | None = None
    """What it has cost, in US dollars."""


@attrs.frozen(kw_only=True)
class FileInfo:
    """A file of a session."""

    name: str
    """The file's name."""
    size: int
    """Its length in bytes."""
    modified: datetime
    """When it last changed."""
    is_dir: bool
    """Whether it is a folder."""
    url: str | None = None
    """Where it can be fetched (from 0.6.9)."""
