"""``chat``: one message after another, typed by a person or read from a pipe.

What it knows: the keyboard, the prompt, Ctrl-C.
What it must never know: how arguments are parsed.

Rules:

1. Ctrl-C cancels the message that runs, and nothing else; at the prompt it only says how to leave.
2. A message that fails is told in one line, and the chat goes on; a stream that is gone ends it.
3. Ctrl-D, or the end of the pipe, leaves.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli._connect import reach
from trio_mix.cli._errors import ERROR, INTERRUPTED, OK, complain
from trio_mix.cli._follow import ask_person, deny_all, follow, grant_all
from trio_mix.cli._input import LineReader
from trio_mix.cli._render import Piece
from trio_mix.cli._screen import line_screen
from trio_mix.errors import StreamError, TrioMixError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from trio_mix import SessionStream
    from trio_mix.cli._follow import Decide
    from trio_mix.cli._screen import Screen

_PROMPT = "you> "


async def chat(server: str | None, session: str | None, *, yes: bool) -> int:
    """Talk in one session until the input ends."""
    async with reach(server) as mix:
        if session is None:
            session = (await mix.sessions.create(title="trio-mix chat")).id
        async with mix.open_stream(session) as stream, trio.open_nursery() as nursery:
            reader = LineReader.stdin(nursery)
            person = sys.stdin.isatty()
            decide = grant_all if yes else ask_person(reader) if person else deny_all
            talk = _Talk(stream, reader, decide, line_screen(), person=person)
            if person:
                print("Ctrl-C cancels a message, Ctrl-D leaves.", flush=True)
            with trio.open_signal_receiver(signal.SIGINT) as signals:
                nursery.start_soon(talk.interrupt, signals, nursery.cancel_scope)
                await talk.run()
            nursery.cancel_scope.cancel(reason="the chat is over")
    if talk.exit_code == OK:
        print(f"To go on: trio-mix chat --session {session}", file=sys.stderr, flush=True)
    return talk.exit_code


@attrs.define
class _Talk:
    stream: SessionStream
    reader: LineReader
    decide: Decide
    screen: Screen
    person: bool = attrs.field(kw_only=True)
    exit_code: int = attrs.field(default=OK, init=False)
    _running: trio.CancelScope | None = attrs.field(default=None, init=False)

    async def run(self) -> None:
        while True:
            self._prompt()
            line = await self.reader.line()
            if line is None:
                if self.person:
                    print(flush=True)
                return
            if line.strip():
                await self._send(line)

    async def _send(self, text: str) -> None:
        with trio.CancelScope() as self._running:
            await trio.lowlevel.checkpoint()
            try:
                async with self.stream.send(text) as message:
                    await follow(message, self.screen, self.decide)
            except StreamError:
                raise
            except TrioMixError as error:
                complain(str(error))
                # A pipe's reader sees only the exit code.
                self.exit_code = self.exit_code if self.person else ERROR
        if self._running.cancelled_caught:
            self.screen.show([Piece("info", "cancelled")])
        self._running = None

    async def interrupt(self, signals: AsyncIterable[int], everything: trio.CancelScope) -> None:
        async for _ in signals:
            if self._running is not None:
                self._running.cancel(reason="Ctrl-C")
            elif self.person:
                print("\n(Ctrl-D leaves)", flush=True)
                self._prompt()
            else:
                self.exit_code = INTERRUPTED
                everything.cancel(reason="Ctrl-C")

    def _prompt(self) -> None:
        if self.person:
            print(_PROMPT, end="", flush=True)
