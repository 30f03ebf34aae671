"""Where the chat's lines come from: a terminal's editor, or a plain stream.

What it knows: which of the two fits.
What it must never know: what the lines mean.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trio_mix.cli.ui._line_reader import LineReader


class Interrupted(Exception):
    """Ctrl-C at a prompt.

    Attributes:
      typed: whether something stood there.
    """

    def __init__(self, typed: bool) -> None:
        super().__init__(typed)
        self.typed = typed


class Keyboard(Protocol):
    """Somebody, or something, that sends lines."""

    @property
    def person(self) -> bool:
        """Whether somebody sits there, who can be asked."""
        ...

    @property
    def editor(self) -> bool:
        """Whether it is a terminal that can do more than lines."""
        ...

    async def line(self, prompt: str) -> str | None:
        """Wait for a text; ``None`` at the end."""
        ...

    async def answer(self, question: str) -> str | None:
        """Wait for a short answer; ``None`` at the end."""
        ...


class LineKeyboard:
    """A plain stream: a pipe, or a terminal that can do nothing but lines."""

    editor = False

    def __init__(self, reader: LineReader, *, person: bool) -> None:
        self._reader = reader
        self.person = person

    async def line(self, prompt: str) -> str | None:
        """Wait for a line; the prompt is for people, and on stderr."""
        if self.person:
            print(prompt, end="", file=sys.stderr, flush=True)
        return await self._reader.line()

    async def answer(self, question: str) -> str | None:
        """Wait for a line."""
        return await self.line(question)
