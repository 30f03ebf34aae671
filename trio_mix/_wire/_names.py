"""The names of fields on the wire."""

from __future__ import annotations

from typing import Final

_SNAKE_ON_THE_WIRE: Final = frozenset(
    {
        "AuthStatus",
        "CallbackResultData",
        "CredentialsResult",
        "OAuthCallbackResult",
        "OAuthFlow",
        "OAuthHealth",
        "Preferences",
        "PreferencesResult",
        "Provider",
        "ProviderAuth",
        "ProviderOAuthHealth",
        "ProviderValidation",
        "ToolCategory",
        "ToolsStatus",
        "ToolStatus",
    }
)
"""The models whose fields are in snake_case on the wire; those of all others are in camelCase.

Their names, because models are loaded when they are needed.
"""


def camel(name: str) -> str:
    """Return a snake_case name in camelCase."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def wire_name(cls: type, field: str) -> str:
    """Return the wire's name of a model's field."""
    return field if cls.__name__ in _SNAKE_ON_THE_WIRE else camel(field)
