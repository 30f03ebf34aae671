"""The words that the API lists, as types."""

from __future__ import annotations

from typing import Literal, TypeAlias

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
