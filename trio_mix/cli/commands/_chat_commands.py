"""The chat's own slash commands.

Rules:

1. A slash command that is not the chat's is sent to the server; ``//help`` sends ``/help``.
2. Commands write whole lines to stdout, the same on a terminal and in a pipe.
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
    "/help": "show this help",
    "/tools": "show the tool calls of the last message in full",
    "/status": "show the session, the stream, tokens and cost",
    "/allow": "grant every permission request from now on",
    "/ask": "ask before granting a permission, the default",
    "/exit": "exit, as Ctrl-D does",
}
KEYS = (
    "Enter sends; Alt-Enter, or a backslash before Enter, starts a new line; Up recalls earlier "
    "messages. Ctrl-C cancels the running message, or clears the line; Ctrl-D exits."
)


@attrs.define
class Commands:
    """Runs the chat's own commands."""

    mix: Mix
    stream: SessionStream
    status: Status
    grant_all: Callable[[bool], None]
    last: Reply | None = attrs.field(default=None, init=False)
    over: bool = attrs.field(default=False, init=False)
    """Whether the user has left the chat."""

    async def handle(self, text: str) -> str | None:
        """Run the command, if the text is one.

        Returns:
          The text to send to the server, or ``None`` if it was a command of the chat.
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
            print("Commands of the server (//help sends its /help):")
            _table({f"/{each.name}": each.description or "" for each in theirs})

    async def _tools(self) -> None:
        await trio.lowlevel.checkpoint()
        calls = self.last.tool_calls if self.last else ()
        if not calls:
            print("the last message used no tools", flush=True)
        for call in calls:
            ended = {
                True: "done",
                False: "failed",
                None: "finished" if call.finished else "started",
            }
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
        print(f"API generation: {self.mix.api}")
        print(f"used: {str(self.status.used) or 'not reported'}", flush=True)

    async def _allow(self) -> None:
        await trio.lowlevel.checkpoint()
        self.grant_all(True)
        print("every permission request is granted from now on; /ask ends that", flush=True)

    async def _ask(self) -> None:
        await trio.lowlevel.checkpoint()
        self.grant_all(False)
        print("you are asked before a permission is granted", flush=True)

    async def _exit(self) -> None:
        await trio.lowlevel.checkpoint()
        self.over = True


def _table(rows: dict[str, str]) -> None:
    width = max(len(name) for name in rows)
    for name, what in rows.items():
        print(f"  {clean(name).ljust(width)}  {excerpt(what)}")
