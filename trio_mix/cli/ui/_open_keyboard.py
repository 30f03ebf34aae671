"""Chooses the chat's input: the line editor, or a plain stream."""

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


def open_keyboard(nursery: trio.Nursery, *, history: bool, status: Callable[[], str]) -> Keyboard:
    """Return the keyboard for the process's stdin.

    Args:
      nursery: runs the task that reads a plain stream.
      history: whether to keep the typed messages for the next chat.
      status: returns the text beside the prompt, on one line.
    """
    is_terminal = sys.stdin.isatty()
    if is_terminal and is_capable() and terminal():
        from trio_mix.cli.ui._editor import Editor
        from trio_mix.cli.ui._history import open_history

        return Editor(open_history(keep=history), status)
    return LineKeyboard(LineReader.stdin(nursery), is_terminal=is_terminal)
