"""HTTP clients as a caller may pass them, over sockets or in memory."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import httpcore
import httpcore2
import httpx
import httpx2

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS: Final[Sequence[str]] = ("httpx", "httpx2")

_PLAIN_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes 20 ms


def callers_client(kind: str, network: Any = None) -> Any:
    """Return a client of a library, which connects through ``network`` if it is passed."""
    library, core = {"httpx": (httpx, httpcore), "httpx2": (httpx2, httpcore2)}[kind]
    if network is None:
        return library.AsyncClient(verify=_PLAIN_CONTEXT)
    transport = library.AsyncHTTPTransport(verify=_PLAIN_CONTEXT)
    transport._pool = core.AsyncConnectionPool(network_backend=network)
    return library.AsyncClient(transport=transport)
