"""Decode the framing of an HTTP/1.1 body from the bytes that follow a response's head.

The three ways to mark the end of a body are those of RFC 9112, section 6. The rules:

1. No byte is copied more than a fixed number of times, however the input is cut.
2. A body that ends early is distinguished from a complete one, except for a body that lasts until
   the connection is closed.
3. The length of lines of the chunked framing is limited.
4. Small complete chunks, of which one read may hold hundreds, are separated by a few calls of C
   functions; any large or unusual chunk is left to the code that implements the whole framing.
"""

from __future__ import annotations

import re
from typing import Protocol

_MAX_LINE = 16 * 1024
_SIZES_REMEMBERED = 4096
_SMALL_CHUNK = 2 * 1024
_MAX_PLAIN_LINE = 10
_PLAIN_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_CHUNK_HEAD = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;.*)?", re.DOTALL)


class _Sizes(dict[bytes, int]):
    """A cache from lines to chunk sizes; -1 for a line that needs the complete parser.

    Only plain sizes are kept: any other line may be long, with an extension for instance.
    """

    def __missing__(self, line: bytes) -> int:
        size = int(line, 16) if _PLAIN_SIZE.fullmatch(line) else 0
        if not size:
            return -1
        if len(self) >= _SIZES_REMEMBERED:
            self.clear()
        self[line] = size
        return size


_sizes = _Sizes()


class BodyError(Exception):
    """The framing of the body is invalid."""


class Body(Protocol):
    """Separates the bytes of the body from those of the connection."""

    finished: bool
    """Whether the body is complete."""
    excess: bool
    """Whether bytes followed the end of the body, so that the connection cannot be reused."""
    until_close: bool
    """Whether the end of the connection is the end of the body."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that the data holds."""
        ...


class LengthBody:
    """A body of a known length, possibly zero."""

    until_close = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.finished = length == 0
        self.excess = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that the data holds."""
        if len(data) > self._left:
            self.excess = True
            data = data[: self._left]
        self._left -= len(data)
        self.finished = self._left == 0
        return data


class CloseBody:
    """A body that lasts until the server closes the connection."""

    finished = False
    excess = False
    until_close = True

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that the data holds."""
        return data


class ChunkedBody:
    """A body in chunks: a size in hexadecimal, CRLF, the bytes, CRLF; the last one is empty."""

    until_close = False

    __slots__ = (
        "_expect_end",
        "_left",
        "_line",
        "_trailer_size",
        "_trailers",
        "excess",
        "finished",
    )

    def __init__(self) -> None:
        self.finished = False
        self.excess = False
        self._left = 0  # bytes of the current chunk that have not arrived
        self._line = b""  # an incomplete line of the framing
        self._expect_end = False  # the CRLF after a chunk is expected
        self._trailers = False
        self._trailer_size = 0

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that the data holds."""
        pieces: list[bytes] = []
        position = 0
        searched = False
        while position < len(data):
            if self.finished:
                self.excess = True
                break
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if not self._left:
                    self._expect_end = True
                continue
            at_chunk = not (self._line or self._expect_end or self._trailers)
            if at_chunk and not searched and _is_small_chunk(data, position):
                searched = True
                position = _take_whole_chunks(data, position, pieces)
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._line += data[position:]
                if len(self._line) > _MAX_LINE:
                    raise BodyError("a line of the chunked framing is too long")
                break
            line = self._line + data[position : end + 1]
            self._line = b""
            position = end + 1
            self._take_line(line)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _take_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise BodyError("a line of the chunked framing does not end with CRLF")
        line = line[:-2]
        if self._expect_end:
            if line:
                raise BodyError("a chunk is longer than its size")
            self._expect_end = False
        elif self._trailers:
            self._trailer_size += len(line)
            if self._trailer_size > _MAX_LINE:
                raise BodyError("the trailers are too long")
            self.finished = not line
        else:
            match = _CHUNK_HEAD.fullmatch(line)
            if match is None:
                raise BodyError("the size of a chunk is not a hexadecimal number")
            self._left = int(match[1], 16)
            self._trailers = self._left == 0


def _is_small_chunk(data: bytes, position: int) -> bool:
    """Return whether a small chunk begins at a position: in large ones, no CRLF is searched."""
    end = data.find(b"\r\n", position, position + _MAX_PLAIN_LINE)
    return end >= 0 and 0 < _sizes[data[position:end]] < _SMALL_CHUNK


def _take_whole_chunks(data: bytes, position: int, pieces: list[bytes]) -> int:
    """Append the complete chunks that begin at a position; return where the rest begins.

    Split at CRLF, complete chunks are sizes and contents in turn. If that does not hold (a last
    chunk, an extension, a CRLF in the content, an error), no chunk is taken.
    """
    *parts, rest = (data[position:] if position else data).split(b"\r\n")
    if len(parts) % 2:
        rest = parts.pop() + b"\r\n" + rest
    contents = parts[1::2]
    if list(map(len, contents)) != list(map(_sizes.__getitem__, parts[::2])):
        return position
    pieces += contents
    return len(data) - len(rest)


def body_of(method: str, status_code: int, headers: dict[str, str], http_version: str) -> Body:
    """Return the decoder for the body of a response (RFC 9112, section 6.3).

    Raises:
      BodyError: the headers are contradictory or not supported.
    """
    if method == "HEAD" or status_code in (204, 304):
        return LengthBody(0)
    encoding = headers.get("transfer-encoding")
    if encoding is not None and http_version != "HTTP/1.0":
        if encoding.strip().lower() != "chunked":
            raise BodyError("the response has a transfer encoding other than chunked")
        return ChunkedBody()
    length = headers.get("content-length")
    if length is None:
        return CloseBody()
    if not (length.isascii() and length.isdigit() and len(length) < 20):
        raise BodyError("the response's Content-Length is not a number")
    return LengthBody(int(length))
