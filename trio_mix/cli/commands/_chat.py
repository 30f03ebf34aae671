"""``chat``: sends one message after another, typed on a terminal or read from a pipe.

Rules:

1. Ctrl-C cancels the running message, and the chat continues; a second Ctrl-C, while the server has
   not confirmed yet, exits. At the prompt Ctrl-C clears the line; twice on an empty line it exits.
2. A message that fails is reported on one line, and the chat continues. If the stream is lost, the
   chat ends, also while the user types.
3. Ctrl-D, or the end of the pipe, exits.
4. A new session is created with the first message, whose first line is its title. A command can
   replace the session.
5. After Ctrl-C has cancelled a message, Enter on an empty line lets the agent go on.
"""

from __future__ import annotations

import math
import shlex
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import (
    INTERRUPTED,
    OK,
    CommandFailure,
    CommandUsageError,
    error_line,
    exit_code,
    leaf_errors,
)
from trio_mix.cli._last_session import remember_session
from trio_mix.cli._run import end_with_reader, receive_signals
from trio_mix.cli.commands._chat_commands import Commands
from trio_mix.cli.commands._chat_session import ChatSession
from trio_mix.cli.commands._chat_status import Status
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._json import print_event, print_reply
from trio_mix.cli.ui._keyboard import Interrupted
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._open_keyboard import open_keyboard
from trio_mix.cli.ui._permission_prompt import open_permission_prompt
from trio_mix.cli.ui._screen import TextOnly, line_screen, terminal
from trio_mix.cli.ui._text import print_error, wrapped
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
_GO_ON = "Go on where you stopped."
"""What is sent if the user presses Enter after a message was cancelled."""


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
    chosen = where.session_id(server)
    async with open_client(server) as mix, trio.open_nursery() as nursery:
        session = ChatSession(mix, where, chosen)
        status = Status(mix, None)
        keyboard = open_keyboard(nursery, history=history, status=status.resting)
        permissions = PermissionDecisions(
            open_permission_prompt(
                jsonl=options.jsonl, discard=keyboard.discard, state=lambda: status.state
            ),
            tools=frozenset(options.grant),
            everything=options.yes,
        )
        conversation = _Chat(session, keyboard, status, permissions, options)
        conversation.commands = Commands(
            session, status, conversation.grant_all, can_edit=keyboard.is_editor
        )
        nursery.start_soon(end_with_reader)
        if keyboard.is_terminal and not options.quiet:
            print(wrapped("Ctrl-C cancels, Ctrl-D exits, /help shows more."), flush=True)
        with receive_signals(signal.SIGINT) as signals:
            nursery.start_soon(conversation.interrupt, signals, nursery.cancel_scope)
            await conversation.run(server)
        nursery.cancel_scope.cancel(reason="the chat has ended")
    quiet = options.jsonl or options.quiet or session.id is None
    if conversation.exit_code in (OK, INTERRUPTED) and not quiet:
        words = ["trio-mix", "chat", "--session", clean(session.id or ""), *server.options]
        print(f"To continue: {shlex.join(words)}", file=sys.stderr, flush=True)
    return conversation.exit_code


async def _raise_when_lost(stream: SessionStream) -> None:
    """Raise the error that ends the stream, also while no message runs."""
    async with stream.subscribe(buffer=1) as everything:
        async for _ in everything:
            pass


@attrs.define
class _Chat:
    session: ChatSession
    keyboard: Keyboard
    status: Status
    permissions: PermissionDecisions
    options: ShowOptions
    commands: Commands = attrs.field(init=False)
    exit_code: int = attrs.field(default=OK, init=False)
    live: LiveScreen | None = attrs.field(default=None, init=False)
    screen: Screen = attrs.field(factory=line_screen, init=False)
    _interrupted: bool = attrs.field(default=False, init=False)
    _left: bool = attrs.field(default=False, init=False)
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

    async def run(self, server: Connection) -> None:
        """Hold the conversation, in one session after another, until the user leaves."""
        await trio.lowlevel.checkpoint()
        while not self.over:
            first = None
            self.session.was_replaced = False
            if self.session.id is None:
                first = await self._next()
                if first is None:
                    continue
                try:
                    await self.session.create(first)
                except TrioMixError as error:
                    if not self.keyboard.is_terminal:
                        raise
                    self._report(error)
                    continue
            remember_session(server.shown_url, self.session.id)
            await self._converse(first)

    @property
    def over(self) -> bool:
        """Whether the user has left."""
        return self._left or self.commands.over

    async def _converse(self, first: str | None) -> None:
        """Send messages in the session until the user leaves it."""
        assert self.session.id is not None  # noqa: S101 - the caller has created it
        async with (
            self.session.mix.open_stream(self.session.id) as stream,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(_raise_when_lost, stream)
            self._follow(stream)
            if self.keyboard.is_terminal and first is None:
                await self.status.count()
            text = first or await self._next()
            while text is not None:
                await self._send(stream, text)
                text = await self._next()
            self._follow(None)
            nursery.cancel_scope.cancel(reason="the user has left the session")

    def _follow(self, stream: SessionStream | None) -> None:
        self.session.stream = stream
        self.status.follow(stream)

    async def _next(self) -> str | None:
        """Return the next text to send; None: the user has left the chat or the session."""
        pressed = False
        stopped, self._interrupted = self._interrupted, False
        while not (self.over or self.session.was_replaced):
            try:
                text = await self.keyboard.line(_PROMPT)
            except Interrupted as interrupt:
                if pressed and not interrupt.typed:
                    self.exit_code = INTERRUPTED
                    self._left = True
                    break
                pressed = not interrupt.typed
                if pressed:
                    print(wrapped("(press Ctrl-C again, or Ctrl-D, to exit)"), flush=True)
                continue
            pressed = False
            if text is None:
                if self.keyboard.is_terminal and not self.live:
                    print(flush=True)
                self._left = True
                break
            if text.strip():
                stopped = False
                to_send = await self.commands.handle(text)
                if to_send is not None:
                    return to_send  # noqa: ASYNC910 - a line was awaited
            elif stopped:
                return _GO_ON  # noqa: ASYNC910 - a line was awaited
        await trio.lowlevel.checkpoint()
        return None

    async def _send(self, stream: SessionStream, text: str) -> None:
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
                        reply = await self._send_and_show(stream, text)
                    finally:
                        nursery.cancel_scope.cancel(reason="the message is finished")
            except* StreamError:
                raise
            except* (TrioMixError, CommandFailure, CommandUsageError) as group:
                self._report(group)
        cancelled, self._running = self._running.cancelled_caught, None
        took = self.status.end()
        if cancelled:
            by_limit = not self._interrupted
            why = f"cancelled after {limit:g} s (--timeout)" if by_limit else "cancelled"
            self.screen.show([Piece("info", why)])
            if self._interrupted and self.keyboard.is_terminal and not self.options.quiet:
                print("(Enter goes on with it)", flush=True)
        if reply is not None:
            self.commands.last = reply
            if self.live:
                await self._show_summary(took)

    async def _send_and_show(self, stream: SessionStream, text: str) -> Reply:
        text = await self.session.with_files(stream.session_id, text)
        async with stream.send(text) as message:
            if self.options.jsonl:
                reply = await show_message(message, None, self.permissions, print_event)
                print_reply(reply)
                return reply
            return await show_message(message, self.screen, self.permissions)

    def _report(self, error: BaseException) -> None:
        error = leaf_errors(error)[0]
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
