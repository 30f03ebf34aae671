"""Asks the user at the terminal: whether to grant a permission request, what to respond.

Rules:

1. Only an answer typed after the whole question was shown counts. Earlier input is thrown away,
   also what the terminal's driver or the line editor holds; so is input in the half second after
   the question.
2. Only an explicit yes grants. An empty line, the end of the input, the time limit and any other
   text deny. Without an answer, a notification is not responded to.
3. If the question is longer than the screen, only ``yes`` in full grants.
4. The terminal's settings are restored afterwards.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Final, Literal, TextIO, TypeAlias

import attrs
import trio
from rich.console import Console
from rich.text import Text

from trio_mix.cli.ui._question import notification_lines, question_lines
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._terminal_modes import line_mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import NotificationEvent, PermissionEvent

PromptAnswer: TypeAlias = Literal["yes", "always", "no"]

_PAUSE: Final = 0.5
"""Seconds between the question and the first key that counts."""
_TIME_LIMIT: Final = 30.0
"""Seconds after which a request without an answer is denied, as servers do."""
_LONGEST_WAIT: Final = 600.0
"""Seconds that a notification may wait for the response, whatever the server says."""
_LONGEST: Final = 100_000
"""Characters of a request beyond which nobody can be expected to read it."""
_POLL: Final = 0.5
"""Seconds between two looks at the state of the stream."""


@attrs.frozen
class Response:
    """The response to a notification."""

    value: str | None


class PermissionPrompt:
    """Puts questions to the user of the terminal at stdin."""

    def __init__(
        self,
        stream: TextIO,
        discard: Callable[[], None] = lambda: None,
        state: Callable[[], str] = lambda: "",
    ) -> None:
        """Prepare the prompt.

        Args:
          stream: the terminal's output.
          discard: throws input away that something other than the terminal's driver holds.
          state: returns the state of the session stream; a change is shown beside the question.
        """
        self._stream = stream
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._discard_others = discard
        self._state = state
        self._descriptor = sys.stdin.fileno()

    async def ask(self, event: PermissionEvent, *, offer_always: bool) -> PromptAnswer:
        """Show the request and return the user's answer.

        Args:
          event: the request.
          offer_always: whether *always* is among the answers.

        If cancelled, the terminal's settings are restored; nothing was granted.
        """
        size = len(event.description) + len(str(event.params))
        if size > _LONGEST:
            await trio.lowlevel.checkpoint()
            self._show(f"A permission request of {size} characters cannot be read: denied.\n")
            return "no"
        lines = question_lines(event, self._console.width)
        is_long = len(lines) > self._console.height - 3
        if is_long:
            lines.append(
                f"The request has {len(lines)} lines, more than the screen shows: scroll up to "
                "read it. Only `yes` in full grants it."
            )
            prompt = "Grant it? [yes/N] "
        else:
            prompt = "Grant it? [y/N/a] " if offer_always else "Grant it? [y/N] "
        text = await self._put(lines, prompt, _TIME_LIMIT)
        match (text or "").lower():
            case "yes":
                return "yes"
            case "y" if not is_long:
                return "yes"
            case "a" | "always" if offer_always and not is_long:
                return "always"
            case _:
                return "no"

    async def respond(self, event: NotificationEvent) -> Response | None:
        """Show a notification and return the user's response; None: there is none.

        If cancelled, the terminal's settings are restored; nothing was sent.
        """
        size = len(event.title) + len(event.message) + sum(map(len, event.choices or ()))
        if size > _LONGEST:
            await trio.lowlevel.checkpoint()
            self._show(f"A notification of {size} characters cannot be read: not responded to.\n")
            return None
        lines = notification_lines(event, self._console.width)
        seconds = min(event.timeout, _LONGEST_WAIT) if event.timeout > 0 else _TIME_LIMIT
        choices = event.choices or ()
        if event.response_type == "choice" and choices:
            text = await self._put(lines, f"Your choice [1-{len(choices)}]: ", seconds)
            while text is not None:
                if text.isdecimal() and 1 <= int(text) <= len(choices):
                    return Response(choices[int(text) - 1])
                hint = f"Type a number from 1 to {len(choices)}."
                text = await self._put([hint], f"Your choice [1-{len(choices)}]: ", seconds)
            return None
        if event.response_type == "acknowledge":
            text = await self._put(lines, "Press Enter to acknowledge it. ", seconds)
            return None if text is None else Response(None)
        text = await self._put(lines, "Your answer: ", seconds)
        return None if text is None else Response(text)

    async def _put(self, lines: list[str], prompt: str, seconds: float) -> str | None:
        """Show a question; return the line that is typed afterwards, or None if none is."""
        import termios

        try:
            with line_mode():
                return await self._put_in_line_mode(lines, prompt, seconds)
        except termios.error:  # the terminal was closed
            await trio.lowlevel.checkpoint()
            return None

    async def _put_in_line_mode(self, lines: list[str], prompt: str, seconds: float) -> str | None:
        for number, line in enumerate(lines):
            self._console.print(Text(line, style="" if number else "bold"), soft_wrap=True)
        await self._until_shown()
        if not await self._until_nothing_is_typed():
            return None
        self._show(prompt)
        try:
            return await self._answer(prompt, seconds)
        except trio.Cancelled:
            self._show("\n")
            raise

    async def _answer(self, prompt: str, seconds: float) -> str | None:
        """Wait for a line; return it, or None at the end of the input or of the time."""
        state = self._state()
        with trio.move_on_after(seconds):
            while True:
                with trio.move_on_after(_POLL):
                    await trio.lowlevel.wait_readable(self._descriptor)
                    return self._line()
                if self._state() != state:
                    state = self._state()
                    self._show(f"\n(the stream is {state})\n{prompt}")
        self._show(f"\n(no answer within {seconds:.0f} s)\n")
        return None

    def _line(self) -> str | None:
        try:
            line = os.read(self._descriptor, 4096)
        except OSError:  # the terminal was closed
            return None
        if not line.endswith(b"\n"):  # the end of the input
            self._show("\n")
            return None
        return line.decode(errors="replace").strip()

    async def _until_nothing_is_typed(self) -> bool:
        """Throw away what is typed, until nothing was typed for a pause; return whether that came.

        A key that is held down, or a program that types, must not answer the question.
        """
        with trio.move_on_after(_TIME_LIMIT):
            while True:
                self._discard()
                await trio.sleep(_PAUSE)
                typed, _, _ = select.select([self._descriptor], [], [], 0)
                self._discard()
                if not typed:
                    return True
        self._show(f"(keys were typed for {_TIME_LIMIT:.0f} s: no answer)\n")
        return False

    async def _until_shown(self) -> None:
        import termios

        await trio.to_thread.run_sync(
            termios.tcdrain, self._stream.fileno(), abandon_on_cancel=True
        )

    def _discard(self) -> None:
        import termios

        self._discard_others()
        termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def _show(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def open_permission_prompt(
    *,
    jsonl: bool = False,
    discard: Callable[[], None] = lambda: None,
    state: Callable[[], str] = lambda: "",
) -> PermissionPrompt | None:
    """Return the prompt, or ``None`` without a terminal that can show the question.

    Args:
      jsonl: whether stdout is for JSON lines; the question is on stderr then.
      discard: as for `PermissionPrompt`.
      state: as for `PermissionPrompt`.
    """
    stream = sys.stderr if jsonl else sys.stdout
    if sys.platform == "win32":  # earlier input cannot be thrown away there
        return None
    if not sys.stdin.isatty() or terminal() is None or not stream.isatty():
        return None
    return PermissionPrompt(stream, discard, state)
