"""The streams that are decoded: generated, the same on every run.

Two forms of frame, as servers write them: "new" has id, event, data and retry; "oldest" has event
and data only. The first frame is ``connected``; what follows is one turn's text deltas.
"""

from __future__ import annotations

import hashlib

CHUNK = 16 * 1024
SESSION = "session-1"
_WORDS = [
    "the",
    "agent",
    "reads",
    "a",
    "file,",
    "thinks",
    "about",
    "it",
    "and",
    "writes",
    "the",
    "answer",
    "word",
    "by",
    "word.",
    "",
]


def text_of(number: int) -> str:
    """Return the text of one delta."""
    return f"{_WORDS[number % len(_WORDS)]} {number} "


def data_of(number: int, turn: int = 1) -> str:
    """Return the payload of one delta."""
    message = f"assistant-{turn}"
    return f'{{"type":"content","content":"{text_of(number)}","assistantMessageId":"{message}"}}'


def frame(event: str, data: str, number: int, *, form: str = "new") -> bytes:
    """Return one frame as a server writes it."""
    if form == "oldest":
        return f"event: {event}\ndata: {data}\n\n".encode()
    return f"id: {number}\nevent: {event}\ndata: {data}\nretry: 30000\n\n".encode()


def connected(form: str = "new") -> bytes:
    """Return the frame that a stream begins with."""
    return frame("connected", f'{{"sessionId":"{SESSION}"}}', 1, form=form)


def deltas(count: int, *, form: str = "new", first: int = 2, turn: int = 1) -> list[bytes]:
    """Return the frames of so many text deltas."""
    numbers = range(first, first + count)
    return [frame("content", data_of(n, turn), n, form=form) for n in numbers]


def cut(stream: bytes, size: int) -> list[bytes]:
    """Return a stream in pieces of one size."""
    return [stream[at : at + size] for at in range(0, len(stream), size)]


def chunked(pieces: list[bytes]) -> bytes:
    """Return pieces in HTTP's chunked framing, a chunk for each."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class Check:
    """Counts what comes, and says whether it is what was sent: run once before anything is timed.

    The text of the deltas counts, in its order, whatever else a client makes of the frames.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen = hashlib.sha256()

    def add(self, text: str) -> None:
        """Take in one delta's text."""
        self.count += 1
        self._seen.update(text.encode())

    def done(self, count: int, first: int = 2) -> None:
        """Compare with what was sent."""
        wanted = hashlib.sha256("".join(map(text_of, range(first, first + count))).encode())
        if self.count != count or self._seen.digest() != wanted.digest():
            raise SystemExit(f"wrong result: {self.count} events for {count}, or another text")
