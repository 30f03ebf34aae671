"""The address of a relay's WebSocket, and what it means if a connection to it fails."""

from __future__ import annotations

import inspect
import time
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import msgspec
import trio

from trio_mix._http import Target, is_transient, parse_retry_after
from trio_mix._redact import Redactor
from trio_mix.browser._endpoint import address_of
from trio_mix.errors import ConfigurationError, ProtocolError
from trio_mix.relay._errors import Forbidden, Unauthorized
from trio_mix.relay._ws_messages import PROTOCOL

if TYPE_CHECKING:
    import ssl

    from trio_mix.browser._endpoint import TokenSource
    from trio_mix.browser._transport import TransportLost
    from trio_mix.browser._websocket import WebSocketAddress, WebSocketRefused

_PATH: Final = "/relay/ws"
_BAD_CODES: Final = frozenset((1002, 1003, 1007, 1009, 4400, 4429))
"""With which a relay closes a socket that another attempt would not change."""


@attrs.frozen
class Lost:
    """Why a connection ended."""

    reason: str
    error: Exception | None = None
    """The error that no further attempt can change."""
    retry_after: float | None = None
    """Seconds after which the relay may be available."""


class RelayEndpoint:
    """The WebSocket of one relay.

    Args:
      url: the relay's address.
      token: the token, or what returns it at each connect; None: the relay needs none.
      ssl_context: the context for TLS; None: a default context.

    Raises:
      ConfigurationError: the address cannot work.

    Attributes:
      shown: the address without credentials.
    """

    def __init__(
        self, url: str, token: TokenSource | None, ssl_context: ssl.SSLContext | None
    ) -> None:
        for scheme in ("ws", "wss"):
            if url.startswith(f"{scheme}://"):
                url = f"http{scheme[2:]}{url.removeprefix(scheme)}"
        self._target = Target.parse(url.rstrip("/") + _PATH)
        self.shown: str = self._target.shown
        self._token = token
        self._ssl_context = ssl_context
        self._redactor = Redactor([])
        self._refused_before = False

    async def address(self) -> WebSocketAddress:
        """Return the address and the headers for the next connect.

        Raises:
          ConfigurationError: the token cannot be sent.
        """
        token = self._token() if callable(self._token) else self._token
        if inspect.isawaitable(token):
            token = await token
        headers, target = {}, self._target
        if token is not None:
            if not (token and token.isascii() and token.isprintable()):
                raise ConfigurationError("RelayClient(token=…): it must be printable ASCII text.")
            self._redactor = Redactor([token])
            headers["authorization"] = f"Bearer {token}"
        elif (authorization := target.authorization()) is not None:
            headers["authorization"] = authorization
        address = address_of(target, target.path.decode("ascii"), self._ssl_context, headers)
        await trio.lowlevel.checkpoint()
        return attrs.evolve(address, subprotocols=(PROTOCOL,))

    def opened(self) -> None:
        """Note that a connection was opened."""
        self._refused_before = False

    def lost(self, error: TransportLost) -> Lost:
        """Return the meaning of a connection that ended."""
        reason = str(error)
        if error.code in _BAD_CODES:
            return self.bad(error)
        return Lost(reason)

    def bad(self, error: Exception) -> Lost:
        """Return the meaning of an error that no further attempt can change."""
        text = f"The WebSocket {self.shown} failed: {error}. Update the relay or the client."
        return Lost(str(error), ProtocolError(text, url=self.shown))

    def refusal(self, refused: WebSocketRefused, *, connected: bool) -> Lost:
        """Return the meaning of a refused handshake.

        Args:
          refused: the answer.
          connected: whether a connection was open before: then the token may be old.
        """
        status = refused.status_code
        reason = f"HTTP {status}"
        text = self._redactor.text(_message_of(refused.body))
        error: Exception | None = None
        if status in (401, 403):
            again = not self._refused_before and connected
            self._refused_before = True
            kind = Unauthorized if status == 401 else Forbidden
            error = None if again else kind(f"{self.shown} was refused with HTTP {status}: {text}")
        elif not is_transient(status):
            error = ProtocolError(
                f"{self.shown} was refused with HTTP {status}: {text}. Check that a relay with"
                " WebSockets runs at that address.",
                url=self.shown,
            )
        wait = parse_retry_after(refused.headers.get("retry-after"), now=time.time())
        return Lost(reason, error, wait)


def _message_of(body: bytes) -> str:
    """Return the message of the API's error, or the beginning of the body."""
    try:
        return str(cast("dict[str, Any]", msgspec.json.decode(body))["error"]["message"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return " ".join(body[:200].decode("utf-8", "replace").split())
