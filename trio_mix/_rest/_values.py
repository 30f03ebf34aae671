"""From an HTTP answer to the value that its operation promises.

What it knows: which bodies are taken, and where a value does not fit.
What it must never know: how the answer came, or the network.

It keeps rules 1 to 3 of `trio_mix._rest._responses`. It is a module of its own because it loads
cattrs, which a client that only streams does not need.
"""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, TypeVar, cast

from trio_mix._rest._responses import Answer, error_from
from trio_mix._wire._models import Mismatch, decode, parse_json
from trio_mix.errors import ResponseValidationError

if TYPE_CHECKING:
    from trio_mix._redact import Redactor
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._responses import Received

__all__ = ["read_answer"]

T = TypeVar("T")


def read_answer(operation: Operation[T], received: Received) -> Answer[T]:
    """Return the value that an answer carries.

    Raises:
      ErrorResponse: the server refused, in the API's words.
      MixDefaultError: any other status that is not a success.
      ResponseValidationError: a success whose body does not fit.
    """
    if not 200 <= received.status_code < 300:
        raise error_from(received, operation)
    try:
        value = _value(operation, received)
    except Mismatch as error:
        mismatch = error
    else:
        return Answer(value, received.status_code, received.headers)
    # Raised out here: the mismatch holds the value as it came, secrets included.
    raise ResponseValidationError(
        mismatch.problem,
        path=mismatch.path,
        value=_masked(mismatch.value, received.redactor),
        status_code=received.status_code,
        headers=received.redactor.headers(received.headers),
        body=received.text,
        request=received.request,
    )


def _value(operation: Operation[T], received: Received) -> T:
    if operation.result is NoneType:
        _refuse_html(received)
        return cast("T", None)
    if received.truncated:
        raise Mismatch(f"the body is longer than {len(received.body)} bytes", "$", None)
    try:
        value = parse_json(received.body)
    except Mismatch:
        _refuse_html(received)
        raise
    return decode(value, operation.result)


def _refuse_html(received: Received) -> None:
    start = received.body[:200].lstrip()
    if "html" in received.headers.get("content-type", "").lower() or start.startswith(b"<"):
        raise Mismatch(
            "expected an answer of the Mix API, but a web page came", "$", start.decode("latin-1")
        )


def _masked(value: object, redactor: Redactor) -> object:
    try:
        return redactor.value(value)
    except RecursionError:
        return "(nested too deep to show)"
