"""Look into JSON text without building its values.

Texts of megabytes are checked in milliseconds, and by the same rules as events are decoded.
"""

from __future__ import annotations

import msgspec


class _Typed(msgspec.Struct, gc=False):
    type: str | None = None


_check = msgspec.json.Decoder(msgspec.Raw).decode
_typed = msgspec.json.Decoder(_Typed).decode


def is_json(text: str, *, too_deep: bool = False) -> bool:
    """Return whether a text is one JSON value, or ``too_deep`` where it is nested too deep."""
    try:
        _check(text)
    except ValueError:
        return False
    except RecursionError:
        return too_deep
    return True


def member_type(text: str) -> str | None:
    """Return the string in ``type``, where a text is a JSON object that has one."""
    try:
        return _typed(text).type
    except (ValueError, RecursionError):
        return None
