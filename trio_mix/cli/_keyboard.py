"""Where the chat's lines come from: a terminal's editor, or a plain stream.

What it knows: which of the two fits.
What it must never know: what the lines mean.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from trio_mix.cli._input import LineReader
from trio_mix.cli._screen import is_capable, terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio


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


class Lines:
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
        from trio_mix.cli._editor import Editor
        from trio_mix.cli._history import open_history

        return Editor(open_history(keep=history), status, asking)
    return Lines(LineReader.stdin(nursery), person=person)
