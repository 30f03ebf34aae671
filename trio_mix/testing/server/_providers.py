"""The model providers, their credentials and the user's preferences.

A key itself is never kept, only whether there is one.
"""

from __future__ import annotations

import attrs

NAMES = {
    "anthropic": "Anthropic",
    "openai": "OpenAI",
    "openrouter": "OpenRouter",
    "gemini": "Google Gemini",
    "brave": "Brave Search",
}
MODELS = {"anthropic": ["scripted-large", "scripted-small"], "openai": ["scripted-other"]}
DEFAULTS: dict[str, object] = {
    "preferred_provider": "anthropic",
    "main_agent_model": "scripted-large",
    "main_agent_max_tokens": 4096,
    "sub_agent_model": "scripted-small",
    "sub_agent_max_tokens": 2048,
}


@attrs.define
class Accounts:
    """The credentials and preferences that clients have set."""

    methods: dict[str, str] = attrs.field(factory=dict[str, str])
    """How each provider is authenticated: ``api_key`` or ``oauth``."""
    flows: dict[str, str] = attrs.field(factory=dict[str, str])
    """The OAuth flows in progress: the provider, by state."""
    preferences: dict[str, object] = attrs.field(factory=DEFAULTS.copy)
    """The user's preferences."""
    updated: int = 0
    """When the preferences were changed, in Unix time."""

    @property
    def ready(self) -> bool:
        """Whether any model has a key."""
        return any(provider in MODELS for provider in self.methods)
