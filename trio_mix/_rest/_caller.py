"""Call operations: prepare the request, send it, retry it, and read the response.

Rules:

1. Arguments are checked before any I/O; what cannot work is a `ConfigurationError`.
2. A headers function is called again for each try, because tokens expire.
3. No header's value, no password of a URL and no secret argument appears in an exception, a
   ``repr`` or a log.
4. Every coroutine here is a checkpoint, also when it raises.
5. A server that answers as one without REST is called by JSON-RPC, then and from then on. If its
   router has no JSON-RPC any more, it was upgraded, and is called by REST again.
"""

from __future__ import annotations

import math
from copy import copy
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from trio_mix import _callbacks
from trio_mix._http import (
    ERROR_BODY_LIMIT,
    RETRY_CODES,
    Http,
    ReceivedResponse,
    Target,
    check_headers,
    header_secrets,
    sanitize_url,
    url_secrets,
)
from trio_mix._redact import Redactor
from trio_mix._rest._call import Call, OpenedResponse, json_bytes
from trio_mix._rest._options import RequestOptions, debug_wanted
from trio_mix._rest._responses import (
    CallResult,
    check_not_catch_all,
    from_router,
    misfit,
    read_answer,
)
from trio_mix._rest._retry import RetryPlan, renewed
from trio_mix._rest._server_url import checked_url
from trio_mix._usage import check_trio
from trio_mix._version import __version__
from trio_mix.errors import MixDefaultError, NoSuchOperation, RequestTimeout, TransportError

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trio_mix._http import RepeatableContent, ResponseStream
    from trio_mix._rest._call import CallContent
    from trio_mix._rest._jsonrpc_method import RpcMethod
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import HeadersSource, RetryConfig
    from trio_mix._rest._request_hooks import HasStatus, RequestHooks
    from trio_mix.hooks import Hooks

__all__ = ["USER_AGENT", "Caller"]

T = TypeVar("T")
A = TypeVar("A", bound="HasStatus")

_NO_OPTIONS: Final = RequestOptions()
_NO_HEADERS: Final[Mapping[str, str]] = {}
_CREATED_REMEMBERED: Final = 1000
USER_AGENT: Final = f"trio-mix/{__version__}"


class Caller:
    """Makes calls of operations for a client: address, headers, limits, retries, hooks.

    `MixCore` says what the arguments mean, and checks them.

    Attributes:
      http: makes the requests.
      timeout: how long one try may take, in seconds.
      hooks: the client's hooks, in order.
      rng: the source of the jitter of pauses.
      created_sessions: the last sessions that the client has created and not used yet.
    """

    def __init__(
        self,
        server_url: str,
        *,
        headers: HeadersSource | None,
        timeout: float | None,
        retries: RetryConfig,
        http: Http,
        hooks: Hooks | Sequence[Hooks] | None,
        rng: random.Random,
    ) -> None:
        self.http = http
        self.timeout = timeout
        self.hooks: tuple[Hooks, ...] = ()
        self._server_url = server_url
        self._headers = headers
        self._retries = retries
        self.rng = rng
        self.created_sessions: dict[str, None] = {}
        self._request_hooks: RequestHooks | None = None
        self._speaks_jsonrpc = False
        self._defaults = _NO_OPTIONS
        if hooks is not None or debug_wanted():
            self._set_hooks(hooks)

    def with_options(self, options: RequestOptions) -> Caller:
        """Return a caller with the same connections, whose calls have these options by default."""
        other = copy(self)
        other._defaults = self._merged(options)
        if options.timeout is not None:
            other.timeout = None if math.isinf(options.timeout) else options.timeout
        if options.retries is not None:
            other._retries = options.retries
        if options.server_url is not None:
            other._speaks_jsonrpc = False
            other.created_sessions = {}
        return other

    def _merged(self, options: RequestOptions | None) -> RequestOptions:
        """Return the options of one call, and for what they leave open the defaults.

        The defaults' headers may hold credentials: they are not sent to another origin.
        """
        base = self._defaults
        if options is None or options is base:
            return base
        if base is _NO_OPTIONS:
            return options
        headers: dict[str, str] = {}
        same_origin = self._origin(options.server_url or base.server_url) == self._origin(
            base.server_url
        )
        if same_origin or options.send_client_headers:
            _merge(headers, base.headers or _NO_HEADERS)
        _merge(headers, options.headers or _NO_HEADERS)
        return RequestOptions(
            timeout=options.timeout,
            retries=options.retries,
            retry_codes=base.retry_codes if options.retry_codes is None else options.retry_codes,
            headers=headers or None,
            server_url=options.server_url or base.server_url,
            send_client_headers=options.send_client_headers
            or (base.send_client_headers and same_origin),
            max_body_size=options.max_body_size or base.max_body_size,
            on_response=options.on_response or base.on_response,
        )

    def _origin(self, server_url: str | None) -> object:
        return Target.parse(server_url or self._server_url).origin

    def created(self, session_id: str) -> None:
        """Note a session that the client has created."""
        self.created_sessions[session_id] = None
        if len(self.created_sessions) > _CREATED_REMEMBERED:
            del self.created_sessions[next(iter(self.created_sessions))]

    def _set_hooks(self, hooks: Hooks | Sequence[Hooks] | None) -> None:
        from trio_mix._rest._debug_log import debug_hooks  # few clients have hooks
        from trio_mix._rest._request_hooks import check_hooks, request_hooks

        self.hooks = check_hooks(hooks) + debug_hooks()
        self._request_hooks = request_hooks(self.hooks)

    def url_for(self, path: str, options: RequestOptions | None = None) -> str:
        """Return the absolute URL of a path; it may hold a password, so it must not be shown.

        Args:
          path: begins with a slash, percent-encoded.
          options: may name another server.

        Raises:
          ConfigurationError: ``options.server_url`` cannot work.
        """
        other = self._merged(options).server_url
        return (self._server_url if other is None else checked_url(other)) + path

    def withholds(self, options: RequestOptions | None = None) -> bool:
        """Return whether the client's headers are not sent: to another origin, unless asked to."""
        options = self._merged(options)
        if options.server_url is None or options.send_client_headers:
            return False
        return self._origin(options.server_url) != self._origin(None)

    async def headers_for(self, options: RequestOptions | None = None) -> dict[str, str]:
        """Return the caller's headers for one request: the client's, then those of the options.

        The client's are not sent to another origin, unless the options ask for that.

        Raises:
          ConfigurationError: a name or a value that HTTP cannot carry; the value is not shown.
        """
        options = self._merged(options)
        source = None if self.withholds(options) else self._headers
        merged: dict[str, str] = {}
        if callable(source):
            found = await _callbacks.call(source)
            _callbacks.check_awaited(found, "the headers function")
            check_headers(found)
            _merge(merged, found)
        elif source is not None:
            _merge(merged, source)
        if options.headers is not None:
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
        """Check a call's arguments and prepare its request, without any I/O.

        Args:
          operation: the operation.
          values: the arguments by their Python names; ``None`` means not given.
          options: what differs for this call.

        Raises:
          ConfigurationError: the operation does not allow an argument.
        """
        prepared = operation.prepare(values)
        return self.call_of(operation, prepared.path, prepared.body, options, prepared.secrets)

    def call_of(
        self,
        operation: Operation[T],
        path: str,
        body: object,
        options: RequestOptions | None,
        secrets: tuple[str, ...] = (),
    ) -> Call:
        """Return the call of an operation whose path and body are encoded already.

        Args:
          operation: the operation.
          path: the path with its query, percent-encoded.
          body: the body as a JSON value, ``None`` for none.
          options: what differs for this call.
          secrets: arguments to be masked in errors.

        Raises:
          ConfigurationError: the body is no JSON value, or ``options.server_url`` cannot work.
        """
        options = self._merged(options)
        timeout = None if operation.long else self.timeout
        if options.timeout is not None:
            timeout = None if math.isinf(options.timeout) else options.timeout
        return Call(
            operation=operation,
            url=self.url_for(path, options),
            body=None if body is None else json_bytes(body, operation.name),
            secrets=secrets,
            options=options,
            withheld=self.withholds(options),
            timeout=timeout,
            retry=RetryPlan(
                config=options.retries or self._retries,
                safe=operation.retry == "safe",
                codes=RETRY_CODES if options.retry_codes is None else options.retry_codes,
                rng=self.rng,
            ),
        )

    async def call(
        self,
        operation: Operation[T],
        values: Mapping[str, object],
        options: RequestOptions | None = None,
        *,
        content: CallContent | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> CallResult[T]:
        """Call an operation, with retries, and return its value with its status and headers.

        Cancellation ends it at once; whether the server got the request is then unknown.

        Args:
          operation: the operation.
          values: the arguments by their Python names; ``None`` means not given.
          options: what differs for this call.
          content: a body that is not JSON, with its headers.
          on_sent: called each time a request's body has been written whole.

        Raises:
          ConfigurationError: an argument that cannot work; nothing was sent.
          ErrorResponse: the server refused, in the API's error shape.
          MixDefaultError: any other status that is not a success.
          ResponseValidationError: the body of a successful response is invalid.
          ConnectionFailed: no response arrived.
          RequestTimeout: no response arrived in time.
          UsageError: the caller does not run in Trio.
        """
        check_trio()
        await trio.lowlevel.checkpoint()
        own_server = options is None or options.server_url is None
        if operation.rpc is not None and self._speaks_jsonrpc and own_server:
            try:
                return await self.call_jsonrpc(operation, operation.rpc, values, options)
            except MixDefaultError as error:
                if isinstance(error, NoSuchOperation) or not from_router(error):
                    raise
            self._speaks_jsonrpc = False
        try:
            return await self.run(
                self.prepare(operation, values, options),
                lambda received: read_answer(operation, received),
                content=content,
                on_sent=on_sent,
            )
        except NoSuchOperation:
            self._speaks_jsonrpc = self._speaks_jsonrpc or own_server
            if operation.rpc is None:
                raise
        return await self.call_jsonrpc(operation, operation.rpc, values, options)

    async def call_jsonrpc(
        self,
        operation: Operation[T],
        method: RpcMethod,
        values: Mapping[str, object],
        options: RequestOptions | None,
    ) -> CallResult[T]:
        """Call an operation by JSON-RPC without asking whether the server speaks it.

        Args:
          operation: the operation.
          method: the method that the operation is in JSON-RPC.
          values: as for `call`, which documents what is raised.
          options: what differs for this call.
        """
        from trio_mix._rest._jsonrpc import RPC_PATH, read_rpc_answer, rpc_body, rpc_operation

        secrets = operation.prepare(values).secrets
        url = sanitize_url(self.url_for(RPC_PATH, options))
        body = rpc_body(operation, method, values, url)
        call = self.call_of(rpc_operation(operation), RPC_PATH, body, options, secrets)
        return await self.run(call, lambda received: read_rpc_answer(operation, method, received))

    async def run(
        self,
        call: Call,
        read: Callable[[ReceivedResponse], Awaitable[CallResult[T]]],
        *,
        content: CallContent | None = None,
        on_sent: Callable[[], None] | None = None,
    ) -> CallResult[T]:
        """Make a prepared call, with retries; `call` says what it raises.

        Args:
          call: from `prepare` or `call_of`.
          read: returns the value from a response with a status of success; the time for it counts.
          content: as for `call`.
          on_sent: as for `call`.
        """

        async def once(added: Mapping[str, str]) -> CallResult[T]:
            own = {"user-agent": USER_AGENT, "accept": "application/json"}
            if call.body is not None:
                own["content-type"] = "application/json"
            body: RepeatableContent = call.body
            if content is not None:
                own.update(content.headers)
                body = content.body if content.repeatable else content.body()
            headers, redactor = await self._headers_of(call, own, added)
            until = math.inf if call.timeout is None else trio.current_time() + call.timeout
            try:
                response = await self.http.request(
                    call.operation.method,
                    call.url,
                    headers=headers,
                    content=body,
                    client_defaults=not call.withheld,
                    timeout=call.timeout,
                    max_body=call.max_body,
                    on_sent=on_sent,
                )
            except TransportError as error:
                raise renewed(error, call.request) from error.__cause__
            received = response.received(call.request, redactor)
            await call.responded(received.status_code, received.headers)
            if not 200 <= received.status_code < 300:
                raise call.error_of(received)
            check_not_catch_all(received)
            with trio.move_on_at(until):  # a large body takes time to decode
                return await read(received)
            raise RequestTimeout(
                f"it took more than {call.timeout:g} s, decoding the response",
                request=call.request,
                sent=True,
            )

        return await call.retry.run(lambda: self.attempt(call, once))

    async def attempt(
        self,
        call: Call,
        once: Callable[[Mapping[str, str]], Awaitable[A]],
        discard: Callable[[A], Awaitable[None]] | None = None,
    ) -> A:
        """Make one try of a call, with the hooks around it.

        Args:
          call: the call.
          once: makes the try, with the headers that the hooks have added.
          discard: closes its result, which is not returned if a hook is cancelled.
        """
        if self._request_hooks is None:
            return await once(_NO_HEADERS)
        return await self._request_hooks.around(call.request, next(call.tries), once, discard)

    async def open(self, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
        """Make a call whose body is read as it arrives; return when the head has arrived.

        It is retried only until the head has arrived. The caller must close the stream.

        Args:
          call: from `prepare`.
          extra: headers that the operation itself needs.

        Raises:
          ErrorResponse: the server refused, in the API's error shape.
          MixDefaultError: any other status that is not a success.
          ConnectionFailed: no response arrived.
          RequestTimeout: no response arrived in time.
        """
        return await call.retry.run(lambda: self.open_once(call, extra))

    async def open_once(self, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
        """Make a call as `open` does, in a single try."""

        async def once(added: Mapping[str, str]) -> OpenedResponse:
            own = {"user-agent": USER_AGENT, **extra}
            headers, redactor = await self._headers_of(call, own, added)
            return await self._open(call, headers, redactor)

        async def discard(opened: OpenedResponse) -> None:
            await opened.stream.aclose()

        return await self.attempt(call, once, discard)

    async def _open(
        self, call: Call, headers: Mapping[str, str], redactor: Redactor
    ) -> OpenedResponse:
        try:
            stream = await self.http.open(
                call.operation.method,
                call.url,
                headers=headers,
                content=call.body,
                client_defaults=not call.withheld,
                connect_timeout=call.timeout,
            )
            await self.report(call, stream)
            if 200 <= stream.status_code < 300 and not stream.encoding_problem:
                return OpenedResponse(stream, call.request, redactor.and_also(stream.secrets))
            received = await _read_error(stream, call, redactor)
        except TransportError as error:
            raise renewed(error, call.request) from error.__cause__
        if received.encoding_problem and 200 <= received.status_code < 300:
            raise misfit(received, received.encoding_problem, "$", None)
        raise call.error_of(received)

    async def report(self, call: Call, stream: ResponseStream) -> None:
        """Report the head of a response, and close the response if that fails."""
        try:
            await call.responded(stream.status_code, stream.headers)
        except BaseException:
            await stream.aclose()
            raise

    async def _headers_of(
        self, call: Call, own: Mapping[str, str], added: Mapping[str, str]
    ) -> tuple[dict[str, str], Redactor]:
        """Return all headers of one try, and what masks the secrets among them.

        Later ones replace earlier ones: the operation's own, the caller's, those of the hooks.
        """
        callers = await self.headers_for(call.options)
        _merge(callers, added)
        headers = dict(own)
        _merge(headers, callers)
        check_headers(headers)
        return headers, Redactor([*header_secrets(callers), *call.secrets, *url_secrets(call.url)])


async def _read_error(stream: ResponseStream, call: Call, redactor: Redactor) -> ReceivedResponse:
    """Read a response that is no success, and close it.

    Raises:
      RequestTimeout: its body did not arrive in the time of a try.
      TransportError: the connection was lost.
    """
    try:
        with trio.move_on_after(math.inf if call.timeout is None else call.timeout):
            body, truncated = await stream.read_all(ERROR_BODY_LIMIT)
            return stream.received(body, call.request, redactor, truncated=truncated)
        raise RequestTimeout("the error's body did not come", request=call.request, sent=True)
    finally:
        await stream.aclose()


def _merge(into: dict[str, str], headers: Mapping[str, str]) -> None:
    """Merge headers; later ones replace those of the same name, in any case."""
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else name
        into[lower] = value
