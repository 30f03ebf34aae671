"""The outbox of the SQLite log: the turns of all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trio_mix.relay._errors import KeyReused
from trio_mix.relay._log import KEY_KEPT
from trio_mix.relay._records import (
    Answer,
    SendRequest,
    TurnRecord,
    TurnState,
    outcome_from_text,
    outcome_to_text,
)
from trio_mix.relay._sqlite_writer import Job

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Protocol, TypeVar

    T = TypeVar("T")

    class Access(Protocol):
        """Reads and writes the file."""

        def now(self) -> float:
            """Return the time in seconds since 1970."""
            ...

        def write(self, job: Job[T]) -> Awaitable[T]:
            """Write, and return the job's result once it is stored."""
            ...

        def read_with(self, run: Callable[[sqlite3.Connection], T]) -> Awaitable[T]:
            """Read in a thread."""
            ...


_TURN: Final = (
    "SELECT turn.id, session.id, subject, key, digest, request, state, ticket, outcome,"
    " answer_status, answer_type, answer_body, created_at, ended_at, first_id"
    " FROM turn JOIN session ON session.number = turn.session "
)


class SqliteOutbox:
    """The turns in the file."""

    def __init__(self, log: Access) -> None:
        self._log = log

    async def accept(self, turn: TurnRecord) -> TurnRecord:
        """Store a new turn; see `Outbox.accept`."""
        oldest = self._log.now() - KEY_KEPT

        def run(connection: sqlite3.Connection) -> TurnRecord:
            number = number_of(connection, turn.session_id)
            if turn.key is not None:
                known = connection.execute(
                    f"{_TURN} WHERE turn.session = ? AND subject = ? AND key = ?"
                    " AND (ended_at IS NULL OR created_at >= ?) ORDER BY turn.number DESC LIMIT 1",
                    (number, turn.subject, turn.key, oldest),
                ).fetchone()
                if known is not None:
                    found = _turn_of(known)
                    if found.digest != turn.digest:
                        raise KeyReused(
                            "The idempotency key was used with another body: use a new key for "
                            "each message."
                        )
                    return found
            connection.execute(
                "INSERT INTO turn (id, session, subject, key, digest, request, state, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    turn.turn_id,
                    number,
                    turn.subject,
                    turn.key,
                    turn.digest,
                    turn.request.to_json(),
                    turn.state.value,
                    turn.created_at,
                ),
            )
            return turn

        return await self._log.write(Job(run))

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return a turn; None if it is unknown."""

        def run(connection: sqlite3.Connection) -> TurnRecord | None:
            row = connection.execute(f"{_TURN} WHERE turn.id = ?", (turn_id,)).fetchone()
            return None if row is None else _turn_of(row)

        return await self._log.read_with(run)

    async def pending(self, session_id: str) -> list[TurnRecord]:
        """Return the turns of a session that are not over, in the order of their acceptance."""

        def run(connection: sqlite3.Connection) -> list[TurnRecord]:
            rows = connection.execute(
                _TURN + "WHERE session.id = ? AND ended_at IS NULL ORDER BY turn.number",
                (session_id,),
            )
            return [_turn_of(row) for row in rows.fetchall()]

        return await self._log.read_with(run)

    async def sessions(self) -> list[str]:
        """Return the sessions that have turns which are not over."""

        def run(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "SELECT id FROM session WHERE number IN"
                " (SELECT DISTINCT session FROM turn WHERE ended_at IS NULL) ORDER BY number"
            )
            return [session_id for [session_id] in rows.fetchall()]

        return await self._log.read_with(run)


def number_of(connection: sqlite3.Connection, session_id: str) -> int:
    """Return the number of a session in the file, which is added if it is new."""
    row = connection.execute("SELECT number FROM session WHERE id = ?", (session_id,)).fetchone()
    if row is None:
        row = connection.execute(
            "INSERT INTO session (id) VALUES (?) RETURNING number", (session_id,)
        ).fetchone()
    return int(row[0])


def update_turn(connection: sqlite3.Connection, turn: TurnRecord) -> None:
    answer = turn.answer
    connection.execute(
        "UPDATE turn SET state = ?, ticket = ?, outcome = ?, answer_status = ?, answer_type = ?,"
        " answer_body = ?, ended_at = ?, first_id = ? WHERE id = ?",
        (
            turn.state.value,
            turn.ticket,
            outcome_to_text(turn.outcome),
            None if answer is None else answer.status,
            None if answer is None else answer.content_type,
            None if answer is None else answer.body,
            turn.ended_at,
            turn.first_id,
            turn.turn_id,
        ),
    )


def _turn_of(row: Sequence[Any]) -> TurnRecord:
    answer = None
    if row[9] is not None:
        answer = Answer(status=row[9], content_type=row[10], body=row[11])
    return TurnRecord(
        turn_id=row[0],
        session_id=row[1],
        subject=row[2],
        key=row[3],
        digest=row[4],
        request=SendRequest.from_json(row[5]),
        state=TurnState(row[6]),
        ticket=row[7],
        outcome=outcome_from_text(row[8]),
        answer=answer,
        created_at=row[12],
        ended_at=row[13],
        first_id=row[14],
    )
