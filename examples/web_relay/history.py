"""Keep the latest events with ids, so that a tab that reconnects receives what it missed.

Rules:

1. An id contains the run of the program that assigned it. After a restart, a page that resumes from
   an older id receives a ``reset`` event.
2. The history is bounded. A reader that was away too long receives a ``gap`` event with the number
   of missing events.
3. Adding an entry never waits for a reader: entries are kept once, and each reader has a position.
"""

from __future__ import annotations

import json
import secrets
from collections import deque
from typing import Self

import trio

__all__ = ["History", "Reader"]

_KEEP_ALIVE = 15.0
_RETRY = 1000


class History:
    """The latest events."""

    def __init__(self, limit: int = 2000) -> None:
        self.run = secrets.token_hex(4)
        self.count = 0  # of all events so far; the id of the latest
        self.kept: deque[str] = deque(maxlen=limit)
        self._added = trio.Event()

    def add(self, kind: str, **data: object) -> None:
        """Add an event, and wake the readers."""
        self.count += 1
        self.kept.append(self.frame(kind, data, self.count))
        self._added.set()
        self._added = trio.Event()

    async def wait(self) -> None:
        """Wait until an event is added."""
        await self._added.wait()

    def frame(self, kind: str, data: object, number: int) -> str:
        """Return an event in SSE format; JSON contains no line breaks."""
        return f"id: {self.run}-{number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"

    def read(self, last_event_id: str | None) -> Reader:
        """Return a reader that starts after an id, or at the beginning."""
        run, _, number = (last_event_id or "").partition("-")
        known = run == self.run and number.isdigit() and int(number) <= self.count
        return Reader(self, int(number) if known else 0, reset=not known)


class Reader:
    """One reader's position: yields pieces of an SSE body without end."""

    def __init__(self, history: History, seen: int, *, reset: bool) -> None:
        self._history = history
        self._seen = seen
        self._reset = reset

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        history = self._history
        if self._reset:
            self._reset = False
            return f"retry: {_RETRY}\n" + history.frame("reset", {}, self._seen)
        with trio.move_on_after(_KEEP_ALIVE):
            while self._seen == history.count:
                await history.wait()
        await trio.lowlevel.checkpoint()
        unread = history.count - self._seen
        if not unread:
            return ": still here\n\n"
        kept = list(history.kept)[-unread:]
        gap = ""
        if len(kept) < unread:
            missed = unread - len(kept)
            gap = history.frame("gap", {"missed": missed}, history.count - len(kept))
        self._seen = history.count
        return gap + "".join(kept)
