"""``chat``: sends one message after another, typed on a terminal or read from a pipe.

Rules:

1. Ctrl-C cancels the running message, and the chat continues; a second Ctrl-C, while the server has
   not confirmed yet, exits. At the prompt Ctrl-C clears the line; twice on an empty line it exits.
2. A message that fails is reported on one line, and the chat continues. If the stream is lost, the
   chat ends, also while the user types.
3. Ctrl-D, or the end of the pipe, exits.
"""

from __future__ import annotations

import math
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli._client import open_client
from trio_mix.cli._errors import INTERRUPTED, OK, error_line, exit_code
from trio_mix.cli._last_session import remember_session
from trio_mix.cli._run import end_with_reader, receive_signals
from trio_mix.cli.commands._chat_commands import Commands
from trio_mix.cli.commands._chat_status import Status
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._json import print_event, print_reply
from trio_mix.cli.ui._keyboard import Interrupted
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._open_keyboard import open_keyboard
from trio_mix.cli.ui._permission_prompt import open_permission_prompt
from trio_mix.cli.ui._screen import TextOnly, line_screen, terminal
from trio_mix.cli.ui._text import clean, print_error
from trio_mix.cli.ui._transcript import Piece
from trio_mix.errors import StreamError, TrioMixError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from trio_mix import Reply, SessionStream
    from trio_mix.cli._client import Connection
    from trio_mix.cli._new_session import SessionChoice
    from trio_mix.cli.commands._ask import ShowOptions
    from trio_mix.cli.ui._keyboard import Keyboard
    from trio_mix.cli.ui._screen import Screen

_PROMPT = "you> "


async def chat(
    server: Connection, where: SessionChoice, options: ShowOptions, *, history: bool
) -> int:
    """Send messages in one session until the input ends.

    Args:
      server: the server.
      where: the session.
      options: how messages are shown, and which permission requests are granted.
      history: whether to keep the messages for the next chat.
    """
    session = where.session_id(server)
    async with open_client(server) as mix:
        if session is None:
            session = (await mix.sessions.create(title="trio-mix chat", **where.fields)).id
        async with mix.open_stream(session) as stream, trio.open_nursery() as nursery:
            remember_session(server.shown_url, session)
            status = Status(mix, stream)
            keyboard = open_keyboard(nursery, history=history, status=status.resting)
            permissions = PermissionDecisions(
                open_permission_prompt(
                    jsonl=options.jsonl, discard=keyboard.discard, state=lambda: stream.state.value
                ),
                tools=frozenset(options.grant),
                everything=options.yes,
            )
            conversation = _Chat(stream, keyboard, status, permissions, options)
            conversation.commands = Commands(mix, stream, status, conversation.grant_all)
            nursery.start_soon(_raise_when_lost, stream)
            nursery.start_soon(end_with_reader)
            if keyboard.is_terminal and not options.quiet:
                print("Ctrl-C cancels, Ctrl-D exits, /help shows more.", flush=True)
                await status.count()
            with receive_signals(signal.SIGINT) as signals:
                nursery.start_soon(conversation.interrupt, signals, nursery.cancel_scope)
                await conversation.run()
            nursery.cancel_scope.cancel(reason="the chat has ended")
    if conversation.exit_code in (OK, INTERRUPTED) and not options.jsonl and not options.quiet:
        again = f"To continue: trio-mix chat --session {clean(session)}"
        print(again, file=sys.stderr, flush=True)
    return conversation.exit_code


async def _raise_when_lost(stream: SessionStream) -> None:
    """Raise the error that ends the stream, also while no message runs."""
    async with stream.subscribe(buffer=1) as everything:
        async for _ in everything:
            pass


@attrs.define
class _Chat:
    stream: SessionStream
    keyboard: Keyboard
    status: Status
    permissions: PermissionDecisions
    options: ShowOptions
    commands: Commands = attrs.field(init=False)
    exit_code: int = attrs.field(default=OK, init=False)
    live: LiveScreen | None = attrs.field(default=None, init=False)
    screen: Screen = attrs.field(factory=line_screen, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _running: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        console = terminal()
        if console and self.keyboard.is_editor and not (self.options.jsonl or self.options.quiet):
            self.live = LiveScreen(console, self.status.working, markdown=not self.options.raw)
            self.screen = self.live
            self.permissions.while_asking = self.live.paused
        elif self.options.quiet:
            self.screen = TextOnly(line_screen(markdown=not self.options.raw))

    def grant_all(self, everything: bool) -> None:
        self.permissions.everything = everything

    async def run(self) -> None:
        await trio.lowlevel.checkpoint()
        pressed = False
        while not self.commands.over:
            try:
                text = await self.keyboard.line(_PROMPT)
            except Interrupted as interrupt:
                if pressed and not interrupt.typed:
                    self.exit_code = INTERRUPTED
                    return
                pressed = not interrupt.typed
                if pressed:
                    print("(press Ctrl-C again, or Ctrl-D, to exit)", flush=True)
                continue
            pressed = False
            if text is None:
                if self.keyboard.is_terminal and not self.live:
                    print(flush=True)
                return
            if not text.strip():
                continue
            to_send = await self.commands.handle(text)
            if to_send is not None:
                await self._send(to_send)

    async def _send(self, text: str) -> None:
        self.status.begin()
        self._interrupted = False
        reply: Reply | None = None
        limit = math.inf if self.options.timeout is None else self.options.timeout
        with ExitStack() as shown, trio.move_on_after(limit) as self._running:
            await trio.lowlevel.checkpoint()
            if self.live:
                shown.enter_context(self.live.running())
            try:
                async with trio.open_nursery() as nursery:
                    if self.live:
                        nursery.start_soon(self.status.animate, self.live.tick)
                    try:
                        reply = await self._send_and_show(text)
                    finally:
                        nursery.cancel_scope.cancel(reason="the message is finished")
            except* StreamError:
                raise
            except* TrioMixError as group:
                self._failed(group)
        cancelled, self._running = self._running.cancelled_caught, None
        took = self.status.end()
        if cancelled:
            by_limit = not self._interrupted
            why = f"cancelled after {limit:g} s (--timeout)" if by_limit else "cancelled"
            self.screen.show([Piece("info", why)])
        if reply is not None:
            self.commands.last = reply
            if self.live:
                await self._show_summary(took)

    async def _send_and_show(self, text: str) -> Reply:
        async with self.stream.send(text) as message:
            if self.options.jsonl:
                reply = await show_message(message, None, self.permissions, print_event)
                print_reply(reply)
                return reply
            return await show_message(message, self.screen, self.permissions)

    def _failed(self, group: BaseExceptionGroup[TrioMixError]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print_error(error_line(error))
        if not self.keyboard.is_terminal:
            self.exit_code = exit_code(error)  # with a pipe, only the exit code shows it

    async def _show_summary(self, took: float) -> None:
        used = await self.status.count()
        summary = f"{took:.1f} s" + (f" · {used}" if str(used) else "")
        if self.live:
            self.live.show([Piece("done", summary)])

    def _cancel(self) -> None:
        if self._running is not None:
            self._interrupted = True
            self.status.cancelling()
            self._running.cancel(reason="Ctrl-C")

    async def interrupt(self, signals: AsyncIterable[int], whole_chat: trio.CancelScope) -> None:
        async for _ in signals:
            if self._running is not None and not self._running.cancel_called:
                self._cancel()
            else:
                self.exit_code = INTERRUPTED
                whole_chat.cancel(reason="Ctrl-C")
