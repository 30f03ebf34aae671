"""The interface of the chat's input, and its form for plain streams."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trio_mix.cli.ui._line_reader import LineReader


class Interrupted(Exception):
    """Ctrl-C at a prompt.

    Attributes:
      typed: whether the line had text.
    """

    def __init__(self, typed: bool) -> None:
        super().__init__(typed)
        self.typed = typed


class Keyboard(Protocol):
    """A source of the chat's lines."""

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal with a user, who can be asked."""
        ...

    @property
    def is_editor(self) -> bool:
        """Whether it is the line editor."""
        ...

    async def line(self, prompt: str) -> str | None:
        """Wait for a text; return ``None`` at the end of the input."""
        ...

    def discard(self) -> None:
        """Throw away the input that was read and not used yet."""


class LineKeyboard:
    """A plain stream: a pipe, or a terminal without escape sequences."""

    is_editor = False

    def __init__(self, reader: LineReader, *, is_terminal: bool) -> None:
        self._reader = reader
        self.is_terminal = is_terminal

    async def line(self, prompt: str) -> str | None:
        """Wait for a line; a terminal shows the prompt, on stderr."""
        if self.is_terminal:
            print(prompt, end="", file=sys.stderr, flush=True)
        return await self._reader.line()

    def discard(self) -> None:
        """Do nothing: a line is read when it is waited for."""
