"""The chat's own slash commands.

Rules:

1. A slash command that is not the chat's is sent to the server; ``//help`` sends ``/help``.
2. Commands write whole lines to stdout, the same on a terminal and in a pipe.
"""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._attachments import check_files
from trio_mix.cli._errors import CommandFailure, CommandUsageError, error_line
from trio_mix.cli._rewinding import fork, rewind
from trio_mix.cli._transcripts import export_text, file_name, format_of, write_new
from trio_mix.cli.ui._external_editor import edit_text
from trio_mix.cli.ui._text import excerpt, print_error
from trio_mix.errors import TrioMixError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix import Reply
    from trio_mix.cli.commands._chat_session import ChatSession
    from trio_mix.cli.commands._chat_status import Status

HELP = {
    "/help": "show this help",
    "/new": "begin a new session with the next message",
    "/undo": "delete the last message and the reply to it",
    "/fork": "continue in a copy of the session, and keep the session as it is",
    "/model NAME": "begin a new session with a model, as PROVIDER/MODEL; /model shows it",
    "/attach FILE": "attach a file to the next message",
    "/edit": "write a message in the editor of $VISUAL or $EDITOR",
    "/export FILE": "write the session to a new file: Markdown, or JSON if its name ends so",
    "/tools": "show the tool calls of the last message in full",
    "/status": "show the session, the stream, tokens and cost",
    "/allow": "grant every permission request from now on",
    "/ask": "ask before granting a permission, the default",
    "/exit": "exit, as Ctrl-D does",
}
_WIDEST = 100
_WIDEST_NAME = 24
_NARROWEST = 20
KEYS = (
    "Enter sends; Alt-Enter, or a backslash before Enter, starts a new line; Up recalls earlier "
    "messages; Ctrl-X Ctrl-E opens the line in the editor. Ctrl-C cancels the running message, and "
    "Enter then lets the agent go on; at the prompt it clears the line. Ctrl-D exits."
)


@attrs.define
class Commands:
    """Runs the chat's own commands."""

    session: ChatSession
    status: Status
    grant_all: Callable[[bool], None]
    can_edit: bool = attrs.field(default=False, kw_only=True)
    """Whether there is a terminal for an editor."""
    last: Reply | None = attrs.field(default=None, init=False)
    over: bool = attrs.field(default=False, init=False)
    """Whether the user has left the chat."""

    async def handle(self, text: str) -> str | None:
        """Run the command, if the text is one, and report its failure.

        Returns:
          The text to send to the server, or ``None`` if it was a command of the chat.
        """
        await trio.lowlevel.checkpoint()
        line = text.strip()
        if line.startswith("//"):
            return line[1:]
        word, _, argument = line.partition(" ")
        plain: dict[str, Callable[[], Awaitable[str | None]]] = {
            "/help": self._help,
            "/new": self._new,
            "/undo": self._undo,
            "/fork": self._fork,
            "/edit": self._edit,
            "/tools": self._tools,
            "/status": self._status,
            "/allow": self._allow,
            "/ask": self._ask,
            "/exit": self._exit,
            "/quit": self._exit,
        }
        with_argument: dict[str, Callable[[str], Awaitable[None]]] = {
            "/model": self._model,
            "/attach": self._attach,
            "/export": self._export,
        }
        try:
            if line in plain:
                return await plain[line]()
            if word in with_argument and "\n" not in line:
                await with_argument[word](argument.strip())
                return None
        except (TrioMixError, CommandFailure, CommandUsageError, OSError) as error:
            print_error(error_line(error))
            return None
        return text

    async def _new(self) -> None:
        await trio.lowlevel.checkpoint()
        self.session.replace(None)
        print("the next message begins a new session", flush=True)

    async def _undo(self) -> None:
        text = await rewind(self.session.mix, self._id(), 1)
        print(f"deleted, with its reply: {excerpt(text)}", flush=True)

    async def _fork(self) -> None:
        copy = await fork(self.session.mix, self._id(), None, None)
        self.session.replace(copy.id)
        print(f"continuing in the copy {clean(copy.id)}", flush=True)

    async def _model(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if not name:
            model = self.session.where.model
            shown = excerpt(model) if model else "the default of the server, or of the session"
            print(f"model: {shown}", flush=True)
            return
        self.session.use_model(None if name == "default" else name)
        print("the next message begins a new session with that model", flush=True)

    async def _attach(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        if not name:
            raise CommandUsageError("/attach FILE: name a file")
        path = _path(name)
        check_files([path])
        self.session.files.append(path)
        print(f"attached to the next message: {excerpt(path.name)}", flush=True)

    async def _export(self, name: str) -> None:
        session_id = self._id()
        path = _path(name or file_name(session_id))
        write_new(path, await export_text(self.session.mix, session_id, format_of(path)))
        print(f"written: {excerpt(str(path))}", flush=True)

    async def _edit(self) -> str | None:
        await trio.lowlevel.checkpoint()
        if not self.can_edit:
            raise CommandFailure("/edit needs a terminal")
        text = (await edit_text()).strip()
        if not text:
            print("nothing was written", flush=True)
            return None
        print(clean(text), flush=True)
        return text

    def _id(self) -> str:
        if self.session.id is None:
            raise CommandFailure("there is no session yet: the first message creates it")
        return self.session.id

    async def _help(self) -> None:
        await trio.lowlevel.checkpoint()
        _table(HELP)
        columns = min(shutil.get_terminal_size().columns - 1, _WIDEST)
        print(textwrap.fill(KEYS, columns), flush=True)
        try:
            theirs = await self.session.mix.system.list_commands()
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
        stream = self.status.stream
        if stream is None:
            print("session: none yet", flush=True)
            return
        numbers = stream.statistics()
        print(f"session: {clean(stream.session_id)}")
        lost = f", lost {numbers.losses} times" if numbers.losses else ""
        print(f"stream: {numbers.state.value}, {numbers.events} events{lost}")
        if numbers.last_loss:
            print(f"last loss: {excerpt(numbers.last_loss)}")
        print(f"API generation: {self.session.mix.api}")
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


def _path(typed: str) -> Path:
    return Path(typed.strip("\"'")).expanduser()


def _table(rows: dict[str, str]) -> None:
    """Print names and what they are, wrapped at words below each other."""
    names = {clean(name): excerpt(what) for name, what in rows.items()}
    indent = min(max(map(len, names)), _WIDEST_NAME) + 4
    columns = min(shutil.get_terminal_size().columns - 1, _WIDEST)
    for name, what in names.items():
        start = f"  {name}".ljust(indent)
        if len(start) > indent:
            print(f"  {name}")
            start = " " * indent
        lines = textwrap.wrap(what, max(columns - indent, _NARROWEST)) or [""]
        print(start + f"\n{' ' * indent}".join(lines))
