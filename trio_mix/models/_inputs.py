"""The parameters of a tool call, parsed from the text that servers send."""

from __future__ import annotations

__all__ = ["parse_input"]


def parse_input(text: str) -> object:
    """Return the JSON values; ``None`` if the text is not JSON (yet), by the rules of `_json`."""
    from trio_mix._json import NotJSON, parse  # few programs look at the parameters

    try:
        return parse(text)
    except NotJSON:
        return None
