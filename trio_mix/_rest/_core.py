"""The client without resources, which `Mix` adds to: an address, headers, limits, hooks."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import unquote

import trio

from trio_mix._http import Http, check_headers, sanitize_url
from trio_mix._public import public
from trio_mix._rest._caller import Caller
from trio_mix._rest._options import RequestOptions, RetryConfig, base_url, check_timeout
from trio_mix._rest._responses import Response, read_response
from trio_mix._usage import AsyncScope, check_callback, check_trio
from trio_mix.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from trio_mix._http import HttpClient
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import HeadersSource
    from trio_mix.hooks import Hooks

DEFAULT_TIMEOUT: Final = 60.0
"""How long one try may take, in seconds."""

QueryValue: TypeAlias = "str | int | float | bool | None"
"""A value in the query of `MixCore.request`; ``None`` is not sent."""

_DEFAULT_RETRIES: Final = RetryConfig()
_METHOD: Final = re.compile(r"[A-Z]+")
_PATH: Final = re.compile(r"/[!-~]*")
_DOT_SEGMENT: Final = re.compile(r"/\.{1,2}(?=/|$)")


@public("trio_mix")
class MixCore(AsyncScope):
    """A client without resources, for `trio_mix.funcs`; `Mix` adds resources and streams.

    Use it as an async context manager, or call `aclose`.

    Args:
      server_url: the server's address, possibly with a path before the API's own; else the
        environment's ``MIX_SERVER_URL``, else ``http://localhost:8088``.
      headers: sent with each request; or a sync or async function that returns them, called
        before each.
      timeout: how long one try of an operation may take, in seconds; ``None`` for no limit.
        Operations that a server may answer only when its work is done have none by default.
      retries: whether and how operations that may be repeated are retried.
      http_client: an `httpx.AsyncClient` or ``httpx2.AsyncClient`` to use for everything; the
        caller must close it.
      hooks: functions to be called around requests: `Hooks`, or several of them, in order.
      rng: the source of the jitter of pauses.

    Raises:
      ConfigurationError: an argument, or ``MIX_SERVER_URL``, that cannot work.
    """

    _entered_as = "async with Mix() as mix"

    def __init__(
        self,
        server_url: str | None = None,
        *,
        headers: HeadersSource | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        retries: RetryConfig | None = None,
        http_client: HttpClient | None = None,
        hooks: Hooks | Sequence[Hooks] | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._server_url = base_url(server_url)
        self._original: Self | None = None
        if callable(headers):
            check_callback(headers, "headers=...", 0)
        elif headers is not None:
            check_headers(headers)
            headers = dict(headers)
        check_timeout(timeout)
        if retries is not None and not isinstance(retries, RetryConfig):
            raise ConfigurationError(f"retries=... must be a RetryConfig, not {retries!r}")
        self._caller = Caller(
            self._server_url,
            headers=headers,
            timeout=timeout,
            retries=retries or _DEFAULT_RETRIES,
            hooks=hooks,
            rng=rng or random.Random(),
            http=Http(http_client),
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server_url}>"

    @property
    def server_url(self) -> str:
        """The server's address, without user name and password."""
        return sanitize_url(self._server_url)

    def with_options(self, options: RequestOptions) -> Self:
        """Return a client whose calls have these options unless a call has its own.

        It uses the connections of this one, and cannot be used after this one is closed; closing it
        does nothing. ``timeout`` does not concern operations that answer when their work is done,
        as the timeout of a client does not.

        Args:
          options: what differs from this client's settings; ``None`` in it leaves them.

        Raises:
          ConfigurationError: ``options`` is no `RequestOptions`.
        """
        if not isinstance(options, RequestOptions):
            raise ConfigurationError(
                f"with_options({options!r}): pass a RequestOptions, as"
                " mix.with_options(RequestOptions(timeout=5))."
            )
        other = copy(self)
        for name in list(vars(other)):
            if isinstance(getattr(type(self), name, None), cached_property):
                del other.__dict__[name]  # a resource, which holds this client's caller
        other._caller = self._caller.with_options(options)
        other._server_url = options.server_url or self._server_url
        other._original = self
        return other

    async def __aenter__(self) -> Self:
        check_trio()
        await trio.lowlevel.checkpoint()
        if self._caller.http.closed:
            raise UsageError(
                f"{self!r} is closed: a client can be entered once, so make a new one."
            )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client's connections; a caller's own ``http_client`` stays open.

        A client of `with_options` closes nothing.
        """
        check_trio()
        if self._original is not None:
            await trio.lowlevel.checkpoint()
            return
        await self._caller.http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, QueryValue | Sequence[QueryValue]] | None = None,
        options: RequestOptions | None = None,
    ) -> Response:
        """Make a request that no method of the resources makes, and return its response.

        For operations of newer servers, and for extensions. The client's headers, timeout, hooks
        and errors are those of any operation, and redirects are followed as there. A GET or HEAD
        is retried as `RetryConfig` says; another method is retried only if nothing of the request
        was sent, because the server may have done it.

        Cancellation ends it at once; whether the server got the request is then unknown.

        Args:
          method: the HTTP method, as ``"GET"``.
          path: the path under the server's address, percent-encoded, as ``"/api/sessions"``. A URL
            of another server, and segments ``.`` and ``..``, percent-encoded or not, which could
            leave the address, are refused; ``options.server_url`` names another server.
          json: the body, as values that JSON knows; ``None`` for no body.
          params: the query: strings, numbers and booleans, or lists of them; ``None`` is not sent.
          options: what differs for this request.

        Raises:
          ConfigurationError: an argument that cannot work; nothing was sent.
          ErrorResponse: the server refused, in the API's error shape.
          NoSuchOperation: the server is one of the oldest, and does not have the path.
          MixDefaultError: any other status that is not a success, as of a redirect elsewhere.
          ResponseTooLarge: the body is longer than `RequestOptions.max_body_size`.
          ConnectionFailed: no response arrived.
          RequestTimeout: no response arrived in time.
          UsageError: the client is closed, or the caller does not run in Trio.
        """
        check_trio()
        await trio.lowlevel.checkpoint()
        operation = _request_operation(method, path)
        call = self._caller.call_of(operation, path + _query(path, params), json, options)
        answer = await self._caller.run(call, read_response)
        return answer.value


def _request_operation(method: str, path: str) -> Operation[Response]:
    from trio_mix._rest._operation import Operation  # a client loads it with its first operation

    if not isinstance(method, str) or not _METHOD.fullmatch(method.upper()):
        raise ConfigurationError(f'request(method={method!r}): it must be a word as "GET"')
    if not isinstance(path, str) or not _PATH.fullmatch(path) or "#" in path:
        raise ConfigurationError(
            f"request(path={sanitize_url(str(path))!r}): it must begin with a slash, be"
            " percent-encoded and have no fragment"
        )
    if _DOT_SEGMENT.search(unquote(path.partition("?")[0])):  # as many servers resolve them
        raise ConfigurationError(
            f"request(path={sanitize_url(path)!r}): it must have no segments '.' and '..',"
            " percent-encoded or not, which could leave the server's address"
        )
    method = method.upper()
    return Operation(
        name="request",
        operation_id="",
        method=method,
        path=path,
        result=Response,
        answers=(),
        errors=(),
        retry="safe" if method in ("GET", "HEAD") else "unsent",
    )


def _query(path: str, params: Mapping[str, QueryValue | Sequence[QueryValue]] | None) -> str:
    from trio_mix._rest._operation import query_string

    if params is not None and not isinstance(params, Mapping):
        raise ConfigurationError(
            f"request(params=...): it must be a mapping, not {type(params).__name__}"
        )
    pairs: list[tuple[str, object]] = []
    for name, value in (params or {}).items():
        several = value if isinstance(value, list | tuple) else [value]
        for each in several:
            if each is not None and not isinstance(each, str | int | float):
                raise ConfigurationError(
                    f"request(params=...): {name!r} must be a string, a number, a boolean or a list"
                    f" of them, not {type(each).__name__}"
                )
        pairs += [(name, each) for each in several if each is not None]
    try:
        query = query_string(pairs)
    except UnicodeEncodeError:
        raise ConfigurationError(
            "request(params=...): a string holds a lone surrogate, which UTF-8 cannot encode"
        ) from None
    return query.replace("?", "&", 1) if "?" in path else query
