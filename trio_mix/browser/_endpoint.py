"""The server's end of a tunnel: its address, the handshake's headers, the meaning of a refusal.

Rules:

1. The token is sent in the request line and appears nowhere else: not in an error, a repr or a
   log, also if the server repeats it.
2. The client's headers are evaluated at every connect; headers that belong to the handshake are
   left out.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias, final
from urllib.parse import quote, unquote, urlsplit

import attrs

from trio_mix._http import (
    Target,
    default_ssl_context,
    header_secrets,
    is_transient,
    parse_retry_after,
)
from trio_mix._redact import Redactor
from trio_mix._rest._options import check_session_id
from trio_mix._version import __version__
from trio_mix.browser._errors import TunnelRefused
from trio_mix.browser._websocket import WebSocketAddress
from trio_mix.errors import ConfigurationError, RequestInfo, SessionNotFound, StreamError

if TYPE_CHECKING:
    import ssl

    from trio_mix._rest._core import MixCore
    from trio_mix.browser._websocket import WebSocketRefused

TokenSource: TypeAlias = str | Callable[[], str | Awaitable[str]]
"""A token, or a function (sync or async) that returns it and is called at each connect."""

_EXCERPT: Final = 300
_HANDSHAKE_HEADERS: Final = frozenset(
    ("connection", "content-length", "host", "te", "transfer-encoding", "upgrade")
)


@attrs.frozen
class Refusal:
    """The meaning of a refused handshake."""

    error: StreamError
    """The error to raise if the refusal is final."""
    final: bool
    """Whether another attempt is useless."""
    retry_after: float | None
    """The seconds that the server asked to wait, or None."""


@final
class TunnelEndpoint:
    """Builds the handshake's address and headers for each connect."""

    def __init__(
        self,
        mix: MixCore,
        session_id: str,
        token: TokenSource,
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        check_session_id(session_id, "open_tunnel")
        self._mix = mix
        self._session_id = session_id
        self._token = token
        self._ssl_context = ssl_context
        self._url = mix._caller.defaults.url_for(
            f"/api/v1/tunnel/cdp/session/{quote(session_id, safe='')}"
        )
        self.target: Target = Target.parse(self._url)
        scheme = "wss" if self.target.scheme == "https" else "ws"
        self.shown: str = f"{scheme}://{self.target.shown.partition('://')[2]}"
        """The tunnel's URL without any credential."""
        self._redactor = Redactor([])
        if not callable(token):
            _check_token(token)

    @property
    def request(self) -> RequestInfo:
        """The request that exceptions name."""
        return RequestInfo("GET", self.shown, "browser.open_tunnel")

    async def address(self) -> WebSocketAddress:
        """Return the address and the headers for the next connect.

        Raises:
          ConfigurationError: the token is empty, or a header cannot work.
        """
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        _check_token(token)
        headers = await self._mix._caller.defaults.headers_for()
        parts = urlsplit(self._url)
        secrets = [token, *headers.values()]
        if parts.username is not None:
            secrets += [parts.password or parts.username, unquote(parts.password or parts.username)]
        sent = {"user-agent": f"trio-mix/{__version__}"}
        if (authorization := self.target.authorization()) is not None:
            sent["authorization"] = authorization
        for name, value in headers.items():
            if name.lower() not in _HANDSHAKE_HEADERS and not name.lower().startswith(
                "sec-websocket-"
            ):
                sent[name.lower()] = value
        cookie = self._mix._caller.http.cookie_header(self.target, sent.get("cookie", ""))
        if cookie:
            sent["cookie"] = cookie
        self._redactor = Redactor([*secrets, *header_secrets(sent)])
        resource = self.target.path.decode("ascii") + f"?token={quote(token, safe='')}"
        return address_of(self.target, resource, self._ssl_context, sent)

    def refusal(self, refused: WebSocketRefused) -> Refusal:
        """Return the meaning of a refused handshake."""
        status = refused.status_code
        body = self._redactor.text(refused.body.decode("utf-8", "replace"))
        message = _message(body)
        text = f"The tunnel {self.shown} was refused with HTTP {status}"
        text += f": {message}. " if message else ". "
        if status == 404 and _is_api_error(body):
            error: StreamError = SessionNotFound(
                f"{text}Check the session's id: create the session before opening its tunnel.",
                url=self.shown,
                session_id=self._session_id,
            )
        else:
            error = TunnelRefused(
                text + _remedy(status),
                status_code=status,
                body=body,
                url=self.shown,
                session_id=self._session_id,
            )
        wait = parse_retry_after(refused.headers.get("retry-after"), now=time.time())
        return Refusal(error, not is_transient(status), wait)


def address_of(
    target: Target,
    resource: str,
    ssl_context: ssl.SSLContext | None,
    headers: dict[str, str],
) -> WebSocketAddress:
    """Return the address of the WebSocket at an HTTP address."""
    secure = target.scheme == "https"
    return WebSocketAddress(
        host=target.host.strip("[]"),
        port=target.port,
        authority=target.authority.decode("ascii"),
        resource=resource,
        headers=tuple(
            (name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()
        ),
        ssl_context=(ssl_context or default_ssl_context()) if secure else None,
    )


def _check_token(token: object) -> None:
    what = ""
    if not isinstance(token, str) or not token:
        what = "is empty" if token == "" else f"is a {type(token).__name__}, not text"
    elif any("\ud800" <= letter <= "\udfff" for letter in token):
        what = "holds a lone surrogate, which UTF-8 cannot encode"
    if what:
        raise ConfigurationError(
            f"open_tunnel(token=…): the token {what}. Servers refuse a tunnel without one."
        )


def _message(body: str) -> str:
    """Return the message of the API's error, or the beginning of the body."""
    flat = " ".join(body.split())
    try:
        value = json.loads(body)
        flat = str(value["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    return flat if len(flat) <= _EXCERPT else f"{flat[:_EXCERPT]}…"


def _is_api_error(body: str) -> bool:
    try:
        return "error" in json.loads(body)
    except (ValueError, TypeError, RecursionError):
        return False


def _remedy(status: int) -> str:
    if status in (401, 403):
        return "Check the token, and the client's headers."
    if status == 404:
        return "The server has no browser tunnels: they need the async generation (0.7.4 or later)."
    if status < 400:
        return "The server does not speak WebSocket: check server_url and proxies in front of it."
    if is_transient(status):
        return "The server is busy or failing; try again later."
    return "Check the request against the server's message."
