"""What is asked for at each connect: one request, and an answer that is an event stream.

What it knows: the request, how its headers come to be, whom to ask for a connection.
What it must never know: when to connect, and what becomes of the connection; Mix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, final

from trio_mix._http import url_secrets
from trio_mix.sse._answers import check_answer
from trio_mix.sse._headers import HeadersSource, ask_headers, request_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix._http import ResponseStream

__all__ = ["Opener", "StreamRequest"]


class Opener(Protocol):
    """What makes the connections: `trio_mix._http.Http`, or something round it."""

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        connect_timeout: float | None,
    ) -> ResponseStream:
        """Send a request and return its response, of any status, with the body unread."""
        ...


@final
class StreamRequest:
    """The request for one stream; `Supervisor` says what its arguments mean."""

    __slots__ = (
        "_connect_timeout",
        "_content",
        "_headers",
        "_http",
        "_method",
        "_passwords",
        "_session_id",
        "_url",
        "_wall_clock",
    )

    def __init__(
        self,
        http: Opener,
        url: str,
        *,
        method: str,
        headers: HeadersSource,
        content: bytes | None,
        connect_timeout: float | None,
        session_id: str,
        wall_clock: Callable[[], float],
    ) -> None:
        self._http = http
        self._url = url
        self._method = method
        self._headers = headers
        self._content = content
        self._connect_timeout = connect_timeout
        self._session_id = session_id
        self._wall_clock = wall_clock
        self._passwords = url_secrets(url)

    async def open(self, last_event_id: Callable[[], str]) -> ResponseStream:
        """Send it and return the event stream that answers, which is the caller's to close.

        Args:
          last_event_id: returns where to resume, ``""`` for nowhere; asked after the headers.

        Raises:
          StreamRefused: the server will not stream just now.
          TransportError: no answer came.
          ConfigurationError, StreamError, MixError: it will never stream.
        """
        given = await ask_headers(self._headers)
        stream = await self._http.open(
            self._method,
            self._url,
            headers=request_headers(given, last_event_id()),
            content=self._content,
            connect_timeout=self._connect_timeout,
        )
        try:
            await check_answer(
                stream,
                method=self._method,
                secrets=[*given.values(), *self._passwords],
                session_id=self._session_id,
                wall_clock=self._wall_clock,
            )
        except BaseException:
            await stream.aclose()
            raise
        return stream
