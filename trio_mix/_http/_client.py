"""Send one request, or open one streamed response, on Trio.

What it knows: HTTP, and how to come by a connection that cancellation cannot leak.
What it must never know: Mix, retries, what bodies mean. It never logs or shows a header.

The rules it keeps (the tests cite the numbers):

1. A streamed response has a connection of its own, closed with it. Requests share a few idle
   ones; there is no limit on connections in use, hence no slot that cancellation could leak.
2. A caller's client is used as it is, for streams too; a proxy of the environment is honoured,
   through httpx, with a client for each exchange.
3. Redirects are followed for GET, to the same origin, five times; others come back as they are.
4. What libraries raise becomes `ConnectionFailed` or `RequestTimeout`, with ``sent`` true once a
   byte of the request may have gone out.
5. The body is read as it is: compression is asked not to be used.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, final

import httpx
import trio

from trio_mix._http._connection import KEEP_ALIVE, Connection, ConnectionResponse
from trio_mix._http._errors import is_a, library_errors, translate
from trio_mix._http._external import ExternalResponse, Tracer
from trio_mix._http._pool import IdleConnections
from trio_mix._http._protocols import HttpResponse, Progress
from trio_mix._http._proxies import Proxies
from trio_mix._http._sockets import TrioBackend
from trio_mix._http._urls import (
    MAX_REDIRECTS,
    Target,
    check_headers,
    redirect_target,
    url_secrets,
)
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    RequestInfo,
    RequestTimeout,
    TrioMixError,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from trio_mix._http._protocols import Content, Exchange, HttpClient, NetworkBackend

__all__ = ["Http", "ResponseStream"]

DEFAULT_MAX_BODY = 64 * 2**20
DEFAULT_MAX_ERROR_BODY = 64 * 1024
_REDIRECT_BODY = 64 * 1024


@functools.cache
def _shared_ssl_context() -> ssl.SSLContext:
    """Make the one context for all connections, at the first need: it takes 20 ms to load."""
    return httpx.create_ssl_context()


@final
class ResponseStream:
    """The body of one response as it comes. Use `Http.open` to make one.

    Attributes:
      status_code: the HTTP status.
      headers: the response's headers, names in lower case.
      url: where it came from after redirects, without user name and password.
      secrets: the credentials that were sent besides what the request was given.
      owns_connection: whether `aclose` ends a read that another task has under way; the clients
        of callers are not safe for that.
    """

    def __init__(self, exchange: Exchange, progress: Progress, *, traced: bool) -> None:
        self.status_code: int = exchange.status_code
        self.secrets: tuple[str, ...] = progress.added
        self.headers: Mapping[str, str] = exchange.headers
        self.url: str = progress.info.url
        self.owns_connection: bool = isinstance(exchange, ConnectionResponse)
        self._exchange = exchange
        self._progress = progress
        self._traced = traced
        self._closed = False

    async def receive(self, timeout: float | None = None) -> bytes:
        """Read the next bytes of the body.

        A read that is cancelled or times out loses nothing on a connection of our own; on a
        caller's client it breaks the stream, and the next read raises `ConnectionFailed`.

        Args:
          timeout: seconds to wait for bytes, `None` for no limit.

        Returns:
          At least one byte, or ``b""`` at the body's proper end.

        Raises:
          ConnectionFailed: the connection broke, or was closed before the body's end.
          RequestTimeout: no byte came in time.
        """
        try:
            return await self._exchange.receive(timeout)
        except library_errors() as error:
            if timeout is not None and (
                isinstance(error, TimeoutError) or is_a(error, "ReadTimeout")
            ):
                raise RequestTimeout(
                    f"no byte came for {timeout:g} s", request=self._progress.info, sent=True
                ) from None
            self._progress.stage = "reading the body"
            raise translate(error, self._progress, traced=self._traced) from error

    async def read_all(self, limit: int) -> tuple[bytes, bool]:
        """Read the rest of the body, but not much more than a limit.

        Args:
          limit: the most bytes to return.

        Returns:
          The bytes, and whether there were more.

        Raises:
          ConnectionFailed: the connection broke, or was closed before the body's end.
        """
        pieces: list[bytes] = []
        size = 0
        while size <= limit:
            piece = await self.receive()
            if not piece:
                return b"".join(pieces), False
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)[:limit], True  # noqa: ASYNC910 - it has read at least once

    async def aclose(self) -> None:
        """Close the stream; shielded and bounded, and no harm if done again.

        It may be awaited in a ``finally``: it never raises, not even `trio.Cancelled`.
        """
        if not self._closed:
            self._closed = True
            await self._exchange.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _release(self) -> None:  # noqa: ASYNC910 - after the request, which was one
        if not self._closed:
            self._closed = True
            await self._exchange.release()


@final
class Http:
    """Make HTTP requests, each on its own.

    Args:
      http_client: a caller's `httpx.AsyncClient` or ``httpx2.AsyncClient``, used as it is and
        never closed here; without one, connections are made here.
      ssl_context: for ``https`` URLs, instead of the usual context; not with ``http_client``.
      network_backend: how connections are made, for tests; proxies are not looked for then.

    Raises:
      ConfigurationError: ``http_client`` is no asynchronous client.
    """

    def __init__(
        self,
        http_client: HttpClient | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        network_backend: NetworkBackend | None = None,
    ) -> None:
        if http_client is not None:
            _check_client(http_client)
        self._client = http_client
        self._ssl_context = ssl_context
        self._backend: NetworkBackend = network_backend or TrioBackend()
        self._proxies = None if http_client or network_backend else Proxies()
        self._idle = IdleConnections()
        self._closed = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: Content = None,
        timeout: float | None,
        max_body: int = DEFAULT_MAX_BODY,
        max_error_body: int = DEFAULT_MAX_ERROR_BODY,
        on_sent: Callable[[], None] | None = None,
    ) -> HttpResponse:
        """Send a request and read its whole response.

        Cancelled, it leaves no connection behind; the server may have got the request.

        Args:
          method: the HTTP method, in upper case.
          url: an absolute URL; a user name and password in it become an ``Authorization``.
          headers: the headers; what is usual and missing is added.
          content: the body: bytes, or an iterable of bytes that is sent in chunks.
          timeout: seconds for all of it, `None` for no limit.
          max_body: the most bytes to read of the response's body.
          max_error_body: the same where the status is not 2xx.
          on_sent: called once, at most, when the request has been written whole.

        Raises:
          ConfigurationError: the URL or a header cannot work.
          ConnectionFailed: there was no answer, or it broke off.
          RequestTimeout: there was no complete answer in time.
          trio.ClosedResourceError: this object is closed.
        """
        progress = await self._prepare(method, url, headers, on_sent)
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            stream = await self._follow(method, url, headers, content, progress, own=False)
            try:
                progress.stage = "reading the answer"
                success = 200 <= stream.status_code < 300
                body, truncated = await stream.read_all(max_body if success else max_error_body)
            except BaseException:
                await stream.aclose()
                raise
            await stream._release()
            return HttpResponse(
                status_code=stream.status_code,
                headers=stream.headers,
                body=body,
                truncated=truncated,
                url=stream.url,
                http_version=stream._exchange.http_version,
                secrets=stream.secrets,
            )
        raise _timed_out(progress, timeout)

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        connect_timeout: float | None,
    ) -> ResponseStream:
        """Send a request and return its response, the body to be read as it comes.

        The connection is the stream's own (but for a caller's client), with TCP keep-alive, and
        must be closed with `ResponseStream.aclose`. Cancelled, it leaves no connection behind.

        Args:
          method: the HTTP method, in upper case.
          url: an absolute URL; a user name and password in it become an ``Authorization``.
          headers: the headers; what is usual and missing is added.
          content: the request's body.
          connect_timeout: seconds until the response's head must have come, `None` for no limit.

        Raises:
          ConfigurationError: the URL or a header cannot work.
          ConnectionFailed: there was no answer.
          RequestTimeout: there was no answer in time.
          trio.ClosedResourceError: this object is closed.
        """
        progress = await self._prepare(method, url, headers, None)
        with trio.move_on_after(float("inf") if connect_timeout is None else connect_timeout):
            return await self._follow(method, url, headers, content, progress, own=True)
        raise _timed_out(progress, connect_timeout)

    async def aclose(self) -> None:
        """Close the idle connections; open streams are their owners'. No harm if done again."""
        self._closed = True
        await self._idle.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _prepare(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        on_sent: Callable[[], None] | None,
    ) -> Progress:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this HTTP client has been closed")
        if self._client is not None and self._client.is_closed:
            raise ConfigurationError(
                f"{method} {Target.parse(url).shown} was not sent: the http_client that was passed"
                " has been closed. Make it with `async with`, and keep it open for as long as it"
                " is used here."
            )
        check_headers(headers)
        target = Target.parse(url)
        given = (*headers.values(), *url_secrets(url))
        return Progress(RequestInfo(method, target.shown), on_sent, given=given)

    async def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: Content,
        progress: Progress,
        *,
        own: bool,
    ) -> ResponseStream:
        target = Target.parse(url)
        redirects = 0
        while True:
            stream = await self._send(method, target, headers, content, progress, own=own)
            location = stream.headers.get("location", "")
            there = redirect_target(method, target, stream.status_code, location)
            if there is None or redirects == MAX_REDIRECTS:
                return stream
            await stream.aclose()
            redirects += 1
            target = there
            progress.info = RequestInfo(method, target.shown)

    async def _send(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: Content,
        progress: Progress,
        *,
        own: bool,
    ) -> ResponseStream:
        client, on_close = self._client, None
        try:
            if client is None and self._proxies is not None:
                proxy = self._proxies.proxy_for(target)
                if proxy is not None:
                    client = self._proxy_client(proxy)
                    progress.added = tuple(url_secrets(proxy))
                    on_close = client.aclose
            if client is None:
                exchange = await self._send_ourselves(
                    method, target, headers, content, progress, own=own
                )
                return ResponseStream(exchange, progress, traced=True)
            tracer = Tracer(progress)
            try:
                return ResponseStream(
                    await ExternalResponse.start(
                        client, method, target.url, headers, content, tracer, on_close
                    ),
                    progress,
                    traced=tracer.heard,
                )
            except library_errors() as error:
                raise translate(error, progress, traced=tracer.heard) from error
        except TrioMixError:
            raise
        except library_errors() as error:
            raise translate(error, progress) from error

    async def _send_ourselves(
        self,
        method: str,
        target: Target,
        headers: Mapping[str, str],
        content: Content,
        progress: Progress,
        *,
        own: bool,
    ) -> Exchange:
        connection = None if own else await self._idle.take(target.origin)
        if connection is None:
            progress.stage = "connecting"
            ssl_context = None
            if target.scheme == "https":
                ssl_context = self._ssl_context or _shared_ssl_context()
            connection = await Connection.open(
                target,
                backend=self._backend,
                ssl_context=ssl_context,
                socket_options=KEEP_ALIVE,  # an answer may take as long as a turn
            )
        exchange = await connection.exchange(method, target, headers, content, progress)
        if not own:
            exchange.give_back = functools.partial(self._idle.put, target.origin)
        return exchange

    def _proxy_client(self, proxy: str) -> httpx.AsyncClient:
        context = self._ssl_context or _shared_ssl_context()
        try:
            transport = httpx.AsyncHTTPTransport(
                proxy=proxy, verify=context, socket_options=KEEP_ALIVE
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ConfigurationError(
                "The proxy that the environment names (HTTP_PROXY and the like) cannot be used:"
                f" {type(error).__name__}. Mend the variable, or pass an http_client of your own"
            ) from None
        return httpx.AsyncClient(transport=transport, trust_env=False)


def _check_client(client: object) -> None:
    """Refuse what is no asynchronous client before anything is sent through it."""
    needed = ("build_request", "send", "__aenter__")
    if isinstance(client, type) or not all(hasattr(client, name) for name in needed):
        raise ConfigurationError(
            "http_client must be an httpx.AsyncClient or httpx2.AsyncClient, not"
            f" {client.__name__ if isinstance(client, type) else type(client).__name__}"
        )


def _timed_out(progress: Progress, timeout: float | None) -> ConnectionFailed | RequestTimeout:
    return RequestTimeout(
        f"it took more than {timeout:g} s, {progress.stage}",
        request=progress.info,
        sent=progress.sent,
    )
