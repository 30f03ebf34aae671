"""Convert an HTTP response to the value of its operation, or to an exception.

Rules:

1. Any 2xx whose body fits the operation is a success, whatever its content type is: proxies and
   old servers mislabel JSON.
2. An HTML page, or any other text that is not JSON, where JSON or no body is expected does not
   come from the operation: `ResponseValidationError`.
3. The oldest servers answer whatever they do not have with 200 and a text: `NoSuchOperation`.
4. No exception holds more than 64 KiB of a body, nor a secret that was sent.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from types import NoneType
from typing import TYPE_CHECKING, Final, Generic, TypeVar, cast

import attrs
import trio

from trio_mix._http import ERROR_BODY_LIMIT
from trio_mix._json import NotJSON, parse, parse_leniently, without_surrogates
from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.errors import (
    ErrorResponse,
    MixDefaultError,
    MixError,
    NoSuchOperation,
    ResponseTooLarge,
    ResponseValidationError,
    RESTError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from trio_mix._http import ReceivedResponse
    from trio_mix._redact import Redactor
    from trio_mix._rest._operation import Operation
    from trio_mix.models import JsonValue

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

    def json(self) -> JsonValue:
        """Return the JSON value that the body holds.

        The numbers and texts of the body must be such that Python, files and terminals accept them.
        The whole body is parsed in one step: 16 MiB may stop other tasks for 0.1 s.

        Raises:
          ValueError: the body is not JSON.
        """
        try:
            return cast("JsonValue", parse(self.body.removeprefix(b"\xef\xbb\xbf")))
        except NotJSON as error:
            raise ValueError(f"the body is not JSON: {error}") from None


@attrs.frozen(eq=False, repr=False)
class CallResult(Generic[T]):
    """A success: the value, its status and its headers."""

    value: T
    """The decoded body."""
    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """The response's headers, names in lower case."""


_MOST_SHOWN: Final = 32
"""How many members of an array or object an exception holds; half as many inside of it."""
_EXCERPT: Final = 200
"""How many bytes of a body that is not JSON an exception holds as its value."""
_COUNTED: Final = 20
"""As how many characters a value counts in addition to its text: it may be a number."""

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
        remedy = remedy or _remedy(received.status_code, operation)
        return MixDefaultError(**received.shown(), remedy=remedy)
    return ErrorResponse(error=error, **received.shown(), remedy=remedy)


def _rest_error(received: ReceivedResponse) -> RESTError | None:
    """Read the API's error body; ``None`` for any other. The code may be missing."""
    try:
        body = parse_leniently(received.body[:ERROR_BODY_LIMIT])
    except NotJSON:
        return None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return None
    code, kind = error.get("code"), error.get("type")
    return RESTError(
        code=code if type(code) is int else received.status_code,
        message=received.redactor.text(without_surrogates(error["message"])),
        type=received.redactor.text(without_surrogates(kind)) if isinstance(kind, str) else "",
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


CATCH_ALL: Final = b"Mix HTTP JSON-RPC Server"
"""The beginning of the text with which the oldest servers answer what they do not have."""


def may_be_catch_all(headers: Mapping[str, str]) -> bool:
    """Return whether a response of this type may be that of a server without the operation."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain"


def check_not_catch_all(received: ReceivedResponse) -> None:
    """Refuse the success of a server without the operation (rule 3).

    Raises:
      NoSuchOperation: it is one.
    """
    if received.body.startswith(CATCH_ALL) and may_be_catch_all(received.headers):
        raise NoSuchOperation(
            "the server is one of the oldest, which have JSON-RPC instead of REST, and does not"
            " have this operation",
            request=received.request,
            headers=received.shown_headers,
            body=received.text,
        )


def from_router(error: MixDefaultError) -> bool:
    """Return whether an error is the plain text of a router that does not have the path."""
    kind = error.headers.get("content-type", "").partition(";")[0].strip().lower()
    return error.status_code in (404, 405) and kind in ("text/plain", "")


async def read_answer(
    operation: Operation[T],
    received: ReceivedResponse,
    unwrap: Callable[[object], Awaitable[object]] | None = None,
) -> CallResult[T]:
    """Return the value of an operation from a response with a status of success.

    It is a checkpoint where the body is large: other tasks run while it is decoded.

    Args:
      operation: the operation.
      received: the response.
      unwrap: returns the value from the JSON value of the body, if it is only a part of it.

    Raises:
      ResponseValidationError: the body is invalid.
    """
    from trio_mix._wire._mismatch import Mismatch  # loads cattrs, which streams do not need

    try:
        value = await _value(operation, received, unwrap)
    except Mismatch as error:
        mismatch = error
    else:
        return CallResult(value, received.status_code, received.headers)
    # Not raised in the handler: the mismatch holds the unmasked value.
    raise misfit(received, mismatch.problem, mismatch.path, mismatch.value, mismatch.items)


async def _in_steps(steps: Generator[None, None, T]) -> T:
    """Take steps with a checkpoint between two of them, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("T", done.value)  # noqa: ASYNC910 - the request was a checkpoint
        await trio.lowlevel.checkpoint()


async def read_response(received: ReceivedResponse) -> CallResult[Response]:
    """Return a response with a status of success whose body is not interpreted.

    Raises:
      ResponseValidationError: the body is too long to be held in memory, or is compressed.
    """
    _refuse_unreadable(received)
    response = Response(
        status=received.status_code, headers=dict(received.headers), body=received.body
    )
    return CallResult(response, received.status_code, received.headers)  # noqa: ASYNC910 - the request was a checkpoint


async def _value(
    operation: Operation[T],
    received: ReceivedResponse,
    unwrap: Callable[[object], Awaitable[object]] | None,
) -> T:
    from trio_mix._wire._large_json import Unreadable, parse_steps
    from trio_mix._wire._mismatch import Mismatch
    from trio_mix._wire._models import decode_steps, items_of

    empty = operation.result is NoneType
    if empty and unwrap is None and not received.body.strip():
        return cast("T", None)  # noqa: ASYNC910 - the request was a checkpoint
    _refuse_unreadable(received)
    try:
        value = await _in_steps(parse_steps(received.body, items_of(operation.result)))
    except NotJSON as error:
        problem = "expected no body" if empty else f"expected JSON: {error}"
    else:
        if unwrap is not None:
            value = await unwrap(value)
        return cast("T", None) if empty else await _in_steps(decode_steps(value, operation.result))
    _refuse_html(received)
    start = received.body[:_EXCERPT].decode(errors="replace")
    raise Mismatch(problem, "$", Unreadable(problem, start))


def misfit(
    received: ReceivedResponse,
    problem: str,
    path: str,
    value: object,
    items: tuple[object, ...] = (),
) -> ResponseValidationError:
    """Return the exception for a successful response whose body is invalid."""
    return ResponseValidationError(
        problem,
        path=path,
        value=_Beginning(received.redactor).of(value),
        items=items,
        **received.shown(),
    )


class _Beginning:
    """The beginning of a JSON value, with all secrets masked (rule 4)."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._room = ERROR_BODY_LIMIT

    def of(self, value: object, most: int = _MOST_SHOWN) -> object:
        """Return a value with at most so many members, with fewer inside of them."""
        from trio_mix._wire._large_json import Unreadable

        if isinstance(value, Unreadable):
            return self._text(value.text, most, truncated=True)
        if isinstance(value, str):
            return self._text(value, most)
        self._room -= _COUNTED
        if isinstance(value, list):
            some = itertools.islice(value, most)
            return [self.of(each, most // 2) for each in some if self._room > 0]
        if isinstance(value, dict):
            members = itertools.islice(value.items(), most)
            return {
                self._text(key, most): self.of(each, most // 2)
                for key, each in members
                if self._room > 0
            }
        return value

    def _text(self, text: str, most: int, *, truncated: bool = False) -> str:
        limit = max(min(2 * most**3, self._room), 0)  # less for those inside: there may be many
        shown = self._redactor.text(text[:limit], truncated=truncated or len(text) > limit)
        self._room -= len(shown) + _COUNTED
        return shown


def _refuse_unreadable(received: ReceivedResponse) -> None:
    """Refuse a body that cannot be interpreted at all."""
    if received.truncated:
        raise too_large(received, len(received.body))
    if received.encoding_problem:
        raise misfit(received, received.encoding_problem, "$", None)


def too_large(received: ReceivedResponse, limit: int) -> ResponseTooLarge:
    """Return the exception for a successful response whose body is too large."""
    return ResponseTooLarge(limit, **received.shown())


def _refuse_html(received: ReceivedResponse) -> None:
    from trio_mix._wire._large_json import Unreadable
    from trio_mix._wire._mismatch import Mismatch

    start = received.body[:_EXCERPT].lstrip()
    if "html" in received.headers.get("content-type", "").lower() or start.startswith(b"<"):
        problem = "expected a response of the Mix API, but got a web page"
        raise Mismatch(problem, "$", Unreadable(problem, start.decode("latin-1")))
