"""The shapes that the HTTP layer's parts agree on.

What it knows: which methods of a caller's client are used, what a response consists of.
What it must never know: how either is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import attrs

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping

    from trio_mix.errors import RequestInfo

__all__ = [
    "Exchange",
    "HttpClient",
    "HttpResponse",
    "NetworkBackend",
    "NetworkStream",
    "Progress",
    "SocketOption",
]

SocketOption: TypeAlias = tuple[int, int, int]

Content: TypeAlias = "bytes | AsyncIterable[bytes] | None"


class NetworkStream(Protocol):
    """One connection: what is used of httpcore's ``AsyncNetworkStream``."""

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
        """Shake hands, and return the connection within."""
        ...

    def get_extra_info(self, info: str) -> Any:
        """Return what ``is_readable`` names, and whatever else a back end knows."""
        ...


class NetworkBackend(Protocol):
    """How connections are made: httpcore's ``AsyncNetworkBackend``, as far as it is used.

    Tests pass one in memory; one that was written for httpcore fits as it is.
    """

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        """Connect, and set the options."""
        ...


class ClientResponse(Protocol):
    """What is used of a caller's client's response."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def http_version(self) -> str: ...
    @property
    def is_stream_consumed(self) -> bool: ...
    @property
    def content(self) -> bytes: ...
    def aiter_raw(self) -> AsyncIterator[bytes]: ...
    async def aclose(self) -> None: ...


class HttpClient(Protocol):
    """A caller's HTTP client: an `httpx.AsyncClient`, or an ``httpx2.AsyncClient``.

    Its transports, limits, authentication, cookies, default headers and event hooks are used as
    they are; its timeouts (but for that on its pool) and its choice about redirects are not.
    """

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""
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
        """Make a request, with the client's defaults merged in."""
        ...

    async def send(
        self, request: Any, *, stream: bool = False, follow_redirects: Any = False
    ) -> ClientResponse:
        """Send the request and return the response, its body unread."""
        ...


@attrs.frozen(eq=False, repr=False)
class HttpResponse:
    """A response with its body."""

    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers, names in lower case, values of the same name joined with a comma."""
    body: bytes = attrs.field(repr=False)
    """The body, cut at the limit of the request."""
    truncated: bool
    """Whether the body was longer than the limit."""
    url: str
    """Where it came from after redirects, without user name and password."""
    http_version: str = "HTTP/1.1"
    """The version that the server spoke."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The credentials that were sent besides what the request was given."""


@attrs.define(eq=False, repr=False)
class Progress:
    """How far a request has got: it outlives the attempt, so that errors can tell."""

    info: RequestInfo
    on_sent: Callable[[], None] | None = None
    sent: bool = False
    """Whether a byte of the request may have reached the server."""
    stage: str = "connecting"
    """What is going on, as an error message words it."""
    given: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The values of the headers that the request was given."""
    added: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The credentials that a caller's client, or a proxy's address, has added."""

    def sending(self) -> None:
        """Note that the first byte is about to be written."""
        self.sent = True
        self.stage = "sending the request"

    def body_sent(self) -> None:
        """Note that the request is written whole; tell the caller, once."""
        self.stage = "waiting for the answer"
        callback, self.on_sent = self.on_sent, None
        if callback is not None:
            callback()


class Exchange(Protocol):
    """One request whose response's head has come, and whose body is to be read."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def http_version(self) -> str: ...

    async def receive(self, timeout: float | None) -> bytes:
        """Read the next bytes of the body, ``b""`` at its end."""
        ...

    async def release(self) -> None:
        """Let go of the connection; it may serve others if the body was read to its end."""
        ...

    async def aclose(self) -> None:
        """Let go of the connection, and close it; shielded and bounded."""
        ...
