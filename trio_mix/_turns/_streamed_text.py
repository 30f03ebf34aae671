"""Collect the text deltas of one turn by assistant message, and compare them with whole texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

_Segment: TypeAlias = tuple[str | None, str]
"""The id of an assistant message, and the text of adjacent deltas of it."""

_WORD: Final = re.compile(r"\S")
_MOST_COMPARED: Final = 100_000
"""The length of the texts that are compared character by character."""
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
        nameless = self._has_nameless_text
        named = self._text_of(final_id or (None if nameless else self.message_id))
        return named or (self._last_round() if nameless else "")

    def contradicts(self, final: str, final_id: str | None) -> bool:
        """Return whether the last message's deltas are no part of its text (it may be trimmed)."""
        named = self._text_of(final_id)
        if named is None and not self._has_nameless_text and not self._last_round():
            # None of it has come, or no event had the id that its end names.
            return bool(final) and _ends_with(self.joined(), final)
        streamed, last = self.joined(), self._last_round() if named is None else named
        if _begins_with(final, last) or _begins_with(final, streamed):
            return False
        return named is not None or self._round > 0 or not _ends_with(streamed, final)

    def lacking(self, final: str, final_id: str | None) -> str:
        """Return what the deltas lack of ``final``: the last message's text, or all rounds'.

        Where events name messages, it is the last one's. Where they do not, a text that continues
        all that was streamed is taken for all rounds', else for the last round's. If no event had
        its id, the message's deltas were lost, unless it continues those of the last round.
        """
        named, streamed = self._text_of(final_id), self.joined()
        if named is not None:
            return beyond(named, final) or beyond(streamed, final)
        nameless = self._has_nameless_text or not final_id
        if not (nameless or (self._last_round() and self._continued_by(final))):
            return final
        if _ends_with(streamed, final):
            return ""
        last = self._last_round()
        if not last and self._segments and _rest_of(self._segments[-1][1], final) is not None:
            last = self._segments[-1][1]  # the turn ends with the tool that was called after it
        return beyond(streamed, final) or beyond(last, final)

    def _continued_by(self, final: str) -> bool:
        """Return whether a text is that of the last round, or of all, which may lack its end."""
        streamed = self.joined()
        begun = (_rest_of(each, final) is not None for each in (self._last_round(), streamed))
        return any(begun) or _ends_with(streamed, final)

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

    ``whole`` may be trimmed: white space at the ends of a text that only ``streamed`` has does not
    count.
    """
    return _rest_of(streamed, whole) or ""


def is_trimmed(streamed: str, texts: Iterable[str]) -> bool:
    """Return whether texts, each of which a server may have trimmed, are a text that was streamed.

    White space that only the texts have was lost on the stream.
    """
    at = 0
    for text in texts:
        word = _WORD.search(streamed, at)
        begin = len(streamed) if word is None else word.start()
        begin -= len(text) - len(text.lstrip())
        if begin < at or not streamed.startswith(text, begin):
            return False
        at = begin + len(text)
    return not streamed[at:].strip()


def agrees(streamed: str, whole: str) -> bool:
    """Return whether one of two texts begins with the other; ``whole`` may be trimmed."""
    stored = whole.rstrip()
    return _rest_of(streamed, whole) is not None or (
        streamed.startswith(stored) or streamed.lstrip().startswith(stored)
    )


def _rest_of(streamed: str, whole: str) -> str | None:
    """Return what follows ``streamed`` in ``whole``; None where they do not agree."""
    if whole.startswith(streamed):
        return whole[len(streamed) :]
    if is_trimmed(streamed, (whole,)):
        return ""
    begun = streamed.lstrip()
    return whole[len(begun) :] if whole.startswith(begun) else None


def _begins_with(whole: str, streamed: str) -> bool:
    """Return whether ``whole``, which may be trimmed, begins with what was streamed.

    If what was streamed can be all of it but some lost text, it may not be trimmed.
    """
    if whole.startswith(streamed):
        return True
    return _rest_of(streamed, whole) is not None and not _is_part_of(streamed, whole)


def _is_part_of(streamed: str, whole: str) -> bool:
    """Return whether ``whole`` without some of its characters can be what was streamed."""
    if len(streamed) > _MOST_COMPARED:
        return len(streamed) < len(whole)
    at = 0
    for character in streamed:
        at = whole.find(character, at) + 1
        if not at:
            return False
    return True


def _ends_with(streamed: str, final: str) -> bool:
    """Return whether a text that was streamed ends with another one, which may be trimmed."""
    return streamed.endswith(final) or streamed.rstrip().endswith(final)
