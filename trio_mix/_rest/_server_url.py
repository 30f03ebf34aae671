"""The address of a client's server: the argument, else the environment's, else the default.

Rule: an address that cannot work is a `ConfigurationError` that shows none of its passwords.
"""

from __future__ import annotations

import os
import re
from typing import Final
from urllib.parse import urlsplit

from trio_mix._http import Target
from trio_mix._redact import MASK
from trio_mix.errors import ConfigurationError

DEFAULT_SERVER_URL: Final = "http://localhost:8088"
"""Where a Mix server listens by default."""


def base_url(server_url: str | None) -> str:
    """Return the address that the operations' paths are appended to; it may hold a password."""
    if server_url is None:
        from_environment = os.environ.get("MIX_SERVER_URL", "").strip()
        return checked_url(from_environment or DEFAULT_SERVER_URL, "the variable MIX_SERVER_URL")
    return checked_url(server_url)


def checked_url(url: str, named: str = "server_url=...") -> str:
    """Return an address without the slashes at its end.

    Args:
      url: the address.
      named: the argument or variable that it comes from, for the error.

    Raises:
      ConfigurationError: it cannot work.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{named}: it must be a string, not {type(url).__name__}")
    try:
        target = Target.parse(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{named}: {error}") from None
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    problem = ""
    if port == 0:
        problem = "has an invalid port: use one from 1 to 65535"
    elif "?" in url or "#" in url:
        problem = "has a query or a fragment: remove it, or percent-encode the ? or # of a password"
    elif b"@" in target.path:
        # A password with a slash in it: all before the slash was read as the host and the port.
        problem = "has an @ after a slash: percent-encode the slash of a password as %2F"
    if problem:
        raise ConfigurationError(f"{named}: {_refused(url)!r} {problem}")
    return url.rstrip("/")


def _refused(url: str) -> str:
    """Return what may be shown of an address that is refused: nothing before its last ``@``."""
    before, at, after = url.rpartition("@")
    shown = re.split("[?#]", after)[0] if at else re.split("[?#]", url)[0]
    return f"{MASK}@{shown}" if before else shown
