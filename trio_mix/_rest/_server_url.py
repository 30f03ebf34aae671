"""Where a client's server is: what was said, else the environment, else the usual place.

What it knows: what an address may be, and where it comes from.
What it must never know: what is asked of the server.

Rule: an address that cannot work is a `ConfigurationError` that shows none of its passwords.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from trio_mix._http import Target, sanitize_url
from trio_mix.errors import ConfigurationError

__all__ = ["DEFAULT_SERVER_URL", "base_url", "checked_url"]

DEFAULT_SERVER_URL: Final = "http://localhost:8088"
"""Where a Mix server listens unless it is told otherwise."""


def base_url(server_url: str | None) -> str:
    """Return what the operations' paths are put behind, possibly with a password in it."""
    if server_url is None:
        from_environment = os.environ.get("MIX_SERVER_URL", "").strip()
        return checked_url(from_environment or DEFAULT_SERVER_URL, "the variable MIX_SERVER_URL")
    return checked_url(server_url)


def checked_url(url: str, named: str = "server_url=...") -> str:
    """Return an address without the slashes at its end.

    Args:
      url: the address.
      named: how its user knows it, for the error.

    Raises:
      ConfigurationError: it cannot work.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{named}: it must be text, not {type(url).__name__}")
    try:
        Target.parse(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{named}: {error}") from None
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    if port == 0:
        raise ConfigurationError(
            f"{named}: {sanitize_url(url)!r} has no possible port: use one from 1 to 65535"
        )
    if "?" in url or "#" in url:
        raise ConfigurationError(
            f"{named}: after {sanitize_url(re.split('[?#]', url)[0])!r} comes a query or a"
            " fragment: leave that out"
        )
    return url.rstrip("/")
