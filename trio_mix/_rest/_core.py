"""The bare client: an address, headers, limits, and the way from an operation to its answer.

What it knows: how a call is put together, tried again and read.
What it must never know: which operations there are, nurseries, streams beyond opening one.

Rules:

1. Arguments are checked before any I/O; what cannot work is a `ConfigurationError`.
2. Headers from a function are asked for again at each try: tokens get old.
3. No header's value, no password of a URL and no secret argument appears in an exception, a
   ``repr`` or a log.
4. Every coroutine here is a checkpoint, also when it raises.
"""

from __future__ import annotations

import inspect
import json
import math
import random
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from trio_mix._http import Http, check_headers, sanitize_url, url_secrets
from trio_mix._public import public
from trio_mix._redact import Redactor
from trio_mix._rest._call import Call, OpenedResponse, read_error
from trio_mix._rest._options import (
    DEFAULT_RETRY_CODES,
    RequestOptions,
    RetryConfig,
    check_timeout,
    debug_wanted,
)
from trio_mix._rest._responses import Answer, Received, error_from
from trio_mix._rest._retry import RetryPlan, renewed
from trio_mix._rest._server_url import base_url, checked_url
from trio_mix._version import __version__
from trio_mix.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from trio_mix._http import HttpClient
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import HeadersSource
    from trio_mix._rest._request_hooks import RequestHooks
    from trio_mix.hooks import Hooks

__all__ = ["DEFAULT_TIMEOUT", "MixCore"]

T = TypeVar("T")

DEFAULT_TIMEOUT: Final = 60.0
"""How long one try may take, in seconds."""

_DEFAULT_RETRIES: Final = RetryConfig()
_NO_OPTIONS: Final = RequestOptions()
_NOTHING: Final[Mapping[str, str]] = {}
_USER_AGENT: Final = f"trio-mix/{__version__}"


@public("trio_mix")
class MixCore:
    """A client without resources: for `trio_mix.funcs`, and the ground that `Mix` stands on.

    Use it as an async context manager, or call `aclose`.

    Args:
      server_url: the server's address, possibly with a path before the API's own; else the
        environment's ``MIX_SERVER_URL``, else ``http://localhost:8088``.
      headers: sent with each request; or a sync or async function that is asked for them at each.
      timeout: how long one try of an operation may take, in seconds; ``None`` for no limit.
        Operations that a server may answer only when its work is done have none by default.
      retries: whether and how operations that may be repeated are tried again.
      http_client: an `httpx.AsyncClient` or ``httpx2.AsyncClient`` to use for everything; it stays
        the caller's to close.
      hooks: functions to be called around requests: `Hooks`, or several of them, in order.
      rng: where the jitter of pauses comes from.

    Raises:
      ConfigurationError: an argument, or ``MIX_SERVER_URL``, that cannot work.
    """

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
        if headers is not None and not callable(headers):
            headers = dict(headers)
            check_headers(headers)
        check_timeout(timeout)
        if retries is not None and not isinstance(retries, RetryConfig):
            raise ConfigurationError(f"retries=... must be a RetryConfig, not {retries!r}")
        self._headers = headers
        self.timeout = timeout
        self.retries: RetryConfig = retries or _DEFAULT_RETRIES
        self.hooks: tuple[Hooks, ...] = ()
        self._request_hooks: RequestHooks | None = None
        if hooks is not None or debug_wanted():
            self._set_hooks(hooks)
        self._rng = rng or random.Random()
        self.http: Http = Http(http_client)

    def _set_hooks(self, hooks: Hooks | Sequence[Hooks] | None) -> None:
        from trio_mix._rest._debug_log import debug_hooks  # clients with hooks are few
        from trio_mix._rest._request_hooks import check_hooks, request_hooks

        self.hooks = check_hooks(hooks) + debug_hooks()
        self._request_hooks = request_hooks(self.hooks)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.server_url}>"

    @property
    def server_url(self) -> str:
        """The server's address, without user name and password."""
        return sanitize_url(self._server_url)

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client's connections; the caller's own ``http_client`` stays open."""
        await self.http.aclose()

    def url_for(self, path: str, options: RequestOptions | None = None) -> str:
        """Return the absolute URL of a path; it may hold a password, so it is not for showing.

        Args:
          path: begins with a slash, percent-encoded.
          options: may name another server.

        Raises:
          ConfigurationError: ``options.server_url`` cannot work.
        """
        other = options.server_url if options is not None else None
        return (self._server_url if other is None else checked_url(other)) + path

    async def headers_for(self, options: RequestOptions | None = None) -> dict[str, str]:
        """Return the caller's headers for one request: the client's, then those of the options.

        Raises:
          ConfigurationError: a name or a value that HTTP cannot carry; the value is not shown.
        """
        source = self._headers
        merged: dict[str, str] = {}
        if callable(source):
            asked = source()
            if inspect.isawaitable(asked):
                asked = await asked
            _merge(merged, asked)
        elif source is not None:
            _merge(merged, source)
        if options is not None and options.headers is not None:
            _merge(merged, options.headers)
        check_headers(merged)
        await trio.lowlevel.checkpoint()
        return merged

    def prepare(
        self,
        operation: Operation[T],
        values: Mapping[str, object],
        options: RequestOptions | None = None,
    ) -> Call:
        """Check a call's arguments and put it together, without any I/O.

        Raises:
          ConfigurationError: an argument that the operation does not allow.
        """
        options = options or _NO_OPTIONS
        prepared = operation.prepare(values)
        timeout = None if operation.long else self.timeout
        if options.timeout is not None:
            timeout = None if math.isinf(options.timeout) else options.timeout
        return Call(
            operation=operation,
            url=self.url_for(prepared.path, options),
            body=None if prepared.body is None else _json_bytes(prepared.body, operation.name),
            secrets=prepared.secrets,
            options=options,
            timeout=timeout,
            retry=RetryPlan(
                config=options.retries or self.retries,
                safe=operation.retry == "safe",
                codes=DEFAULT_RETRY_CODES if options.retry_codes is None else options.retry_codes,
                rng=self._rng,
            ),
        )

    async def request(
        self,
        operation: Operation[T],
        values: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
    ) -> T:
        """Call an operation and return its value; see `call`."""
        return (await self.call(operation, values, options)).value

    async def call(
        self,
        operation: Operation[T],
        values: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
        *,
        content: Callable[[], AsyncIterable[bytes]] | None = None,
        content_headers: Mapping[str, str] | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> Answer[T]:
        """Call an operation, with retries, and return its value and what came with it.

        Cancellation ends it at once; whether the server has got the request is then unknown.

        Args:
          operation: from `trio_mix._rest._operations`.
          values: the arguments by their Python names; ``None`` means not given.
          options: what differs for this call.
          content: makes a body that is not JSON, anew for each try.
          content_headers: the headers that go with it.
          on_sent: called each time a request's body has been written whole.

        Raises:
          ConfigurationError: an argument that cannot work; nothing was sent.
          ErrorResponse: the server refused, in the API's words.
          MixDefaultError: any other status that is not a success.
          ResponseValidationError: a success whose body does not fit.
          ConnectionFailed: no answer came.
          RequestTimeout: no answer came in time.
        """
        from trio_mix._rest._values import read_answer  # cattrs, for which streams have no use

        await trio.lowlevel.checkpoint()
        call = self.prepare(operation, values or {}, options)

        async def once(added: Mapping[str, str] = _NOTHING) -> Answer[T]:
            own = {"user-agent": _USER_AGENT, "accept": "application/json"}
            if call.body is not None:
                own["content-type"] = "application/json"
            own.update(content_headers or {})
            headers, redactor = await self._headers_of(call, own, added)
            try:
                response = await self.http.request(
                    operation.method,
                    call.url,
                    headers=headers,
                    content=call.body if content is None else content(),
                    timeout=call.timeout,
                    on_sent=on_sent,
                )
            except TransportError as error:
                raise renewed(error, call.request) from error.__cause__
            return read_answer(
                operation,
                Received(
                    response.status_code,
                    response.headers,
                    response.body,
                    response.truncated,
                    call.request,
                    redactor.and_also(response.secrets),
                ),
            )

        hooks = self._request_hooks
        if hooks is None:
            return await call.retry.run(once)
        return await call.retry.run(lambda: hooks.around(call.request, next(call.tries), once))

    async def open(self, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
        """Make a call whose answer is read piece by piece; return when its head has come.

        Only getting to the head is tried again. The stream is the caller's to close.

        Args:
          call: from `prepare`.
          extra: headers that the operation itself wants.

        Raises:
          ErrorResponse: the server refused, in the API's words.
          MixDefaultError: any other status that is not a success.
          ConnectionFailed: no answer came.
          RequestTimeout: no answer came in time.
        """
        return await call.retry.run(lambda: self.open_once(call, extra))

    async def open_once(self, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
        """Make a call as `open` does, in a single try."""

        async def once(added: Mapping[str, str] = _NOTHING) -> OpenedResponse:
            own = {"user-agent": _USER_AGENT, **extra}
            headers, redactor = await self._headers_of(call, own, added)
            return await self._open(call, headers, redactor)

        async def discard(opened: OpenedResponse) -> None:
            await opened.stream.aclose()

        if self._request_hooks is None:
            return await once()
        request, attempt = call.request, next(call.tries)
        return await self._request_hooks.around(request, attempt, once, discard)

    async def _open(
        self, call: Call, headers: Mapping[str, str], redactor: Redactor
    ) -> OpenedResponse:
        try:
            stream = await self.http.open(
                call.operation.method,
                call.url,
                headers=headers,
                content=call.body,
                connect_timeout=call.timeout,
            )
            if 200 <= stream.status_code < 300:
                return OpenedResponse(stream, call.request, redactor.and_also(stream.secrets))
            received = await read_error(stream, call, redactor.and_also(stream.secrets))
        except TransportError as error:
            raise renewed(error, call.request) from error.__cause__
        raise error_from(received, call.operation)

    async def _headers_of(
        self, call: Call, own: Mapping[str, str], added: Mapping[str, str]
    ) -> tuple[dict[str, str], Redactor]:
        """Return all headers of one try, and what masks the secrets among them.

        The later ones win: the operation's own, the caller's, those that hooks have added.
        """
        callers = await self.headers_for(call.options)
        _merge(callers, added)
        headers = dict(own)
        _merge(headers, callers)
        check_headers(headers)
        return headers, Redactor([*callers.values(), *call.secrets, *url_secrets(call.url)])


def _merge(into: dict[str, str], headers: Mapping[str, str]) -> None:
    """Put headers over others of the same names, in whatever case those are written."""
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else name
        into[lower] = value


def _json_bytes(body: Mapping[str, object], operation: str) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"{operation}(...): a text holds a lone surrogate, which UTF-8 cannot carry: replace it"
        ) from None
