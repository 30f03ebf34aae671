"""Decide which redirects are followed: to the same origin, with the same method and body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from trio_mix._http._urls import Target, sanitize_url
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from trio_mix._http._protocols import HttpRequest

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
_SAME_METHOD = (307, 308)


def redirect_target(request: HttpRequest, status_code: int, location: str | None) -> Target | str:
    """Return the target of a redirect, or why it is not followed.

    Args:
      request: the request that was redirected.
      status_code: one of `REDIRECTS`.
      location: the value of the ``Location`` header, `None` if there is none.
    """
    if not location:
        return "The redirect has no Location header: check the server, or a proxy in front of it."
    if request.method not in ("GET", "HEAD") and status_code not in _SAME_METHOD:
        return (
            f"The redirect was not followed, because HTTP {status_code} would turn"
            f" {request.method} into GET: use the final URL."
        )
    location = _as_utf_8(location)
    shown = sanitize_url(location)
    target = request.target
    try:
        new = Target.parse(str(httpx.URL(target.url).join(location)))
    except (httpx.InvalidURL, ConfigurationError):
        return f"The redirect cannot be followed, because {shown!r} is not a URL of http or https."
    if new.origin != target.origin:
        origin = f"{new.scheme}://{new.authority.decode('ascii')}"
        return (
            f"The redirect to another origin ({origin}) was not followed, because credentials are"
            " only sent to the origin that they are for: use the final URL."
        )
    if not request.repeatable:
        return (
            "The redirect was not followed, because the body cannot be sent again: use the final"
            " URL, or pass the content as bytes or as a path."
        )
    return new


def _as_utf_8(location: str) -> str:
    """Return a location that was sent in UTF-8, which servers do, and was read as latin-1."""
    try:
        return location.encode("latin-1").decode()
    except UnicodeError:
        return location
