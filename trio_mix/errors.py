"""Every exception that trio_mix raises.

What it knows: who is at fault, what was tried, against which URL and session, what to do next.
What it must never know: how to perform I/O; what a credential is (callers mask texts first).

The tree::

    TrioMixError
    ├── ConfigurationError      the caller's arguments cannot work
    ├── UsageError              the API was used in the wrong order
    ├── MixError                the server answered, and the answer is an error
    │   ├── ErrorResponse           in the API's own error shape
    │   ├── ResponseValidationError a success whose body does not fit
    │   └── MixDefaultError         any other 4xx or 5xx
    ├── TransportError          no answer
    │   ├── ConnectionFailed
    │   └── RequestTimeout
    ├── StreamError             the session's stream
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

from typing import TYPE_CHECKING

import attrs

from trio_mix._record import Record

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
    """Return an equal exception with no traceback, for another task to see raised."""
    twin = type(error).__new__(type(error), *error.args)
    twin.args = error.args
    twin.__dict__.update(error.__dict__)
    twin.__cause__ = error.__cause__
    return twin


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= _EXCERPT else flat[:_EXCERPT] + "…"


@attrs.frozen(eq=False, repr=False)
class RequestInfo(Record):
    """What was asked of the server, without headers or body, which may hold credentials."""

    method: str
    """The HTTP method, in upper case."""
    url: str
    """The absolute URL, without user name and password."""
    operation: str = ""
    """The operation's name, as ``sessions.create``, or empty outside the Mix API."""

    def __str__(self) -> str:
        asked = f"{self.method} {self.url}"
        return f"{self.operation} ({asked})" if self.operation else asked


@attrs.frozen(eq=False, repr=False)
class RESTError(Record):
    """The ``error`` object of the API's error answers (OpenAPI schema ``RESTError``)."""

    code: int
    """The HTTP status code as the body repeats it."""
    message: str
    """What the server says went wrong."""
    type: str = ""
    """The error's class, as ``not_found``; unknown ones are kept as text."""


class TrioMixError(Exception):
    """The root of every exception that trio_mix raises on purpose."""


class ConfigurationError(TrioMixError, ValueError):
    """An argument or environment variable that cannot work: the caller's to mend.

    What to do: Mend the argument or the variable that the text names, in the way that it says.
    Nothing was sent.
    """


class UsageError(TrioMixError, RuntimeError):
    """Something was used in the wrong order, as an object outside its ``async with``.

    What to do: Mend the program: the text has the lines that it should have.
    """


class MixError(TrioMixError):
    """The server answered with an error, or with something that does not fit the API.

    Attributes:
      status_code: the HTTP status.
      headers: the response's headers, names in lower case.
      body: the response's body as text, cut at the body limit.
      request: what was asked.
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
    """The server refused an operation and said why (OpenAPI schema ``ErrorResponse``).

    What to do: Read ``error``. A 404 means a wrong id, a 401 or 403 credentials; a 5xx was tried
    again already, for as long as `RetryConfig` says, where that could do no harm.

    Attributes:
      error: code, message and type, as the server gave them.
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
        said = f"{error.type}: {error.message}" if error.type else error.message
        text = f"{request} was refused with HTTP {status_code}: {_excerpt(said)}"
        super().__init__(
            f"{text}. {remedy or _remedy(status_code)}",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


class MixDefaultError(MixError):
    """A 4xx or 5xx (or a redirect that is not followed) without the API's own error body.

    What to do: Look at ``body``: it says who answered. A proxy's error page or a 5xx is the
    server's affair and was tried again where that could do no harm; a 404 or 405 on an operation
    that older servers lack calls for another server, or for doing without.
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
        said = f" with {_excerpt(body)!r}" if body.strip() else ""
        super().__init__(
            f"{request} was answered HTTP {status_code}{said}. {remedy or _remedy(status_code)}",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


class ResponseValidationError(MixError):
    """A success whose body is not what the operation promises.

    What to do: Check that the address is a Mix server's. If it is, ``path`` and ``value`` are what
    to report, to us or to the server's makers.

    Attributes:
      path: where in the body, as ``$.createdAt`` or ``$[3].id``.
      value: what stood there (``None`` for a missing field).
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
            f"{request} was answered HTTP {status_code}, but at {path}: {problem}"
            f" (got {_excerpt(repr(value))}). Check that the URL is a Mix server's.",
            status_code=status_code,
            headers=headers,
            body=body,
            request=request,
        )


def _remedy(status_code: int) -> str:
    if 300 <= status_code < 400:
        return "Redirects to another host are not followed: use the final URL as server_url."
    if status_code in (401, 403):
        return "Check the credentials: store the provider's key on the server, or pass headers=."
    if status_code == 404:
        return "Check the id, and that server_url points at a Mix server."
    if status_code == 429:
        return "The server asks for fewer requests: wait, or widen RetryConfig."
    if status_code >= 500:
        return "The server failed: look into its log; RetryConfig says how long to try again."
    return "Mend the request: the server's words say what it did not like."


class TransportError(TrioMixError):
    """No complete answer came.

    Attributes:
      request: what was asked.
      attempts: how often it was tried.
      sent: whether a byte of the last attempt may have reached the server.
    """

    def __init__(
        self, message: str, *, request: RequestInfo, attempts: int = 1, sent: bool = False
    ) -> None:
        super().__init__(message)
        self.request = request
        self.attempts = attempts
        self.sent = sent


class ConnectionFailed(TransportError):
    """The connection was refused, reset, or ended before the answer was complete.

    What to do: See whether the server runs and the address is right. If ``sent`` is false nothing
    has left, and the call may be made again whatever it was.
    """

    def __init__(
        self, reason: str, *, request: RequestInfo, attempts: int = 1, sent: bool = False
    ) -> None:
        tried = f" (tried {attempts} times)" if attempts > 1 else ""
        super().__init__(
            f"{request} failed: {_excerpt(reason)}{tried}. "
            "Check that a Mix server is running at that address.",
            request=request,
            attempts=attempts,
            sent=sent,
        )
        self.reason = reason


class RequestTimeout(TransportError):
    """The server did not answer in time.

    What to do: Allow more time, in `RequestOptions` or where the text says, or look at why the
    server is slow. If ``sent`` is true the server may have done it all the same: look before you
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
    ) -> None:
        tried = f" (tried {attempts} times)" if attempts > 1 else ""
        remedy = remedy or "Raise RequestOptions(timeout=...) if the server is slow but healthy."
        super().__init__(
            f"{request} timed out: {_excerpt(reason)}{tried}. {remedy}",
            request=request,
            attempts=attempts,
            sent=sent,
        )
        self.reason = reason


class StreamError(TrioMixError):
    """Something ended, or prevented, a stream.

    Attributes:
      url: the stream's URL, without credentials.
      session_id: the session, or ``""`` for an SSE source that is no Mix session's.
    """

    def __init__(self, message: str, *, url: str = "", session_id: str = "") -> None:
        super().__init__(message)
        self.url = url
        self.session_id = session_id


class StreamClosed(StreamError):
    """The stream was used after it had been closed, or was closed while it was waited for.

    What to do: Use the stream inside its ``async with`` only; to go on later, open it again. Where
    it was closed under you, the ``__cause__`` says why.
    """


class StreamAlreadyOpen(StreamError):
    """The session already has a stream on this client: share that one.

    What to do: Hand the one stream to all tasks that need the session: any number may send on it,
    and each may have a subscription.
    """


class SessionNotFound(StreamError):
    """The server does not know the session.

    What to do: Create the session first, or check its id; open a new one where it was in use. It
    does not come back by waiting.
    """


class ReconnectFailed(StreamError):
    """The stream was lost, and the policy's time to get it back ran out.

    What to do: See why the server is away: the ``__cause__`` is what the last try met. A daemon
    passes ``ReconnectPolicy(max_elapsed_time=None)`` and waits for ever.

    Attributes:
      attempts: connects tried since the loss.
      elapsed: seconds since the loss.

    The last attempt's failure is the ``__cause__``.
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
    """The peer does not speak SSE as it must: wrong content type, or an event over the cap.

    What to do: Check the address: it is most often a web page's, or a proxy's. If an event is too
    large, raise the cap.
    """


class MessageError(TrioMixError):
    """One sent message did not end in a complete reply.

    Attributes:
      session_id: the session.
      partial: what had come of the reply, or ``None`` if nothing could have.
    """

    def __init__(self, message: str, *, session_id: str = "", partial: Reply | None = None) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.partial = partial


class AgentError(MessageError):
    """The server's agent gave the message up with an ``error`` (or ``rate_limit_error``) event.

    What to do: Read ``event``: its ``type`` says whether it is a matter of keys or of load. What
    had come is in ``partial``. The server has not gone on with the message, so it may be sent
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


class MessageInterrupted(MessageError):
    """The message was cut: its reply is not complete, or its fate cannot be known.

    What to do: Look at ``outcome``. ``"gone"``: send it again if it is still wanted. ``"unknown"``:
    it may have run, or may still run, so look at the session's messages first.

    Attributes:
      outcome: ``"gone"`` when the server is known to have dropped it, ``"unknown"`` when the
        truth cannot be known: it may have run, or may still run.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str = "",
        partial: Reply | None = None,
        outcome: str = "unknown",
    ) -> None:
        super().__init__(message, session_id=session_id, partial=partial)
        self.outcome = outcome


class MessageRejected(MessageError):
    """The message was refused before it ran, by the server or by a rule of the client's.

    What to do: Mend the message as the text says and send it again: it did not run.
    """


class MessageNotFinished(MessageError):
    """The reply was asked for before the message was over.

    What to do: Iterate the message to its end, or ``await message.wait()``; ``partial`` has what
    there is.
    """


class ConsumerTooSlow(MessageError):
    """The message's buffer reached its hard limit because nobody iterated it.

    What to do: Iterate the message in a task that does nothing slow, or raise ``message_buffer``.
    Only this message failed: the stream and the other messages go on.
    """
