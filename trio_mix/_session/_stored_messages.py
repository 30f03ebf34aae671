"""Read the stored messages of a session with the operation that the server supports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._decisions import Reading
from trio_mix._turns._history import History
from trio_mix._turns._stored_turn import at_work, rows_of, weight_of

if TYPE_CHECKING:
    from trio_mix._turns._router import TurnRouter
    from trio_mix._turns._stored_turn import StoredRow
    from trio_mix._turns._turn import Turn
    from trio_mix.resources import Messages, Sessions

__all__ = ["SessionHistory", "StoredMessages"]

_READ_TIMEOUT: Final = 10.0
_NO_SUCH_OPERATION: Final = (404, 405, 501)
_ONCE: Final = RetryConfig(strategy="none")


class StoredMessages:
    """Reads the stored messages of a client's sessions.

    An operation that the server does not support is called once. A single failure, such as a
    proxy's 503 or a malformed body, does not count as unsupported.
    """

    def __init__(self, sessions: Sessions, messages: Messages) -> None:
        self._sessions = sessions
        self._messages = messages
        self._has_export = True
        self._has_messages = True

    @property
    def none_kept(self) -> bool:
        """Whether the server is known to have no messages that can be read."""
        return not self._has_export and not self._has_messages

    async def rows(self, session_id: str) -> list[StoredRow] | None:
        """Return all rows, or None if the server has none that can be read.

        Raises:
          MixError, TransportError: the request failed; a later one may succeed.
        """
        options = RequestOptions(retries=_ONCE, timeout=_READ_TIMEOUT)
        if self._has_export:
            try:
                exported = await self._sessions.export_session(id=session_id, options=options)
                return rows_of(exported.messages)
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_export = False
            except errors.ResponseValidationError:
                pass  # an unknown or malformed body: the other operation may be readable
        if self._has_messages:
            try:
                return rows_of(await self._messages.get_session(id=session_id, options=options))
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_messages = False
        return None  # noqa: ASYNC910 - every caller has a checkpoint


class SessionHistory:
    """The stored messages of a session, and which of them precede this stream's turns."""

    def __init__(self, stored: StoredMessages, session_id: str) -> None:
        self.history: History = History()
        self._stored = stored
        self._session_id = session_id

    async def refresh(self) -> None:
        """Read the history if it is due; if reading fails, the old history is kept."""
        if not self.history.due or self._stored.none_kept:
            await trio.lowlevel.checkpoint()
            return
        try:
            rows = await self._stored.rows(self._session_id)
        except (errors.MixError, errors.TransportError):
            return  # noqa: ASYNC910 - the request was a checkpoint
        if rows is not None:
            self.history.read(rows)

    async def read(self, turn: Turn, router: TurnRouter) -> Reading:
        """Return what the stored messages show about a turn. A checkpoint; never raises."""
        if self._stored.none_kept:
            await trio.lowlevel.checkpoint()
            return Reading(none_kept=True)
        try:
            rows = await self._stored.rows(self._session_id)
        except Exception:  # noqa: BLE001 - refused, unreachable, or vetoed by a hook
            return Reading()  # noqa: ASYNC910 - the request was a checkpoint
        if rows is None:
            return Reading(none_kept=True)
        return self.reading(rows, turn, router)

    async def rows(self) -> list[StoredRow] | None:
        """Return all rows, or None if the server has none that can be read.

        Raises:
          MixError, TransportError: the request failed; a later one may succeed.
        """
        return await self._stored.rows(self._session_id)

    def reading(self, rows: list[StoredRow], turn: Turn, router: TurnRouter) -> Reading:
        """Return what rows show about a turn."""
        asked = [row.id for row in rows if row.role == "user"]
        answers = [row.id for row in rows if row.role != "user"]
        others = router.of_others(turn, asked, answers)
        mine = [row for row in rows if row.id not in others]
        return Reading(
            verdict=self.history.judge(mine, turn), at_work=at_work(rows), weight=weight_of(rows)
        )
