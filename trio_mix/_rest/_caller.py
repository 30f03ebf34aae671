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
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import trio

from trio_mix._http import (
    DEFAULT_MAX_BODY,
    RETRY_CODES,
    Http,
    ReceivedResponse,
    header_secrets,
    received,
    sanitize_url,
    url_secrets,
)
from trio_mix._rest._call import Call, Defaults, json_bytes, merge_headers
from trio_mix._rest._options import check_options, debug_wanted
from trio_mix._rest._responses import (
    CallResult,
    check_not_catch_all,
    from_router,
    read_answer,
)
from trio_mix._rest._retry import RetryPlan, renewed
from trio_mix._usage import check_trio
from trio_mix._version import __version__
from trio_mix.errors import (
    MixDefaultError,
    NoSuchOperation,
    RequestInfo,
    RequestTimeout,
    TransportError,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from trio_mix._http import RepeatableContent, Secrets
    from trio_mix._rest._call import CallContent
    from trio_mix._rest._operation import Operation, RpcMethod
    from trio_mix._rest._options import HeadersSource, RequestOptions, RetryConfig
    from trio_mix._rest._request_hooks import HasStatus, RequestHooks
    from trio_mix.hooks import Hooks

T = TypeVar("T")
A = TypeVar("A", bound="HasStatus")

_NO_HEADERS: Final[Mapping[str, str]] = {}
_CREATED_REMEMBERED: Final = 1000
USER_AGENT: Final = f"trio-mix/{__version__}"


class Caller:
    """Makes calls of operations for a client: address, headers, limits, retries, hooks.

    `MixCore` says what the arguments mean, and checks them.

    Attributes:
      http: makes the requests.
      defaults: the address, the headers and the options of all calls.
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
        self._retries = retries
        self.rng = rng
        self.created_sessions: dict[str, None] = {}
        self._request_hooks: RequestHooks | None = None
        self._speaks_jsonrpc = False
        self.defaults: Defaults = Defaults(server_url, headers)
        if hooks is not None or debug_wanted():
            self._set_hooks(hooks)

    def with_options(self, options: RequestOptions) -> Caller:
        """Return a caller with the same connections, whose calls have these options by default."""
        other = copy(self)
        other.defaults = self.defaults.with_options(options)
        if options.timeout is not None:
            other.timeout = None if math.isinf(options.timeout) else options.timeout
        if options.retries is not None:
            other._retries = options.retries
        if options.server_url is not None:
            other._speaks_jsonrpc = False
            other.created_sessions = {}
        return other

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
        options = self.defaults.merged(options)
        timeout = None if operation.long else self.timeout
        if options.timeout is not None:
            timeout = None if math.isinf(options.timeout) else options.timeout
        url = self.defaults.url_for(path, options)
        limit = options.max_body_size
        return Call(
            operation=operation,
            url=url,
            request=RequestInfo(operation.method, sanitize_url(url), operation.name),
            body=None if body is None else json_bytes(body, operation.name),
            secrets=secrets,
            options=options,
            withheld=self.defaults.withholds(options),
            timeout=timeout,
            max_body=DEFAULT_MAX_BODY if limit is None else limit,
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
        check_options(options)
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
                partial(read_answer, operation),
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
        url = sanitize_url(self.defaults.url_for(RPC_PATH, self.defaults.merged(options)))
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
            headers, secrets = await self.headers_of(call, own, added)
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
                    info=call.request,
                )
            except TransportError as error:
                raise renewed(error, call.request) from error.__cause__
            answer = received(
                response, response.body, call.request, secrets, truncated=response.truncated
            )
            await call.responded(answer.status_code, answer.headers)
            if not 200 <= answer.status_code < 300:
                raise call.error_of(answer)
            check_not_catch_all(answer)
            with trio.move_on_at(until):  # a large body takes time to decode
                return await read(answer)
            raise RequestTimeout(
                f"it took more than {call.timeout:g} s, decoding the response",
                request=call.request,
                sent=True,
            )

        return await call.retry.run(partial(self.attempt, call, once))

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

    async def headers_of(
        self, call: Call, own: Mapping[str, str], added: Mapping[str, str]
    ) -> tuple[dict[str, str], Secrets]:
        """Return all headers of one try, and a function that returns the secrets among them.

        Later ones replace earlier ones: the operation's own, the caller's, those of the hooks.
        """
        callers = await self.defaults.headers_for(call.options, withheld=call.withheld)
        if added:
            merge_headers(callers, added)
        headers = {**own, **callers}
        return headers, lambda: (
            *header_secrets(callers),
            *call.secrets,
            *url_secrets(call.url),
        )
