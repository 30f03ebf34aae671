"""What one call of an operation sends: its own arguments, and what its client adds to each call."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from trio_mix._http import Target, check_headers
from trio_mix._rest._options import RequestOptions, ResponseHead, check_options, checked_url
from trio_mix._rest._responses import error_of
from trio_mix._usage import call, check_awaited
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator, Mapping

    from trio_mix._http import ReceivedResponse
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import HeadersSource
    from trio_mix._rest._retry import RetryPlan
    from trio_mix.errors import MixError, RequestInfo

_NO_OPTIONS: Final = RequestOptions()
_NO_HEADERS: Final[Mapping[str, str]] = {}


@attrs.frozen(eq=False, repr=False)
class Call:
    """One call of an operation, checked and ready to be made, once or several times."""

    operation: Operation[object]
    """The operation."""
    url: str = attrs.field(repr=False)
    """The absolute URL, possibly with a password."""
    request: RequestInfo
    """The request as exceptions and hooks show it."""
    body: bytes | None = attrs.field(repr=False)
    """The JSON body."""
    secrets: tuple[str, ...] = attrs.field(repr=False)
    """The secret arguments."""
    options: RequestOptions
    """The caller's options for this call."""
    withheld: bool
    """Whether the client's headers are not sent, because the call goes to another origin."""
    timeout: float | None
    """How long one try may take, in seconds."""
    max_body: float
    """How many bytes of the response's body may be held in memory."""
    retry: RetryPlan
    """Whether and how it is retried."""
    tries: Iterator[int] = attrs.field(factory=partial(itertools.count, 1), repr=False, eq=False)
    """Counts the tries for the hooks."""

    async def responded(  # noqa: ASYNC910 - the response was awaited
        self, status: int, headers: Mapping[str, str]
    ) -> None:
        """Report the head of a response to the caller's ``on_response``, if there is one."""
        if self.options.on_response is not None:
            head = ResponseHead(status=status, headers=headers)
            await call(self.options.on_response, head)

    def error_of(self, received: ReceivedResponse) -> MixError:
        """Return the exception for a response that is no success."""
        return error_of(received, self.operation, withheld=self.withheld)


class CallContent(Protocol):
    """A request body that is not JSON."""

    headers: Mapping[str, str]
    """The headers that go with it."""

    @property
    def repeatable(self) -> bool:
        """Whether `body` may be called again after some of a body was sent."""
        ...

    def body(self) -> AsyncIterable[bytes]:
        """Return the body from its beginning."""
        ...


def json_bytes(body: object, operation: str) -> bytes:
    """Return a JSON value as the body of a request.

    Raises:
      ConfigurationError: it is not a JSON value.
    """
    try:
        text = json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except UnicodeEncodeError:
        problem = "a string holds a lone surrogate, which UTF-8 cannot encode: replace it"
    except (TypeError, ValueError, RecursionError):
        problem = "the body holds what JSON cannot: use dict, list, str, int, float, bool and None"
    # Not raised in the handler: the encoder's exceptions quote the value, which may be secret.
    raise ConfigurationError(f"{operation}(...): {problem}")


class Defaults:
    """The address, the headers and the options of a client.

    Args:
      server_url: the server's address.
      headers: sent with each request, or a function that returns them.
      options: what differs for all calls.
    """

    def __init__(
        self,
        server_url: str,
        headers: HeadersSource | None,
        options: RequestOptions = _NO_OPTIONS,
    ) -> None:
        self._server_url = server_url
        self._headers = headers
        self._options = options

    def with_options(self, options: RequestOptions) -> Defaults:
        """Return defaults with these options for what a call leaves open."""
        return Defaults(self._server_url, self._headers, self.merged(options))

    def merged(self, options: RequestOptions | None) -> RequestOptions:
        """Return the options of one call, and for what they leave open the defaults.

        The defaults' headers may hold credentials: they are not sent to another origin.
        """
        base = self._options
        if options is None or options is base:
            return base
        check_options(options)
        if base is _NO_OPTIONS:
            return options
        headers: dict[str, str] = {}
        same_origin = self._origin(options.server_url or base.server_url) == self._origin(
            base.server_url
        )
        if same_origin or options.send_client_headers:
            merge_headers(headers, base.headers or _NO_HEADERS)
        merge_headers(headers, options.headers or _NO_HEADERS)
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

    def url_for(self, path: str, options: RequestOptions | None = None) -> str:
        """Return the absolute URL of a path; it may hold a password, so it must not be shown.

        Args:
          path: begins with a slash, percent-encoded.
          options: those of the call, from `merged`; None: the defaults.

        Raises:
          ConfigurationError: ``options.server_url`` cannot work.
        """
        other = (options or self._options).server_url
        return (self._server_url if other is None else checked_url(other)) + path

    def withholds(self, options: RequestOptions | None = None) -> bool:
        """Return whether the client's headers are not sent: to another origin, unless asked to.

        Args:
          options: those of the call, from `merged`; None: the defaults.
        """
        options = options or self._options
        if options.server_url is None or options.send_client_headers:
            return False
        return self._origin(options.server_url) != self._origin(None)

    async def headers_for(
        self, options: RequestOptions | None = None, *, withheld: bool | None = None
    ) -> dict[str, str]:
        """Return the caller's headers for one request: the client's, then those of the options.

        The client's are not sent to another origin, unless the options ask for that.

        Args:
          options: those of the call, from `merged`; None: the defaults.
          withheld: what `withholds` has returned for them, if it was called.

        Raises:
          ConfigurationError: a name or a value that HTTP cannot carry; the value is not shown.
        """
        options = options or self._options
        if withheld is None:
            withheld = self.withholds(options)
        source = None if withheld else self._headers
        merged: dict[str, str] = {}
        if callable(source):
            found = await call(source)
            check_awaited(found, "the headers function")
            check_headers(found)
            merge_headers(merged, found)
        elif source is not None:
            merge_headers(merged, source)
        if options.headers is not None:
            merge_headers(merged, options.headers)
        await trio.lowlevel.checkpoint()
        return merged


def merge_headers(into: dict[str, str], headers: Mapping[str, str]) -> None:
    """Merge headers; later ones replace those of the same name, in any case."""
    for name, value in headers.items():
        lower = name.lower() if isinstance(name, str) else name
        into[lower] = value
