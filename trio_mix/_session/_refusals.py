"""Decide what a refused connection of a session's stream means.

Rule 1  Before the stream was connected for the first time, the rules of any event stream apply.
Rule 2  Later only an answer of the Mix server itself is final: its error body, with a status that
        does not pass. Another answer comes from what stands before the server, and passes.
Rule 3  After a 404 or 410 that is not the server's own, the session is looked up over REST: if the
        server answers that it has none, the session does not exist.
Rule 4  After 401, 403 and 407 one more attempt is made at once, with new headers.
Rule 5  If the server refuses a request that resumes after an event, one more attempt is made at
        once without that event's id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix._http import is_transient
from trio_mix.errors import ErrorResponse, MixError, SessionNotFound
from trio_mix.errors._base import beginning
from trio_mix.sse._attempts import Refusals

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix.errors import TrioMixError
    from trio_mix.events import ErrorEvent
    from trio_mix.sse._attempts import Verdict

_DENIED: Final = (401, 403, 407)
_ABSENT: Final = (404, 410)
_OF_THE_ID: Final = (400, 409, 410, 412, 416, 422)


_CREATE: Final = "Create the session first, or check its id"
_GONE: Final = (
    "The server does not know the session any more: it was deleted, or the server was restarted "
    "and keeps none. Open a new one."
)
"""The remedy if the session existed: this stream was using it."""


class SessionRefusals(Refusals):
    """The rules of one session's stream.

    Args:
      session_id: the session.
      look_up: looks a session up, and returns the server's own error if there is none.

    Attributes:
      connected: whether the stream was connected before; the reader sets it.
    """

    def __init__(
        self, session_id: str, look_up: Callable[[str], Awaitable[MixError | None]]
    ) -> None:
        self.connected = False
        self._session_id = session_id
        self._look_up = look_up
        self._renewed = False  # the headers, since the last open connection

    def opened(self) -> None:
        """Note that an attempt was answered with an event stream."""
        self._renewed = False

    async def judge(self, error: TrioMixError, *, resuming: bool) -> Verdict:
        """Return what follows (rules 1 to 5)."""
        await trio.lowlevel.checkpoint()
        own = isinstance(error, ErrorResponse)
        status = error.status_code if isinstance(error, MixError) else 0
        if resuming and own and status in _OF_THE_ID:
            return "without id"
        if not self.connected:
            return await super().judge(error, resuming=resuming)
        if status in _DENIED:
            renewed, self._renewed = self._renewed, True
            return error if renewed else "at once"
        if own:
            return "later" if is_transient(status) else error
        gone = await self._look_up(self._session_id) if status in _ABSENT else None
        return "later" if gone is None else gone

    def refused(self, event: ErrorEvent, url: str) -> SessionNotFound:
        """Return the error for an ``error`` event in place of ``connected``.

        Args:
          event: the event.
          url: the URL of the stream.
        """
        more, remedy = (" any more", _GONE) if self.connected else ("", _CREATE + ".")
        return SessionNotFound(
            f"Session {self._session_id!r} cannot be streamed from {url}{more}: the server says "
            f"{beginning(event.error)!r}. {remedy}",
            url=url,
            session_id=self._session_id,
        )

    def explained(self, failure: Exception, url: str) -> Exception:
        """Return the error that ends the stream, which for a status of 404 is `SessionNotFound`.

        Args:
          failure: what was raised.
          url: the URL of the stream.
        """
        if not isinstance(failure, MixError) or failure.status_code != 404:
            return failure
        more, remedy = (
            (" any more", _GONE) if self.connected else ("", f"{_CREATE} and server_url.")
        )
        found = SessionNotFound(
            f"Session {self._session_id!r} does not exist{more}: {failure.request.url or url} was "
            f"answered HTTP 404. {remedy}",
            url=url,
            session_id=self._session_id,
        )
        found.__cause__ = failure
        return found
