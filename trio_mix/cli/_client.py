"""The server that a command uses, and the client for it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import Mix, RetryConfig
from trio_mix._http import sanitize_url
from trio_mix._rest._options import DEFAULT_SERVER_URL, checked_url
from trio_mix.cli._errors import CommandFailure, NoMixServer
from trio_mix.cli.ui._text import excerpt
from trio_mix.errors import ErrorResponse, MixError, NoSuchOperation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    from trio_mix import Response
    from trio_mix.models import JsonValue

_TIMEOUT: Final = 60.0
_ONCE: Final = RetryConfig(strategy="none")
_SERVER_ERROR: Final = 500
_NOT_ADMITTED: Final = (401, 403, 407)


@attrs.define(kw_only=True)
class Connection:
    """The address of a server, and the headers of all requests to it."""

    url: str | None = attrs.field(default=None, repr=False)
    """The address; None: none was named, so that a command uses its default."""
    source: str = "--server"
    """The option, variable or profile that the address comes from, for errors."""
    options: Sequence[str] = ()
    """The options that name this server again."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    read_token: Callable[[], Awaitable[str]] | None = attrs.field(default=None, repr=False)
    """Returns the token; called once."""
    token_header: str = "Authorization"  # noqa: S105 - a name
    """The header for the token; in ``Authorization`` it follows the word ``Bearer``."""
    _token: str | None = attrs.field(default=None, init=False, repr=False)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    @property
    def shown_url(self) -> str:
        """The address without credentials."""
        return sanitize_url(self.url or DEFAULT_SERVER_URL)

    def client(
        self,
        url: str | None = None,
        *,
        timeout: float = _TIMEOUT,
        retries: RetryConfig = _ONCE,
    ) -> Mix:
        """Return a client, not opened; by default it tries each request once.

        Args:
          url: the address, where a command's default differs.
          timeout: seconds that a request may take.
          retries: how requests that are safe to repeat are retried.

        Raises:
          ConfigurationError: the address or a header is invalid.
        """
        has_headers = self.headers or self.read_token is not None
        return Mix(
            checked_url(url or self.url or DEFAULT_SERVER_URL, self.source),
            timeout=timeout,
            retries=retries,
            headers=self.all_headers if has_headers else None,
        )

    async def all_headers(self) -> Mapping[str, str]:
        """Return the headers of a request, with the token."""
        async with self._lock:
            if self.read_token is None:
                return self.headers
            if self._token is None:
                self._token = await self.read_token()
        is_bearer = self.token_header.lower() == "authorization"
        value = f"Bearer {self._token}" if is_bearer else self._token
        return {**self.headers, self.token_header: value}


@asynccontextmanager
async def open_client(server: Connection) -> AsyncIterator[Mix]:
    """Open a client on a server that responds.

    A stream retries its first connection for some time, but a user at a terminal wants to see at
    once that the address is wrong. So one plain request is sent first. An error of a Mix server is
    accepted: the oldest servers have no ``/health``.

    Raises:
      ConnectionFailed, RequestTimeout: nothing responds at the address.
      NoMixServer: another kind of server responds.
    """
    async with server.client() as mix:
        try:
            await mix.system.health_check()
        except MixError as error:
            if _is_of_another_server(error):
                kind = error.headers.get("content-type", "").partition(";")[0]
                what = "a web page" if kind == "text/html" else excerpt(kind, 60)
                if error.status_code >= _SERVER_ERROR:
                    raise NoMixServer(
                        f"{server.shown_url} answers /health with {what} (HTTP "
                        f"{error.status_code}): a proxy there does not reach the Mix server"
                    ) from error
                raise NoMixServer(
                    f"{server.shown_url} is no Mix server: it answers /health with {what} (HTTP "
                    f"{error.status_code}). Check host, port and path of the address; "
                    "`trio-mix doctor` examines it"
                ) from error
        yield mix


def json_of(answer: Response, path: str) -> JsonValue:
    """Return the JSON value of a response.

    Raises:
      CommandFailure: the body is not JSON.
    """
    try:
        return answer.json()
    except ValueError as error:
        raise CommandFailure(f"{path}: {error}") from None


def _is_of_another_server(error: MixError) -> bool:
    """Return whether no Mix server responds so.

    Their errors are of the API's shape, and their routers and the oldest servers answer in plain
    text. A proxy may require a login.
    """
    if isinstance(error, ErrorResponse | NoSuchOperation) or error.status_code in _NOT_ADMITTED:
        return False
    return not error.headers.get("content-type", "text/plain").startswith("text/plain")
