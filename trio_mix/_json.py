"""Parse JSON from outside, or look into it, by one set of rules.

Rules:

1. JSON is what RFC 8259 defines, in UTF-8. ``NaN`` and ``Infinity``, which Python writes and reads,
   are refused.
2. A number that Python cannot represent is refused: ``1e400``, or an integer of more than 4,300
   digits. So is a lone surrogate, which no terminal, file or socket accepts.
3. Of several equal keys of an object, the last one is used.
4. A value that is nested deeper than `MAX_DEPTH` levels is refused. The parsers of newer Pythons
   accept tens of thousands of levels, which Python then cannot compare, print or encode.
5. The exception for a refused text contains no part of the text, which may hold a secret.
6. Strictness must not hide an end or an error: what reports one is parsed by `parse_leniently`.
"""

from __future__ import annotations

import json
import re
from typing import Final

import msgspec

MAX_DEPTH: Final = 100
"""How many arrays and objects can be inside one another."""

_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

_LONGEST_NUMBER: Final = 19

_TOO_DEEP: Final = f"nested deeper than {MAX_DEPTH} levels"


class _Typed(msgspec.Struct, gc=False):
    type: str | None = None


_decode: Final = msgspec.json.Decoder().decode
_check: Final = msgspec.json.Decoder(msgspec.Raw).decode
_typed: Final = msgspec.json.Decoder(_Typed).decode


class NotJSON(ValueError):
    """A text is not JSON, by the rules of this module; the exception's text says why."""


def parse(text: str | bytes) -> object:
    """Return the value of a JSON text.

    Raises:
      NotJSON: the text breaks a rule of this module.
    """
    try:
        value: object = _decode(text)
        if not is_too_deep(text, value):
            return value
        problem = _TOO_DEEP
    except RecursionError:
        problem = _TOO_DEEP
    except UnicodeEncodeError:
        problem = "a lone surrogate"
    except UnicodeDecodeError:
        problem = "not UTF-8"
    except msgspec.ValidationError:
        problem = "a number is out of range"
    except ValueError as error:
        problem = _problem(text, str(error))
    # Not raised in a handler: a Unicode error holds the whole text.
    raise NotJSON(problem)


def _problem(text: str | bytes, error: str) -> str:
    if not text.strip():
        return "the text is empty"
    if "truncated" in error:
        content = text.encode() if isinstance(text, str) else text
        return "a lone surrogate, or truncated" if _SURROGATE.search(content) else "truncated"
    return error.removeprefix("JSON is malformed: ")


def parse_leniently(text: str | bytes, *, any_depth: bool = False) -> object:
    """Return the value of a JSON text that may break rules 1 and 2.

    It may begin with a byte order mark. Its texts may hold lone surrogates (see
    `without_surrogates`) and control characters, and its numbers may be infinite. A whole number of
    19 digits or more, which no server means, is ``None``.

    Args:
      text: the text.
      any_depth: whether the value may be nested as deep as the parser can parse it.

    Raises:
      NotJSON: the text is not JSON, or is nested too deep.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()  # the codec utf-8-sig would have to be imported
        value: object = json.loads(text.removeprefix("\ufeff"), parse_int=_integer, strict=False)
        if any_depth or not is_too_deep(text, value):
            return value
        problem = _TOO_DEEP
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError:
        problem = "malformed"
    # Not raised in a handler: the parser's exception holds the whole text.
    raise NotJSON(problem)


def is_deeper_than(levels: int, value: object) -> bool:
    """Return whether a JSON value has more than so many levels of arrays and objects."""
    level = [value]
    for _ in range(levels):
        inside: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inside += each.values()
            elif isinstance(each, list):
                inside += each
        if not inside:
            return False
        level = inside
    return any(isinstance(each, dict | list) for each in level)


def is_too_deep(text: str | bytes, value: object) -> bool:
    """Return whether a value in a JSON text is nested deeper than `MAX_DEPTH` levels."""
    # Counting takes a hundredth of the time of parsing; looking at each value takes as long.
    if isinstance(text, str):
        brackets = text.count("[") + text.count("{")
    else:
        brackets = text.count(b"[") + text.count(b"{")
    return brackets > MAX_DEPTH and is_deeper_than(MAX_DEPTH, value)


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) < _LONGEST_NUMBER else None


def without_surrogates(text: str) -> str:
    """Return a text with each lone surrogate replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def is_json(text: str, *, too_deep: bool = False) -> bool:
    """Return whether a text is one JSON value, or ``too_deep`` where it is nested too deep.

    No value is built: texts of megabytes are checked in milliseconds.
    """
    try:
        _check(text)
    except ValueError:
        return False
    except RecursionError:
        return too_deep
    return True


def member_type(text: str) -> str | None:
    """Return the string in ``type``, where a text is a JSON object that has one."""
    try:
        return _typed(text).type
    except (ValueError, RecursionError):
        return None
