"""The chat's own commands: what begins with a slash and is not for the server.

What it knows: their names, and what each of them shows.
What it must never know: the prompt, signals.

Rules:

1. A slash command that is not the chat's is the server's, and is sent to it; ``//help`` sends
   ``/help``.
2. They write to stdout, whole lines, the same on a terminal and in a pipe.
"""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli.ui._text import clean, excerpt
from trio_mix.errors import TrioMixError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix import Mix, Reply, SessionStream
    from trio_mix.cli.commands._chat_status import Status

HELP = {
    "/help": "this",
    "/tools": "the last message's tool calls, whole",
    "/status": "stream, session, what it has used",
    "/allow": "grant every permission from now on",
    "/ask": "ask before granting, as at first",
    "/exit": "leave, as Ctrl-D does",
}
KEYS = (
    "Enter sends; Alt-Enter, or a backslash before Enter, begins a new line; Up brings back what "
    "was sent. Ctrl-C cancels the message that runs, or clears the line; Ctrl-D leaves."
)


@attrs.define
class Commands:
    """Carries out the chat's own commands."""

    mix: Mix
    stream: SessionStream
    status: Status
    allow: Callable[[bool], None]
    last: Reply | None = attrs.field(default=None, init=False)
    over: bool = attrs.field(default=False, init=False)
    """Whether the user wants to leave."""

    async def handle(self, text: str) -> str | None:
        """Carry out a command, if it is one.

        Returns:
          What is to be sent to the server, or ``None`` if the text was for the chat.
        """
        await trio.lowlevel.checkpoint()
        word = text.strip()
        if word.startswith("//"):
            return word[1:]
        own: dict[str, Callable[[], Awaitable[None]]] = {
            "/help": self._help,
            "/tools": self._tools,
            "/status": self._status,
            "/allow": self._allow,
            "/ask": self._ask,
            "/exit": self._exit,
            "/quit": self._exit,
        }
        if word not in own:
            return text
        await own[word]()
        return None

    async def _help(self) -> None:
        await trio.lowlevel.checkpoint()
        _table(HELP)
        print(textwrap.fill(KEYS, min(shutil.get_terminal_size().columns - 1, 100)), flush=True)
        try:
            theirs = await self.mix.system.list_commands()
        except TrioMixError:
            return
        if theirs:
            print("The server's own (//help sends its /help):")
            _table({f"/{each.name}": each.description or "" for each in theirs})

    async def _tools(self) -> None:
        await trio.lowlevel.checkpoint()
        calls = self.last.tool_calls if self.last else ()
        if not calls:
            print("no tool was used for the last message", flush=True)
        for call in calls:
            ended = {True: "done", False: "failed", None: "finished" if call.finished else "began"}
            print(f"{excerpt(call.name)} ({ended[call.success]})")
            for name, body in (("input", call.input), ("result", call.result)):
                if body:
                    print(f"  {name}:")
                    print(textwrap.indent(clean(body), "    "), flush=True)

    async def _status(self) -> None:
        await self.status.count()
        numbers = self.stream.statistics()
        print(f"session: {clean(self.stream.session_id)}")
        lost = f", lost {numbers.losses} times" if numbers.losses else ""
        print(f"stream: {numbers.state.value}, {numbers.events} events{lost}")
        if numbers.last_loss:
            print(f"last loss: {excerpt(numbers.last_loss)}")
        print(f"server: {self.mix.api} generation")
        print(f"used: {str(self.status.used) or 'not told'}", flush=True)

    async def _allow(self) -> None:
        await trio.lowlevel.checkpoint()
        self.allow(True)
        print("every permission is granted from now on; /ask takes that back", flush=True)

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        self.allow(False)
        print("you are asked before a permission is granted", flush=True)

    async def _exit(self) -> None:
        await trio.lowlevel.checkpoint()
        self.over = True


def _table(rows: dict[str, str]) -> None:
    width = max(len(name) for name in rows)
    for name, what in rows.items():
        print(f"  {clean(name).ljust(width)}  {excerpt(what)}")
