"""What happened, numbered and kept for a while: so that who was away can read on.

What it knows: entries, readers, the text of Server-Sent Events. What it must never know: the
agent, HTTP.

Rules:

1. An id says which run of the program gave it: after a restart, a page that asks for what comes
   after an older id is told to begin anew.
2. The history is bounded. A reader who was away for too long is told how much is missing.
3. Nobody waits for a reader: entries are kept once, and each reader has a place in them.
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
    """The last things that happened."""

    def __init__(self, limit: int = 2000) -> None:
        self.run = secrets.token_hex(4)
        self.count = 0  # of all that ever happened; the last one's number
        self.kept: deque[str] = deque(maxlen=limit)
        self._news = trio.Event()

    def add(self, kind: str, **data: object) -> None:
        """Write down what happened, and wake the readers."""
        self.count += 1
        self.kept.append(self.frame(kind, data, self.count))
        self._news.set()
        self._news = trio.Event()

    async def wait(self) -> None:
        """Wait until there is something new."""
        await self._news.wait()

    def frame(self, kind: str, data: object, number: int) -> str:
        """Return an event as SSE wants it; JSON has no line ends of its own."""
        return f"id: {self.run}-{number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"

    def read(self, last_event_id: str | None) -> Reader:
        """Return a reader who has seen everything up to an id, or nothing."""
        run, _, number = (last_event_id or "").partition("-")
        known = run == self.run and number.isdigit() and int(number) <= self.count
        return Reader(self, int(number) if known else 0, anew=not known)


class Reader:
    """One reader's place: iterates pieces of an SSE body, for ever."""

    def __init__(self, history: History, seen: int, *, anew: bool) -> None:
        self._history = history
        self._seen = seen
        self._anew = anew

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        history = self._history
        if self._anew:
            self._anew = False
            return f"retry: {_RETRY}\n" + history.frame("reset", {}, self._seen)
        with trio.move_on_after(_KEEP_ALIVE):
            while self._seen == history.count:
                await history.wait()
        await trio.lowlevel.checkpoint()
        waiting = history.count - self._seen
        if not waiting:
            return ": still here\n\n"
        kept = list(history.kept)[-waiting:]
        gap = ""
        if len(kept) < waiting:
            missed = waiting - len(kept)
            gap = history.frame("gap", {"missed": missed}, history.count - len(kept))
        self._seen = history.count
        return gap + "".join(kept)
