"""Chooses where the chat's lines come from: the line editor, or a plain stream."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from trio_mix.cli.ui._keyboard import LineKeyboard
from trio_mix.cli.ui._line_reader import LineReader
from trio_mix.cli.ui._screen import is_capable, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from trio_mix.cli.ui._keyboard import Keyboard


def open_keyboard(
    nursery: trio.Nursery, *, history: bool, status: Callable[[], str], asking: Callable[[], str]
) -> Keyboard:
    """Return what fits the process's stdin.

    Args:
      nursery: where a task lives that reads a plain stream.
      history: whether to keep what is typed, for the next chat.
      status: says in one line how things are, for beside the prompt.
      asking: the same for beside a question.
    """
    person = sys.stdin.isatty()
    if person and is_capable() and terminal():
        from trio_mix.cli.ui._editor import Editor
        from trio_mix.cli.ui._history import open_history

        return Editor(open_history(keep=history), status, asking)
    return LineKeyboard(LineReader.stdin(nursery), person=person)
