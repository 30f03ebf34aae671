"""Parse the JSON body of a response in steps, so that other tasks can run in between.

Rules:

1. A body of up to `_AT_ONCE` bytes is parsed in one step. A larger array or object is divided into
   its members, of which each is parsed in the same way.
2. The time of a step is bounded: by `_STEP` bytes of divided members or of one text, or one value
   of `_AT_ONCE` bytes. The exceptions are a value that is nested deeper than `_DEEPEST`, the key of
   a member, and joining the parts of a text.
   Dividing takes longer than parsing. Therefore the end of a member of an array is guessed first:
   the guess was right if everything before it is an array.
3. If a member of a list cannot be parsed, the others can still be used: `Unreadable` takes its
   place. The same holds for the members of the object that is the whole body. After
   `_MOST_UNREADABLE` of them the body is refused, because a hostile server could send millions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import attrs

from trio_mix._json import NotJSON, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Steps: TypeAlias = "Generator[None, None, object]"

_AT_ONCE: Final = 256 * 1024
_STEP: Final = 16 * 1024
_DEEPEST: Final = 8
_MEMBER: Final = 256
"""As how many bytes each member counts, because the smallest ones take time too."""
_MOST_UNREADABLE: Final = 1000
_SHOWN: Final = 200

_QUOTE: Final = ord('"')
_COMMA: Final = ord(",")
_LIST: Final = ord("[")
_OPENING: Final = b"[{"

# Everything up to the next bracket outside a text; and up to the next bracket or comma.
_TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET: Final = re.compile(rb'[^"\[\]{}]*+(?:' + _TEXT + rb'[^"\[\]{}]*+)*+', re.DOTALL)
_TO_COMMA: Final = re.compile(rb'[^"\[\]{},]*+(?:' + _TEXT + rb'[^"\[\]{},]*+)*+', re.DOTALL)
_IN_TEXT: Final = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_CHARACTERS: Final = re.compile(
    rb'(?:[^"\\]++|\\[^u]|\\u(?![dD][89abAB]).{4}|\\u[dD][89abAB]..\\u.{4})*+', re.DOTALL
)
"""Whole escapes of a text, pairs of surrogates too, and what is no escape."""
_SPACE: Final = re.compile(rb"[ \t\r\n]*+")
_KEY: Final = re.compile(rb"[ \t\r\n]*+(" + _TEXT + rb")[ \t\r\n]*+:", re.DOTALL)


@attrs.frozen
class Unreadable:
    """A value that cannot be parsed."""

    problem: str
    """Why not."""
    text: str
    """The beginning of its text."""


class ItemSink(Protocol):
    """Takes the items of a large array while it is parsed, so that they are never all in memory."""

    def add(self, items: list[object]) -> Generator[None, None, None]:
        """Take the next items; a generator that yields between steps."""
        ...


SinkFor: TypeAlias = "Callable[[str | None], ItemSink | None]"
"""Returns what takes the items of the array that is the whole body (None), or that is the member
with this name of the object that is the whole body; None to have them in a list."""


def _no_sink(_: str | None) -> None:
    return None


def parse_steps(body: bytes, sink_for: SinkFor = _no_sink) -> Steps:
    """Parse a body. A generator that yields between steps and returns the value.

    Args:
      body: the body.
      sink_for: returns what takes the items of an array, if the array is large. It is then in the
        place of the array in the value.

    Raises:
      NotJSON: the body is not JSON.
    """
    start = 3 if body.startswith(b"\xef\xbb\xbf") else 0
    return (yield from _value(body, start, len(body), 0, sink_for))


class _Members:
    """Divides an array or object into its members, by its brackets and commas.

    What the members contain is not checked: parsing them does that.

    Attributes:
      body: the body.
      position: up to where the body is divided.
      returned: how many members `advance` has returned.
      finished: whether the end of the array or object is reached.
    """

    def __init__(self, body: bytes, start: int, end: int) -> None:
        self.body = body
        self.position = start + 1
        self.finished = False
        self._closing = body[start] + 2  # of both brackets in ASCII
        self._end = end
        self._from = start + 1  # where the current member begins
        self._depth = 1
        self._empty = True
        self._in_text = False
        self._guess_at = start + 1
        self.returned = 0
        self._pause_at = start + _STEP

    @property
    def step_is_over(self) -> bool:
        """Whether so much was divided since the last time that other tasks must run."""
        if self.position + self.returned * _MEMBER < self._pause_at:
            return False
        self._pause_at = self.position + self.returned * _MEMBER + _STEP
        return True

    def guess(self) -> list[object]:
        """Return the next members of an array, or none if their end could not be guessed."""
        if self._depth > 1 or self._in_text or self.position < self._guess_at:
            return []
        # What was searched before is not searched again: a member may be as large as the body.
        start = max(self._from, self._guess_at - 1)
        limit = self._guess_at = min(self.position + _STEP, self._end)
        last = self.body.rfind(b"},", start, limit)
        before = self.body.rfind(b"},", start, last) if last >= 0 else -1
        for cut in (last + 1, before + 1, self.body.rfind(b",", start, limit)):
            if cut <= 0:
                continue
            try:
                values = parse(b"[%b]" % self.body[self._from : cut])
            except NotJSON:
                continue
            if isinstance(values, list) and values:  # else a member is missing
                self.position = self._from = cut + 1
                self._empty = False
                return values
        return []

    def advance(self) -> tuple[int, int] | None:
        """Divide at most one step further; return the next member, if its end was found.

        Raises:
          NotJSON: the array or object ends with the wrong bracket, or not at all.
        """
        if self.position >= self._end:
            raise NotJSON("truncated")
        limit = min(self.position + _STEP, self._end)
        while self.position < limit:
            if self._in_text:
                self._skip_text(limit)
                break
            pattern = _TO_COMMA if self._depth == 1 else _TO_BRACKET
            at = self.position = _end_of(pattern, self.body, self.position, limit)
            if at == limit:
                break
            self.position += 1
            byte = self.body[at]
            if byte == _QUOTE:  # of a text that ends beyond the limit
                self._in_text = True
            elif byte == _COMMA:
                span = (self._from, at)
                self._from, self._empty = self.position, False
                self.returned += 1
                return span
            elif byte in _OPENING:
                self._depth += 1
            else:
                self._depth -= 1
                if not self._depth:
                    return self._last(at)
        return None

    def _skip_text(self, limit: int) -> None:
        end = _end_of(_IN_TEXT, self.body, self.position, limit)
        self.position = end
        if end < limit and self.body[end] == _QUOTE:
            self.position, self._in_text = end + 1, False
        elif limit == self._end:
            raise NotJSON("truncated")  # perhaps in an escape

    def _last(self, at: int) -> tuple[int, int] | None:
        self.finished = True
        if self.body[at] != self._closing:
            raise NotJSON("the brackets do not match")
        if self._empty and _end_of(_SPACE, self.body, self._from, at) == at:
            return None
        return self._from, at


def _end_of(pattern: re.Pattern[bytes], body: bytes, start: int, limit: int) -> int:
    """Return where the match of a pattern ends; the patterns here match anything."""
    match = pattern.match(body, start, limit)
    return start if match is None else match.end()


def _value(
    body: bytes, start: int, end: int, depth: int, sink_for: SinkFor, key: str | None = None
) -> Steps:
    if end - start <= _AT_ONCE:
        try:
            return parse(body[start:end])
        except NotJSON:
            if depth > 1:
                raise
    start = _end_of(_SPACE, body, start, end)
    if start < end and body[start] == _QUOTE:
        return (yield from _text(body, start, end))
    if start == end or body[start] not in _OPENING or depth > _DEEPEST:
        return parse(body[start:end])
    members = _Members(body, start, end)
    value: object
    if body[start] == _LIST:
        sink = sink_for(key) if depth == 0 or (depth == 1 and key is not None) else None
        value = yield from _list(members, depth, sink)
    else:
        value = yield from _object(members, depth, sink_for)
    if _end_of(_SPACE, body, members.position, end) != end:
        raise NotJSON("more than one value")
    return value


def _text(body: bytes, start: int, end: int) -> Steps:
    parts: list[str] = []
    start += 1
    while (cut := _end_of_part(body, start, end)) > start:
        parts.append(str(parse(b'"%b"' % body[start:cut])))
        start = cut
        yield
    parts.append(str(parse(b'"' + body[start:end])))
    return "".join(parts)


def _end_of_part(body: bytes, start: int, end: int) -> int:
    """Return the end of a part of a text, between two of its characters."""
    cut = _end_of(_CHARACTERS, body, start, min(start + _STEP, end))
    while start < cut < end and body[cut] & 0xC0 == 0x80:  # inside a character in UTF-8
        cut -= 1
    return cut


def _list(members: _Members, depth: int, sink: ItemSink | None) -> Steps:
    values: list[object] = []
    unreadable = 0
    while not members.finished:
        values += members.guess()
        span = members.advance()
        if span is not None:
            value = yield from _member(members.body, *span, depth, keep=depth < 2)
            values.append(value)
            unreadable += isinstance(value, Unreadable)
            if unreadable > _MOST_UNREADABLE:
                raise NotJSON(f"more than {_MOST_UNREADABLE} members of a list cannot be parsed")
        if members.step_is_over:
            if sink is not None:
                yield from sink.add(values)
                values = []
            yield
    if sink is None:
        return values
    yield from sink.add(values)
    return sink


def _object(
    members: _Members, depth: int, sink_for: SinkFor
) -> Generator[None, None, dict[str, object]]:
    values: dict[str, object] = {}
    while not members.finished:
        span = members.advance()
        if span is not None:
            key = _KEY.match(members.body, *span)
            if key is None:
                raise NotJSON("a key of an object is missing")
            name = str(parse(key[1]))
            values[name] = yield from _member(
                members.body,
                key.end(),
                span[1],
                depth,
                keep=depth < 1,
                sink_for=sink_for,
                key=name if depth == 0 else None,
            )
        if members.step_is_over:
            yield
    return values


def _member(
    body: bytes,
    start: int,
    end: int,
    depth: int,
    *,
    keep: bool,
    sink_for: SinkFor = _no_sink,
    key: str | None = None,
) -> Steps:
    try:
        return (yield from _value(body, start, end, depth + 1, sink_for, key))
    except NotJSON as error:
        if not keep:
            raise
        text = body[start : min(end, start + _SHOWN)].decode(errors="replace")
        return Unreadable(str(error), text.strip())
