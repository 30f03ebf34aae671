"""Refuses requests that web pages of other origins make.

A server on loopback is reachable for every page in the user's browser.

Rule 1  ``Host`` must name the server: see `AllowedHosts`. DNS rebinding needs another name.
Rule 2  An ``Origin`` must be the server's own, or an allowed origin.
Rule 3  Without an ``Origin``, ``Sec-Fetch-Site`` must be ``same-origin`` or ``none``: requests for
        the images, scripts and links of other pages have no ``Origin``.
Rule 4  A browser must send one of the two. Browsers omit ``Sec-Fetch-Site`` for addresses that are
        not loopback, and old browsers do not know it. Programs send neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from trio_mix._allowed_hosts import AllowedHosts, check_origins

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


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
        self._hosts = AllowedHosts(host, allowed_hosts)
        self._origins = check_origins(allowed_origins)

    def refusal(self, headers: Mapping[str, str]) -> str | None:
        """Return why a request is refused; None: it is served.

        Args:
          headers: the request's headers; their names are in lower case.
        """
        host = headers.get("host")
        if host is not None and host not in self._hosts:
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
