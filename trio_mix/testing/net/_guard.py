"""Refuses requests that web pages of other origins make.

A server on loopback is reachable for every page in the user's browser.

Rule 1  The host of ``Host`` must be ``localhost`` or a name below it, the name or address that the
        server binds, an allowed host, or an IP address: a loopback address if the server binds
        loopback, else any except 0.0.0.0 and ``::``. DNS rebinding needs another name.
Rule 2  An ``Origin`` must be the server's own, or an allowed origin.
Rule 3  Without an ``Origin``, ``Sec-Fetch-Site`` must be ``same-origin`` or ``none``: requests for
        the images, scripts and links of other pages have no ``Origin``.
Rule 4  A browser must send one of the two. Browsers omit ``Sec-Fetch-Site`` for addresses that are
        not loopback, and old browsers do not know it. Programs send neither.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, final

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["RequestGuard"]


@final
class RequestGuard:
    """Decides by its headers whether a request is served.

    Args:
      host: the name or address that the server binds.
      allowed_hosts: further host names for ``Host``, without a port.
      allowed_origins: origins of web pages that may use the server, as ``http://localhost:5173``.

    Raises:
      TypeError: a text was passed in place of a collection.
      ConfigurationError: a host has a port or a scheme, or an origin is not a scheme and a host.
    """

    def __init__(
        self, host: str, allowed_hosts: Collection[str], allowed_origins: Collection[str]
    ) -> None:
        for name, given in (("hosts", allowed_hosts), ("origins", allowed_origins)):
            if isinstance(given, str):
                raise TypeError(f"allowed_{name} must be a collection of texts, not a text")
        for allowed in allowed_hosts:
            if "/" in allowed or _name(allowed) != _plain(allowed):
                raise ConfigurationError(
                    f"allowed_hosts takes names without a port, not {allowed!r}"
                )
        for origin in allowed_origins:
            scheme, separator, rest = origin.partition("://")
            if not separator or not scheme or not rest or "/" in rest or "*" in origin:
                raise ConfigurationError(
                    f"allowed_origins takes origins, as http://localhost:5173, not {origin!r}"
                )
        self._hosts = {"localhost", _plain(host), *map(_plain, allowed_hosts)}
        address = _address(_plain(host))
        self._loopback = _plain(host) == "localhost" or (
            address is not None and address.is_loopback
        )
        self._origins = {origin.lower() for origin in allowed_origins}

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Return why a request is refused; None: it is served.

        Args:
          headers: the request's headers; their names are in lower case.
        """
        host = headers.get("host")
        if host is not None and not self._serves(_name(host)):
            return (
                "the Host header names another server (DNS rebinding?): use this server's address,"
                " or allow the name (allowed_hosts=, --allow-host)"
            )
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site")
        if origin is not None:
            foreign = origin.lower() not in {f"http://{host}".lower(), *self._origins}
        elif site is not None:
            foreign = site not in ("same-origin", "none")
        else:
            agent = headers.get("user-agent", "")
            foreign = agent.startswith("Mozilla/") and "PowerShell" not in agent
        if not foreign:
            return None
        return (
            "a web page of another origin made this request, or a browser that does not say which:"
            " allow its origin, if you trust the page (allowed_origins=, --allow-origin)"
        )

    def _serves(self, name: str) -> bool:
        if name in self._hosts or name.endswith(".localhost"):
            return True
        address = _address(name)
        if address is None or address.is_unspecified:
            return False
        return address.is_loopback or not self._loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _plain(name: str) -> str:
    return name.lower().rstrip(".")


def _name(host: str) -> str:
    """Return the name or address in a ``Host`` header, without the port."""
    if host.startswith("["):
        address, closed, port = host[1:].partition("]")
        return address if closed and (not port or port.startswith(":")) else host
    name, _, port = host.partition(":")
    return _plain(name if not port or port.isdecimal() else host)
