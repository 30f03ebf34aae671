"""A tool's parameters, from the text that servers send."""

from __future__ import annotations

import json
from typing import cast

__all__ = ["parse_input"]


def parse_input(text: str) -> object:
    """Return the JSON values; ``None`` where the text is no JSON (yet)."""
    try:
        return cast("object", json.loads(text))
    except (ValueError, RecursionError):
        return None
