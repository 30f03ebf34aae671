"""``ask``: sends one message and shows the reply."""

from __future__ import annotations

import math
import sys
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._attachments import attach_files, check_files
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK, CommandFailure, CommandUsageError
from trio_mix.cli._last_session import remember_session
from trio_mix.cli._new_session import SessionChoice, title_of
from trio_mix.cli._run import end_with_reader
from trio_mix.cli._streams import MAX_INPUT, detect_encoding
from trio_mix.cli._ticket_file import TicketFile
from trio_mix.cli.commands._chat_status import Status
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._json import print_event, print_reply
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._permission_prompt import open_permission_prompt
from trio_mix.cli.ui._screen import TextOnly, is_capable, pipe_screen, terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from trio_mix import Message, Mix, SessionStream
    from trio_mix.cli._client import Connection
    from trio_mix.models import ThinkingLevel


@attrs.frozen(kw_only=True)
class ShowOptions:
    """How a message is shown, and which permission requests are granted."""

    yes: bool = False
    grant: tuple[str, ...] = ()
    jsonl: bool = False
    quiet: bool = False
    """Whether to show the text of the reply only, and no notes on stderr."""
    raw: bool = False
    """Whether to show Markdown as it is also on a terminal."""
    timeout: float | None = None
    """Seconds until the message is cancelled."""


@attrs.frozen(kw_only=True)
class AskOptions:
    """The message and the options of ``ask``."""

    text: str
    where: SessionChoice = attrs.field(factory=SessionChoice)
    keep: bool = False
    attach: tuple[Path, ...] = ()
    ticket: str | None = None
    show: ShowOptions = ShowOptions()
    plan: bool = False
    thinking: ThinkingLevel | None = None
    max_steps: int | None = None
    allow_shell: bool = False


_STDIN = "-"


async def ask(server: Connection, options: AskOptions) -> int:
    """Send one message and show its turn.

    Raises:
      CommandUsageError: the text is to be read from stdin, and stdin is empty or too long; the
        file for the ticket exists; or the options for the session contradict each other.
      CommandFailure: the time limit is over.
    """
    if options.text == _STDIN:
        text = await trio.to_thread.run_sync(_read_stdin, abandon_on_cancel=True)
        if len(text) > MAX_INPUT:
            raise CommandUsageError(f'"-": stdin holds more than {MAX_INPUT} characters')
        if not text.strip():
            raise CommandUsageError('"-" reads the message from stdin, but stdin is empty')
        options = attrs.evolve(options, text=text)
    session_id = options.where.session_id(server)
    check_files(options.attach)
    file = nullcontext() if options.ticket is None else TicketFile.create(options.ticket)
    with file as stored, time_limit(options.show.timeout):
        async with open_client(server) as mix, trio.open_nursery() as nursery:
            nursery.start_soon(end_with_reader)
            async with _stream(mix, options, session_id) as stream:
                kept = session_id is not None or options.keep or stored is not None
                _note_session(server, stream.session_id if kept else None)
                text = await attach_files(mix, stream.session_id, options.attach, options.text)
                message = await _message(stream, attrs.evolve(options, text=text), stored)
                await show_turn(mix, stream, message, options.show, nursery)
            nursery.cancel_scope.cancel(reason="the message is finished")
    return OK


def _note_session(server: Connection, kept: str | None) -> None:
    """Remember the session for ``--continue``; a deleted one only if a user may be there."""
    if kept is not None or sys.stderr.isatty():
        remember_session(server.shown_url, kept)


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Cancel what the block does after some seconds.

    Raises:
      CommandFailure: it was cancelled.
    """
    with trio.move_on_after(math.inf if seconds is None else seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise CommandFailure(
            f"the message was cancelled: it did not finish within {seconds:g} s (--timeout)"
        )


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
    live = None
    if not (options.jsonl or options.quiet):
        live = _live(Status(mix, stream), nursery, markdown=not options.raw)
    plain = pipe_screen(markdown=not options.raw)
    screen = TextOnly(plain) if options.quiet else live or plain
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
                await show_message(message, screen, permissions)


def _read_stdin() -> str:
    detect_encoding(sys.stdin)
    return sys.stdin.read(MAX_INPUT + 1)


def _live(status: Status, nursery: trio.Nursery, *, markdown: bool) -> LiveScreen | None:
    """Return a screen with a status line, or ``None`` where the terminal cannot show one."""
    console = terminal()
    if console is None or not is_capable():
        return None
    live = LiveScreen(console, status.working, markdown=markdown)
    status.begin()
    nursery.start_soon(status.animate, live.tick)
    return live


@asynccontextmanager
async def _stream(
    mix: Mix, options: AskOptions, session_id: str | None
) -> AsyncIterator[SessionStream]:
    title = title_of(options.text)
    if session_id is None and not options.keep and options.ticket is None:
        async with mix.open_session(title=title, **options.where.fields) as stream:
            yield stream
        return
    if session_id is None:
        session_id = (await mix.sessions.create(title=title, **options.where.fields)).id
    if not options.show.quiet and options.where.session is None:
        print(f"session {clean(session_id)}", file=sys.stderr, flush=True)
    async with mix.open_stream(session_id) as stream:
        yield stream
