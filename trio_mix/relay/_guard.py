"""Which requests of web pages a relay serves.

A relay is reachable for every page in the browsers of its users.

Rule 1  ``Host`` must name the relay: see `AllowedHosts`.
Rule 2  A page of another origin may only GET, and cannot read the response (no CORS headers),
        unless its origin is allowed. Then it may do everything, and the response has CORS headers.
Rule 3  A request that is authorised by a cookie and may change something must name its origin, as
        browsers do.
Rule 4  A page cannot send a message without a preflight: sends need ``application/json``, which
        `check_json` demands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from trio_mix._allowed_hosts import AllowedHosts, check_origins
from trio_mix.relay._access import cookie_token
from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from trio_mix.relay._exchange import RequestHead

_SAFE: Final = ("GET", "HEAD")
_EXPOSED: Final = "Last-Event-ID, Location, Mix-Relay, Retry-After"
_ALLOWED: Final = "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, Mix-Relay, Prefer"


@final
class OriginGuard:
    """Checks the headers that a browser sets.

    Args:
      host: the name or address that the relay binds.
      allowed_hosts: further host names for ``Host``, without a port.
      allowed_origins: origins of web pages that may use the relay.

    Raises:
      TypeError: a text was passed in place of a collection.
      ConfigurationError: a host has a port or a scheme, or an origin is not a scheme and a host.
    """

    def __init__(
        self, host: str, allowed_hosts: Collection[str] = (), allowed_origins: Collection[str] = ()
    ) -> None:
        self._hosts = AllowedHosts(host, allowed_hosts)
        self._origins = check_origins(allowed_origins)

    def check(self, head: RequestHead) -> list[tuple[str, str]]:
        """Return the CORS headers of the response.

        Raises:
          Problem: the request is refused (403).
        """
        host = head.headers.get("host", "")
        if host and host not in self._hosts:
            raise Problem(
                403,
                "the Host header names another server (DNS rebinding?): use the relay's address, or"
                " allow the name (allowed_hosts=, --host)",
            )
        origin = head.headers.get("origin")
        if origin is None:
            self._check_site(head)
            return []
        if origin.lower() in self._origins:
            return [
                ("Access-Control-Allow-Origin", origin),
                ("Access-Control-Allow-Credentials", "true"),
                ("Access-Control-Expose-Headers", _EXPOSED),
                ("Vary", "Origin"),
            ]
        own = {f"{scheme}://{host}".lower() for scheme in ("http", "https")}
        if not _is_safe(head) and origin.lower() not in own:
            raise _foreign()
        return []

    def preflight(self) -> list[tuple[str, str]]:
        """Return further headers for the response to a preflight request."""
        return [
            ("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE"),
            ("Access-Control-Allow-Headers", _ALLOWED),
            ("Access-Control-Max-Age", "600"),
        ]

    def _check_site(self, head: RequestHead) -> None:
        """Check a request that names no origin (rule 3)."""
        if _is_safe(head):
            return
        by_cookie = "authorization" not in head.headers and cookie_token(head) is not None
        site = head.headers.get("sec-fetch-site", "cross-site" if by_cookie else "none")
        if site not in ("same-origin", "none"):
            raise _foreign()


def _is_safe(head: RequestHead) -> bool:
    """Return whether a browser keeps the response from a page of another origin (CORS)."""
    return head.method in _SAFE and "upgrade" not in head.headers  # CORS is not for WebSockets


def _foreign() -> Problem:
    return Problem(
        403,
        "a web page of another origin made this request: allow its origin, if you trust the page"
        " (allowed_origins=, --origin)",
    )


def check_json(headers: Mapping[str, str]) -> None:
    """Check that a request's body is JSON (rule 4).

    Raises:
      Problem: it has another type (415).
    """
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, "the body must be JSON: send Content-Type: application/json")
