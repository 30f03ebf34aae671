"""How a resource's method declares its operation, and how it is called.

An operation is declared once, above its method::

    @operation(
        "GET",
        "/api/sessions",
        query_param("include_subagents", "bool", generations=LATEST),
        operation_id="listSessions",
        result=list[SessionData],
        errors=(401, 500),
        retry="safe",
    )
    async def list(
        self, *, include_subagents: bool | None = None, options: RequestOptions | None = None
    ) -> list[SessionData]:
        return await self._call(Sessions.list, options, include_subagents=include_subagents)

The parts of the path in braces are arguments too, and an argument without a default is required.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast, overload

import attrs

from trio_mix._public import public
from trio_mix._rest._operation import GENERATIONS, Operation, Param

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable
    from typing import ParamSpec

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._operation import Generation, Retry, RpcMethod
    from trio_mix._rest._options import RequestOptions
    from trio_mix._rest._request import Request
    from trio_mix._rest._responses import CallResult

    P = ParamSpec("P")

T = TypeVar("T")
T_contra = TypeVar("T_contra")
F = TypeVar("F", bound="Callable[..., object]")
R = TypeVar("R", bound="Callable[..., Request[Any, Any]]")

_ATTRIBUTE: Final = "__mix_operation__"

_RETRIED: Final = {
    "safe": "retried after 408, 429 and 5XX, and if no response arrived, as `RetryConfig` says.",
    "unsent": "retried only if nothing of the request was sent, as `RetryConfig` says.",
}


@public("trio_mix.resources")
class Resource:
    """A group of the API's operations, on one client.

    Args:
      core: the client.
    """

    def __init__(self, core: MixCore) -> None:
        self._core = core
        self._caller = core._caller

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._core.server_url}>"

    async def _call(
        self,
        method: Callable[..., Awaitable[T]],
        options: RequestOptions | None,
        /,
        **values: object,
    ) -> T:
        """Call the operation of a method and return its value."""
        return (await self._answer(method, options, **values)).value

    async def _answer(
        self,
        method: Callable[..., Awaitable[T]],
        options: RequestOptions | None,
        /,
        **values: object,
    ) -> CallResult[T]:
        """Call the operation of a method and return its value with its status and headers."""
        return await self._caller.call(operation_of(method), values, options)


class _Declaration(Protocol[T]):
    """A decorator for methods whose value is of the operation's result type."""

    @overload
    def __call__(
        self, method: Callable[P, Coroutine[Any, Any, T]], /
    ) -> Callable[P, Coroutine[Any, Any, T]]: ...

    @overload
    def __call__(self, method: R, /) -> R: ...


def operation(
    http_method: str,
    path: str,
    *params: Param,
    operation_id: str,
    result: type[T],
    answers: tuple[int, ...] = (200,),
    errors: tuple[int, ...],
    retry: Retry,
    generations: tuple[Generation, ...] = GENERATIONS,
    long: bool = False,
    rpc: RpcMethod | None = None,
    name: str = "",
) -> _Declaration[T]:
    """Return a decorator that declares a method's operation, and documents it in its docstring.

    Args:
      http_method: the HTTP method.
      path: the path, with ``{name}`` where an argument goes.
      params: the other arguments, each with its place in the request.
      operation_id: the name in the OpenAPI files.
      result: the type of the method's value.
      answers: the statuses of success.
      errors: the statuses that are documented to carry an ``ErrorResponse``.
      retry: what may be retried.
      generations: the API files that have it.
      long: whether some server answers only when its work is done, so that no timeout is set.
      rpc: what it is in JSON-RPC, on servers without REST; None if these do not have it.
      name: resource and method; those of the method by default.
    """

    def declare(method: Callable[..., Any]) -> Callable[..., Any]:
        declared = Operation(
            name=name or method.__qualname__.lower(),
            operation_id=operation_id,
            method=http_method,
            path=path,
            params=tuple(_params(path, params, method)),
            result=result,
            answers=answers,
            errors=errors,
            generations=generations,
            retry=retry,
            long=long,
            rpc=rpc,
        )
        return implements(declared)(method)

    return cast("_Declaration[T]", declare)


def _params(path: str, params: tuple[Param, ...], method: Callable[..., object]) -> Iterable[Param]:
    for wire in re.findall(r"{(\w+)}", path):
        yield Param(name=wire, wire=wire, where="path", required=True)
    optional = getattr(method, "__kwdefaults__", None) or {}
    for param in params:
        yield attrs.evolve(param, required=param.name not in optional)


def implements(declared: Operation[Any]) -> Callable[[F], F]:
    """Return a decorator that attaches an operation to a method and to its docstring."""

    def attach(method: F) -> F:
        setattr(method, _ATTRIBUTE, declared)
        errors = ", ".join(str(each) for each in declared.errors)
        rpc = "" if declared.rpc is None else f", and ``{declared.rpc.name}`` of JSON-RPC"
        method.__doc__ = (
            f"{(method.__doc__ or '').rstrip()}\n\n"
            f"        On the wire: ``{declared.method} {declared.path}``;"
            f" API {', '.join(declared.generations)}{rpc}.\n"
            f"        Retries: {_RETRIED[declared.retry]}\n\n"
            "        Cancellation ends it at once; the server may have got the request.\n\n"
            "        Raises:\n"
            "          ConfigurationError: an argument cannot work; nothing was sent.\n"
            f"          ErrorResponse: the server refused; documented for {errors}.\n"
            "          NoSuchOperation: the server is one of the oldest, and does not have it.\n"
            "          MixDefaultError: any other status that is not a success.\n"
            "          ResponseValidationError: the body of a successful response is invalid.\n"
            "          ConnectionFailed: no response arrived.\n"
            "          RequestTimeout: no response arrived in time.\n"
            "        "
        )
        return method

    return attach


def operation_of(method: Callable[..., Awaitable[T]]) -> Operation[T]:
    """Return the operation that a resource's method declares."""
    return cast("Operation[T]", getattr(method, _ATTRIBUTE))
