"""Changes the settings of the terminal at stdin, and restores them.

Rule 1: Windows has no such settings: nothing is changed there.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def typing_hidden() -> Iterator[None]:
    """Turn the terminal's echo off until the block is left; the next prompt reads what is typed."""
    if sys.platform == "win32" or not sys.stdin.isatty():
        yield
        return
    import termios

    with keep_modes():
        _change(remove=termios.ECHO)
        yield


@contextmanager
def line_mode() -> Iterator[None]:
    """Let the terminal collect and echo lines, and send signals, until the block is left."""
    if sys.platform == "win32":
        yield
        return
    import termios

    with keep_modes():
        _change(add=termios.ICANON | termios.ECHO | termios.ISIG)
        yield


@contextmanager
def keep_modes() -> Iterator[None]:
    """Restore the terminal's settings when the block is left."""
    if sys.platform == "win32":
        yield
        return
    import termios

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        yield
    finally:
        with suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(descriptor, termios.TCSANOW, before)


def _change(*, add: int = 0, remove: int = 0) -> None:
    """Change the local modes; input lines end with a line feed in any case."""
    if sys.platform == "win32":
        return
    import termios

    descriptor = sys.stdin.fileno()
    modes = termios.tcgetattr(descriptor)
    modes[0] |= termios.ICRNL
    modes[3] = (modes[3] | add) & ~remove
    termios.tcsetattr(descriptor, termios.TCSANOW, modes)
