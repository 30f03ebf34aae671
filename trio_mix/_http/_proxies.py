"""Find the proxy that the environment names for a URL, and send requests through it.

The variables are ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; on macOS and
Windows the settings of the system are used as well. A server on this machine is never reached
through a proxy, which would see the credentials, and could not reach it anyway.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import urllib.request
from typing import TYPE_CHECKING, Any

import attrs
import httpx

from trio_mix._http._urls import Target, sanitize_url
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from trio_mix._http._protocols import SocketOption


@attrs.frozen(repr=False)
class Proxy:
    """A proxy of the environment."""

    url: str
    """Its URL, possibly with a password."""
    named_by: str
    """The variable, or the settings, that name it."""

    @property
    def shown(self) -> str:
        """The proxy and what names it, for errors."""
        return f"{sanitize_url(self.url)} ({self.named_by})"


class Proxies:
    """The proxies of the environment, as they are when this object is created."""

    def __init__(self) -> None:
        found = urllib.request.getproxies()
        self._by_scheme = {
            scheme: Proxy(proxy if "://" in proxy else f"http://{proxy}", _named_by(scheme, proxy))
            for scheme in ("http", "https", "all")
            if (proxy := found.get(scheme, "").strip())
        }
        self._none_for = [name for part in found.get("no", "").split(",") if (name := part.strip())]

    def proxy_for(self, target: Target) -> Proxy | None:
        """Return the proxy for a target, or `None`."""
        proxy = self._by_scheme.get(target.scheme) or self._by_scheme.get("all")
        if proxy is None:
            return None
        host = target.host.lower().removesuffix(".")
        if _is_here(host) or any(
            _matches(name.lower(), host, target.port) for name in self._none_for
        ):
            return None
        return proxy


def environment_proxy(url: str) -> str:
    """Return the proxy of the environment for a URL and what names it; ``""`` for none.

    Raises:
      ConfigurationError: the URL is invalid.
    """
    proxy = Proxies().proxy_for(Target.parse(url))
    return "" if proxy is None else proxy.shown


class ProxyClient:
    """An `HttpClient` for one request through a proxy.

    Its transport is httpx's. An `httpx.AsyncClient` is not used, because it logs every URL with
    the secrets of its query.

    Args:
      proxy: the proxy.
      ssl_context: the context for ``https``.
      socket_options: set on each socket.

    Raises:
      ConfigurationError: the proxy's URL is invalid, or its protocol is not supported.
    """

    is_closed = False

    def __init__(
        self, proxy: Proxy, *, ssl_context: ssl.SSLContext, socket_options: Iterable[SocketOption]
    ) -> None:
        try:
            self._transport = httpx.AsyncHTTPTransport(
                proxy=proxy.url, verify=ssl_context, socket_options=list(socket_options)
            )
            return
        except ImportError:
            problem = "a SOCKS proxy needs the package socksio: pip install 'httpx[socks]'"
        except ValueError:
            problem = "its protocol must be http, https or socks5"
        except httpx.InvalidURL:
            problem = "it is not a URL"
        raise ConfigurationError(
            f"The proxy {proxy.shown} cannot be used: {problem}. Fix what names it, or pass"
            " http_client=."
        )

    def build_request(
        self,
        method: str,
        url: str,
        *,
        content: Any = None,
        headers: Any = None,
        timeout: Any = None,
        extensions: Any = None,
    ) -> httpx.Request:
        """Return a request."""
        limits = httpx.Timeout(timeout).as_dict()
        return httpx.Request(
            method,
            url,
            content=content,
            headers=headers,
            extensions={"timeout": limits, **(extensions or {})},
        )

    async def send(
        self,
        request: httpx.Request,
        *,
        stream: bool = False,
        auth: Any = None,
        follow_redirects: Any = False,
    ) -> httpx.Response:
        """Send the request and return the response with its body unread."""
        del stream, auth, follow_redirects
        response = await self._transport.handle_async_request(request)
        response.request = request
        return response

    async def aclose(self) -> None:
        """Close the connection to the proxy."""
        await self._transport.aclose()


def _named_by(scheme: str, proxy: str) -> str:
    for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
        if os.environ.get(name) == proxy:
            return name
    return "the settings of the system"


def _is_here(host: str) -> bool:
    """Return whether a host is this machine: loopback, in any notation, or "any address"."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            address = ipaddress.ip_address(socket.inet_aton(host))  # as 127.1, which resolvers take
        except OSError:
            return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return bool(mapped.is_loopback or mapped.is_unspecified)


def _matches(name: str, host: str, port: int) -> bool:
    """Return whether an entry of ``NO_PROXY`` matches: a name, its subdomains, or a network."""
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name.strip("[]"), strict=False)
    except ValueError:
        pass
    only, colon, number = name.rpartition(":")
    if colon and number.isdigit() and int(number) != port:
        return False
    if colon and number.isdigit():
        name = only
    name = name.strip("[]").removeprefix("*").removeprefix(".")
    return host == name or host.endswith(f".{name}")
