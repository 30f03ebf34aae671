"""The exceptions of requests: error responses, and requests without a complete response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._record import Record
from trio_mix.errors._base import TrioMixError, beginning

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXCERPT = 300


def _excerpt(text: str) -> str:
    return beginning(" ".join(text.split()), _EXCERPT)


@attrs.frozen(eq=False, repr=False)
class RequestInfo(Record):
    """A request, without its headers and body, which may contain credentials."""

    method: str
    """The HTTP method, in upper case."""
    url: str
    """The absolute URL, without user name and password."""
    operation: str = ""
    """The operation's name, such as ``sessions.create``; empty outside the Mix API."""

    def __str__(self) -> str:
        request = f"{self.method} {self.url}"
        return f"{self.operation} ({request})" if self.operation else request


@attrs.frozen(eq=False, repr=False)
class RESTError(Record):
    """The ``error`` object of the API's error responses (OpenAPI schema ``RESTError``)."""

    code: int
    """The HTTP status code, as the body repeats it."""
    message: str
    """The server's description of the error."""
    type: str = ""
    """The type of the error, such as ``not_found``; unknown types are kept as text."""


class MixError(TrioMixError):
    """The server responded with an error, or with a body that does not match the API.

    Attributes:
      status_code: the HTTP status code of the response.
      headers: the headers of the response, with names in lower case.
      body: the body of the response as text, truncated at the body limit.
      request: the request.
    """

    def __init__(
        self,
        message: str,
        *,
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
    ) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.headers: dict[str, str] = dict(headers)
        self.body = body
        self.request = request


class ErrorResponse(MixError):
    """The server refused an operation with the API's error body (OpenAPI ``ErrorResponse``).

    What to do: Read ``error``. A 404 means a wrong id, a 401 or 403 wrong credentials. Requests
    that are safe to repeat were already retried after a 5xx, for as long as `RetryConfig` allows.

    Attributes:
      error: code, message and type, as the server returned them.
    """

    def __init__(
        self,
        *,
        error: RESTError,
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
        remedy: str = "",
    ) -> None:
        self.error = error
        reason = f"{error.type}: {error.message}" if error.type else error.message
        text = f"{request} was refused with HTTP {status_code}: {_excerpt(reason)}"
        super().__init__(
            f"{text}. {remedy or _remedy(status_code)}",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


class MixDefaultError(MixError):
    """A 4xx, a 5xx, or a redirect that is not followed, without the API's error body.

    What to do: Look at ``body``: it often shows that a proxy responded. Requests that are safe to
    repeat were already retried after a 5xx. A 404 or 405 can mean that the server is too old for
    the operation.
    """

    def __init__(
        self,
        *,
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
        remedy: str = "",
    ) -> None:
        content = f" with {_excerpt(body)!r}" if body.strip() else ""
        super().__init__(
            f"{request} returned HTTP {status_code}{content}. {remedy or _remedy(status_code)}",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


class NoSuchOperation(MixDefaultError):
    """The server does not have the operation, or not with this argument: nothing was done.

    What to do: Leave out the argument that the text names, or use a newer server.

    The server is one of the oldest, which have JSON-RPC instead of REST and answer whatever they do
    not have with a text and HTTP 200. ``status_code`` is 404, as on a server with REST.
    """

    def __init__(
        self,
        reason: str,
        *,
        request: RequestInfo,
        headers: Mapping[str, str] | None = None,
        body: str = "",
    ) -> None:
        MixError.__init__(
            self,
            f"{request} was not done: {reason}. Nothing has changed on the server.",
            status_code=404,
            headers=headers or {},
            body=body,
            request=request,
        )


class ResponseValidationError(MixError):
    """The status was a success, but the body does not match the operation's schema.

    What to do: Check that the URL is that of a Mix server. If it is, report a bug with ``path``
    and ``value``. If one record of a list is at fault, the other records are in ``items``.

    Attributes:
      path: the place in the body, such as ``$.createdAt`` or ``$[3].id``.
      value: the value at that place; ``None`` for a missing field.
      items: if the place is in a list, the records of that list that are valid, in their order: of
        ``$[3].id`` the body's own, of ``$.messages[3].id`` the messages. Else empty.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str,
        value: object,
        items: tuple[object, ...] = (),
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
        remedy: str = "",
    ) -> None:
        self.path = path
        self.value = value
        self.items = items
        shown = "" if remedy else f" (got {_excerpt(repr(value))})"
        super().__init__(
            f"{request} returned HTTP {status_code}, but at {path}: {problem}{shown}."
            f" {remedy or _items_remedy(items)}",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


class ResponseTooLarge(ResponseValidationError):
    """The body of a successful response is larger than may be held in memory.

    What to do: Read a file in pieces, with ``async with mix.files.get(...)``, or save it with
    ``mix.files.download``; or raise ``RequestOptions(max_body_size=...)``.

    Attributes:
      limit: the largest number of bytes that the body may have.
    """

    def __init__(
        self,
        limit: int,
        *,
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
    ) -> None:
        self.limit = limit
        super().__init__(
            f"the body is longer than {limit} bytes",
            path="$",
            value=None,
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
            remedy="Raise RequestOptions(max_body_size=...), or read a file in pieces.",
        )


def _items_remedy(items: tuple[object, ...]) -> str:
    if not items:
        return "Check that the URL is that of a Mix server."
    return f"The other records, {len(items)}, are in `.items`."


def _remedy(status_code: int) -> str:
    if 300 <= status_code < 400:
        return "The redirect was not followed: use the final URL as server_url."
    if status_code in (401, 403):
        return "Check the credentials: store the provider's key on the server, or pass headers=."
    if status_code == 404:
        return "Check the id, and that server_url points at a Mix server."
    if status_code == 429:
        return "The server asks for fewer requests: wait, or allow more time in RetryConfig."
    if status_code >= 500:
        return "The server failed: check its log, or allow more time for retries in RetryConfig."
    return "Fix the request as the server's message describes."


class TransportError(TrioMixError):
    """No complete response was received.

    Attributes:
      request: the request.
      attempts: the number of attempts.
      sent: whether a byte of the last attempt may have reached the server.
      proxy: the proxy of the environment that the request went through, and the variable that names
        it; ``""`` for none.
    """

    def __init__(
        self,
        message: str,
        *,
        request: RequestInfo,
        attempts: int = 1,
        sent: bool = False,
        proxy: str = "",
    ) -> None:
        super().__init__(message)
        self.request = request
        self.attempts = attempts
        self.sent = sent
        self.proxy = proxy


class ConnectionFailed(TransportError):
    """The connection was refused, reset, or closed before the response was complete.

    What to do: Check that the server is running and the address is right. If ``sent`` is false,
    nothing was sent, and any call can safely be repeated.
    """

    def __init__(
        self,
        reason: str,
        *,
        request: RequestInfo,
        attempts: int = 1,
        sent: bool = False,
        proxy: str = "",
    ) -> None:
        tried = f" (tried {attempts} times)" if attempts > 1 else ""
        remedy = proxy_remedy(proxy) or "Check that a Mix server is running at that address."
        super().__init__(
            f"{request} failed: {_excerpt(reason)}{tried}. {remedy}",
            request=request,
            attempts=attempts,
            sent=sent,
            proxy=proxy,
        )
        self.reason = reason


class RequestTimeout(TransportError):
    """The server did not respond in time.

    What to do: Allow more time with the argument that the text names, or find out why the server
    is slow. If ``sent`` is true, the server may have executed the request: check before you
    repeat it.
    """

    def __init__(
        self,
        reason: str,
        *,
        request: RequestInfo,
        attempts: int = 1,
        sent: bool = False,
        remedy: str = "",
        proxy: str = "",
    ) -> None:
        tried = f" (tried {attempts} times)" if attempts > 1 else ""
        remedy = remedy or proxy_remedy(proxy)
        remedy = remedy or "Raise RequestOptions(timeout=...) if the server is slow but healthy."
        super().__init__(
            f"{request} timed out: {_excerpt(reason)}{tried}. {remedy}",
            request=request,
            attempts=attempts,
            sent=sent,
            proxy=proxy,
        )
        self.reason = reason


def proxy_remedy(proxy: str) -> str:
    """Return what to do where a proxy of the environment, if any, may be the cause."""
    if not proxy:
        return ""
    return f"The request went through the proxy {proxy}: check it, or add the host to NO_PROXY."
