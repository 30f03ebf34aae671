"""The log of a server: what happened, in order, and waiting for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

import trio

from trio_mix.testing._records import MessageRun, Record, RequestReceived
from trio_mix.testing._timeline import render

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Log", "Match", "Observed", "matches"]

R = TypeVar("R", bound=Record)
Predicate: TypeAlias = Callable[[Record], bool]

Match: TypeAlias = str | re.Pattern[str] | Callable[[str], bool]
"""Which messages are meant: the very text, a pattern found in it, or a function."""


def matches(match: Match, text: str) -> bool:
    """Return whether a message is meant."""
    if isinstance(match, str):
        return match == text
    return match.search(text) is not None if isinstance(match, re.Pattern) else match(text)


class Log:
    """The list of records, that can be waited on.

    Args:
      limit: how many records are kept; the oldest go first. None: all.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.records: list[Record] = []
        self.runs: Counter[tuple[str, str]] = Counter()  # complete, whatever the limit
        self._limit = limit
        self._changed = trio.lowlevel.ParkingLot()

    def add(self, record: Record) -> None:
        """Write a record down and wake those who wait."""
        self.records.append(record)
        if isinstance(record, MessageRun):
            self.runs[record.session_id, record.text] += 1
        if self._limit is not None and len(self.records) > 2 * self._limit:
            del self.records[: -self._limit]
        self._changed.unpark_all()

    @overload
    async def wait_for(self, what: type[R], *, count: int = ..., **fields: object) -> R: ...
    @overload
    async def wait_for(self, what: Predicate, *, count: int = ...) -> Record: ...
    async def wait_for(
        self, what: type[Record] | Predicate, *, count: int = 1, **fields: object
    ) -> Record:
        """Wait until the log holds ``count`` such records, and return the last of them."""
        await trio.lowlevel.checkpoint()
        while True:
            found = self.find(what, **fields)
            if len(found) >= count:
                return found[count - 1]
            await self._changed.park()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, asking again whenever something is written down."""
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.park()

    def find(self, what: type[Record] | Predicate, **fields: object) -> list[Record]:
        """Return the records of a class whose fields have these values, or that a test likes."""
        if isinstance(what, type):
            return [
                record
                for record in self.records
                if isinstance(record, what)
                and all(getattr(record, name) == value for name, value in fields.items())
            ]
        return [record for record in self.records if what(record)]


class Observed:
    """Something that keeps a log."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def log(self) -> Sequence[Record]:
        """All that happened, oldest first."""
        return self._log.records

    @property
    def timeline(self) -> str:
        """The log as text, for people and failure messages.

        A line for each record, frames that follow each other in one; ``>`` is what the server
        received, ``<`` what it sent.
        """
        return render(self._log.records)

    def runs(self, match: Match | None = None, session_id: str | None = None) -> int:
        """Return how often the agent began to work on the messages that match."""
        return sum(
            times
            for (where, what), times in self._log.runs.items()
            if (match is None or matches(match, what)) and session_id in (None, where)
        )

    def requests(self, method: str | None = None, path: str = "") -> list[RequestReceived]:
        """Return the requests with this method whose path begins like this."""
        return [
            record
            for record in self._log.records
            if isinstance(record, RequestReceived)
            and (method is None or record.method == method)
            and record.path.startswith(path)
        ]

    @overload
    async def wait_for(self, what: type[R], *, count: int = ..., **fields: object) -> R: ...
    @overload
    async def wait_for(self, what: Callable[[Record], bool], *, count: int = ...) -> Record: ...
    async def wait_for(
        self,
        what: type[R] | Callable[[Record], bool],
        *,
        count: int = 1,
        **fields: object,
    ) -> Record:
        """Wait until the log holds ``count`` such records, from the start on; return the last.

        Args:
          what: a class of records, or a function that says whether a record is meant.
          count: how many there must be.
          fields: values that the record's fields must have.
        """
        return await self._log.wait_for(what, count=count, **fields)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the server holds; it is asked whenever something happens."""
        await self._log.wait_until(condition)
