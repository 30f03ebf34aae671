"""Make a call whose response is read as it arrives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._http import ERROR_BODY_LIMIT, received
from trio_mix._rest._caller import USER_AGENT
from trio_mix._rest._responses import misfit, too_large
from trio_mix._rest._retry import renewed
from trio_mix.errors import RequestTimeout, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._http import ReceivedResponse, ResponseStream, Secrets
    from trio_mix._rest._call import Call
    from trio_mix._rest._caller import Caller
    from trio_mix.errors import RequestInfo, ResponseTooLarge


@attrs.frozen(eq=False, repr=False)
class OpenedResponse:
    """A response with a status of success, whose body is still to be read."""

    stream: ResponseStream
    """The body."""
    request: RequestInfo
    """The request that it answers."""
    secrets: Secrets = attrs.field(repr=False)
    """Returns the secrets of the request."""

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        return self.stream.status_code

    def too_large(self, limit: float) -> ResponseTooLarge:
        """Return the exception for a body that is larger than the limit."""
        return too_large(self.received(b""), int(limit))

    def received(self, beginning: bytes) -> ReceivedResponse:
        """Return the response with the beginning of its body, to show it in an error."""
        return received(self.stream, beginning, self.request, self.secrets, truncated=True)


async def open_response(caller: Caller, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
    """Make a call whose body is read as it arrives; return when the head has arrived.

    It is retried only until the head has arrived. The caller must close the stream.

    Args:
      caller: makes it.
      call: from `Caller.prepare`.
      extra: headers that the operation itself needs.

    Raises:
      ErrorResponse: the server refused, in the API's error shape.
      MixDefaultError: any other status that is not a success.
      ConnectionFailed: no response arrived.
      RequestTimeout: no response arrived in time.
    """
    return await call.retry.run(lambda: open_once(caller, call, extra))


async def open_once(caller: Caller, call: Call, extra: Mapping[str, str]) -> OpenedResponse:
    """Make a call as `open_response` does, in a single try."""

    async def once(added: Mapping[str, str]) -> OpenedResponse:
        own = {"user-agent": USER_AGENT, **extra}
        headers, secrets = await caller.headers_of(call, own, added)
        return await _open(caller, call, headers, secrets)

    async def discard(opened: OpenedResponse) -> None:
        await opened.stream.aclose()

    return await caller.attempt(call, once, discard)


async def _open(
    caller: Caller, call: Call, headers: Mapping[str, str], secrets: Secrets
) -> OpenedResponse:
    try:
        stream = await caller.http.open(
            call.operation.method,
            call.url,
            headers=headers,
            content=call.body,
            client_defaults=not call.withheld,
            connect_timeout=call.timeout,
        )
        await report_head(call, stream)
        if 200 <= stream.status_code < 300 and not stream.encoding_problem:
            return OpenedResponse(stream, call.request, secrets)
        answer = await _read_error(stream, call, secrets)
    except TransportError as error:
        raise renewed(error, call.request) from error.__cause__
    if answer.encoding_problem and 200 <= answer.status_code < 300:
        raise misfit(answer, answer.encoding_problem, "$", None)
    raise call.error_of(answer)


async def report_head(call: Call, stream: ResponseStream) -> None:
    """Report the head of a response, and close the response if that fails."""
    try:
        await call.responded(stream.status_code, stream.headers)
    except BaseException:
        await stream.aclose()
        raise


async def _read_error(stream: ResponseStream, call: Call, secrets: Secrets) -> ReceivedResponse:
    """Read a response that is no success, and close it.

    Raises:
      RequestTimeout: its body did not arrive in the time of a try.
      TransportError: the connection was lost.
    """
    try:
        with trio.move_on_after(math.inf if call.timeout is None else call.timeout):
            body, truncated = await stream.read_all(ERROR_BODY_LIMIT)
            return received(stream, body, call.request, secrets, truncated=truncated)
        raise RequestTimeout("the error's body did not come", request=call.request, sent=True)
    finally:
        await stream.aclose()
