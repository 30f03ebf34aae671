"""Send requests through a caller's httpx or httpx2 client, and clean up after it.

The rules:

1. A body that is left early, of a request or of a response, is unwound frame by frame, in order, so
   that neither a socket nor a generator is left for the garbage collector (httpx#3777).
2. A read that was cancelled has broken the body: the next read is an error, not an end.
3. Of the client's timeouts only the one for a free connection of its pool applies.
4. Each read is a cancellation point, and every 64th read is a full checkpoint, also if the client
   has the bytes in memory.
5. The credentials that the client adds are recorded, so that they can be masked if the server
   repeats them.
6. A request without the client's defaults carries none of its headers, cookies and authentication:
   it goes to another server than the client is meant for.
"""

from __future__ import annotations

import contextlib
import functools
import re
import sys
from typing import TYPE_CHECKING, Any

import trio

from trio_mix._http._body_pieces import BodyPieces
from trio_mix._http._cookies import header_secrets
from trio_mix._http._errors import DisconnectedError
from trio_mix._lifetime import one_cancellation

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Container,
        Mapping,
        MutableMapping,
    )
    from typing import Self

    from trio_mix._http._protocols import (
        ClientResponse,
        Content,
        HttpClient,
        HttpRequest,
        RequestProgress,
    )

CLOSE_TIMEOUT = 2.0
MOST_DROPPED = 2**20
MOST_PIECES_DROPPED = 20_000
READS_BETWEEN_CHECKPOINTS = 64
_NEEDED = frozenset(
    ("accept", "accept-encoding", "connection", "content-length", "host", "transfer-encoding")
)
_SECRET = re.compile("auth|cookie|key|token|secret|passw|credential|session|sign", re.IGNORECASE)


def _remove_defaults(built: MutableMapping[str, str], given: Container[str]) -> None:
    """Remove the headers that the client has added, except those that HTTP needs."""
    for name in [each.lower() for each in built]:
        if name not in given and name not in _NEEDED:
            del built[name]


def _pool_timeout(client: HttpClient) -> float | None:
    """Return how long the client lets a request wait for a free connection, in seconds."""
    limit = getattr(getattr(client, "timeout", None), "pool", None)
    return limit if isinstance(limit, int | float) else None


def _credentials(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of headers that may hold credentials, including the client's own."""
    return header_secrets({name: text for name, text in headers.items() if _SECRET.search(name)})


class Tracer:
    """Follow a request through the ``trace`` extension of httpcore and httpcore2."""

    def __init__(self, progress: RequestProgress) -> None:
        self.progress = progress
        self.called = False  # some transports do not support tracing

    async def __call__(self, name: str, info: dict[str, Any]) -> None:  # noqa: ASYNC910 - a hook that the client calls during its own work
        """Note one step by its name, as ``http11.send_request_headers.started``."""
        del info
        self.called = True
        if name.endswith("send_request_headers.started"):
            self.progress.sending()
        elif name.endswith("send_request_body.complete"):
            self.progress.body_sent()


class _ReadBody:
    """Iterate a body that has been read already."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content  # noqa: ASYNC910 - `ExternalResponse.receive` is a checkpoint


@functools.cache
def _stream_class(library: str) -> type[Any]:
    """Return a class of request bodies for httpx or httpx2.

    The library's own are asynchronous generators, which a cancelled request leaves to the garbage
    collector (rule 1).
    """

    class RequestStream(sys.modules[library].AsyncByteStream):  # type: ignore[misc]
        def __init__(self, body: Content) -> None:
            self._body = body

        def __aiter__(self) -> AsyncIterator[bytes]:
            body = self._body
            return (
                _ReadBody(body or b"") if body is None or isinstance(body, bytes) else aiter(body)
            )

    return RequestStream


def _request_stream(built: Any, body: Content) -> Any:
    library = type(built).__module__.partition(".")[0]
    return _stream_class(library)(body) if library in ("httpx", "httpx2") else built.stream


async def _close(  # noqa: ASYNC910 - what is closed is a checkpoint
    response: ClientResponse | None, on_close: Callable[[], Awaitable[None]] | None
) -> None:
    """Close a response, and what is closed with it; shielded and bounded in time."""
    with (
        trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT),  # noqa: ASYNC912 - as above
        contextlib.suppress(Exception),
    ):
        if response is not None:
            await response.aclose()
        if on_close is not None:
            await on_close()


class ExternalResponse:
    """A response of a caller's client, with its body still to be read."""

    def __init__(
        self, response: ClientResponse, on_close: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.status_code = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        get_list = getattr(response.headers, "get_list", None)
        self.set_cookies: list[str] = [] if get_list is None else get_list("set-cookie")
        self._response = response
        self._on_close = on_close
        # A hook of the client may have read the body; some transports return a body that is read.
        # The client has decoded it then.
        consumed = response.is_stream_consumed
        if consumed:
            self.headers.pop("content-encoding", None)
        body = _ReadBody(response.content) if consumed else response.aiter_raw()
        self._body: AsyncIterator[bytes] = body
        self._broken = False
        self._ended = False
        self._closed = False
        self._reads = 0

    @classmethod
    async def start(
        cls,
        client: HttpClient,
        request: HttpRequest,
        tracer: Tracer,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> ExternalResponse:
        """Send a request and read the head of its response.

        Args:
          client: the client to send it with.
          request: the request.
          tracer: follows the progress.
          on_close: awaited when the response is closed, or if there is none.
        """
        fields = {name.lower(): (name, value) for name, value in request.headers.items()}
        fields.setdefault("accept-encoding", ("Accept-Encoding", "identity"))
        if "%" in request.target.host:  # the client would send the zone of the address
            fields.setdefault("host", ("Host", request.target.authority.decode("ascii")))
        body = request.body()
        if body is not None and not isinstance(body, bytes):
            body = BodyPieces(body)
        built = client.build_request(
            request.method,
            request.target.url,
            content=body,
            headers=[
                (name.encode("ascii"), value.encode("latin-1")) for name, value in fields.values()
            ],
            # The caller of this method limits the time of the whole request. The limit on waiting
            # for the pool stays: without it, a message could wait for the connection of the very
            # stream it belongs to.
            timeout=(None, None, None, _pool_timeout(client)),
            extensions={"trace": tracer},
        )
        options: dict[str, Any] = {}
        if not request.client_defaults:
            _remove_defaults(built.headers, fields)
            options["auth"] = None
        built.stream = _request_stream(built, body)
        progress = tracer.progress
        response: ClientResponse | None = None
        try:
            try:
                response = await client.send(built, stream=True, follow_redirects=False, **options)
            finally:
                if isinstance(body, BodyPieces):
                    await body.aclose()
        except BaseException as error:
            progress.added += _credentials(built.headers)
            await _close(response, on_close)
            one = one_cancellation(error)  # connecting raises a group for several addresses
            if one is error:
                raise
            raise one from None
        assert response is not None  # noqa: S101 - else an exception was raised
        progress.added += _credentials(built.headers)
        if not tracer.called:
            progress.sent = True
            progress.body_sent()
        return cls(response, on_close)

    async def receive(self, timeout: float | None) -> bytes:
        """Read the next bytes of the body, ``b""`` at its end; if cancelled, the body is broken."""
        # A client that has the bytes in memory would let no other task run (rule 4).
        if self._reads % READS_BETWEEN_CHECKPOINTS and not self._ended:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        self._reads += 1
        if self._broken or self._ended or self._closed:
            if self._ended and not self._closed:
                return b""
            raise DisconnectedError("the connection was closed because a read was cancelled")
        if timeout is None:  # without a cancel scope, which costs more than a read
            return await self._read()  # noqa: ASYNC910 - a checkpoint precedes
        with trio.move_on_after(timeout):
            return await self._read()
        raise TimeoutError

    async def _read(self) -> bytes:  # noqa: ASYNC910 - a checkpoint precedes it
        self._broken = True
        data = b""
        while not data:
            try:
                data = await anext(self._body)
            except StopAsyncIteration:
                self._ended = True
                break
        self._broken = False
        if self._ended:
            await trio.lowlevel.checkpoint()
        return data  # noqa: ASYNC910 - as above

    async def release(self) -> None:
        """Return the connection to the client."""
        await self.aclose()

    async def aclose(self) -> None:  # noqa: ASYNC910 - closing a response is a checkpoint
        """Unwind the body, and close the response; shielded and bounded in time."""
        if self._closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._closed = True
        if not self._ended:
            # In a scope that is already cancelled the innermost read raises, and the frames around
            # it are left in order. Buffered bytes are returned first, therefore the loop, which has
            # bounds for a body that never waits and so is never cancelled.
            with (
                trio.CancelScope(shield=True) as unwind,  # noqa: ASYNC912 - at least one piece is read
                contextlib.suppress(StopAsyncIteration, Exception),
            ):
                unwind.cancel(reason="the rest of the body is not needed")
                dropped = pieces = 0
                while dropped < MOST_DROPPED and pieces < MOST_PIECES_DROPPED:
                    dropped += len(await anext(self._body))
                    pieces += 1
        await _close(self._response, self._on_close)
