"""Completes the address of a server that was named without a scheme."""

from __future__ import annotations

import ipaddress
import re
from typing import Final

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|/")


def with_scheme(address: str) -> str:
    """Return the address with a scheme: ``http`` for this machine, ``https`` elsewhere.

    What follows a missing scheme may hold a password, so it is not sent in clear to other machines.
    """
    if _SCHEME.match(address):
        return address
    authority = re.split("[/?#]", address, maxsplit=1)[0].rpartition("@")[2]
    host = re.sub(r":[0-9]*\Z", "", authority).strip("[]").lower()
    return f"{'http' if _is_here(host) else 'https'}://{address}"


def _is_here(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
