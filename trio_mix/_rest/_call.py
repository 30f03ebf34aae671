"""One call of an operation: put together, and what it has led to.

What it knows: what belongs to a call, and what is read where it failed.
What it must never know: how a call is made and tried again.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._http import sanitize_url
from trio_mix._rest._responses import ERROR_BODY_LIMIT, Received
from trio_mix.errors import RequestInfo, RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mix._http import ResponseStream
    from trio_mix._redact import Redactor
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import RequestOptions
    from trio_mix._rest._retry import RetryPlan

__all__ = ["Call", "OpenedResponse", "read_error"]


@attrs.frozen(eq=False, repr=False)
class Call:
    """One call of an operation, checked and ready to be made, once or several times."""

    operation: Operation[object]
    """What is called."""
    url: str = attrs.field(repr=False)
    """Where, possibly with a password."""
    body: bytes | None = attrs.field(repr=False)
    """The JSON body."""
    secrets: tuple[str, ...] = attrs.field(repr=False)
    """The secret arguments."""
    options: RequestOptions
    """What the caller set for this call."""
    timeout: float | None
    """How long one try may take, in seconds."""
    retry: RetryPlan
    """Whether and how it is tried again."""
    tries: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), repr=False, eq=False)
    """Counts the tries for the hooks."""

    @property
    def request(self) -> RequestInfo:
        """What exceptions say was asked."""
        return RequestInfo(self.operation.method, sanitize_url(self.url), self.operation.name)


@attrs.frozen(eq=False, repr=False)
class OpenedResponse:
    """A response whose head said success and whose body is still to be read."""

    stream: ResponseStream
    """The body."""
    request: RequestInfo
    """What was asked."""
    redactor: Redactor = attrs.field(repr=False)
    """What masks the secrets of the request."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        return self.stream.status_code


async def read_error(stream: ResponseStream, call: Call, redactor: Redactor) -> Received:
    """Return what a response says that is no success, and close it.

    Raises:
      RequestTimeout: its body did not come in the time of a try.
      TransportError: the connection was lost.
    """
    try:
        with trio.move_on_after(math.inf if call.timeout is None else call.timeout):
            body, truncated = await stream.read_all(ERROR_BODY_LIMIT)
            return Received(
                stream.status_code, stream.headers, body, truncated, call.request, redactor
            )
        raise RequestTimeout("the error's body did not come", request=call.request, sent=True)
    finally:
        await stream.aclose()
