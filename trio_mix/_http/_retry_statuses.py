"""Which statuses may be retried: the one definition for operations and streams."""

from __future__ import annotations

from typing import Final

RETRY_CODES: Final = ("5XX", "408", "429")
"""The statuses after which an operation is retried: those of the retry extension of the OpenAPI."""

_TRANSIENT: Final = (*RETRY_CODES, "425")
_NOT_IMPLEMENTED: Final = 501


def is_transient(status_code: int, *, not_implemented: bool = True) -> bool:
    """Return whether the same request may succeed later: after 408, 425, 429 and 5xx.

    Args:
      status_code: the status of the response.
      not_implemented: whether 501 counts as well, which proxies send for their own failures.
    """
    if status_code == _NOT_IMPLEMENTED:
        return not_implemented
    return matches(status_code, _TRANSIENT)


def matches(status_code: int, codes: tuple[str, ...]) -> bool:
    """Return whether a status is among codes like ``"503"`` and ``"5XX"``."""
    return str(status_code) in codes or f"{status_code // 100}XX" in codes
