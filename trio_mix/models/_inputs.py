"""The parameters of a tool call, parsed from the text that servers send."""

from __future__ import annotations

from typing import TypeAlias, Union, cast

JsonValue: TypeAlias = Union[
    "dict[str, JsonValue]", "list[JsonValue]", str, int, float, bool, None
]  # not `|`, which forward references do not support at run time
"""A value that JSON text holds."""


def parse_input(text: str) -> JsonValue:
    """Return the JSON values; ``None`` if the text is not JSON (yet), by the rules of `_json`."""
    from trio_mix._json import NotJSON, parse  # few programs look at the parameters

    try:
        return cast("JsonValue", parse(text))
    except NotJSON:
        return None
