"""Find the proxy that the environment names for a URL.

The variables are ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``; on macOS and
Windows the settings of the system are used as well.
"""

from __future__ import annotations

import ipaddress
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trio_mix._http._urls import Target

__all__ = ["Proxies"]


class Proxies:
    """The proxies of the environment, as they are when this object is created."""

    def __init__(self) -> None:
        found = urllib.request.getproxies()
        self._by_scheme = {
            scheme: proxy if "://" in proxy else f"http://{proxy}"
            for scheme in ("http", "https", "all")
            if (proxy := found.get(scheme))
        }
        self._none_for = [name for part in found.get("no", "").split(",") if (name := part.strip())]

    def proxy_for(self, target: Target) -> str | None:
        """Return the URL of the proxy for a target, or `None`."""
        proxy = self._by_scheme.get(target.scheme) or self._by_scheme.get("all")
        if proxy is None:
            return None
        host = target.host.strip("[]").lower()
        if any(_matches(name.lower(), host, target.port) for name in self._none_for):
            return None
        return proxy


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
