"""The providers of models, and what the server was told about them.

What it knows: their names, their models, which of them there is a key for, what the user prefers.
What it must never know: requests and answers; and it keeps no key, only that there is one.
"""

from __future__ import annotations

import attrs

__all__ = ["DEFAULTS", "MODELS", "NAMES", "Accounts"]

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
    """What the server was told about providers."""

    methods: dict[str, str] = attrs.field(factory=dict[str, str])
    """How each provider is authenticated: ``api_key`` or ``oauth``."""
    flows: dict[str, str] = attrs.field(factory=dict[str, str])
    """The OAuth flows that were begun: the provider, by state."""
    preferences: dict[str, object] = attrs.field(factory=DEFAULTS.copy)
    """The user's preferences."""
    updated: int = 0
    """When they were changed, in Unix time."""

    @property
    def ready(self) -> bool:
        """Whether there is a key for some model."""
        return any(provider in MODELS for provider in self.methods)
