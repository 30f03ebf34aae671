"""Read the stored messages of a session with the operation that the server supports."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._decisions import Reading
from trio_mix._turns._history import History
from trio_mix._turns._stored_ends import broken_off_since, has_unended, last_unended, shows_ends
from trio_mix._turns._stored_rows import caught_up, rows_of, weight_of
from trio_mix._turns._stored_turn import TurnOutcome, Verdict, end_of
from trio_mix.resources._sessions import Sessions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._turns._router import TurnRouter
    from trio_mix._turns._stored_rows import StoredRow
    from trio_mix._turns._turn import Turn
    from trio_mix.resources import Messages

_NO_SUCH_OPERATION: Final = (404, 405, 501)
_ONCE: Final = RequestOptions(retries=RetryConfig(strategy="none"), timeout=10.0)
_LATEST: Final = 60.0
"""Seconds after which no event of a stored turn comes any more, on a slow connection."""
_OLD_ROWS: Final = 256
"""The number of stored rows whose late events are recognized."""


@attrs.frozen
class Rows:
    """All stored rows of a session."""

    rows: list[StoredRow]
    now: float | None = None
    """When they were read, in seconds of the server's clock; None: unknown."""

    @property
    def age(self) -> float | None:
        """Seconds since the newest row changed; None: unknown."""
        return self._since(max((row.changed or 0.0 for row in self.rows), default=None))

    @property
    def unended(self) -> float | None:
        """Seconds since the newest turn without an end changed; None: none, or unknown."""
        return self._since(last_unended(self.rows))

    def _since(self, then: float | None) -> float | None:
        return None if self.now is None or then is None else max(0.0, self.now - then)


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

    def upgraded(self) -> None:
        """Note that the server was upgraded: it may support both operations now."""
        self._has_export = self._has_messages = True

    async def rows(self, session_id: str) -> Rows | None:
        """Return all rows, or None if the server has none that can be read.

        Raises:
          MixError, TransportError: the request failed; a later one may succeed.
        """
        refusal: errors.ErrorResponse | None = None
        if self._has_export:
            try:
                answer = await self._sessions._answer(Sessions.export_session, _ONCE, id=session_id)
                return Rows(rows_of(answer.value.messages), _date(answer.headers))
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_export = False
            except errors.ErrorResponse as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                refusal = exc  # the API may not know the operation, or not the session
            except errors.ResponseValidationError:
                pass  # an unknown or malformed body: the other operation may be readable
        if self._has_messages:
            try:
                messages = await self._messages.get_session(id=session_id, options=_ONCE)
                return Rows(rows_of(messages))
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_messages = False
        if refusal is not None:
            raise refusal
        return None  # noqa: ASYNC910 - every caller has a checkpoint


def _date(headers: Mapping[str, str]) -> float | None:
    """Return the time of a response, in seconds; None: unknown."""
    try:
        now = parsedate_to_datetime(headers.get("date", ""))
    except ValueError:
        return None
    return None if now.tzinfo is None else now.timestamp()


class SessionHistory:
    """The stored messages of a session, and which of them precede this stream's turns.

    A server whose API answers that it has no such thing may mean the session or the operation.
    While the stream is connected, the session exists: if its rows were never read, the operation
    does not, and is not called again on that connection.
    """

    __slots__ = (
        "_connected",
        "_grown_at",
        "_session_id",
        "_stored",
        "_unsupported",
        "_was_read",
        "_weight",
        "history",
    )

    def __init__(self, stored: StoredMessages, session_id: str) -> None:
        self.history: History = History()
        self._stored = stored
        self._session_id = session_id
        self._connected = False
        self._was_read = False
        self._unsupported = False
        self._weight = -1
        self._grown_at = 0.0
        """When a reading first showed as much as the last one did."""

    @property
    def none_kept(self) -> bool:
        """Whether the server is known to have no messages that can be read."""
        return self._unsupported or self._stored.none_kept

    def connected(self) -> None:
        """Note that the stream is connected: the session exists."""
        self._connected = True

    def lost(self) -> None:
        """Note that the connection was lost: the session may not exist any more."""
        self._connected = self._unsupported = False

    def upgraded(self) -> None:
        """Note that the server was upgraded: it may have messages that can be read."""
        self._unsupported = False
        self._stored.upgraded()

    async def before(self, router: TurnRouter) -> Reading:
        """Return whether the session is at work, before the next message is sent.

        What is stored precedes the next message; if reading fails, the old history is kept. Raises
        only what a hook, or a function that makes headers, raises. A checkpoint.
        """
        found = await self._read()
        if isinstance(found, Reading):
            return found
        router.stored_meanwhile(self.history.others(found.rows, None))
        self.history.read(found.rows)
        rows, then = found.rows[-_OLD_ROWS:], None if found.now is None else found.now - _LATEST
        errors_due = self.history.session_unknown and broken_off_since(rows, then)
        router.old(rows, errors_due=errors_due)
        weight = self._weigh(found.rows)
        return Reading(
            verdict=Verdict(outcome=TurnOutcome.ABSENT),
            at_work=self.history.at_work,
            over_known=self.history.over_everywhere(found.rows),
            weight=weight,
            age=trio.current_time() - self._grown_at if found.age is None else found.age,
            unended=found.unended,
        )

    async def read(self, turn: Turn, router: TurnRouter) -> Reading:
        """Return what the stored messages show about a turn. A checkpoint; never raises."""
        try:
            found = await self._read()
        except Exception:  # noqa: BLE001 - vetoed by a hook
            return Reading()  # noqa: ASYNC910 - the request was a checkpoint
        if isinstance(found, Reading):
            return found
        return self.reading(found.rows, turn, router, now=found.now)

    async def rows(self) -> list[StoredRow] | None:
        """Return all rows, or None if the server has none that can be read.

        Raises:
          MixError, TransportError: the request failed; a later one may succeed.
        """
        found = await self._fetch()
        return None if found is None else found.rows

    def reading(
        self, rows: list[StoredRow], turn: Turn, router: TurnRouter, *, now: float | None = None
    ) -> Reading:
        """Return what rows show about a turn.

        Args:
          rows: all stored rows of the session.
          turn: the turn.
          router: the stream's router.
          now: when they were read, in seconds of the server's clock; None: unknown.
        """
        rows = caught_up(rows, turn.ended_by or turn.doubted_end)
        asked = [row.id for row in rows if row.role == "user"]
        answers = [row.id for row in rows if row.role != "user"]
        guess = turn.overlap == "guess" or (bool(turn.overlap) and router.names_users_only)
        others = set() if guess else router.of_others(turn, asked, answers)
        doubted = trio.current_time() < self.history.unended_until
        verdict = self.history.judge(
            rows,
            turn,
            others,
            others_asked=router.asked_by_others(turn, asked),
            unended=doubted,
            overlaps=not router.traits.streams_run,
        )
        whole = verdict
        settled = verdict.outcome is TurnOutcome.FINISHED and not verdict.contested
        doubted_error = isinstance(turn.doubt, ev.ErrorEvent)
        overlap = turn.overlap in ("ids", "guess")
        if (turn.over or doubted_error) and overlap and router.traits.ids and not settled:
            # The rows of the turns are mixed: the ids of the events distinguish them.
            names = router.owned(turn)
            owned = self.history.judge([row for row in rows if row.id in names], turn)
            # While it runs, its last rows may not have been named.
            if turn.over or owned.outcome is TurnOutcome.BROKEN_OFF:
                verdict = attrs.evolve(owned, mixed=guess, either=guess)
        known_by_text = turn.identity.by_text or not turn.bound
        if router.others_seen and known_by_text and not (turn.events or turn.elsewhere == "other"):
            # Nothing but its text shows that the message arrived: it may be another client's.
            verdict = attrs.evolve(verdict, mixed=True)
        router.stored_meanwhile(self.history.others(rows, verdict.question))
        # The partial reply of a failed message has no text to compare with, on servers without ids.
        nameless = turn.failed and turn.due.events
        unended = (doubted or nameless) and has_unended(rows, verdict.question)
        # A question that was stored since the last reading may have an answer that came later.
        only = self.history.is_alone(rows, verdict.question)
        lone = only and not router.others_seen
        others_stored = any(
            row.role == "user" and row.id != verdict.question and not self.history.is_own(row)
            for row in rows
            if now is None or now - (row.changed or now) <= _LATEST
        )
        return Reading(
            verdict=verdict,
            at_work=self.history.still_at_work(rows),
            over_known=self.history.over_everywhere(rows),
            ends_shown=shows_ends(rows),
            weight=self._weigh(rows),
            end=end_of(
                rows,
                turn,
                turn.ended_by or (turn.doubted_end if router.traits.streams_run else None),
                verdict,
                alone=lone and not (turn.failed and self.history.end_unknown),
                others_stored=others_stored,
                is_own=self.history.is_own,
            ),
            others_stored=others_stored,
            lone=lone,
            alone=not (
                unended
                or (turn.due.events and not only)
                or verdict.outcome is TurnOutcome.ABSENT
                or whole.contested
                or whole.followed
            ),
        )

    async def _read(self) -> Rows | Reading:
        """Return the stored rows, or the reading where there are none that can be read."""
        try:
            rows = await self._fetch()
        except (errors.MixError, errors.TransportError):  # refused, or unreachable
            return Reading()  # noqa: ASYNC910 - the request was a checkpoint
        return Reading(none_kept=True) if rows is None else rows

    async def _fetch(self) -> Rows | None:
        """Return all rows, or None if the server has none that can be read. A checkpoint.

        Raises:
          MixError, TransportError: the request failed; a later one may succeed.
        """
        if self.none_kept:
            await trio.lowlevel.checkpoint()
            return None
        try:
            rows = await self._stored.rows(self._session_id)
        except errors.ErrorResponse as exc:
            no_such_thing = exc.status_code in _NO_SUCH_OPERATION
            if not (no_such_thing and self._connected) or self._was_read:
                raise
            self._unsupported = True
            return None  # noqa: ASYNC910 - the request was a checkpoint
        self._was_read = self._was_read or rows is not None
        return rows

    def _weigh(self, rows: list[StoredRow]) -> int:
        """Return how much is stored, and note when that is new."""
        weight = weight_of(rows)
        if weight != self._weight:
            self._weight, self._grown_at = weight, trio.current_time()
        return weight
