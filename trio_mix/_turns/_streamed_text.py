"""Collect the text deltas of one turn by assistant message, and compare them with whole texts."""

from __future__ import annotations

from typing import Final, TypeAlias

_Segment: TypeAlias = tuple[str | None, str]
"""The id of an assistant message, and the text of adjacent deltas of it."""

_CLOSED: Final = object()


class StreamedText:
    """The top-level text deltas of one turn, in the order in which they came."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        # The segment that is not closed yet, and the message that its deltas are of.
        self._pieces: list[str] = []
        self._pieces_of: str | object | None = _CLOSED
        # The number of segments before the last top-level tool event.
        self._round = 0
        self.message_id: str | None = None
        """The id of the last assistant message, if an event or a stored row has named it."""

    @property
    def size(self) -> int:
        """The number of characters; takes time that is linear in the number of deltas."""
        return sum(len(text) for _, text in self._segments) + sum(map(len, self._pieces))

    def add(self, delta: str, message_id: str | None) -> None:
        """Add the next delta, of a message whose id is known or not."""
        if message_id != self._pieces_of:
            self._close()
            self.message_id = message_id or self.message_id
            self._pieces_of = message_id
        self._pieces.append(delta)

    def name(self, message_id: str | None) -> None:
        """Note the id of the last assistant message, if there is one."""
        if message_id and message_id != self.message_id:
            self._close()
            self.message_id = message_id

    def begin_round(self) -> None:
        """Note that the model's next text, if any, is that of another round: it called a tool."""
        if self._pieces_of is not _CLOSED:
            self._close()
        self._round = len(self._segments)

    def joined(self) -> str:
        """Return the text of all deltas."""
        self._close()
        return "".join(text for _, text in self._segments)

    def last(self, final_id: str | None) -> str:
        """Return the deltas of the last message.

        Args:
          final_id: its id, if its end has named it.
        """
        if final_id or not self._has_nameless_text:
            return self._text_of(final_id or self.message_id) or ""
        return self._last_round()

    def contradicts(self, final: str, final_id: str | None) -> bool:
        """Return whether the last message's deltas are no part of its text, white space aside."""
        named = self._text_of(final_id)
        if named is None and not self._has_nameless_text:
            return False  # none of it has come, which is no contradiction
        last = (self._last_round() if named is None else named).strip()
        streamed, final = self.joined().strip(), final.strip()
        if named is not None or self._round:
            return not final.startswith((last, streamed))
        return not (final.startswith(streamed) or streamed.endswith(final))

    def lacking(self, final: str, final_id: str | None) -> str:
        """Return what the deltas lack of ``final``: the last message's text, or all rounds'.

        Where events name messages, it is the last one's. Where they do not, a text that continues
        all that was streamed is taken for all rounds', else for the last round's.
        """
        named, streamed = self._text_of(final_id), self.joined()
        if named is not None:
            return beyond(named, final) or beyond(streamed, final)
        if final_id and not self._has_nameless_text:
            return final
        if streamed.endswith(final):
            return ""
        last = self._last_round()
        if not last and self._segments and final.startswith(self._segments[-1][1]):
            last = self._segments[-1][1]  # the turn ends with the tool that was called after it
        return beyond(streamed, final) or beyond(last, final)

    @property
    def _has_nameless_text(self) -> bool:
        self._close()
        return any(message_id is None for message_id, _ in self._segments)

    def _text_of(self, message_id: str | None) -> str | None:
        """Return the deltas of an assistant message, or None if none has come."""
        self._close()
        texts = [text for each, text in self._segments if each == message_id]
        return "".join(texts) if message_id and texts else None

    def _last_round(self) -> str:
        self._close()
        return "".join(text for _, text in self._segments[self._round :])

    def _close(self) -> None:
        if self._pieces:
            message_id = self._pieces_of if isinstance(self._pieces_of, str) else None
            self._segments.append((message_id or None, "".join(self._pieces)))
            self._pieces = []
        self._pieces_of = _CLOSED


def beyond(streamed: str, whole: str) -> str:
    """Return what follows ``streamed`` in ``whole``, or nothing where they do not agree.

    Without an exact agreement, the white space around ``streamed`` does not count.
    """
    if not whole.startswith(streamed):
        streamed, whole = streamed.strip(), whole.lstrip()
    return whole[len(streamed) :] if whole.startswith(streamed) else ""
