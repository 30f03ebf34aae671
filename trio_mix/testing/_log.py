"""The log of a server: what happened, in order, and waiting for it."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar, overload

import trio

from trio_mix.testing._records import (
    Answered,
    FrameQueued,
    MessageAccepted,
    MessageFinished,
    MessageLost,
    MessageRun,
    NotificationAsked,
    Record,
    RequestReceived,
    TunnelMessage,
)
from trio_mix.testing._timeline import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.testing.net._http1 import ReceivedRequest

MAX_LOG_BYTES: Final = 256 * 2**20
_RECORD: Final = 256

R = TypeVar("R", bound=Record)
Predicate: TypeAlias = Callable[[Record], bool]

Match: TypeAlias = str | re.Pattern[str] | Callable[[str], bool]
"""Selects messages: by their exact text, a pattern to search for, or a function of the text."""


def check_match(match: object, where: str) -> None:
    """Refuse what can select no message, where it is written.

    Raises:
      TypeError: it is no text, no pattern for text and no function.
    """
    usable = isinstance(match.pattern, str) if isinstance(match, re.Pattern) else callable(match)
    if not isinstance(match, str) and not usable:
        raise TypeError(
            f"{where} takes a text, a compiled pattern or a function of the text, not {match!r}"
        )


def matches(match: Match, text: str) -> bool:
    """Return whether a message is selected."""
    if isinstance(match, str):
        return match == text
    return match.search(text) is not None if isinstance(match, re.Pattern) else match(text)


class Log:
    """The list of records, and waiting for records.

    Args:
      limit: how many records are kept at least; the oldest are removed first. None: all.
      max_bytes: about how many bytes the records may take; the oldest are removed first. None: any
        number.
    """

    def __init__(self, limit: int | None = None, max_bytes: int | None = MAX_LOG_BYTES) -> None:
        self.records: list[Record] = []
        self.count: int = 0
        """The number of records that were added."""
        # Not cut by the limit on records; of bytes, it has as many as they.
        self.runs: Counter[tuple[str, str]] = Counter()
        self._runs_bytes = 0
        self._limit = limit
        self._max_bytes = math.inf if max_bytes is None else max_bytes
        self._bytes = 0
        self._changed = trio.lowlevel.ParkingLot()

    def add_request(self, request: ReceivedRequest) -> None:
        """Add the record of a request."""
        self.add(
            RequestReceived(
                method=request.method,
                path=request.path,
                query=request.query,
                headers=request.headers,
                body=request.body,
            )
        )

    def add_refused(self, request: ReceivedRequest, status: int) -> None:
        """Add the records of a request that was refused before any handler."""
        self.add_request(request)
        self.add(Answered(method=request.method, path=request.path, status=status))

    def add(self, record: Record) -> None:
        """Add a record and wake the tasks that wait for one."""
        self.records.append(record)
        self.count += 1
        if isinstance(record, MessageRun):
            self._add_run(record)
        self._bytes += _size(record)
        if self._limit is not None and len(self.records) > 2 * self._limit:
            self._remove(len(self.records) - self._limit)
        elif self._bytes > self._max_bytes:
            count, size = 0, self._bytes
            while size > 0.75 * self._max_bytes:  # some at once: removing one costs as much
                size -= _size(self.records[count])
                count += 1
            self._remove(count)
        self._changed.unpark_all()

    def _add_run(self, record: MessageRun) -> None:
        key = record.session_id, record.text
        if key not in self.runs:
            self._runs_bytes += _size(record)
        self.runs[key] += 1
        while self._runs_bytes > self._max_bytes:
            oldest = next(iter(self.runs))
            self._runs_bytes -= _RECORD + len(oldest[1])
            del self.runs[oldest]

    def _remove(self, count: int) -> None:
        self._bytes -= sum(map(_size, self.records[:count]))
        del self.records[:count]

    @overload
    async def wait_for(self, what: type[R], *, count: int = ..., **fields: object) -> R: ...
    @overload
    async def wait_for(self, what: Predicate, *, count: int = ...) -> Record: ...
    async def wait_for(
        self, what: type[Record] | Predicate, *, count: int = 1, **fields: object
    ) -> Record:
        """Wait until the log holds ``count`` such records; return the last of them."""
        await trio.lowlevel.checkpoint()
        while True:
            found = self.find(what, **fields)
            if len(found) >= count:
                return found[count - 1]
            await self._changed.park()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is checked whenever a record is added."""
        await trio.lowlevel.checkpoint()
        while not condition():
            await self._changed.park()

    def find(self, what: type[Record] | Predicate, **fields: object) -> list[Record]:
        """Return the records of a class with these field values, or that match a predicate."""
        if isinstance(what, type):
            return [
                record
                for record in self.records
                if isinstance(record, what)
                and all(getattr(record, name) == value for name, value in fields.items())
            ]
        return [record for record in self.records if what(record)]


def _size(record: Record) -> int:
    """Return about how many bytes a record takes."""
    match record:
        case FrameQueued():  # most of all records
            return _RECORD
        case RequestReceived(path=path, query=query, headers=headers, body=body):
            texts = [path, *query, *query.values(), *headers, *headers.values()]
            return _RECORD + len(body) + sum(map(len, texts))
        case MessageAccepted(text=text) | MessageRun(text=text) | MessageFinished(text=text):
            return _RECORD + len(text)
        case MessageLost(text=text) | NotificationAsked(message=text):
            return _RECORD + len(text)
        case TunnelMessage(message=message):
            return _RECORD + len(str(message))
        case _:
            return _RECORD


class Observed:
    """A server with a log; the base class of `MixServer` and `Replay`."""

    def __init__(self, log: Log) -> None:
        self._log = log

    @property
    def log(self) -> Sequence[Record]:
        """All records, oldest first."""
        return self._log.records

    @property
    def timeline(self) -> str:
        """The log as text, for failure messages.

        One line per record; consecutive frames of a stream share a line. ``>`` marks what the
        server received, ``<`` what it sent.
        """
        return render(self._log.records)

    def runs(self, match: Match | None = None, session_id: str | None = None) -> int:
        """Return how often the agent started to run a message that matches."""
        if match is not None:
            check_match(match, "runs()")
        return sum(
            times
            for (where, what), times in self._log.runs.items()
            if (match is None or matches(match, what)) and session_id in (None, where)
        )

    def requests(self, method: str | None = None, path: str = "") -> list[RequestReceived]:
        """Return the requests with this method whose path begins with ``path``."""
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
        """Wait until the log holds ``count`` matching records, old ones included; return the last.

        Args:
          what: a record class, or a function that returns whether a record matches.
          count: how many records to wait for.
          fields: values that the record's fields must have.
        """
        return await self._log.wait_for(what, count=count, **fields)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is checked whenever a record is added to the log."""
        await self._log.wait_until(condition)
