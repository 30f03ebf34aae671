"""The names of fields on the wire."""

from __future__ import annotations

__all__ = ["camel"]


def camel(name: str) -> str:
    """Return a snake_case name in camelCase."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
