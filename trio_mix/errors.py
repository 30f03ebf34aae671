"""The exceptions that trio_mix raises.

Callers mask credentials in a text before they pass it to an exception. The tree::

    TrioMixError
    ├── ConfigurationError      an argument or environment variable is invalid
    ├── UsageError              the API was used in the wrong order
    ├── MixError                the server responded with an error
    │   ├── ErrorResponse           in the API's error format
    │   ├── ResponseValidationError a success whose body does not match the API
    │   └── MixDefaultError         any other 4xx or 5xx
    ├── TransportError          no complete response
    │   ├── ConnectionFailed
    │   └── RequestTimeout
    ├── StreamError             the stream of a session
    │   ├── StreamClosed
    │   ├── StreamAlreadyOpen
    │   ├── SessionNotFound
    │   ├── ReconnectFailed
    │   └── ProtocolError
    └── MessageError            one sent message
        ├── AgentError
        ├── MessageInterrupted
        ├── MessageRejected
        ├── MessageNotFinished
        └── ConsumerTooSlow
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from trio_mix._record import Record
from trio_mix._terminal_text import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._reply import Reply
    from trio_mix.events import ErrorEvent, RateLimitEvent

__all__ = [
    "AgentError",
    "ConfigurationError",
    "ConnectionFailed",
    "ConsumerTooSlow",
    "ErrorResponse",
    "MessageError",
    "MessageInterrupted",
    "MessageNotFinished",
    "MessageRejected",
    "MixDefaultError",
    "MixError",
    "ProtocolError",
    "RESTError",
    "ReconnectFailed",
    "RequestInfo",
    "RequestTimeout",
    "ResponseValidationError",
    "SessionNotFound",
    "StreamAlreadyOpen",
    "StreamClosed",
    "StreamError",
    "TransportError",
    "TrioMixError",
    "UsageError",
]

_EXCERPT = 300


def clone_error(error: BaseException) -> BaseException:
    """Return a copy of an exception without its traceback, so that it can be raised again."""
    clone = type(error).__new__(type(error), *error.args)
    clone.args = error.args
    clone.__dict__.update(error.__dict__)
    clone.__cause__ = error.__cause__
    return clone


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXCERPT else flat[:_EXCERPT] + "…"


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


class TrioMixError(Exception):
    """The base class of all exceptions of trio_mix.

    Its text may quote a server: in it, characters that control a terminal or are invisible are
    shown as escapes.
    """

    def __str__(self) -> str:
        return escape(super().__str__())


class ConfigurationError(TrioMixError, ValueError):
    """An argument or environment variable is invalid. Nothing was sent.

    What to do: Fix the argument or the variable that the text names.
    """


class UsageError(TrioMixError, RuntimeError):
    """The API was used in the wrong order, for example an object outside its ``async with``.

    What to do: Fix the program: the text contains the call that is needed.
    """


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


class ResponseValidationError(MixError):
    """The status was a success, but the body does not match the operation's schema.

    What to do: Check that the URL is that of a Mix server. If it is, report a bug with ``path``
    and ``value``.

    Attributes:
      path: the place in the body, such as ``$.createdAt`` or ``$[3].id``.
      value: the value at that place; ``None`` for a missing field.
    """

    def __init__(
        self,
        problem: str,
        *,
        path: str,
        value: object,
        status_code: int,
        headers: Mapping[str, str],
        body: str,
        request: RequestInfo,
    ) -> None:
        self.path = path
        self.value = value
        super().__init__(
            f"{request} returned HTTP {status_code}, but at {path}: {problem}"
            f" (got {_excerpt(repr(value))}). Check that the URL is that of a Mix server.",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


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
        remedy = _proxy_remedy(proxy) or "Check that a Mix server is running at that address."
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
        remedy = remedy or _proxy_remedy(proxy)
        remedy = remedy or "Raise RequestOptions(timeout=...) if the server is slow but healthy."
        super().__init__(
            f"{request} timed out: {_excerpt(reason)}{tried}. {remedy}",
            request=request,
            attempts=attempts,
            sent=sent,
            proxy=proxy,
        )
        self.reason = reason


def _proxy_remedy(proxy: str) -> str:
    if not proxy:
        return ""
    return f"The request went through the proxy {proxy}: check it, or add the host to NO_PROXY."


class StreamError(TrioMixError):
    """A stream ended, or could not be opened.

    Attributes:
      url: the URL of the stream, without credentials.
      session_id: the session; ``""`` for an SSE source that is not a Mix session.
    """

    def __init__(self, message: str, *, url: str = "", session_id: str = "") -> None:
        super().__init__(message)
        self.url = url
        self.session_id = session_id


class StreamClosed(StreamError):
    """The stream was used after it had been closed, or was closed while a task waited for it.

    What to do: Use the stream only inside its ``async with``; to continue later, open it again. If
    it was not closed by the program, the ``__cause__`` has the reason.
    """


class StreamAlreadyOpen(StreamError):
    """The session already has an open stream on this client.

    What to do: Pass the one stream to all tasks that need the session: any number of tasks can
    send messages on it, and each can have a subscription.
    """


class SessionNotFound(StreamError):
    """The server does not know the session.

    What to do: Create the session first, or check its id. If the session existed before, it was
    deleted or the server has lost it: create a new one.
    """


class ReconnectFailed(StreamError):
    """The stream was lost and could not be reopened within the time that its policy allows.

    What to do: Find out why the server is not available: the ``__cause__`` is the error of the last
    attempt. A daemon passes ``ReconnectPolicy(max_elapsed_time=None)`` to try forever.

    Attributes:
      attempts: the number of connection attempts since the loss.
      elapsed: seconds since the loss.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str = "",
        session_id: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.attempts = attempts
        self.elapsed = elapsed


class ProtocolError(StreamError):
    """The response is not an event stream, or an event exceeds the size limit.

    What to do: Check the address: most often it is that of a web page or a proxy. If an event is
    too large, raise ``max_event_size``.
    """


class MessageError(TrioMixError):
    """A message did not end with a complete reply.

    Attributes:
      session_id: the session.
      partial: the part of the reply that was received; ``None`` if the message was not sent.
    """

    def __init__(self, message: str, *, session_id: str = "", partial: Reply | None = None) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.partial = partial


class AgentError(MessageError):
    """The agent ended the message with an ``error`` (or ``rate_limit_error``) event.

    What to do: Read ``event``: its ``type`` shows whether credentials or load are the cause. The
    partial reply is in ``partial``. The server does not continue the message, so it can be sent
    again.

    Attributes:
      event: the event that ended the message.
    """

    def __init__(
        self,
        message: str,
        *,
        event: ErrorEvent | RateLimitEvent,
        session_id: str = "",
        partial: Reply | None = None,
    ) -> None:
        super().__init__(message, session_id=session_id, partial=partial)
        self.event = event


# `_session/_message_task.py` assembles the text; `_session/_message.py` does if the block was left.
class MessageInterrupted(MessageError):
    """The message was interrupted: its reply is incomplete, or its outcome is unknown.

    What to do: Look at ``outcome``. ``"gone"``: send the message again if it is still wanted.
    ``"unknown"``: it may have run, or may still be running, so check the session's messages first.

    Attributes:
      outcome: ``"gone"`` if the server is known to have dropped the message; ``"unknown"`` if it
        may have run, or may still be running; ``"cancelled"`` if its block was left early and the
        server was asked to cancel it.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str = "",
        partial: Reply | None = None,
        outcome: Literal["gone", "unknown", "cancelled"] = "unknown",
    ) -> None:
        super().__init__(message, session_id=session_id, partial=partial)
        self.outcome: Literal["gone", "unknown", "cancelled"] = outcome


class MessageRejected(MessageError):
    """The message was refused, by the server or by the client, and did not run.

    What to do: Fix the message as the text describes and send it again.
    """


class MessageNotFinished(MessageError):
    """The reply was requested while the message was still running.

    What to do: Iterate the message to its end, or ``await message.wait()``. The partial reply is in
    ``partial``.
    """


class ConsumerTooSlow(MessageError):
    """The message's buffer reached its limit because no task iterated the message.

    What to do: Iterate the message in a task that does nothing slow, or raise ``message_buffer``.
    Only this message failed: the stream and the other messages continue.
    """
