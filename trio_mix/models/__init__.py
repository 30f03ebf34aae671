"""The data of the REST API: one set of frozen classes for all generations.

Rules:

1. A field that one generation requires and another lacks is optional, ``None`` if it was not sent.
2. Times are aware `datetime.datetime` objects; other numbers are those of the wire, in the unit
   that each field's documentation names.
3. A value outside a list of known ones is kept as it was sent: newer servers know more.
4. Tool inputs are the wire's JSON text; ``parsed_input`` parses it when it is read.
"""

from typing import TYPE_CHECKING

from trio_mix._lazy import lazy

if TYPE_CHECKING:
    from trio_mix.models._authentication import AuthStatus as AuthStatus
    from trio_mix.models._authentication import CredentialsResult as CredentialsResult
    from trio_mix.models._authentication import OAuthCallbackResult as OAuthCallbackResult
    from trio_mix.models._authentication import OAuthFlow as OAuthFlow
    from trio_mix.models._authentication import OAuthHealth as OAuthHealth
    from trio_mix.models._authentication import ProviderAuth as ProviderAuth
    from trio_mix.models._authentication import ProviderOAuthHealth as ProviderOAuthHealth
    from trio_mix.models._authentication import ProviderValidation as ProviderValidation
    from trio_mix.models._authentication import TokenRefresh as TokenRefresh
    from trio_mix.models._exports import ExportMessage as ExportMessage
    from trio_mix.models._exports import ExportSession as ExportSession
    from trio_mix.models._exports import ExportToolCall as ExportToolCall
    from trio_mix.models._files import FileInfo as FileInfo
    from trio_mix.models._inputs import JsonValue as JsonValue
    from trio_mix.models._interaction import PermissionResult as PermissionResult
    from trio_mix.models._messages import BackendMessage as BackendMessage
    from trio_mix.models._messages import CallbackResultData as CallbackResultData
    from trio_mix.models._messages import CancelResult as CancelResult
    from trio_mix.models._messages import SendResult as SendResult
    from trio_mix.models._messages import ToolCallData as ToolCallData
    from trio_mix.models._preferences import Preferences as Preferences
    from trio_mix.models._preferences import PreferencesResult as PreferencesResult
    from trio_mix.models._preferences import Provider as Provider
    from trio_mix.models._sessions import Callback as Callback
    from trio_mix.models._sessions import SessionData as SessionData
    from trio_mix.models._streaming import StreamMessageResponse as StreamMessageResponse
    from trio_mix.models._system import Command as Command
    from trio_mix.models._system import HealthStatus as HealthStatus
    from trio_mix.models._system import LLMTool as LLMTool
    from trio_mix.models._system import LLMTools as LLMTools
    from trio_mix.models._system import McpServer as McpServer
    from trio_mix.models._system import McpTool as McpTool
    from trio_mix.models._system import SystemInfo as SystemInfo
    from trio_mix.models._system import ToolCategory as ToolCategory
    from trio_mix.models._system import ToolsStatus as ToolsStatus
    from trio_mix.models._system import ToolStatus as ToolStatus
    from trio_mix.models._words import BrowserMode as BrowserMode
    from trio_mix.models._words import CallbackType as CallbackType
    from trio_mix.models._words import KeyProvider as KeyProvider
    from trio_mix.models._words import NotificationAnswer as NotificationAnswer
    from trio_mix.models._words import PromptMode as PromptMode
    from trio_mix.models._words import SessionType as SessionType
    from trio_mix.models._words import ThinkingLevel as ThinkingLevel

    __all__: list[str]
else:
    __getattr__, __dir__, __all__ = lazy(
        __name__,
        {
            "trio_mix.models._authentication": (
                "AuthStatus",
                "CredentialsResult",
                "OAuthCallbackResult",
                "OAuthFlow",
                "OAuthHealth",
                "ProviderAuth",
                "ProviderOAuthHealth",
                "ProviderValidation",
                "TokenRefresh",
            ),
            "trio_mix.models._exports": ("ExportMessage", "ExportSession", "ExportToolCall"),
            "trio_mix.models._files": ("FileInfo",),
            "trio_mix.models._inputs": ("JsonValue",),
            "trio_mix.models._interaction": ("PermissionResult",),
            "trio_mix.models._messages": (
                "BackendMessage",
                "CallbackResultData",
                "CancelResult",
                "SendResult",
                "ToolCallData",
            ),
            "trio_mix.models._preferences": ("Preferences", "PreferencesResult", "Provider"),
            "trio_mix.models._sessions": ("Callback", "SessionData"),
            "trio_mix.models._streaming": ("StreamMessageResponse",),
            "trio_mix.models._system": (
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
            ),
            "trio_mix.models._words": (
                "BrowserMode",
                "CallbackType",
                "KeyProvider",
                "NotificationAnswer",
                "PromptMode",
                "SessionType",
                "ThinkingLevel",
            ),
        },
    )
