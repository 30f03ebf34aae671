r"""The file format of recordings.

A recording is JSON lines. The first line names the format and its version. Each other line is one
step of an exchange, with its position in the order of all steps (``no``), its time in seconds
(``at``) and the number of its exchange (``n``)::

    {"trio_mix_recording": 1, "upstream": "http://localhost:8088", "recorded": "2025-…"}
    {"no": 1, "at": 0.0, "n": 1, "request": "GET /stream?sessionId=s1", "headers": {…}, "body": ""}
    {"no": 2, "at": 0.01, "n": 1, "answer": 200, "headers": {…}}
    {"no": 3, "at": 0.01, "n": 1, "chunk": "event: connected\ndata: {…}\n\n"}
    {"no": 9, "at": 7.5, "n": 1, "end": "cut"}

Rules:

1. Lines may be out of order, because data is buffered until it can be masked: ``no`` is the order.
2. A chunk that is not UTF-8 is written in base64, under ``base64`` in place of ``chunk``. Of a
   request's body that is large or not UTF-8 only the ``size`` is written.
3. What a server sends about a session may depend on every earlier request that changes the session:
   one that names it in its path, or that names an id which the session's stream has sent. Nothing
   else orders it.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Sequence  # noqa: TC003 - for typing.get_type_hints
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast

import attrs

from trio_mix._private_files import open_private

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

VERSION: Final = 1
End: TypeAlias = Literal["complete", "cut", "reset", "client", "stopped", "refused"]
"""How a response ended: complete, cut or reset by the server, the client left, the recorder was
left, or there was no response."""

_LARGE: Final = 64 * 1024
_SESSION: Final = re.compile(r"[?&]sessionId=([^&]+)|/api/sessions/([^/?]+)|/stream/([^/?]+)/")
_ID_IN_PATH: Final = re.compile(r"/api/(?:permissions|notifications)/([^/?]+)")


class RecordingError(ValueError):
    """A file is not a recording, or a recording of an unknown version.

    What to do: Fix the line that the text names, or make a new recording with `record`.
    """


@attrs.frozen
class Moment:
    """When something was sent: after which request, and how long after it."""

    after: int
    """The number of the exchange whose request must be received first."""
    delay: float
    """Seconds after that request."""


@attrs.define
class RecordedExchange:
    """One request and its response."""

    number: int
    """The number, from 1."""
    no: int
    """The position of its request in the order of all steps."""
    at: float
    """When the request was received, in seconds since the recording's start."""
    method: str
    """The request's method."""
    target: str
    """The request's path and query, secrets masked."""
    body: str | None
    """The request's body; None: it was not kept."""
    status: int = 0
    """The status of the response; 0: there was no response."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The headers of the response."""
    head: Moment = Moment(0, 0.0)
    """When the response started."""
    chunks: list[tuple[Moment, bytes]] = attrs.field(factory=list[tuple[Moment, bytes]])
    """The body of the response, in the pieces in which it was received."""
    end: End = "stopped"
    """How the response ended."""
    ended: Moment = Moment(0, 0.0)
    """When the response ended."""

    @property
    def request(self) -> str:
        """The method and target of the request."""
        return f"{self.method} {self.target}"

    @property
    def is_stream(self) -> bool:
        """Whether the response is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def session_id(self) -> str | None:
        """The session that the request names, if any."""
        found = _SESSION.search(self.target)
        return None if found is None else next(group for group in found.groups() if group)


@attrs.frozen
class Recording:
    """The contents of a recording."""

    upstream: str
    """The address of the recorded server."""
    recorded: str
    """When the recording was started, in UTC."""
    exchanges: Sequence[RecordedExchange]
    """All requests and their responses, in the order of the requests."""


class RecordingWriter:
    """Writes a recording, line by line.

    Args:
      path: the file, which only the user can read; an existing file is replaced.
      upstream: the server's address.
      recorded: the time of the start, in UTC.
      max_size: the largest size of the file in bytes; None: any.

    Attributes:
      full: whether something was left out because of ``max_size``. Nothing is written after that.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        upstream: str,
        recorded: str,
        *,
        max_size: int | None = None,
    ) -> None:
        self.full = False
        self._left = math.inf if max_size is None else max_size
        # Line buffered: the recording is complete up to the last line if the program is killed.
        self._file = open_private(path)
        head = {"trio_mix_recording": VERSION, "upstream": upstream, "recorded": recorded}
        self._line(head)

    def write(self, no: int, at: float, number: int, **what: object) -> None:
        """Write one step of an exchange."""
        self._line({"no": no, "at": round(at, 6), "n": number, **what})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _line(self, values: Mapping[str, object]) -> None:
        line = json.dumps(values, ensure_ascii=False) + "\n"
        self._left -= len(line.encode("utf-8", "surrogatepass"))
        self.full = self.full or self._left < 0
        if not self.full:
            self._file.write(line)


def chunk_fields(data: bytes) -> dict[str, object]:
    """Return the fields for a piece of a response body."""
    try:
        return {"chunk": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def body_fields(data: bytes) -> dict[str, object]:
    """Return the fields for a request body."""
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
      RecordingError: it is not a recording, or of another version; the text names the line.
    """
    lines: list[dict[str, object]] = []
    for number, line in enumerate(Path(path).read_bytes().splitlines(), 1):
        try:
            lines.append(dict(json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            raise RecordingError(
                f"{path}, line {number}: not a JSON object: fix or remove this line"
            ) from None
    version = lines[0].get("trio_mix_recording") if lines else None
    if version != VERSION:
        raise RecordingError(
            f"{path} is not a recording, because its first line has no trio_mix_recording: make"
            " a recording with trio_mix.testing.record"
            if version is None
            else f"{path} is a recording of version {version}, and this trio_mix reads {VERSION}:"
            " make a new recording"
        )
    head, *rest = lines
    try:
        rest.sort(key=lambda line: cast("int", line["no"]))
        exchanges = _exchanges(rest)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(
            f"{path}: a line lacks a required field or has an invalid one: {error!r}: fix or remove"
            " this line"
        ) from error
    return Recording(str(head.get("upstream", "")), str(head.get("recorded", "")), exchanges)


def _exchanges(lines: Sequence[Mapping[str, object]]) -> list[RecordedExchange]:
    made: dict[int, RecordedExchange] = {}
    sent: dict[str, bytearray] = {}  # what each session's streams have sent so far
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
        anchor = _anchor(exchange, made.values(), sent)
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
                sent.setdefault(exchange.session_id, bytearray()).extend(data)
    return list(made.values())


def _anchor(
    exchange: RecordedExchange, before: Iterable[RecordedExchange], sent: Mapping[str, bytearray]
) -> RecordedExchange:
    """Return the last request that the next step of an exchange may depend on."""
    session_id = exchange.session_id
    if session_id is None or (exchange.method == "GET" and not exchange.is_stream):
        return exchange
    latest = exchange
    for other in before:
        if other.method in ("GET", "HEAD", "OPTIONS") or other.no < latest.no:
            continue
        named = _ID_IN_PATH.search(other.target)
        if other.session_id == session_id or (
            named is not None and named[1].encode() in sent.get(session_id, b"")
        ):
            latest = other
    return latest
