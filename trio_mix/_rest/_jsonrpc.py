"""Calls of operations by JSON-RPC, which the oldest servers have instead of REST.

Rules:

1. An argument that JSON-RPC lacks is never left out silently, unless it is false or empty.
2. Every response has the status 200. The status of the exception for an error is the one that REST
   has for it: 404 for an unknown method and for what does not exist, 400 for anything else that the
   request is to blame for, 500 for a failure inside the server.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
import trio

from trio_mix._rest._responses import read_answer
from trio_mix.errors import ErrorResponse, NoSuchOperation, RequestInfo, RESTError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._http import ReceivedResponse
    from trio_mix._rest._operation import Operation, RpcMethod
    from trio_mix._rest._responses import CallResult
    from trio_mix.errors import MixError

T = TypeVar("T")

RPC_PATH: Final = "/rpc"

_ROWS_BETWEEN_CHECKPOINTS: Final = 1000

_NO_SUCH_METHOD: Final = -32601
_STATUSES: Final = {-32700: 400, -32602: 400, -32603: 500}
_NOT_FOUND: Final = ("no rows in result set", "not found")
_TYPES: Final = {400: "bad_request", 404: "not_found", 500: "internal_error"}
_REMEDIES: Final = {
    400: "Fix the request as the server's message describes",
    404: "Check the id",
    500: "The server failed: check its log",
}


def rpc_operation(operation: Operation[T]) -> Operation[T]:
    """Return the operation with the HTTP method and the path of JSON-RPC."""
    return attrs.evolve(operation, method="POST", path=RPC_PATH)


def rpc_body(
    operation: Operation[object], method: RpcMethod, values: Mapping[str, object], url: str
) -> dict[str, object]:
    """Return the body of a request.

    Args:
      operation: the operation.
      method: its method in JSON-RPC.
      values: the arguments by their Python names, checked already.
      url: the URL as it may be shown.

    Raises:
      NoSuchOperation: JSON-RPC does not have an argument (rule 1).
    """
    params: dict[str, object] = {}
    for param in operation.params:
        value = values.get(param.name)
        if param.name in method.params:
            if value is not None:
                params[method.params[param.name]] = param.check(value, operation.name)
        elif value and value != (fixed := method.fixed.get(param.name)):
            wanted = "left out" if fixed is None else repr(fixed)
            raise NoSuchOperation(
                f"{param.name} must be {wanted}, because the server has JSON-RPC instead of REST",
                request=RequestInfo("POST", url, operation.name),
            )
    if method.request is not None:
        params = method.request(params)
    return {"method": method.name, "params": params, "id": 1}


async def read_rpc_answer(
    operation: Operation[T], method: RpcMethod, received: ReceivedResponse
) -> CallResult[T]:
    """Return the value of an operation from a response of JSON-RPC.

    It is a checkpoint where the body is large.

    Raises:
      NoSuchOperation: the server does not have the method.
      ErrorResponse: the server refused.
      ResponseValidationError: the body is invalid.
    """
    return await read_answer(operation, received, partial(_result, method, received))


async def _result(method: RpcMethod, received: ReceivedResponse, answer: object) -> object:
    """Return the result as REST has it."""
    from trio_mix._wire._mismatch import Mismatch

    if not isinstance(answer, dict) or not answer.keys() & {"result", "error", "id"}:
        raise Mismatch("expected a response of JSON-RPC", "$", answer)
    error, result = answer.get("error"), answer.get("result")
    if error is not None:
        if not isinstance(error, dict) or not isinstance(error.get("message"), str):
            raise Mismatch("expected an error of JSON-RPC", "$.error", error)
        raise _error_of(error, method, received)
    if method.result is None:
        return result  # noqa: ASYNC910 - the request was a checkpoint
    if not isinstance(result, list):
        return method.result(result)  # noqa: ASYNC910 - the request was a checkpoint
    rows = []
    for number, row in enumerate(result, 1):
        rows.append(method.result(row))
        if number % _ROWS_BETWEEN_CHECKPOINTS == 0:
            await trio.lowlevel.checkpoint()
    return rows  # noqa: ASYNC910 - the request was a checkpoint


def _error_of(
    error: Mapping[str, object], method: RpcMethod, received: ReceivedResponse
) -> MixError:
    from trio_mix._json import without_surrogates

    code = error.get("code")
    message = received.redactor.text(without_surrogates(str(error["message"])))
    if code == _NO_SUCH_METHOD:
        return NoSuchOperation(
            f"the server has no method {method.name!r} in its JSON-RPC",
            request=received.request,
            headers=received.shown_headers,
            body=received.text,
        )
    status = _STATUSES.get(code, 0) if isinstance(code, int) else 0
    if not status:
        status = 404 if any(each in message for each in _NOT_FOUND) else 400
    return ErrorResponse(
        error=RESTError(code=status, message=message, type=_TYPES[status]),
        status_code=status,
        headers=received.shown_headers,
        body=received.text,
        request=received.request,
        remedy=f"{_REMEDIES[status]} (the server speaks JSON-RPC; the error's code is {code}).",
    )
