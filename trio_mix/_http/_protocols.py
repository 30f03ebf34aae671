"""The types that the parts of the HTTP layer share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

from trio_mix._http._cookies import header_secrets
from trio_mix._http._urls import url_secrets

if TYPE_CHECKING:
    import ssl
    from collections.abc import (
        AsyncIterable,
        AsyncIterator,
        Callable,
        Iterable,
        Mapping,
        Sequence,
    )

    from trio_mix._http._urls import Target
    from trio_mix.errors import RequestInfo

SocketOption: TypeAlias = tuple[int, int, int]

Content: TypeAlias = "bytes | AsyncIterable[bytes] | None"

RepeatableContent: TypeAlias = "Content | Callable[[], AsyncIterable[bytes]]"
"""Content, or a function that returns the pieces again each time it is called."""

Secrets: TypeAlias = "Callable[[], Iterable[str]]"
"""Returns what must not be shown of a request, when something of it is shown."""


class NetworkStream(Protocol):
    """One connection: the part of httpcore's ``AsyncNetworkStream`` that is used."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read some bytes, ``b""`` at the end."""
        ...

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all bytes."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> NetworkStream:
        """Perform the TLS handshake, and return the encrypted connection."""
        ...

    def get_extra_info(self, info: str) -> Any:
        """Return the value for ``is_readable``, or for another name that the backend knows."""
        ...


class NetworkBackend(Protocol):
    """Makes connections: the part of httpcore's ``AsyncNetworkBackend`` that is used.

    Tests pass one in memory; a backend written for httpcore can be passed unchanged.
    """

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Connect, and set the socket options."""
        ...


class ClientResponse(Protocol):
    """The part of a response of a caller's client that is used."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def is_stream_consumed(self) -> bool: ...
    @property
    def content(self) -> bytes: ...
    def aiter_raw(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class HttpClient(Protocol):
    """A caller's HTTP client: an `httpx.AsyncClient`, or an ``httpx2.AsyncClient``.

    Its transports, limits, authentication, cookies, default headers and event hooks apply. Its
    timeouts (except that on its pool) and its setting for redirects do not.
    """

    @property
    def is_closed(self) -> bool:
        """Whether the client has been closed."""
        ...

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: Any = None,
        headers: Any = None,
        timeout: Any = None,
        extensions: Any = None,
    ) -> Any:
        """Return a request with the client's defaults merged in."""
        ...

    async def send(
        self, request: Any, *, stream: bool = False, auth: Any = None, follow_redirects: Any = False
    ) -> ClientResponse:
        """Send the request and return the response with its body unread."""
        ...


class RawResponse(Protocol):
    """A response with its body still to be read, from a `Connection` or a caller's client."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def set_cookies(self) -> Sequence[str]: ...

    async def receive(self, timeout: float | None) -> bytes:
        """Read the next bytes of the body, ``b""`` at its end."""
        ...

    async def release(self) -> None:
        """Return the connection for another request if the body was read to its end."""
        ...

    async def aclose(self) -> None:
        """Close the connection; shielded and bounded."""
        ...


@attrs.frozen(eq=False, repr=False)
class HttpRequest:
    """One request, as it is sent to one target."""

    method: str
    """The HTTP method, in upper case."""
    target: Target
    """Where it is sent."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers; the usual ones that are missing are added when it is written."""
    content: RepeatableContent = attrs.field(repr=False)
    """The body."""
    client_defaults: bool = True
    """Whether the headers, cookies and authentication of a caller's client are sent too."""

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent more than once."""
        return self.content is None or isinstance(self.content, bytes) or callable(self.content)

    def body(self) -> Content:
        """Return the body to be sent now."""
        return self.content() if callable(self.content) else self.content


@attrs.define(eq=False, repr=False)
class RequestProgress:
    """The progress of one request, over all redirects that it follows."""

    info: RequestInfo
    """The request, as an error names it."""
    on_sent: Callable[[], None] | None = None
    """Called once, when the request has been written completely."""
    sent: bool = False
    """Whether a byte of the request may have reached the server."""
    stage: str = "connecting"
    """What is being done, as an error message words it."""
    proxy: str = ""
    """The proxy of the environment and the variable that names it, for errors; empty for none."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The headers that the request was given."""
    url: str = attrs.field(default="", repr=False)
    """The URL that the request was given."""
    added: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The credentials that a caller's client, or a proxy's address, has added."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything of the request that an error must not show."""
        return (*header_secrets(self.headers), *url_secrets(self.url), *self.added)

    def sending(self) -> None:
        """Note that the first byte is about to be written."""
        self.sent = True
        self.stage = "sending the request"

    def body_sent(self) -> None:
        """Note that the request is written completely, and call ``on_sent``."""
        self.stage = "waiting for the response"
        callback, self.on_sent = self.on_sent, None
        if callback is not None:
            callback()
