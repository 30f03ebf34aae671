"""The host names under which a server may be asked, against DNS rebinding."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, final

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Collection


@final
class AllowedHosts:
    """Decides whether a ``Host`` header names a server.

    It must name ``localhost`` or a name below it, the name or address that the server binds, an
    allowed host, or an IP address: a loopback address if the server binds loopback, else any except
    0.0.0.0 and ``::``. DNS rebinding needs another name.

    Args:
      host: the name or address that the server binds.
      allowed: further host names, without a port.

    Raises:
      TypeError: a text was passed in place of a collection.
      ConfigurationError: a host has a port or a scheme.
    """

    def __init__(self, host: str, allowed: Collection[str]) -> None:
        if isinstance(allowed, str):
            raise TypeError("allowed_hosts must be a collection of texts, not a text")
        for name in allowed:
            if "/" in name or _name(name) != _plain(name):
                raise ConfigurationError(f"allowed_hosts takes names without a port, not {name!r}")
        self._hosts = {"localhost", _plain(host), *map(_plain, allowed)}
        self._loopback = is_loopback(host)

    def __contains__(self, header: str) -> bool:
        name = _name(header)
        if name in self._hosts or name.endswith(".localhost"):
            return True
        address = _address(name)
        if address is None or address.is_unspecified:
            return False
        return address.is_loopback or not self._loopback


def check_origins(origins: Collection[str]) -> frozenset[str]:
    """Return origins of web pages in lower case.

    Raises:
      TypeError: a text was passed in place of a collection.
      ConfigurationError: an origin is not a scheme and a host.
    """
    if isinstance(origins, str):
        raise TypeError("allowed_origins must be a collection of texts, not a text")
    for origin in origins:
        scheme, separator, rest = origin.partition("://")
        if not separator or not scheme or not rest or "/" in rest or "*" in origin:
            raise ConfigurationError(
                f"allowed_origins takes origins, as http://localhost:5173, not {origin!r}"
            )
    return frozenset(origin.lower() for origin in origins)


def is_loopback(host: str) -> bool:
    """Return whether a name or address to bind is reachable from this machine only."""
    address = _address(_plain(host))
    return _plain(host) == "localhost" or (address is not None and address.is_loopback)


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
