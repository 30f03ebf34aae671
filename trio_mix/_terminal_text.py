r"""Text from outside, made safe for terminals, logs and JSON lines.

A *hidden* character is one that a terminal obeys or does not show: the C0 and C1 controls and DEL,
except line feed and tab; bidirectional controls; zero-width characters, fillers and variation
selectors; tags; other format characters without a glyph; line and paragraph separators; lone
surrogates.

Rules:

1. `clean` removes hidden characters: for the agent's text, titles and names.
2. `escape` shows them as ``\x1b``, ``\u202e`` or ``\U000e0041``: for questions, errors and the log,
   where a reader has to see that they are there.
3. `escape_json` keeps the value of a JSON text: a hidden character becomes its JSON escape.
"""

from __future__ import annotations

import logging
import re
from typing import Final

_RANGES: Final = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tab and line feed, DEL, C1
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff"  # lone surrogates, which no encoding can write
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
HIDDEN: Final = re.compile(f"[{_RANGES}]")


def clean(text: str) -> str:
    """Return the text without hidden characters."""
    return HIDDEN.sub("", text)


def escape(text: str) -> str:
    """Return the text with hidden characters shown as escapes of Python."""
    return HIDDEN.sub(_python_escape, text)


def escape_json(text: str) -> str:
    """Return a JSON text with hidden characters as escapes of JSON, which mean the same."""
    return HIDDEN.sub(_json_escape, text)


def _python_escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _json_escape(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def get_logger(name: str) -> logging.Logger:
    """Return a logger of the package, whose records show hidden characters as escapes."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, _EscapeArguments) for each in logger.filters):
        logger.addFilter(_EscapeArguments())
    return logger


class _EscapeArguments(logging.Filter):
    """Escapes the arguments of a record, which may come from outside; its message does not."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True, with the record's texts and exceptions escaped."""
        if isinstance(record.args, tuple):
            record.args = tuple(map(_escaped, record.args))
        return True


def _escaped(argument: object) -> object:
    """Return what formats as the argument does, with hidden characters and line ends as escapes."""
    if not isinstance(argument, str | BaseException):
        return argument
    text = str(argument)
    escaped = escape(text).replace("\n", "\\n")
    return argument if escaped == text else escaped
