"""Decode what was read from one connection, in pieces that end with an event where possible.

Decoding all events of a large read at once would keep the garbage collector busy and exceed the
CPU's caches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix.sse._decoder import SSEDecoder

if TYPE_CHECKING:
    from trio_mix.sse._decoder import ServerSentEvent

__all__ = ["PieceDecoder"]

PIECE_SIZE = 8 * 1024


class PieceDecoder:
    """Decodes the bytes of one connection.

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
