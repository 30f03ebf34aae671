"""The parameters of a tool call, parsed from the text that servers send."""

from __future__ import annotations

import json
from typing import cast

__all__ = ["parse_input"]


def parse_input(text: str) -> object:
    """Return the JSON values; ``None`` if the text is not JSON (yet)."""
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return None
