"""One attempt to open an event stream: headers, request, and the check of the response.

The source of the rules is the HTML standard, section 9.2 ("Server-sent events"): a stream is a
response with status 200 and content type ``text/event-stream``; 204 asks the client not to connect
again; ``Last-Event-ID`` is encoded in UTF-8.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import attrs
import trio

from trio_mix._http import (
    ERROR_BODY_LIMIT,
    ReceivedResponse,
    check_headers,
    header_secrets,
    received,
    url_secrets,
)
from trio_mix._redact import Redactor
from trio_mix._usage import call, check_awaited
from trio_mix.errors import (
    ConfigurationError,
    MixDefaultError,
    MixError,
    ProtocolError,
    RequestInfo,
    StreamClosed,
    TransportError,
)

if TYPE_CHECKING:
    from trio_mix._http import Http, ResponseStream, Secrets

HeadersSource: TypeAlias = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
)
"""Headers, or a sync or async function that is called for them at each connection attempt."""

_STANDARD = {
    "accept": ("Accept", "text/event-stream"),
    "cache-control": ("Cache-Control", "no-cache"),
    "accept-encoding": ("Accept-Encoding", "identity"),
}
_NO_HEADERS: Mapping[str, str] = {}
_MAX_ID = 4096
_ERROR_BODY_TIME = 5.0
_EXCERPT = 200
_EXCERPT_TIME = 0.5


def error_of(received: ReceivedResponse) -> MixError:
    """Return the exception for a response that refuses the stream."""
    return MixDefaultError(**received.shown(), remedy=received.remedy)


@attrs.frozen(eq=False, repr=False)
class StreamRequest:
    """The request for one event stream, as each connection attempt sends it."""

    http: Http
    """Makes the connections."""
    url: str
    """The address; it may hold a password."""
    method: str = "GET"
    """The HTTP method."""
    headers: HeadersSource = None
    """The caller's headers, which replace the standard ones of the same name."""
    content: bytes | None = None
    """The body."""
    connect_timeout: float | None = None
    """Seconds until the head of the response must have arrived, `None` for no limit."""
    session_id: str = ""
    """The session, for errors."""
    operation: str = ""
    """The name of the API's operation, for errors."""
    client_defaults: bool = True
    """Whether the headers, cookies and authentication of a caller's client are sent too."""
    error_of: Callable[[ReceivedResponse], MixError] = error_of
    """Returns the exception for a response whose status is not a success."""


Connect: TypeAlias = Callable[[StreamRequest, Callable[[], str]], Awaitable["ResponseStream"]]
"""The type of `connect`, and of functions that call it."""


async def connect(
    request: StreamRequest,
    last_event_id: Callable[[], str],
    extra_headers: Mapping[str, str] = _NO_HEADERS,
) -> ResponseStream:
    """Send the request once and return the event stream, which the caller closes.

    If cancelled, no connection is left open.

    Args:
      request: the request.
      last_event_id: returns the id to resume after, or ``""``. Called after the headers function,
        which may take time.
      extra_headers: headers that replace the caller's of the same name.

    Raises:
      MixError: the server refused; whether another attempt may succeed depends on the status.
      StreamClosed: the server responded 204.
      ProtocolError: the response is a success, but not an event stream.
      TransportError: there was no response.
      ConfigurationError: the URL or a header is invalid.
    """
    given = await _ask(request.headers)
    for name, value in extra_headers.items():
        given[name.lower()] = value
    response = await request.http.open(
        request.method,
        request.url,
        headers=_headers(given, last_event_id()),
        content=request.content,
        client_defaults=request.client_defaults,
        connect_timeout=request.connect_timeout,
    )
    try:
        await _check(request, response, lambda: (*header_secrets(given), *url_secrets(request.url)))
    except BaseException:
        await response.aclose()
        raise
    return response


def check_last_event_id(event_id: str) -> None:
    """Refuse an id that no server can have sent.

    Raises:
      ConfigurationError: the id contains a line break or NUL.
    """
    if any(bad in event_id for bad in "\r\n\0"):
        raise ConfigurationError(
            "last_event_id contains a line break or NUL, which no server sends: pass the id of an"
            " event unchanged"
        )


def sent_id(headers: Mapping[str, str]) -> str:
    """Return the ``Last-Event-ID`` of a response: where its events start; ``""`` if absent."""
    value = headers.get("last-event-id", "")
    try:
        return value.encode("latin-1").decode()  # as `connect` encodes it
    except UnicodeError:
        return value


async def _ask(source: HeadersSource) -> dict[str, str]:
    """Return the caller's headers, names in lower case."""
    headers = await call(source) if callable(source) else source
    check_awaited(headers, "the headers function")
    if headers is None:
        return {}  # noqa: ASYNC910 - the connection attempt follows
    check_headers(headers)
    return {name.lower(): value for name, value in headers.items()}  # noqa: ASYNC910 - as above


def _headers(given: Mapping[str, str], last_event_id: str) -> dict[str, str]:
    """Return all headers to send; the given ones replace the standard ones."""
    fields = {**_STANDARD, **{name: (name, value) for name, value in given.items()}}
    if last_event_id and _fits(last_event_id):
        # The standard encodes this header in UTF-8; latin-1 carries the bytes unchanged.
        value = last_event_id.encode("utf-8", "replace").decode("latin-1")
        fields["last-event-id"] = ("Last-Event-ID", value)
    return dict(fields.values())


def _fits(event_id: str) -> bool:
    """Return whether a header can carry an id; an id that does not fit is not sent."""
    return (
        len(event_id) <= _MAX_ID
        and all(c >= " " or c == "\t" for c in event_id)
        and "\x7f" not in event_id
    )


async def _check(request: StreamRequest, response: ResponseStream, secrets: Secrets) -> None:
    """Return if the response is an event stream, else raise what `connect` documents."""
    status, problem = response.status_code, _problem_of(response)
    if problem is None:
        return  # noqa: ASYNC910 - follows the request, which is a checkpoint
    url = Redactor(secrets).text(response.url)  # a redirect may repeat a secret in it
    info = RequestInfo(request.method, url, request.operation)
    if status == 204:
        raise StreamClosed(
            f"{info} was answered HTTP 204: the server has ended the event stream and asks clients"
            " not to connect again.",
            url=url,
            session_id=request.session_id,
        )
    if not 200 <= status < 300:
        raise request.error_of(
            await _receive(response, ERROR_BODY_LIMIT, _ERROR_BODY_TIME, info, secrets)
        )
    # The body of a wrong response may never end: only its beginning is waited for.
    answer = await _receive(response, _EXCERPT * 4, _EXCERPT_TIME, info, secrets)
    text = "" if answer.encoding_problem else answer.text.strip()
    shown = f", and the body begins with {text[:_EXCERPT]!r}" if _is_text(text) else ""
    raise ProtocolError(
        f"{info} did not return an event stream: {answer.redactor.text(problem)}{shown}."
        " Check the URL.",
        url=url,
        session_id=request.session_id,
    )


def _problem_of(response: ResponseStream) -> str | None:
    """Return why a successful response is not an event stream, or `None` if it is one."""
    if response.status_code != 200:
        return f"the status is HTTP {response.status_code} instead of 200"
    content_type = response.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        named = f"is {content_type!r}" if content_type else "is missing"
        return f"the content type {named} instead of 'text/event-stream'"
    return response.encoding_problem or None


async def _receive(
    response: ResponseStream, limit: int, seconds: float, info: RequestInfo, secrets: Secrets
) -> ReceivedResponse:
    """Read the beginning of the body, as much as arrives in time."""
    body = b""
    truncated = True
    with trio.move_on_after(seconds):  # noqa: ASYNC912 - it reads
        try:
            while truncated and len(body) < limit:
                piece = await response.receive()
                body += piece
                truncated = bool(piece)
        except TransportError:
            pass
    return received(response, body[:limit], info, secrets, truncated=truncated)  # noqa: ASYNC910 - a read precedes


def _is_text(body: str) -> bool:
    return bool(body) and "\ufffd" not in body and "\0" not in body
