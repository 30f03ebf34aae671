"""The head of a request to a forward proxy: its target, its headers, its credential."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers: TypeAlias = list[tuple[bytes, bytes]]

_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"upgrade",
    )
)
_HTTP_PORT: Final = 80


class BadProxyRequest(Exception):
    """A request that a forward proxy cannot serve; the text says why."""


@attrs.frozen
class ProxyTarget:
    """What a request asks the proxy to connect to."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    authority: str
    """For the ``Host`` header."""
    resource: str | None
    """Path and query of the request to the server, or None for a tunnel (``CONNECT``)."""


def parse_target(method: bytes, target: bytes) -> ProxyTarget:
    """Return the target of a request.

    Raises:
      BadProxyRequest: it is neither ``CONNECT host:port`` nor an absolute ``http://`` URL.
    """
    try:
        text = target.decode("ascii")
        if method == b"CONNECT":
            parts = urlsplit(f"//{text}")
            if parts.netloc != text or parts.port is None:
                raise BadProxyRequest("CONNECT needs a host and a port")
            resource = None
        else:
            parts = urlsplit(text)
            if parts.scheme != "http":
                raise BadProxyRequest("only http:// URLs and CONNECT are served")
            resource = parts.path or "/"
            if "?" in text:
                resource += f"?{parts.query}"
        host, port = parts.hostname, parts.port
    except (UnicodeDecodeError, ValueError):
        raise BadProxyRequest("the target is not a valid URL") from None
    if not host or parts.username is not None or "%" in host:
        raise BadProxyRequest("the target has no valid host")
    if port == 0:
        raise BadProxyRequest("the target has no valid port")
    return ProxyTarget(host, _HTTP_PORT if port is None else port, parts.netloc, resource)


def has_credential(headers: Iterable[tuple[bytes, bytes]], credential: str) -> bool:
    """Return whether the headers have a ``user:password``, compared in constant time."""
    expected = b"Basic " + base64.b64encode(credential.encode())
    given = [value for name, value in headers if name.lower() == b"proxy-authorization"]
    return len(given) == 1 and hmac.compare_digest(given[0].strip(), expected)


def forwarded_request_headers(headers: Iterable[tuple[bytes, bytes]], authority: str) -> Headers:
    """Return the headers to send to the server, with the ``Host`` of the URL."""
    kept = _end_to_end(headers)
    return [
        (b"Host", authority.encode("ascii")),
        *(pair for pair in kept if pair[0].lower() != b"host"),
        (b"Connection", b"close"),
    ]


def forwarded_response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers to send to the browser; the framing is the sender's."""
    kept = _end_to_end(headers)
    framing = {b"transfer-encoding"}
    if any(name.lower() == b"transfer-encoding" for name, _ in kept):
        framing.add(b"content-length")
    return [
        *(pair for pair in kept if pair[0].lower() not in framing),
        (b"Connection", b"close"),
    ]


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    pairs = list(headers)
    named = {
        token.strip().lower()
        for name, value in pairs
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    # What frames the body stays: a sender must not declare it hop-by-hop.
    dropped = _HOP_BY_HOP | (named - {b"content-length", b"transfer-encoding", b"host"})
    return [pair for pair in pairs if pair[0].lower() not in dropped]
