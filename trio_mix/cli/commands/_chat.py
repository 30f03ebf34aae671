"""``chat``: one message after another, typed by a person or read from a pipe.

What it knows: the keyboard, the prompt, Ctrl-C.
What it must never know: how arguments are parsed, how a line is edited.

Rules:

1. Ctrl-C cancels the message that runs, and the chat goes on; a second one, while the server is
   still being told, leaves. At the prompt it clears the line; twice at an empty one leaves.
2. A message that fails is told in one line, and the chat goes on; a stream that is gone ends it,
   also while nobody types.
3. Ctrl-D, or the end of the pipe, leaves.
"""

from __future__ import annotations

import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli._client import open_client
from trio_mix.cli._errors import INTERRUPTED, OK, error_line, exit_code
from trio_mix.cli._run import end_with_reader
from trio_mix.cli.commands._chat_commands import Commands
from trio_mix.cli.commands._chat_status import Status
from trio_mix.cli.commands._show_message import deny_all, grant_all, show_message
from trio_mix.cli.ui._json import print_json, reply_json
from trio_mix.cli.ui._keyboard import Interrupted
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._open_keyboard import open_keyboard
from trio_mix.cli.ui._screen import line_screen, terminal
from trio_mix.cli.ui._text import clean, print_error
from trio_mix.cli.ui._transcript import Piece, ask_for
from trio_mix.errors import StreamError, TrioMixError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from trio_mix import Reply, SessionStream
    from trio_mix.cli.commands._show_message import Decide
    from trio_mix.cli.ui._keyboard import Keyboard
    from trio_mix.cli.ui._screen import Screen
    from trio_mix.events import PermissionEvent

_PROMPT = "you> "


async def chat(
    server: str | None, session: str | None, *, yes: bool, history: bool, jsonl: bool
) -> int:
    """Talk in one session until the input ends."""
    async with open_client(server) as mix:
        if session is None:
            session = (await mix.sessions.create(title="trio-mix chat")).id
        async with mix.open_stream(session) as stream, trio.open_nursery() as nursery:
            status = Status(mix, stream)
            keyboard = open_keyboard(
                nursery, history=history, status=status.resting, asking=status.asking
            )
            talk = _Chat(stream, keyboard, status, yes=yes, jsonl=jsonl)
            talk.commands = Commands(mix, stream, status, talk.allow)
            nursery.start_soon(_notice_the_end, stream)
            nursery.start_soon(end_with_reader)
            if keyboard.person:
                print("Ctrl-C cancels, Ctrl-D leaves, /help tells more.", flush=True)
                await status.count()
            with trio.open_signal_receiver(signal.SIGINT) as signals:
                nursery.start_soon(talk.interrupt, signals, nursery.cancel_scope)
                await talk.run()
            nursery.cancel_scope.cancel(reason="the chat is over")
    if talk.exit_code == OK and not jsonl:
        again = f"To go on: trio-mix chat --session {clean(session)}"
        print(again, file=sys.stderr, flush=True)
    return talk.exit_code


async def _notice_the_end(stream: SessionStream) -> None:
    """Raise what the stream ends with, also while nobody sends anything."""
    async with stream.subscribe(buffer=1) as everything:
        async for _ in everything:
            pass


@attrs.define
class _Chat:
    stream: SessionStream
    keyboard: Keyboard
    status: Status
    yes: bool = attrs.field(kw_only=True)
    jsonl: bool = attrs.field(kw_only=True)
    commands: Commands = attrs.field(init=False)
    exit_code: int = attrs.field(default=OK, init=False)
    live: LiveScreen | None = attrs.field(default=None, init=False)
    screen: Screen = attrs.field(factory=line_screen, init=False)
    _running: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        console = terminal()
        if console and self.keyboard.editor and not self.jsonl:
            self.live = LiveScreen(console, self.status.working)
            self.screen = self.live

    def allow(self, everything: bool) -> None:
        self.yes = everything

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
                    print("(Ctrl-C again, or Ctrl-D, leaves)", flush=True)
                continue
            pressed = False
            if text is None:
                if self.keyboard.person and not self.live:
                    print(flush=True)
                return
            if not text.strip():
                continue
            to_send = await self.commands.handle(text)
            if to_send is not None:
                await self._send(to_send)

    async def _send(self, text: str) -> None:
        self.status.begin()
        reply: Reply | None = None
        with ExitStack() as shown, trio.CancelScope() as self._running:
            await trio.lowlevel.checkpoint()
            if self.live:
                shown.enter_context(self.live.running())
            try:
                async with trio.open_nursery() as nursery:
                    if self.live:
                        nursery.start_soon(self.status.keep_turning, self.live.tick)
                    try:
                        reply = await self._exchange(text)
                    finally:
                        nursery.cancel_scope.cancel(reason="the message is over")
            except* StreamError:
                raise
            except* TrioMixError as group:
                self._failed(group)
        cancelled, self._running = self._running.cancelled_caught, None
        took = self.status.end()
        if cancelled:
            self.screen.show([Piece("info", "cancelled")])
        if reply is not None:
            self.commands.last = reply
            if self.live:
                await self._sum_up(took)

    async def _exchange(self, text: str) -> Reply:
        async with self.stream.send(text) as message:
            if self.jsonl:
                reply = await show_message(message, None, self._decide(), print_json)
                print(reply_json(reply), flush=True)
                return reply
            return await show_message(message, self.screen, self._decide())

    def _failed(self, group: BaseExceptionGroup[TrioMixError]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print_error(error_line(error))
        if not self.keyboard.person:
            self.exit_code = exit_code(error)  # a pipe's reader sees only the exit code

    async def _sum_up(self, took: float) -> None:
        used = await self.status.count()
        said = f"{took:.1f} s" + (f" · {used}" if str(used) else "")
        if self.live:
            self.live.show([Piece("done", said)])

    def _decide(self) -> Decide:
        if self.live:
            self.live.asks = not self.yes
        if self.yes:
            return grant_all
        return self._ask_person if self.keyboard.person else deny_all

    async def _ask_person(self, event: PermissionEvent) -> bool:
        if self.yes:
            return await grant_all(event)
        with self.live.paused() if self.live else ExitStack():
            while True:
                try:
                    answer = await self.keyboard.answer(f"Allow {ask_for(event)}? [y/N/a/?] ")
                except Interrupted:
                    self._cancel()
                    await trio.lowlevel.checkpoint()
                    return False
                match (answer or "").strip().lower():
                    case "y" | "yes":
                        return True
                    case "a" | "all":
                        self.allow(everything=True)
                        return True
                    case "?":
                        print("y: yes; a: yes, and to all that follows; anything else: no")
                        print(f"asked with: {clean(str(dict(event.params or {})))}", flush=True)
                    case _:
                        return False

    def _cancel(self) -> None:
        if self._running is not None:
            self.status.cancelling()
            self._running.cancel(reason="Ctrl-C")

    async def interrupt(self, signals: AsyncIterable[int], everything: trio.CancelScope) -> None:
        async for _ in signals:
            if self._running is not None and not self._running.cancel_called:
                self._cancel()
            else:
                self.exit_code = INTERRUPTED
                everything.cancel(reason="Ctrl-C")
