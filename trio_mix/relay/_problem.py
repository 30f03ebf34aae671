"""An error response in the API's own shape, as an exception."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, final

if TYPE_CHECKING:
    from collections.abc import Iterable

_TYPES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    408: "timeout",
    413: "validation_error",
    415: "validation_error",
    422: "validation_error",
    429: "rate_limit_error",
    502: "bad_gateway",
    503: "unavailable",
    504: "timeout",
}


@final
class Problem(Exception):
    """The request is answered with an error response.

    Args:
      status: the HTTP status.
      message: what failed and what to do, without secrets.
      type_: the error's type; by default the usual one of the status.
      headers: further headers of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type_: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = _TYPES.get(status, "internal_error") if type_ is None else type_
        self.headers = tuple(headers)

    @property
    def body(self) -> bytes:
        """The body of the response, as JSON."""
        error = {"code": self.status, "message": self.message, "type": self.type}
        return (json.dumps({"error": error}) + "\n").encode()
