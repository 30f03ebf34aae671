"""What an HTTP answer is, and the exception where it is no success.

What it knows: statuses, content types, the API's error body.
What it must never know: how the answer came, or the network.

Rules:

1. Any 2xx whose body fits the operation is a success, whatever its content type says: proxies and
   old servers mislabel JSON.
2. A page of HTML where JSON or nothing is due is no Mix server's: `ResponseValidationError`.
3. No exception holds more than 64 KiB of a body, nor a secret that was sent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

from trio_mix.errors import (
    ErrorResponse,
    MixDefaultError,
    MixError,
    RequestInfo,
    RESTError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._redact import Redactor
    from trio_mix._rest._operation import Operation

__all__ = ["ERROR_BODY_LIMIT", "Answer", "Received", "error_from"]

T = TypeVar("T")

ERROR_BODY_LIMIT: Final = 64 * 1024
"""How much of an error's body is read, in bytes."""


@attrs.frozen(eq=False, repr=False)
class Answer(Generic[T]):
    """A success: the value, and what came with it."""

    value: T
    """What the body became."""
    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """The response's headers, names in lower case."""


@attrs.frozen(eq=False, repr=False)
class Received:
    """What came from the server for one request."""

    status_code: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    truncated: bool
    request: RequestInfo
    redactor: Redactor = attrs.field(repr=False)

    @property
    def text(self) -> str:
        """The body as an exception may hold it (rule 3)."""
        cut = self.truncated or len(self.body) > ERROR_BODY_LIMIT
        shown = self.body[:ERROR_BODY_LIMIT].decode(errors="replace")
        return self.redactor.text(shown, truncated=cut)


def error_from(received: Received, operation: Operation[object]) -> MixError:
    """Return the exception for an answer that is no success."""
    headers = received.redactor.headers(received.headers)
    error = _rest_error(received)
    if error is None:
        return MixDefaultError(
            status_code=received.status_code,
            headers=headers,
            body=received.text,
            request=received.request,
            remedy=_remedy(received.status_code, operation),
        )
    return ErrorResponse(
        error=error,
        status_code=received.status_code,
        headers=headers,
        body=received.text,
        request=received.request,
    )


def _remedy(status_code: int, operation: Operation[object]) -> str:
    """Say what to do where the server's router, not the API, says that there is no such thing."""
    from trio_mix._rest._operation import GENERATIONS  # a client loads it with its first operation

    if status_code not in (404, 405) or operation.generations == GENERATIONS:
        return ""
    versions = ", ".join(operation.generations)
    return (
        f"The operation is part of API {versions}: system.health_check tells the server's version."
    )


def _rest_error(received: Received) -> RESTError | None:
    """Read the API's error body, or return ``None`` for any other; the code may be missing."""
    try:
        body = json.loads(received.body[:ERROR_BODY_LIMIT].decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code, kind = error.get("code"), error.get("type")
    return RESTError(
        code=code if type(code) is int else received.status_code,
        message=received.redactor.text(error["message"]),
        type=received.redactor.text(kind) if isinstance(kind, str) else "",
    )
