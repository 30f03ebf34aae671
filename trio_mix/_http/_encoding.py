"""Decode the content coding of a response in bounded memory.

Requests ask for no compression. A server, or a proxy in front of it, may compress all the same.
"""

from __future__ import annotations

import zlib
from typing import Final, final

PIECE_SIZE: Final = 64 * 1024
MAX_WITHOUT_CONTENT: Final = 2**20
"""How many compressed bytes in a row may decompress to nothing."""
_GZIP_BITS: Final = 31
_ZLIB_BITS: Final = 15


class ContentError(Exception):
    """The compressed content of a body is invalid or incomplete."""


def decoder_of(content_encoding: str) -> ContentDecoder | str | None:
    """Return the decoder for a ``Content-Encoding``, `None` for no coding.

    Returns:
      The decoder, or the coding itself as text if it is not supported.
    """
    codings = [each.strip().lower() for each in content_encoding.split(",")]
    codings = [each for each in codings if each not in ("", "identity")]
    if not codings:
        return None
    if codings in (["gzip"], ["x-gzip"], ["deflate"]):
        return ContentDecoder(codings[0])
    return ", ".join(codings)


def encoding_problem(coding: str) -> str:
    """Return what an error says about a coding that is not supported."""
    return f"the body is compressed ({coding!r}), although no compression was requested"


@final
class ContentDecoder:
    """Decompress one body in pieces of at most `PIECE_SIZE` bytes.

    Attributes:
      pending: whether ``feed(b"")`` may return more of what it was given before, now or after
        further such calls.
    """

    def __init__(self, coding: str) -> None:
        self.pending = False
        self._coding = coding
        self._gzip = coding != "deflate"
        self._decompressor = zlib.decompressobj(_GZIP_BITS) if self._gzip else None
        self._input = b""
        self._started = False
        self._without_content = 0  # bytes since the last piece

    def feed(self, data: bytes) -> bytes:
        """Return the next piece that the data completes, possibly ``b""``.

        Raises:
          ContentError: the content is invalid, or too much of it decompresses to nothing.
        """
        before = len(self._input) + len(data)
        piece = self._decompress(data)
        self._without_content += before - len(self._input)
        if piece:
            self._without_content = 0
        elif self._without_content > MAX_WITHOUT_CONTENT:
            raise ContentError(
                f"more than {MAX_WITHOUT_CONTENT} bytes of the {self._coding} content of the body"
                " decompress to nothing"
            )
        return piece

    def _decompress(self, data: bytes) -> bytes:
        data = self._input + data
        was_pending, self._input, self.pending = self.pending, b"", False
        if not data and not was_pending:
            return b""
        self._started = True
        if self._decompressor is None:
            if len(data) < 2:
                self._input = data
                return b""
            self._decompressor = zlib.decompressobj(_deflate_bits(data))
        if self._decompressor.eof:
            if not self._gzip or not data.startswith(b"\x1f"):
                return b""  # what follows the content is ignored, as browsers do
            self._decompressor = zlib.decompressobj(_GZIP_BITS)  # another member
        try:
            piece = self._decompressor.decompress(data, PIECE_SIZE)
        except zlib.error as error:
            raise ContentError(
                f"the {self._coding} content of the body is invalid: {error}"
            ) from None
        self._input = self._decompressor.unconsumed_tail or self._decompressor.unused_data
        # A piece of the full size may leave output in the decompressor even without input.
        self.pending = bool(self._input) or len(piece) == PIECE_SIZE
        return piece

    def finish(self) -> None:
        """Check that the content is complete.

        Raises:
          ContentError: it is not.
        """
        if self._started and (self._decompressor is None or not self._decompressor.eof):
            raise ContentError(f"the body ends before its {self._coding} content does")


def _deflate_bits(data: bytes) -> int:
    """Return the window bits of "deflate", which some servers send without the zlib header."""
    is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _ZLIB_BITS if is_zlib else -_ZLIB_BITS
