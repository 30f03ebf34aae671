"""The chat's line editor on a terminal: prompt_toolkit beside Trio.

A prompt of prompt_toolkit can be cancelled, which a read of stdin cannot: no read outlives its
prompt, and the terminal is restored. Its asyncio loop runs in a worker thread while a prompt is on
the screen, and Trio waits for the thread: nothing of it is left while a message runs. (readline
would block its thread until the next Enter, with the terminal changed.)

Rules:

1. At most one prompt at a time; a cancelled task waits until its prompt is removed.
2. The prompt's thread only reads the keyboard and calls the status functions; it never uses Trio.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import trio
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.input.typeahead import clear_typeahead
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Style

from trio_mix.cli.ui._keyboard import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyPressEvent

T = TypeVar("T")

_STYLE = Style.from_dict({"prompt": "bold", "rprompt": "fg:ansibrightblack"})
_REFRESH = 0.5


class Editor:
    """Reads texts of one or more lines from the terminal."""

    is_terminal = True
    is_editor = True

    def __init__(self, history: History, status: Callable[[], str]) -> None:
        """Prepare the editor.

        Args:
          history: the texts for the Up key.
          status: returns the text at the right of the prompt; called repeatedly, in another thread.
        """
        output = create_output()
        if isinstance(output, Vt100_Output):
            # The terminal is not asked for its cursor's position: a late response would be read
            # as typed text.
            output.enable_cpr = False
        self._lines: PromptSession[str] = PromptSession(
            history=history,
            output=output,
            multiline=True,
            key_bindings=_keys(),
            prompt_continuation=lambda width, *_: FormattedText(
                [("class:prompt", "...".rjust(width - 1) + " ")]
            ),
            rprompt=lambda: _beside(status),
            style=_STYLE,
            refresh_interval=_REFRESH,
            enable_open_in_editor=True,
            interrupt_exception=_EditorInterrupt,
        )

    async def line(self, prompt: str) -> str | None:
        """Wait for a text.

        Returns:
          The text, or ``None`` at Ctrl-D.

        Raises:
          Interrupted: Ctrl-C was pressed.

        If cancelled, the prompt and its text are removed.
        """
        return await self._run(self._lines, prompt)

    def discard(self) -> None:
        """Throw away the keys that came after the last line and before the next prompt."""
        clear_typeahead(self._lines.input)

    async def _run(self, session: PromptSession[str], prompt: str) -> str | None:
        active = _ActivePrompt(session)

        def read() -> str | None:
            try:
                return session.prompt(
                    FormattedText([("class:prompt", prompt)]),
                    pre_run=active.started,
                    handle_sigint=False,
                )
            except EOFError:
                return None

        text: str | None = None
        interrupt: _EditorInterrupt | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(active.stop_when_cancelled)
            with trio.CancelScope(shield=True):  # noqa: ASYNC912 - waits for the thread
                try:
                    text = await trio.to_thread.run_sync(read)
                except _EditorInterrupt as pressed:
                    interrupt = pressed
            nursery.cancel_scope.cancel(reason="the prompt was answered")
        if interrupt is not None:
            raise Interrupted(bool(session.default_buffer.text))
        return text


class _EditorInterrupt(Exception):
    """Ctrl-C, raised by the editor in its thread."""


class _ActivePrompt:
    """Removes a prompt from the screen."""

    def __init__(self, session: PromptSession[str]) -> None:
        self._app = session.app
        self._stopped = False

    async def stop_when_cancelled(self) -> None:
        """Wait until cancelled, then remove the prompt."""
        try:
            await trio.sleep_forever()
        finally:
            self._stopped = True
            loop = self._app.loop
            if loop is not None:
                with suppress(RuntimeError):  # the loop has just ended
                    loop.call_soon_threadsafe(self._exit)

    def started(self) -> None:
        """Remove the prompt if that was requested before it was shown."""
        if self._stopped:
            self._exit()

    def _exit(self) -> None:
        if self._app.is_running and not self._app.is_done:
            self._app.exit(exception=EOFError)


def _beside(status: Callable[[], str]) -> FormattedText:
    """Return the text at the right of the prompt, which is not kept when the prompt ends."""
    shown = "" if get_app().is_done else status()
    return FormattedText([("class:rprompt", shown)])


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            # As in a shell; some terminals have no Alt key.
            buffer.delete_before_cursor()
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=has_focus(DEFAULT_BUFFER))
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    return keys
