"""Tell an event stream from all else that a server may answer.

What it knows: the statuses and headers that the HTML standard wants, and which others pass.
What it must never know: when to try again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import trio

from trio_mix._http import parse_retry_after
from trio_mix._redact import Redactor
from trio_mix.errors import (
    MixDefaultError,
    ProtocolError,
    RequestInfo,
    StreamClosed,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_mix._http import ResponseStream

__all__ = ["StreamRefused", "check_answer"]

_RETRIED = (408, 425, 429)
_ERROR_BODY_LIMIT = 64 * 1024
_ERROR_BODY_TIME = 5.0
_EXCERPT = 200


class StreamRefused(Exception):
    """The server will not stream just now, but may do so later.

    Attributes:
      answer: what it said.
      retry_after: the seconds that it asked for, or `None`.
    """

    def __init__(self, answer: MixDefaultError, retry_after: float | None) -> None:
        super().__init__(str(answer))
        self.answer = answer
        self.retry_after = retry_after


async def check_answer(
    stream: ResponseStream,
    *,
    method: str,
    secrets: Iterable[str],
    session_id: str,
    wall_clock: Callable[[], float] = time.time,
) -> None:
    """Return if the response is an event stream, raise if not; the caller closes it.

    Args:
      stream: the response.
      method: the request's method, for messages.
      secrets: what was sent and must not come back in an error, should the server repeat it.
      session_id: for messages.
      wall_clock: the time of day, against which a ``Retry-After`` date counts.

    Raises:
      StreamRefused: it is worth trying again.
      StreamClosed: 204, the server's way to end a stream for good.
      ProtocolError: a success that is no event stream.
      MixDefaultError: a status that is not retried.
    """
    status = stream.status_code
    if status == 204:
        raise StreamClosed(
            f"The server has ended the event stream {stream.url} for good: HTTP 204, which asks"
            " clients not to connect again.",
            url=stream.url,
            session_id=session_id,
        )
    redactor = Redactor([*secrets, *stream.secrets])
    if 200 <= status < 300:
        problem = _no_event_stream(stream)
        if problem is None:
            return  # noqa: ASYNC910 - the response was just awaited
        # The body of a wrong answer may never end: what is there at once is enough.
        body = redactor.text(await _body(stream, _EXCERPT * 4, 0.5)).strip()
        said = f", and the body begins with {body[:_EXCERPT]!r}" if _is_text(body) else ""
        raise ProtocolError(
            f"{stream.url} is no event stream: {problem}{said}. Check the URL.",
            url=stream.url,
            session_id=session_id,
        )
    answer = MixDefaultError(
        status_code=status,
        headers=redactor.headers(stream.headers),
        body=redactor.text(await _body(stream, _ERROR_BODY_LIMIT, _ERROR_BODY_TIME)),
        request=RequestInfo(method, stream.url),
    )
    if status in _RETRIED or status >= 500:
        raise StreamRefused(
            answer, parse_retry_after(stream.headers.get("retry-after"), now=wall_clock())
        )
    raise answer


def _no_event_stream(stream: ResponseStream) -> str | None:
    if stream.status_code != 200:
        return f"it was answered HTTP {stream.status_code} instead of 200"
    content_type = stream.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "text/event-stream":
        named = f"is {content_type!r}" if content_type else "is missing"
        return f"its content type {named}, not 'text/event-stream'"
    encoding = stream.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("identity", ""):
        return f"it is compressed ({encoding!r}) although this was asked not to be"
    return None


async def _body(stream: ResponseStream, limit: int, seconds: float) -> str:
    """Read the beginning of a body, as far as it comes in time and unbroken."""
    body = b""
    with trio.move_on_after(seconds):  # noqa: ASYNC912 - it reads
        try:
            while len(body) < limit:
                piece = await stream.receive()
                if not piece:
                    break
                body += piece
        except TransportError:
            pass
    return body[:limit].decode("utf-8", "replace")  # noqa: ASYNC910 - it has read, or failed to


def _is_text(body: str) -> bool:
    return bool(body) and "\ufffd" not in body and "\0" not in body
