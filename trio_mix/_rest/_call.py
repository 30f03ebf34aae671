"""One call of an operation, its body, and a response that is still to be read."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from trio_mix._callbacks import call
from trio_mix._http import DEFAULT_MAX_BODY, sanitize_url
from trio_mix._rest._options import ResponseHead
from trio_mix._rest._responses import error_of
from trio_mix.errors import ConfigurationError, RequestInfo

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator, Mapping

    from trio_mix._http import ReceivedResponse
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import RequestOptions
    from trio_mix._rest._retry import RetryPlan
    from trio_mix.errors import MixError

__all__ = ["Call", "CallContent", "json_bytes"]


@attrs.frozen(eq=False, repr=False)
class Call:
    """One call of an operation, checked and ready to be made, once or several times."""

    operation: Operation[object]
    """The operation."""
    url: str = attrs.field(repr=False)
    """The absolute URL, possibly with a password."""
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
    retry: RetryPlan
    """Whether and how it is retried."""
    tries: Iterator[int] = attrs.field(factory=partial(itertools.count, 1), repr=False, eq=False)
    """Counts the tries for the hooks."""

    @property
    def max_body(self) -> float:
        """How many bytes of the response's body may be held in memory."""
        limit = self.options.max_body_size
        return DEFAULT_MAX_BODY if limit is None else limit

    @property
    def request(self) -> RequestInfo:
        """The request as exceptions and hooks show it."""
        return RequestInfo(self.operation.method, sanitize_url(self.url), self.operation.name)

    async def responded(  # noqa: ASYNC910 - the response was awaited
        self, status: int, headers: Mapping[str, str]
    ) -> None:
        """Report the head of a response to the caller's ``on_response``, if there is one."""
        if self.options.on_response is not None:
            await call(self.options.on_response, ResponseHead(status=status, headers=headers))

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
