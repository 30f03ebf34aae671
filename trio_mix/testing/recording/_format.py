r"""A recording: the file, what stands in it, and what had to come before what.

What it knows: the file's format, and which of the client's requests a server's words may depend on.
What it must never know: sockets, clocks.

A recording is JSON lines. The first names the format and its version; each other is one thing that
happened, with its place in the order (``no``), its time in seconds (``at``) and its exchange
(``n``)::

    {"trio_mix_recording": 1, "upstream": "http://localhost:8088", "recorded": "2025-…"}
    {"no": 1, "at": 0.0, "n": 1, "request": "GET /stream?sessionId=s1", "headers": {…}, "body": ""}
    {"no": 2, "at": 0.01, "n": 1, "answer": 200, "headers": {…}}
    {"no": 3, "at": 0.01, "n": 1, "chunk": "event: connected\ndata: {…}\n\n"}
    {"no": 9, "at": 7.5, "n": 1, "end": "cut"}

Rules:

1. Lines may stand out of order: what is held back to be masked comes later. ``no`` is the order.
2. What is no UTF-8 stands in base64, under ``base64`` instead of ``chunk`` or ``body``; a request's
   body that is large or no text is only told by its ``size``.
3. What a server says of a session may depend on every request before it that did something to that
   session: on its path, or by an id that the session's stream had told. Nothing else orders it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence  # noqa: TC003 - for typing.get_type_hints
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

__all__ = [
    "End",
    "Moment",
    "RecordedExchange",
    "Recording",
    "RecordingError",
    "RecordingWriter",
    "load",
]

VERSION: Final = 1
End: TypeAlias = Literal["complete", "cut", "reset", "client", "stopped", "refused"]
"""How an answer ended: in order, lost in one of two ways, the client left, the recorder was left,
or no answer came at all."""

_LARGE: Final = 64 * 1024
_SESSION: Final = re.compile(r"[?&]sessionId=([^&]+)|/api/sessions/([^/?]+)|/stream/([^/?]+)/")
_ID_IN_PATH: Final = re.compile(r"/api/(?:permissions|notifications)/([^/?]+)")


class RecordingError(ValueError):
    """A file is no recording, or one of a version that is not known here.

    What to do: Mend the line that the text names, or make a new recording with `record`.
    """


@attrs.frozen
class Moment:
    """When something was said: after which request, and how long after."""

    after: int
    """The number of the exchange whose request must have come."""
    delay: float
    """Seconds since then."""


@attrs.define
class RecordedExchange:
    """One request and its answer."""

    number: int
    """Its number, from 1."""
    no: int
    """The place of its request in the order of everything."""
    at: float
    """When the request came, in seconds since the recording's start."""
    method: str
    """The request's method."""
    target: str
    """The request's path and query, secrets masked."""
    body: str | None
    """The request's body, if it was kept."""
    status: int = 0
    """The answer's status; 0: none came."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The answer's headers."""
    head: Moment = Moment(0, 0.0)
    """When the answer began."""
    chunks: list[tuple[Moment, bytes]] = attrs.field(factory=list[tuple[Moment, bytes]])
    """The answer's body in the pieces in which it came."""
    end: End = "stopped"
    """How the answer ended."""
    ended: Moment = Moment(0, 0.0)
    """When."""

    @property
    def request(self) -> str:
        """The request's first line."""
        return f"{self.method} {self.target}"

    @property
    def is_stream(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def session_id(self) -> str | None:
        """The session that the request names."""
        found = _SESSION.search(self.target)
        return None if found is None else next(group for group in found.groups() if group)


@attrs.frozen
class Recording:
    """What a file holds."""

    upstream: str
    """The recorded server's address."""
    recorded: str
    """When, in UTC."""
    exchanges: Sequence[RecordedExchange]
    """All requests and their answers, in the order in which they were made."""


class RecordingWriter:
    """Writes a recording, a line at a time.

    Args:
      path: the file; one that is there is replaced.
      upstream: the server's address.
      recorded: the time of the start, in UTC.
    """

    def __init__(self, path: str | os.PathLike[str], upstream: str, recorded: str) -> None:
        # Line by line: what was recorded is there also when the program dies.
        self._file = Path(path).open("w", encoding="utf-8", newline="\n", buffering=1)  # noqa: SIM115
        head = {"trio_mix_recording": VERSION, "upstream": upstream, "recorded": recorded}
        self._line(head)

    def write(self, no: int, at: float, number: int, **what: object) -> None:
        """Write one thing that happened."""
        self._line({"no": no, "at": round(at, 6), "n": number, **what})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, values: Mapping[str, object]) -> None:
        self._file.write(json.dumps(values, ensure_ascii=False) + "\n")


def chunk_fields(data: bytes) -> dict[str, object]:
    """Return how a piece of an answer's body stands in the file."""
    try:
        return {"chunk": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def body_fields(data: bytes) -> dict[str, object]:
    """Return how a request's body stands in the file."""
    if len(data) <= _LARGE:
        try:
            return {"body": data.decode()}
        except UnicodeDecodeError:
            pass
    return {"size": len(data)}


def load(path: str | os.PathLike[str]) -> Recording:
    """Read a recording.

    Raises:
      OSError: the file cannot be read.
      RecordingError: it is no recording, or of another version; its text names the line.
    """
    lines: list[dict[str, object]] = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            lines.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            raise RecordingError(
                f"{path}, line {number}: this is no JSON object: mend or remove it"
            ) from None
    version = lines[0].get("trio_mix_recording") if lines else None
    if version != VERSION:
        raise RecordingError(
            f"{path} is no recording, for its first line lacks trio_mix_recording: make one"
            " with trio_mix.testing.record"
            if version is None
            else f"{path} is a recording of version {version}, and this trio_mix reads {VERSION}:"
            " make it anew"
        )
    head, *rest = lines
    try:
        rest.sort(key=lambda line: cast("int", line["no"]))
        exchanges = _exchanges(rest)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"{path}: a line lacks what its kind must have: {error!r}: mend or remove it"
        ) from error
    return Recording(str(head.get("upstream", "")), str(head.get("recorded", "")), exchanges)


def _exchanges(lines: Sequence[Mapping[str, object]]) -> list[RecordedExchange]:
    made: dict[int, RecordedExchange] = {}
    told: dict[str, bytearray] = {}  # what each session's streams have said so far
    for line in lines:
        number, at = cast("int", line["n"]), float(cast("float", line["at"]))
        if "request" in line:
            method, _, target = str(line["request"]).partition(" ")
            body = str(line["body"]) if "body" in line else None
            made[number] = RecordedExchange(
                number, cast("int", line["no"]), at, method, target, body
            )
            continue
        exchange = made[number]
        anchor = _anchor(exchange, made.values(), told)
        moment = Moment(anchor.number, max(0.0, at - anchor.at))
        if "answer" in line:
            exchange.status, exchange.head = int(cast("int", line["answer"])), moment
            exchange.headers = dict(cast("Mapping[str, str]", line["headers"]))
        elif "end" in line:
            exchange.end, exchange.ended = cast("End", line["end"]), moment
        else:
            data = (
                str(line["chunk"]).encode()
                if "chunk" in line
                else base64.b64decode(str(line["base64"]))
            )
            exchange.chunks.append((moment, data))
            if exchange.is_stream and exchange.session_id is not None:
                told.setdefault(exchange.session_id, bytearray()).extend(data)
    return list(made.values())


def _anchor(
    exchange: RecordedExchange, before: Iterable[RecordedExchange], told: Mapping[str, bytearray]
) -> RecordedExchange:
    """Return the last request that what is said now may depend on."""
    session_id = exchange.session_id
    if session_id is None or (exchange.method == "GET" and not exchange.is_stream):
        return exchange
    latest = exchange
    for other in before:
        if other.method in ("GET", "HEAD", "OPTIONS") or other.no < latest.no:
            continue
        named = _ID_IN_PATH.search(other.target)
        if other.session_id == session_id or (
            named is not None and named[1].encode() in told.get(session_id, b"")
        ):
            latest = other
    return latest
