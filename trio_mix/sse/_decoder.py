"""Decode the bytes of an event stream into events, by section 9.2 of the HTML standard.

Rules:

1. A line ends at LF, CR or CRLF, mixed at will and wherever chunks are cut; a CR counts at once,
   and one LF right after it is swallowed, in whatever chunk it comes. Nothing else ends a line.
2. One byte order mark at the very start is dropped; any later one is data.
3. The bytes are UTF-8, whatever the headers say; what is not valid becomes U+FFFD.
4. A line is a field name, and after the first colon its value, less one leading space. A line
   without colon is a name with an empty value; one that begins with a colon is a comment, which
   the standard ignores and `SSEDecoder.comments` returns.
5. ``data`` adds a line to the event's data; ``event`` names it, last one wins; ``id`` sets the id,
   unless it holds a NUL; ``retry`` counts if it is ASCII digits only, and counts at once. Names
   are case-sensitive and others are ignored.
6. A blank line ends the event: its id becomes the last event id, which later events inherit; with
   at least one ``data`` line it is dispatched, otherwise it is not. An empty or absent name
   means ``message``.
7. What follows the last blank line is never dispatched, and its id never counts.
8. The work is linear in the number of bytes, however they are cut: no byte is searched, joined or
   decoded more than a fixed number of times.
9. A line, and the data of an event, longer than the limit is a `ProtocolError`; nothing
   else is ever raised, and the decoder is of no further use then.
"""

from __future__ import annotations

import re
from typing import NoReturn, final

import attrs

from trio_mix._public import public
from trio_mix._record import unfrozen
from trio_mix.errors import ConfigurationError, ProtocolError

DEFAULT_MAX_EVENT_SIZE = 16 * 2**20
PIECE_SIZE = 16 * 1024

_CR = 13  # as a number, which is searched for faster than a string of length one
_BOM = b"\xef\xbb\xbf"


@public("trio_mix.sse")
@final
@attrs.frozen(slots=True, weakref_slot=False)
class ServerSentEvent:
    """One dispatched event of an event stream.

    All three fields are always strings, as in the standard, also if the server sent only ``data``.
    """

    id: str = ""
    """The last event id when this event was dispatched: its own, or an earlier event's."""
    event: str = "message"
    """The event's name."""
    data: str = ""
    """The values of its ``data`` lines, joined with LF."""


# One frame as nearly all servers write it (each of id, event, data, retry at most once and in this
# order, the id neither empty nor with a NUL), or, in the last group, any other frame whole. At
# each position one of the two matches, so that findall leaves no gaps. All quantifiers are
# possessive: nothing is tried twice (rule 8).
_find_frames = re.compile(
    r"(?:id: ?+([^\n\0]++)\n)?+"
    r"(?:event: ?+([^\n]*+)\n)?+"
    r"data: ?+([^\n]*+)\n"
    r"(?:retry: ?+([0-9]++)\n)?+"
    r"\n"
    r"|((?:[^\n]++\n)*+\n)"
).findall

_new = object.__new__
_UnfrozenEvent = unfrozen(ServerSentEvent)


def _utf8_size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


@public("trio_mix.sse")
@final
class SSEDecoder:
    """Decode an event stream, fed in chunks of any size.

    A decoder serves one connection: after a reconnect make a new one, and pass it the old one's
    `last_event_id`, which the events of the new connection inherit until they bring their own.
    It performs no I/O. The end of the stream needs no call: what is unfinished then is dropped, as
    the standard says.

    Args:
      max_event_size: the longest line, and the longest data of one event, in bytes.
      last_event_id: the id that events have until the stream sets one.

    Attributes:
      last_event_id: the id of the last finished event, its own or inherited.
      comments: the comments of the last `feed`, each with the number of the events of that `feed`
        that had been completed before it.
      id_cleared: whether the stream has set the id to nothing.
      retry: the server's last ``retry`` in seconds, or `None` if there was none.
      undelivered: if `feed` raised, the events that it had decoded before.

    Raises:
      ConfigurationError: ``max_event_size`` is less than one.
    """

    __slots__ = (
        "_after_cr",
        "_data",
        "_data_size",
        "_event",
        "_failure",
        "_id",
        "_in_event",
        "_max",
        "_no_limit_near",
        "_piece_size",
        "_pieces",
        "_retry_text",
        "_special",
        "_start",
        "comments",
        "id_cleared",
        "last_event_id",
        "retry",
        "undelivered",
    )

    def __init__(
        self, *, max_event_size: int = DEFAULT_MAX_EVENT_SIZE, last_event_id: str = ""
    ) -> None:
        if max_event_size < 1:
            raise ConfigurationError(
                f"max_event_size is {max_event_size}: it is the size in bytes of the largest"
                " event to accept, so it must be at least 1"
            )
        self.last_event_id: str = last_event_id
        self.id_cleared: bool = False
        self.comments: list[tuple[int, str]] = []
        self.retry: float | None = None
        self._retry_text = ""
        self.undelivered: list[ServerSentEvent] = []
        self._max = max_event_size
        # U+FFFD takes three bytes and may stand for one: up to here no limit can be exceeded.
        self._no_limit_near = max_event_size // 3
        # One flag for feed() to look at: there are comments, or any of the three below is set.
        self._special = True
        self._start: bytes | None = b""  # the first bytes, while they may be part of a BOM
        self._after_cr = False
        self._failure = ""
        # Bytes: the pieces of the unfinished line.
        self._pieces: list[bytes] = []
        self._piece_size = 0
        # Text: the fields of the event that is not finished yet.
        self._in_event = False
        self._id = last_event_id
        self._event = ""
        self._data: list[str] = []
        self._data_size = 0

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Decode the next bytes of the stream and return the events that they complete.

        Args:
          data: the bytes as received; how they are cut makes no difference.

        Returns:
          The events in order, often none.

        Raises:
          ProtocolError: a line or an event is over ``max_event_size``, now or earlier.
        """
        if self._special:
            data = self._prepare(data)
        if _CR in data:
            data = self._with_lf_only(data)
        if (
            data.endswith(b"\n\n")
            and not (self._in_event or self._pieces)
            and len(data) <= self._no_limit_near
        ):
            return self._decode_frames(data.decode("utf-8", "replace"), [])  # as usual

        end = data.rfind(b"\n") + 1
        if not end:
            if data:
                self._keep(data)
            return []
        lines = data if end == len(data) else data[:end]
        if self._pieces:
            lines = b"".join([*self._pieces, lines])
            self._pieces.clear()
            self._piece_size = 0

        events: list[ServerSentEvent] = []
        try:
            if len(lines) <= self._no_limit_near:
                self._decode(lines.decode("utf-8", "replace"), events)
            else:
                self._decode_checked(lines, events)
            if end != len(data):
                self._keep(data[end:])
        except ProtocolError:
            self.undelivered = events
            raise
        return events

    # Bytes: rules 1, 2 and the limit on lines

    def _prepare(self, data: bytes) -> bytes:
        """Handle the start of the stream, an LF after a CR, and calls after a failure."""
        if self._failure:
            raise ProtocolError(
                f"This decoder has failed before and is unusable, make a new one: {self._failure}"
            )
        self.comments = []
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return b""
            self._start = None
            data = data.removeprefix(_BOM)
        elif not data:
            return data
        elif self._after_cr:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        self._special = False
        return data

    def _with_lf_only(self, data: bytes) -> bytes:
        self._after_cr = self._special = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _keep(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._piece_size += len(piece)
        if self._piece_size > self._max:
            self._fail("A line")

    def _decode_checked(self, lines: bytes, events: list[ServerSentEvent]) -> None:
        good = 0
        for line in lines[:-1].split(b"\n"):
            if len(line) > self._max:
                if good:
                    self._decode_lines(lines[:good].decode("utf-8", "replace"), events)
                self._fail("A line")
            good += len(line) + 1
        self._decode_lines(lines.decode("utf-8", "replace"), events)

    def _fail(self, what: str) -> NoReturn:
        self._failure = (
            f"{what} of the event stream is over max_event_size={self._max} bytes."
            " Raise max_event_size if events of that size are expected here."
        )
        self._special = True
        self._pieces = []
        self._data = []
        raise ProtocolError(self._failure)

    # Text: rules 4 to 7

    def _decode(self, text: str, events: list[ServerSentEvent]) -> None:
        """Decode whole lines: those of whole frames together, the others one by one."""
        start = 0
        if self._in_event:
            start = 1 if text[0] == "\n" else text.find("\n\n") + 2
            if start == 1 and text[0] != "\n":  # no blank line: the event continues
                self._decode_lines(text, events)
                return
            self._decode_lines(text[:start], events)
        blank = text.rfind("\n\n", start)
        if blank >= 0:
            end = blank + 2
            self._decode_frames(text[start:end], events)
            start = end
        if start < len(text):
            self._decode_lines(text[start:], events)

    def _decode_frames(self, text: str, events: list[ServerSentEvent]) -> list[ServerSentEvent]:
        """Decode whole frames, outside an event and with sizes that need no check."""
        last_id = self.last_event_id
        for id_, name, data, retry, other in _find_frames(text):
            if other:
                self._id = last_id
                self._decode_lines(other, events)
                last_id = self.last_event_id
                continue
            if id_:
                last_id = id_
            if retry and retry != self._retry_text:
                self._set_retry(retry)
            event = _new(_UnfrozenEvent)
            event.id = last_id
            event.event = name or "message"
            event.data = data
            event.__class__ = ServerSentEvent
            events.append(event)
        self.last_event_id = self._id = last_id
        return events

    def _decode_lines(self, text: str, events: list[ServerSentEvent]) -> None:
        """Apply the rules as the standard words them, to lines that each end with LF."""
        for line in text[:-1].split("\n"):
            if not line:
                self._end_event(events)
                continue
            self._in_event = True
            name, _, value = line.partition(":")  # a comment has an empty name
            value = value.removeprefix(" ")
            if name == "data":
                self._data_size += _utf8_size(value) + bool(self._data)
                if self._data_size > self._max:
                    self._fail("The data of an event")
                self._data.append(value)
            elif name == "event":
                self._event = value
            elif name == "id":
                if "\0" not in value:
                    self._id = value
                    self.id_cleared = self.id_cleared or not value
            elif name == "retry" and value.isascii() and value.isdigit():
                self._set_retry(value)
            elif not name:
                self.comments.append((len(events), value))
                self._special = True

    def _set_retry(self, digits: str) -> None:
        self._retry_text = digits
        self.retry = float(digits) / 1000

    def _end_event(self, events: list[ServerSentEvent]) -> None:
        self.last_event_id = self._id
        if self._data:
            name = self._event or "message"
            events.append(ServerSentEvent(self._id, name, "\n".join(self._data)))
            self._data = []
            self._data_size = 0
        self._event = ""
        self._in_event = False


class PieceDecoder:
    """Decodes the bytes of one connection in pieces, which end with an event where possible.

    Decoding all events of a large read at once would keep the garbage collector busy and exceed the
    CPU's caches.

    Args:
      max_event_size: see `SSEDecoder`.
      last_event_id: see `SSEDecoder`.

    Attributes:
      decoder: the decoder, with the id, the retry time and the comments of the last piece.
      received: the number of bytes decoded.
      has_more: whether bytes of the last read are still to be decoded.
    """

    __slots__ = ("_cut", "_data", "decoder", "has_more", "received")

    def __init__(self, max_event_size: int, last_event_id: str) -> None:
        self.decoder = SSEDecoder(max_event_size=max_event_size, last_event_id=last_event_id)
        self.received = 0
        self.has_more = False
        self._data, self._cut = b"", 0  # the last read, and how much of it is decoded

    def put(self, data: bytes) -> None:
        """Take the bytes of one read, once all earlier ones are decoded."""
        self._data, self.has_more = data, bool(data)

    def next(self) -> list[ServerSentEvent]:
        """Decode the next piece and return its events.

        Raises:
          ProtocolError: an event exceeds the limit; ``decoder.undelivered`` has those before it.
        """
        begin = self._cut
        self._cut = self._data.find(b"\n\n", begin + PIECE_SIZE) + 2
        if self._cut >= 2:
            piece = self._data[begin : self._cut]
        else:
            piece = self._data[begin:] if begin else self._data
            self._data, self._cut, self.has_more = b"", 0, False
        self.received += len(piece)
        return self.decoder.feed(piece)
