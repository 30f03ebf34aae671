"""Convert an HTTP response to the value of its operation, or to an exception.

Rules:

1. Any 2xx whose body fits the operation is a success, whatever its content type is: proxies and
   old servers mislabel JSON.
2. An HTML page where JSON or no body is expected does not come from a Mix server:
   `ResponseValidationError`.
3. No exception holds more than 64 KiB of a body, nor a secret that was sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from types import NoneType
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import attrs

from trio_mix._http import ERROR_BODY_LIMIT
from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.errors import (
    ErrorResponse,
    MixDefaultError,
    MixError,
    ResponseValidationError,
    RESTError,
)

if TYPE_CHECKING:
    from trio_mix._http import ReceivedResponse
    from trio_mix._rest._operation import Operation

__all__ = ["CallResult", "Response", "error_of", "misfit", "read_answer", "read_response"]

T = TypeVar("T")


@public("trio_mix")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Response(Record):
    """The response to a `MixCore.request`: a success, its body not yet interpreted."""

    status: int
    """The HTTP status, a 2xx."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """The response's headers, names in lower case."""
    body: bytes = attrs.field(repr=lambda body: f"<{len(body)} bytes>")
    """The body, whole."""

    def json(self) -> object:
        """Return the JSON value that the body holds.

        Raises:
          ValueError: the body is not JSON.
        """
        return cast("object", json.loads(self.body.decode("utf-8-sig")))


@attrs.frozen(eq=False, repr=False)
class CallResult(Generic[T]):
    """A success: the value, its status and its headers."""

    value: T
    """The decoded body."""
    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """The response's headers, names in lower case."""


_WITHHELD: Final = (
    "The client's headers were not sent, because server_url is of another origin: pass"
    " RequestOptions(headers=...) for it, or send_client_headers=True."
)


def error_of(
    received: ReceivedResponse, operation: Operation[object], *, withheld: bool = False
) -> MixError:
    """Return the exception for a response that is no success.

    Args:
      received: the response.
      operation: the operation.
      withheld: whether the client's headers were not sent.
    """
    error = _rest_error(received)
    remedy = received.remedy
    if withheld and received.status_code in (401, 403, 407):
        remedy = _WITHHELD
    if error is None:
        return MixDefaultError(
            status_code=received.status_code,
            headers=received.shown_headers,
            body=received.text,
            request=received.request,
            remedy=remedy or _remedy(received.status_code, operation),
        )
    return ErrorResponse(
        error=error,
        status_code=received.status_code,
        headers=received.shown_headers,
        body=received.text,
        request=received.request,
        remedy=remedy,
    )


def _rest_error(received: ReceivedResponse) -> RESTError | None:
    """Read the API's error body; ``None`` for any other. The code may be missing."""
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


def _remedy(status_code: int, operation: Operation[object]) -> str:
    """Return the advice if the server's router, not the API, answered 404 or 405."""
    from trio_mix._rest._operation import GENERATIONS  # a client loads it with its first operation

    if status_code not in (404, 405) or operation.generations == GENERATIONS:
        return ""
    versions = ", ".join(operation.generations)
    return (
        f"The operation is part of API {versions} only; system.health_check returns the server's"
        " version."
    )


def read_answer(operation: Operation[T], received: ReceivedResponse) -> CallResult[T]:
    """Return the value of an operation from a response with a status of success.

    Raises:
      ResponseValidationError: the body is invalid.
    """
    from trio_mix._wire._models import Mismatch  # loads cattrs, which streams do not need

    try:
        value = _value(operation, received)
    except Mismatch as error:
        mismatch = error
    else:
        return CallResult(value, received.status_code, received.headers)
    # Not raised in the handler: the mismatch holds the unmasked value.
    raise misfit(received, mismatch.problem, mismatch.path, mismatch.value)


def read_response(received: ReceivedResponse) -> CallResult[Response]:
    """Return a response with a status of success whose body is not interpreted.

    Raises:
      ResponseValidationError: the body is too long to be read whole, or is compressed.
    """
    if problem := _unreadable(received):
        raise misfit(received, problem, "$", None)
    response = Response(
        status=received.status_code, headers=dict(received.headers), body=received.body
    )
    return CallResult(response, received.status_code, received.headers)


def _value(operation: Operation[T], received: ReceivedResponse) -> T:
    from trio_mix._wire._models import Mismatch, decode, parse_json

    if operation.result is NoneType:
        _refuse_html(received)
        return cast("T", None)
    if problem := _unreadable(received):
        raise Mismatch(problem, "$", None)
    try:
        value = parse_json(received.body)
    except Mismatch:
        _refuse_html(received)
        raise
    return decode(value, operation.result)


def misfit(
    received: ReceivedResponse, problem: str, path: str, value: object
) -> ResponseValidationError:
    """Return the exception for a successful response whose body is invalid."""
    try:
        value = received.redactor.value(value)
    except RecursionError:
        value = "(nested too deep to show)"
    return ResponseValidationError(
        problem,
        path=path,
        value=value,
        status_code=received.status_code,
        headers=received.shown_headers,
        body=received.text,
        request=received.request,
    )


def _unreadable(received: ReceivedResponse) -> str:
    """Return why a body cannot be interpreted at all, ``""`` if it can."""
    if received.truncated:
        return f"the body is longer than {len(received.body)} bytes"
    return received.encoding_problem


def _refuse_html(received: ReceivedResponse) -> None:
    from trio_mix._wire._models import Mismatch

    start = received.body[:200].lstrip()
    if "html" in received.headers.get("content-type", "").lower() or start.startswith(b"<"):
        raise Mismatch(
            "expected a response of the Mix API, but got a web page", "$", start.decode("latin-1")
        )
