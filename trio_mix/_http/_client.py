"""Send one request, or open one streamed response, on Trio.

The rules (tests cite the numbers):

1. A streamed response has its own connection, which is closed with it. Other requests share a few
   idle connections. The number of connections in use is not limited, so that a cancelled request
   cannot lose a slot of a pool.
2. A caller's client is used as it is, for streams too. A proxy of the environment is used through
   httpx, with one client for each request.
3. A redirect is followed, up to five times, if it leads to the same origin, keeps the method, and
   the body can be sent again. Any other is returned, with the reason.
4. What libraries raise becomes `ConnectionFailed` or `RequestTimeout`, with ``sent`` true once a
   byte of the request may have been sent.
5. The request asks for no compression; a body that is compressed all the same is decoded.
6. Cookies are kept for the life of this object, and sent to the origin that has set them; a
   caller's client keeps its own.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, final

import attrs
import trio

from trio_mix._http._connection import KEEP_ALIVE, Connection, complete_headers
from trio_mix._http._cookies import Cookies, cookie_values
from trio_mix._http._errors import library_errors, translate
from trio_mix._http._external import ExternalResponse, Tracer
from trio_mix._http._idle import IdleConnections
from trio_mix._http._protocols import HttpRequest, RequestProgress
from trio_mix._http._proxies import Proxies, Proxy, ProxyClient
from trio_mix._http._redirects import MAX_REDIRECTS, REDIRECTS, redirect_target
from trio_mix._http._response import ERROR_BODY_LIMIT, HttpResponse, ResponseStream
from trio_mix._http._sockets import TrioBackend, default_ssl_context
from trio_mix._http._urls import Target, check_headers, url_secrets
from trio_mix._redact import Redactor
from trio_mix.errors import (
    ConfigurationError,
    RequestInfo,
    RequestTimeout,
    TrioMixError,
    UsageError,
)
from trio_mix.errors._requests import proxy_remedy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from trio_mix._http._protocols import (
        HttpClient,
        NetworkBackend,
        RawResponse,
        RepeatableContent,
    )

DEFAULT_MAX_BODY = 64 * 2**20
_OF_A_PROXY = (407, 502, 503, 504)
"""The statuses that a proxy answers with by itself."""


@final
class Http:
    """Send HTTP requests, each independent of the others.

    Args:
      http_client: a caller's `httpx.AsyncClient` or ``httpx2.AsyncClient``, used as it is and
        never closed here. Without one, this object makes the connections.
      ssl_context: the context for ``https`` URLs instead of the default one; not with
        ``http_client``.
      network_backend: makes the connections, for tests; no proxy of the environment is used then.

    Attributes:
      closed: whether it is closed.

    Raises:
      ConfigurationError: ``http_client`` is not an asynchronous client.
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
        self._cookies = Cookies()
        self.closed: bool = False

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: RepeatableContent = None,
        client_defaults: bool = True,
        timeout: float | None,
        max_body: float = DEFAULT_MAX_BODY,
        on_sent: Callable[[], None] | None = None,
        info: RequestInfo | None = None,
    ) -> HttpResponse:
        """Send a request and read the complete response.

        If cancelled, no connection is left open; the server may have received the request.

        Args:
          method: the HTTP method, in upper case.
          url: an absolute URL; a user name and password in it become an ``Authorization``.
          headers: the headers; the usual ones that are missing are added.
          content: the body: bytes, an iterable of bytes that is sent in chunks, or a function that
            returns such an iterable again for each redirect.
          client_defaults: whether the headers, cookies and authentication of a caller's client are
            sent too.
          timeout: seconds for the whole exchange, `None` for no limit.
          max_body: the largest number of bytes of the response's body to read; of that of a
            response whose status is not 2xx, at most `ERROR_BODY_LIMIT` are read.
          on_sent: called at most once, when the request has been written completely.
          info: the request as errors show it, if the caller has it.

        Raises:
          ConfigurationError: the URL or a header is invalid.
          ConnectionFailed: no response arrived, or it was cut off.
          RequestTimeout: no complete response arrived in time.
          UsageError: this object, or the caller's client, is closed.
        """
        request, progress = await self._prepare(
            method, url, headers, content, on_sent, info, client_defaults=client_defaults
        )
        with trio.move_on_after(float("inf") if timeout is None else timeout):
            stream = await self._follow(request, progress, own=False)
            try:
                progress.stage = "reading the response"
                success = 200 <= stream.status_code < 300
                body, truncated = await stream.read_all(max_body if success else ERROR_BODY_LIMIT)
            except BaseException:
                await stream.aclose()
                raise
            await stream.release()
            return HttpResponse(
                status_code=stream.status_code,
                headers=stream.headers,
                body=body,
                truncated=truncated,
                url=stream.url,
                secrets=stream.secrets,
                remedy=stream.remedy,
                encoding_problem=stream.encoding_problem,
            )
        raise _timed_out(progress, timeout)

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: RepeatableContent = None,
        client_defaults: bool = True,
        connect_timeout: float | None,
    ) -> ResponseStream:
        """Send a request and return its response, with the body still to be read.

        The stream has its own connection (except on a caller's client), with TCP keep-alive, and
        must be closed with `ResponseStream.aclose`. If cancelled, no connection is left open.

        Args:
          method: the HTTP method, in upper case.
          url: an absolute URL; a user name and password in it become an ``Authorization``.
          headers: the headers; the usual ones that are missing are added.
          content: the body: bytes, an iterable of bytes that is sent in chunks, or a function that
            returns such an iterable again for each redirect.
          client_defaults: whether the headers, cookies and authentication of a caller's client are
            sent too.
          connect_timeout: seconds until the head of the response must have arrived, `None` for no
            limit.

        Raises:
          ConfigurationError: the URL or a header is invalid.
          ConnectionFailed: no response arrived.
          RequestTimeout: no response arrived in time.
          UsageError: this object, or the caller's client, is closed.
        """
        request, progress = await self._prepare(
            method, url, headers, content, client_defaults=client_defaults
        )
        with trio.move_on_after(float("inf") if connect_timeout is None else connect_timeout):
            return await self._follow(request, progress, own=True)
        raise _timed_out(progress, connect_timeout)

    def proxy_for(self, url: str) -> str:
        """Return the proxy of the environment for a URL, and what names it; ``""`` for none."""
        proxy = None if self._proxies is None else self._proxies.proxy_for(Target.parse(url))
        return "" if proxy is None else proxy.shown

    def cookie_header(self, target: Target, given: str = "") -> str:
        """Return the ``Cookie`` header for a request that is not made here, as a handshake.

        Args:
          target: where the request is sent.
          given: the ``Cookie`` header of the caller.
        """
        return given if self._client is not None else self._cookies.header(target, given)

    async def aclose(self) -> None:
        """Close the idle connections. Idempotent; open streams are closed by their owners."""
        self.closed = True
        await self._idle.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _prepare(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        content: RepeatableContent,
        on_sent: Callable[[], None] | None = None,
        info: RequestInfo | None = None,
        *,
        client_defaults: bool,
    ) -> tuple[HttpRequest, RequestProgress]:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise UsageError(
                f"{method} {Target.parse(url).shown} was not sent: the client is closed. Make"
                " requests inside its `async with`."
            )
        if self._client is not None and self._client.is_closed:
            raise UsageError(
                f"{method} {Target.parse(url).shown} was not sent: the http_client that was passed"
                " is closed. Keep it open for as long as it is used here."
            )
        check_headers(headers)
        target = Target.parse(url)
        info = info or RequestInfo(method, target.shown)
        progress = RequestProgress(info, on_sent, headers=headers, url=url)
        return HttpRequest(method, target, headers, content, client_defaults), progress

    async def _follow(
        self, request: HttpRequest, progress: RequestProgress, *, own: bool
    ) -> ResponseStream:
        """Send a request, and follow the redirects that may be followed (rule 3)."""
        redirects = 0
        while True:
            stream = await self._send(request, progress, own=own)
            if stream.status_code not in REDIRECTS:
                return stream
            target = redirect_target(request, stream.status_code, stream.headers.get("location"))
            if redirects == MAX_REDIRECTS:
                target = (
                    f"{MAX_REDIRECTS} redirects in a row were followed, the last one to"
                    f" {stream.url}: check the server, or a proxy in front of it."
                )
            if isinstance(target, str):
                stream.remedy = target
                return stream
            await stream.aclose()
            redirects += 1
            request = attrs.evolve(request, target=target)
            shown = Redactor(progress.secrets).text(target.shown)
            progress.info = RequestInfo(request.method, shown)
            progress.sent = False  # the server has not processed the request

    async def _send(
        self, request: HttpRequest, progress: RequestProgress, *, own: bool
    ) -> ResponseStream:
        """Send a request once, in the way that the target needs (rules 1 and 2)."""
        try:
            if self._client is not None:
                return await self._send_through(self._client, request, progress)
            if self._cookies.kept:
                request = self._with_cookies(request, progress)
            proxy = None if self._proxies is None else self._proxies.proxy_for(request.target)
            if proxy is None:
                raw: RawResponse = await self._send_directly(request, progress, own=own)
                stream = ResponseStream(raw, progress, traced=True)
            else:
                stream = await self._send_through_proxy(proxy, request, progress)
        except TrioMixError:
            raise
        except library_errors() as error:
            raise translate(error, progress) from error
        if stream.set_cookies:
            self._cookies.store(request.target, stream.set_cookies)
        return stream

    def _with_cookies(self, request: HttpRequest, progress: RequestProgress) -> HttpRequest:
        headers = {name.lower(): value for name, value in request.headers.items()}
        given = headers.get("cookie", "")
        cookie = self._cookies.header(request.target, given)
        if cookie == given:
            return request
        progress.added += cookie_values(cookie)
        return attrs.evolve(request, headers={**headers, "cookie": cookie})

    async def _send_through(
        self,
        client: HttpClient,
        request: HttpRequest,
        progress: RequestProgress,
        on_close: Callable[[], Awaitable[None]] | None = None,
    ) -> ResponseStream:
        tracer = Tracer(progress)
        try:
            raw = await ExternalResponse.start(client, request, tracer, on_close)
        except library_errors() as error:
            raise translate(error, progress, traced=tracer.called) from error
        return ResponseStream(raw, progress, traced=tracer.called)

    async def _send_through_proxy(
        self, proxy: Proxy, request: HttpRequest, progress: RequestProgress
    ) -> ResponseStream:
        client = ProxyClient(
            proxy,
            ssl_context=self._ssl_context or default_ssl_context(),
            socket_options=KEEP_ALIVE,
        )
        progress.added += tuple(url_secrets(proxy.url))
        progress.proxy = proxy.shown
        request = attrs.evolve(request, headers=complete_headers(request))
        stream = await self._send_through(client, request, progress, client.aclose)
        if stream.status_code in _OF_A_PROXY:
            stream.remedy = proxy_remedy(proxy.shown)
        return stream

    async def _send_directly(
        self, request: HttpRequest, progress: RequestProgress, *, own: bool
    ) -> RawResponse:
        """Send a request on a connection of this package: a new one, or an idle one (rule 1)."""
        target = request.target
        connection = None if own else await self._idle.take(target.origin)
        if connection is None:
            progress.stage = "connecting"
            ssl_context = None
            if target.scheme == "https":
                ssl_context = self._ssl_context or default_ssl_context()
            connection = await Connection.open(
                target,
                backend=self._backend,
                ssl_context=ssl_context,
                socket_options=KEEP_ALIVE,  # a response may take as long as a turn
            )
        response = await connection.exchange(request, progress)
        if not own:
            response.give_back = functools.partial(self._idle.put, target.origin)
        return response


def _check_client(client: object) -> None:
    """Refuse an object that is not an asynchronous client before anything is sent through it."""
    needed = ("build_request", "send", "__aenter__")
    if isinstance(client, type) or not all(hasattr(client, name) for name in needed):
        raise ConfigurationError(
            "http_client must be an httpx.AsyncClient or httpx2.AsyncClient, not"
            f" {client.__name__ if isinstance(client, type) else type(client).__name__}"
        )


def _timed_out(progress: RequestProgress, timeout: float | None) -> RequestTimeout:
    return RequestTimeout(
        f"it took more than {timeout:g} s, {progress.stage}",
        request=progress.info,
        sent=progress.sent,
        proxy=progress.proxy,
    )
