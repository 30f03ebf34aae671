"""``ask``: sends one message and shows the reply."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK, CommandUsageError
from trio_mix.cli._run import end_with_reader
from trio_mix.cli._streams import MAX_INPUT, detect_encoding
from trio_mix.cli._ticket_file import TicketFile
from trio_mix.cli.commands._chat_status import Status
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._json import print_event, print_reply
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._permission_prompt import open_permission_prompt
from trio_mix.cli.ui._screen import is_capable, pipe_screen, terminal
from trio_mix.cli.ui._text import clean

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix import Message, Mix, SessionStream
    from trio_mix.models import ThinkingLevel


@attrs.frozen(kw_only=True)
class ShowOptions:
    """How a message is shown, and which permission requests are granted."""

    yes: bool = False
    grant: tuple[str, ...] = ()
    jsonl: bool = False


@attrs.frozen(kw_only=True)
class AskOptions:
    """The message and the options of ``ask``."""

    text: str
    session: str | None = None
    keep: bool = False
    ticket: str | None = None
    show: ShowOptions = ShowOptions()
    plan: bool = False
    thinking: ThinkingLevel | None = None
    max_steps: int | None = None
    allow_shell: bool = False


_STDIN = "-"


async def ask(server: str | None, options: AskOptions) -> int:
    """Send one message and show its turn.

    Raises:
      CommandUsageError: the text is to be read from stdin, and stdin is empty or too long; or the
        file for the ticket exists.
    """
    if options.text == _STDIN:
        text = await trio.to_thread.run_sync(_read_stdin, abandon_on_cancel=True)
        if len(text) > MAX_INPUT:
            raise CommandUsageError(f'"-": stdin holds more than {MAX_INPUT} characters')
        if not text.strip():
            raise CommandUsageError('"-" reads the message from stdin, but stdin is empty')
        options = attrs.evolve(options, text=text)
    file = nullcontext() if options.ticket is None else TicketFile.create(options.ticket)
    with file as stored:
        async with open_client(server) as mix, trio.open_nursery() as nursery:
            nursery.start_soon(end_with_reader)
            async with _stream(mix, options) as stream:
                message = await _message(stream, options, stored)
                await show_turn(mix, stream, message, options.show, nursery)
            nursery.cancel_scope.cancel(reason="the message is finished")
    return OK


async def _message(
    stream: SessionStream, options: AskOptions, stored: TicketFile | None
) -> Message:
    """Return the message, after its ticket is on the disk."""
    if stored is None:
        await trio.lowlevel.checkpoint()
        return stream.send(
            options.text,
            plan_mode=options.plan,
            thinking_level=options.thinking,
            max_steps=options.max_steps,
            allow_shell=options.allow_shell,
        )
    ticket = await stream.prepare(
        options.text,
        plan_mode=options.plan,
        thinking_level=options.thinking,
        max_steps=options.max_steps,
        allow_shell=options.allow_shell,
    )
    await stored.save(ticket)
    return stream.resume(ticket, save=stored.save)


async def show_turn(
    mix: Mix,
    stream: SessionStream,
    message: Message,
    options: ShowOptions,
    nursery: trio.Nursery,
    *,
    others: bool = False,
) -> None:
    """Enter a message, and show its turn to the end.

    Args:
      mix: the client.
      stream: the stream of the message.
      message: the message, not entered yet.
      options: how it is shown.
      nursery: runs the status line; the caller cancels it.
      others: whether the message may be another client's: then nothing is denied unasked.
    """
    live = None if options.jsonl else _live(Status(mix, stream), nursery)
    permissions = PermissionDecisions(
        open_permission_prompt(jsonl=options.jsonl, state=lambda: stream.state.value),
        tools=frozenset(options.grant),
        everything=options.yes,
        while_asking=live.paused if live else nullcontext,
        others=others,
    )
    with live.running() if live else nullcontext():
        async with message:
            if options.jsonl:
                reply = await show_message(message, None, permissions, print_event)
                print_reply(reply)
            else:
                await show_message(message, live or pipe_screen(), permissions)


def _read_stdin() -> str:
    detect_encoding(sys.stdin)
    return sys.stdin.read(MAX_INPUT + 1)


def _live(status: Status, nursery: trio.Nursery) -> LiveScreen | None:
    """Return a screen with a status line, or ``None`` where the terminal cannot show one."""
    console = terminal()
    if console is None or not is_capable():
        return None
    live = LiveScreen(console, status.working)
    status.begin()
    nursery.start_soon(status.animate, live.tick)
    return live


@asynccontextmanager
async def _stream(mix: Mix, options: AskOptions) -> AsyncIterator[SessionStream]:
    if options.session is None and not options.keep and options.ticket is None:
        async with mix.open_session(title=_title(options.text)) as stream:
            yield stream
        return
    session_id = options.session
    if session_id is None:
        session_id = (await mix.sessions.create(title=_title(options.text))).id
        print(f"session {clean(session_id)}", file=sys.stderr, flush=True)
    async with mix.open_stream(session_id) as stream:
        yield stream


def _title(text: str) -> str:
    first = (text.strip().splitlines() or [""])[0]
    return first[:60] or "trio-mix"
