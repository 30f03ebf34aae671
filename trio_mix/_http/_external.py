"""Send requests through an httpx or httpx2 client, and clean up after it.

What it knows: how such a client is asked, how its body iterators must be unwound.
What it must never know: the client's pools and limits, which are its owner's (but see 3).

The rules it keeps:

1. A body that is left early is unwound frame by frame, in order, so that neither a socket nor a
   generator is left for the garbage collector (httpx#3777).
2. A read that was cancelled has broken the body for good: what follows is an error, not an end.
3. Of the client's timeouts one is kept, that on waiting for a free connection of its pool.
4. Each read is a point of cancellation, and every 64th lets other tasks run, also where the client
   has the bytes at hand.
4. The credentials that it adds are noted, so that they can be masked should the server repeat them.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import trio

from trio_mix._http._errors import DisconnectedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Self

    from trio_mix._http._protocols import ClientResponse, Content, HttpClient, Progress

__all__ = ["ExternalResponse", "Tracer"]

CLOSE_TIMEOUT = 2.0
READS_BETWEEN_CHECKPOINTS = 64
_SECRET = re.compile("auth|cookie|key|token|secret|passw|credential|session|sign", re.IGNORECASE)


def _pool_timeout(client: HttpClient) -> float | None:
    """Return how long the client's owner lets a request wait for a free connection."""
    limit = getattr(getattr(client, "timeout", None), "pool", None)
    return limit if isinstance(limit, int | float) else None


def _credentials(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the client's own defaults, cookies and authentication have added (rule 4)."""
    return tuple(value for name, value in headers.items() if _SECRET.search(name))


class Tracer:
    """Follow a request through the ``trace`` extension of httpcore and httpcore2."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.heard = False

    async def __call__(self, name: str, info: dict[str, Any]) -> None:  # noqa: ASYNC910 - a hook that the client calls amid its own work
        """Take one step's name, as ``http11.send_request_headers.started``."""
        del info
        self.heard = True
        if name.endswith("send_request_headers.started"):
            self.progress.sending()
        elif name.endswith("send_request_body.complete"):
            self.progress.body_sent()


class _ReadBody:
    """A body that has been read already, to be iterated like one that has not."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content  # noqa: ASYNC910 - httpx writes it next


class ExternalResponse:
    """A response of a caller's client, its body being read."""

    def __init__(
        self, response: ClientResponse, on_close: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self.status_code = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}
        self.http_version = response.http_version
        self._response = response
        self._on_close = on_close
        # A hook of the client may have read the body, and some transports make it read.
        consumed = response.is_stream_consumed
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
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Content,
        tracer: Tracer,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> ExternalResponse:
        """Send a request and read the head of its response."""
        fields = {name.lower(): (name, value) for name, value in headers.items()}
        fields.setdefault("accept-encoding", ("Accept-Encoding", "identity"))
        request = client.build_request(
            method,
            url,
            content=content,
            headers=[
                (name.encode("ascii"), value.encode("latin-1")) for name, value in fields.values()
            ],
            # The scope around us times it all; how long a connection may be waited for is the
            # owner's limit, without which a message might wait for the very stream it belongs to.
            timeout=(None, None, None, _pool_timeout(client)),
            extensions={"trace": tracer},
        )
        progress = tracer.progress
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
        except BaseException:
            progress.added += _credentials(request.headers)
            if on_close is not None:
                with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
                    await on_close()
            raise
        progress.added += _credentials(request.headers)
        if not tracer.heard:
            tracer.progress.sent = True
            tracer.progress.body_sent()
        return cls(response, on_close)

    async def receive(self, timeout: float | None) -> bytes:
        """Read the next bytes of the body, ``b""`` at its end; cancelled, it breaks the body."""
        # The client may have the bytes at hand, and would let nobody else run then (rule 4).
        if self._reads % READS_BETWEEN_CHECKPOINTS and not self._ended:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        self._reads += 1
        if self._broken or self._ended or self._closed:
            if self._ended and not self._closed:
                return b""
            raise DisconnectedError("the connection was given up in a read that was cancelled")
        if timeout is None:  # as always where nothing is timed: a scope costs more than a read
            return await self._read()  # noqa: ASYNC910 - see above
        with trio.move_on_after(timeout):
            return await self._read()
        raise TimeoutError

    async def _read(self) -> bytes:  # noqa: ASYNC910 - its caller was a checkpoint
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
        return data  # noqa: ASYNC910 - the client has read, or had it at hand

    async def release(self) -> None:
        """Let the client have its connection back."""
        await self.aclose()

    async def aclose(self) -> None:  # noqa: ASYNC910 - closing a response is one
        """Unwind the body, and close the response; shielded and bounded."""
        if self._closed:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._closed = True
        if not self._ended:
            # In a scope that is cancelled already the innermost read raises, and each frame round
            # it is left in order; what is buffered comes first, hence the loop.
            with (
                trio.CancelScope(shield=True) as unwind,
                contextlib.suppress(StopAsyncIteration, Exception),
            ):
                unwind.cancel(reason="the body is not wanted any more")
                while True:
                    await anext(self._body)
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_TIMEOUT),
            contextlib.suppress(Exception),
        ):
            await self._response.aclose()
            if self._on_close is not None:
                await self._on_close()
