"""What a server lets a test see: its log, questions about it, waiting on it.

What it knows: the log.
What it must never know: what writes into it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar, overload

from trio_mix.testing._records import Log, Record, RequestReceived
from trio_mix.testing._timeline import render

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Match", "Observed", "matches"]

_R = TypeVar("_R", bound=Record)

Match: TypeAlias = str | re.Pattern[str] | Callable[[str], bool]
"""Which messages are meant: the very text, a pattern found in it, or a function."""


def matches(match: Match, text: str) -> bool:
    """Return whether a message is meant."""
    if isinstance(match, str):
        return match == text
    return match.search(text) is not None if isinstance(match, re.Pattern) else match(text)


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
    async def wait_for(self, what: type[_R], *, count: int = ..., **fields: object) -> _R: ...
    @overload
    async def wait_for(self, what: Callable[[Record], bool], *, count: int = ...) -> Record: ...
    async def wait_for(
        self,
        what: type[_R] | Callable[[Record], bool],
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
