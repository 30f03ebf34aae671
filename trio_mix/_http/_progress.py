"""How far a request has got: what its errors report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._http._cookies import header_secrets
from trio_mix._http._urls import url_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.errors import RequestInfo

__all__ = ["RequestProgress"]


@attrs.define(eq=False, repr=False)
class RequestProgress:
    """The progress of one request, over all redirects that it follows."""

    info: RequestInfo
    """The request, as an error names it."""
    on_sent: Callable[[], None] | None = None
    """Called once, when the request has been written completely."""
    sent: bool = False
    """Whether a byte of the request may have reached the server."""
    stage: str = "connecting"
    """What is being done, as an error message words it."""
    proxy: str = ""
    """The proxy of the environment and the variable that names it, for errors; empty for none."""
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    """The headers that the request was given."""
    url: str = attrs.field(default="", repr=False)
    """The URL that the request was given."""
    added: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The credentials that a caller's client, or a proxy's address, has added."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything of the request that an error must not show."""
        return (*header_secrets(self.headers), *url_secrets(self.url), *self.added)

    def sending(self) -> None:
        """Note that the first byte is about to be written."""
        self.sent = True
        self.stage = "sending the request"

    def body_sent(self) -> None:
        """Note that the request is written completely, and call ``on_sent``."""
        self.stage = "waiting for the response"
        callback, self.on_sent = self.on_sent, None
        if callback is not None:
            callback()
