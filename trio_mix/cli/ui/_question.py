"""Composes the question that a permission request or a notification puts to the user.

Rules:

1. The question is complete: tool, action, path, description and every parameter, or title, message
   and every choice, wrapped and never cut.
2. Labels begin a line; text from the server never does: its further lines begin with a margin, so
   that it cannot imitate a label or a question.
3. A character that the terminal obeys, or that cannot be seen, is shown as an escape. A long run of
   blanks is shown as its length, so that it cannot push other text out of view.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len

from trio_mix._terminal_text import escape
from trio_mix.cli.ui._json import to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_mix.events import NotificationEvent, PermissionEvent

_MARGIN: Final = "      | "
_NARROWEST: Final = 20
_BLANKS: Final = re.compile("[\t\u00a0\u1680\u2000-\u200a\u202f\u205f\u2800\u3000]")
_LONG_RUN: Final = re.compile(r" {9,}|(?:\n *){4,}")
_STACKED: Final = 3
"""The number of combining characters on one letter; further ones are shown as escapes."""


def question_lines(event: PermissionEvent, width: int) -> list[str]:
    """Return the lines of the question.

    Args:
      event: the request.
      width: the width of the terminal in columns.
    """
    by_sub_agent = event.parent_tool_call_id is not None
    lines = ["Permission request" + " of a SUB-AGENT" * by_sub_agent]
    fields = {
        "tool": event.tool_name,
        "action": event.action,
        "path": event.path or "",
        "description": event.description,
    }
    for label, value in fields.items():
        if value:
            lines += _wrapped(f"  {label}: ", value, width)
    if event.params:
        lines.append("  parameters:")
        for name, each in _texts(event.params):
            lines += _wrapped("    ", f"{_one_line(name)}: {each}", width)
    return lines


def notification_lines(event: NotificationEvent, width: int) -> list[str]:
    """Return the lines of a notification.

    Args:
      event: the notification.
      width: the width of the terminal in columns.
    """
    by_sub_agent = event.parent_tool_call_id is not None
    lines = ["Notification" + " of a SUB-AGENT" * by_sub_agent]
    for label, value in (
        ("type", event.notification_type),
        ("title", event.title),
        ("message", event.message),
    ):
        if value:
            lines += _wrapped(f"  {label}: ", value, width)
    for number, choice in enumerate(event.choices or (), 1):
        lines += _wrapped(f"  {number}: ", choice, width)
    return lines


def _texts(parameters: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in parameters.items():
        if isinstance(value, str):
            yield name, value
        else:
            yield name, to_json(value)


def _wrapped(label: str, text: str, width: int) -> Iterator[str]:
    """Yield a field's lines; all except the first begin with the margin."""
    text = _LONG_RUN.sub(_run_length, _visible(text.replace("\r\n", "\n")))
    line = label
    for number, part in enumerate(text.split("\n")):
        if number:
            yield line
            line = _MARGIN
        used = cell_len(line)
        for letter in part:
            cells = 1 if letter.isascii() else 2  # a terminal may draw it wider than tables say
            if used + cells >= max(width, _NARROWEST):
                yield line
                line, used = _MARGIN, len(_MARGIN)
            line += letter
            used += cells
    yield line


def _visible(text: str) -> str:
    text = _BLANKS.sub(_escaped, escape(text))
    shown: list[str] = []
    stacked = 0
    for letter in text:
        stacked = 0 if letter == "\n" or cell_len(letter) else stacked + 1
        shown.append(letter if stacked <= _STACKED else _codepoint(letter))
    return "".join(shown)


def _one_line(text: str) -> str:
    return _visible(text).replace("\n", "\\n")


def _escaped(found: re.Match[str]) -> str:
    return _codepoint(found[0])


def _codepoint(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def _run_length(found: re.Match[str]) -> str:
    lines = found[0].count("\n")
    return f"[{lines} line ends]\n" if lines else f"[{len(found[0])} spaces]"
