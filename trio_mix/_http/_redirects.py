"""Decide which redirects are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from trio_mix._http._urls import Target
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from trio_mix._http._protocols import HttpRequest

__all__ = ["MAX_REDIRECTS", "redirect_target"]

MAX_REDIRECTS = 5


def redirect_target(request: HttpRequest, status_code: int, location: str) -> Target | None:
    """Return the target of a redirect if it may be followed: a GET, to the same origin."""
    if status_code not in (301, 302, 303, 307, 308) or not location:
        return None
    if request.method not in ("GET", "HEAD"):
        return None
    target = request.target
    try:
        new = Target.parse(str(httpx.URL(target.url).join(location)))
    except (httpx.InvalidURL, ConfigurationError):
        return None
    return new if new.origin == target.origin else None
