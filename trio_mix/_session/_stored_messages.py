"""What is stored of a session, read by whatever operation the server has for it.

What it knows: which operations read stored messages, what was there before a stream's own turns.
What it must never know: when to look, or what a verdict means for a message.

Rule 1  What a server lacks is asked for once. One bad answer (a proxy's 503, a broken body) is
        not that.
Rule 2  The history is what was stored before the stream's first message; where it could not be
        read then, it is read before the next one. It is read anew after a turn of which it is not
        known whether it was stored, and when many turns stand to be counted, while no turn of ours
        is under way.
Rule 3  What was sent and may still come to run (a message whose outcome is unknown) stays doubtful.
Rule 4  A stream may live for months: of its own turns, of those whose outcome is unknown, and of
        the stored rows only the last few are remembered. A row before a remembered one is old too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._stored_turn import PriorTurn, judge, rows_of

if TYPE_CHECKING:
    from trio_mix._session._message_state import MessageState
    from trio_mix._turns._stored_turn import StoredRow, Verdict
    from trio_mix.resources import Messages, Sessions

__all__ = ["History", "StoredMessages"]

_LOOK_TIMEOUT: Final = 10.0
_NO_SUCH_OPERATION: Final = (404, 405, 501)
_MOST_OWN: Final = 200
_MOST_TEXT: Final = 1_000_000
"""Own turns, and characters of them, that may stand to be counted before the rows are read anew."""
_MOST_DOUBTFUL: Final = 50
_MOST_KNOWN: Final = 1000
_ONCE: Final = RetryConfig(strategy="none")


class StoredMessages:
    """Reads a session's stored messages by the operation that this server has for it.

    Kept by the client, so that what a server lacks is asked for once.
    """

    def __init__(self, sessions: Sessions, messages: Messages) -> None:
        self._sessions = sessions
        self._messages = messages
        self._has_export = True
        self._has_messages = True

    @property
    def silent(self) -> bool:
        """Whether the server is known to keep none that can be asked for."""
        return not self._has_export and not self._has_messages

    async def rows(self, session_id: str) -> list[StoredRow] | None:
        """Return all rows, or None where the server keeps none that can be asked for.

        Raises:
          MixError, TransportError: this time it did not work.
        """
        options = RequestOptions(retries=_ONCE, timeout=_LOOK_TIMEOUT)
        if self._has_export:
            try:
                exported = await self._sessions.export_session(id=session_id, options=options)
                return rows_of(exported.messages)
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_export = False
            except errors.ResponseValidationError:
                pass  # a shape of its own, or a broken body: the other operation may tell
        if self._has_messages:
            try:
                return rows_of(await self._messages.get_session(id=session_id, options=options))
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_messages = False
        return None  # noqa: ASYNC910 - its callers have a wait of their own


@attrs.frozen
class _Own:
    """A turn of ours that is over."""

    earlier: PriorTurn
    may_come: bool
    """Whether it may still run, and be stored, later."""


class History:
    """What was stored before the turns of this stream, and those turns' own texts."""

    def __init__(self, stored: StoredMessages, session_id: str) -> None:
        self._stored = stored
        self._session_id = session_id
        self._due = True
        self._own: list[_Own] = []
        self._older = False
        self.known: dict[str, None] | None = None
        """The ids of the last user messages that were there before, oldest first."""

    @property
    def earlier(self) -> list[PriorTurn]:
        """Our own turns since the history, in order."""
        return [own.earlier for own in self._own]

    async def ensure(self) -> None:
        """Look, where that is due (rule 2); where it fails the old history stays, if any."""
        if not self._due or self._stored.silent:
            await trio.lowlevel.checkpoint()
            return
        try:
            rows = await self._stored.rows(self._session_id)
        except (errors.MixError, errors.TransportError):
            return  # noqa: ASYNC910 - the request was one
        if rows is not None:
            self._due = False
            asked = [row.id for row in rows if row.role == "user"]
            self.known = dict.fromkeys(asked[-_MOST_KNOWN:])
            self._older = len(asked) > _MOST_KNOWN
            self._own = [own for own in self._own if own.may_come][-_MOST_DOUBTFUL:]

    def judge(self, rows: list[StoredRow], state: MessageState) -> Verdict:
        """Say what the rows tell of a turn."""
        return judge(
            rows,
            user_message_id=state.turn.user_message_id,
            matches=state.turn.matches,
            known=self.known,
            earlier=self.earlier,
            older=self._older,
        )

    def count(self, state: MessageState) -> None:
        """Count a turn of our own that is over: its row is not the next one's."""
        if state.turn.user_message_id is not None and self.known is not None:
            self.known[state.turn.user_message_id] = None
            while len(self.known) > _MOST_KNOWN:
                del self.known[next(iter(self.known))]
                self._older = True
                self._due = self._due or bool(self._own)  # theirs may be among what is forgotten
            return
        # A refused one, a failed one, a command: each may be stored or not.
        command = state.turn.text.startswith(("/", "!"))
        certain = state.partial().message_id is not None and not command
        earlier = PriorTurn(text=state.turn.text, plan_mode=state.turn.plan_mode, certain=certain)
        refused = isinstance(state.failure, errors.MessageRejected)
        ended = state.turn.ended_by is not None or state.failure is None
        self._own.append(_Own(earlier, may_come=not (certain or refused or ended)))
        text = sum(len(own.earlier.text) for own in self._own)
        self._due = self._due or not certain or len(self._own) > _MOST_OWN or text > _MOST_TEXT
        while len(self._own) > 2 * _MOST_OWN or (text > 2 * _MOST_TEXT and len(self._own) > 1):
            text -= len(self._own.pop(0).earlier.text)  # the rows could not be read for long
