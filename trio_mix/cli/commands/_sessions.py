"""``sessions``: list, create, show, export, copy, rewind, cancel and delete sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK
from trio_mix.cli._rewinding import fork, rewind
from trio_mix.cli._transcripts import export_text, format_of, write_new
from trio_mix.cli.ui._json import print_record
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import excerpt, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio_mix.cli._client import Connection
    from trio_mix.cli._transcripts import TranscriptFormat
    from trio_mix.models import BackendMessage, SessionData

_COLUMNS = ("id", "created", "messages", "title")


async def list_sessions(server: Connection, *, jsonl: bool) -> int:
    """Print the sessions, one per line."""
    async with open_client(server) as mix:
        sessions = await mix.sessions.list()
    show_records(
        sessions, _COLUMNS, _row, jsonl=jsonl, empty="no sessions: `trio-mix chat` creates one"
    )
    return OK


async def create(server: Connection, title: str, *, jsonl: bool) -> int:
    """Create a session and print its id."""
    async with open_client(server) as mix:
        session = await mix.sessions.create(title=title)
    if jsonl:
        print_record(session)
    else:
        print(clean(session.id), flush=True)
    return OK


async def show(server: Connection, session_id: str, *, jsonl: bool) -> int:
    """Print a session and its stored messages."""
    async with open_client(server) as mix:
        session = await mix.sessions.get(id=session_id)
        messages = await mix.messages.get_session(id=session_id)
    if jsonl:
        print_record(session)
        for message in messages:
            print_record(message)
        return OK
    for name, value in zip(_COLUMNS, _row(session), strict=True):
        print(f"{name}: {value}")
    tokens = f"{session.prompt_tokens} in, {session.completion_tokens} out"
    print(f"tokens: {tokens}; cost: ${session.cost:.4f}")
    for line in _conversation(messages):
        print(line if terminal() is None else wrapped(line))
    return OK


async def cancel(server: Connection, session_id: str) -> int:
    """Cancel the message that is running in a session."""
    async with open_client(server) as mix:
        await mix.messages.cancel_processing(id=session_id)
    print(f"cancelled session {clean(session_id)}", flush=True)
    return OK


async def export(
    server: Connection, session_id: str, form: TranscriptFormat | None, to: Path | None
) -> int:
    """Write a session to a new file, or to stdout.

    Raises:
      CommandUsageError: the file exists.
    """
    chosen = form or ("markdown" if to is None else format_of(to))
    async with open_client(server) as mix:
        text = await export_text(mix, session_id, chosen)
    if to is None:
        print(text, end="", flush=True)
    else:
        write_new(to, text)
        print(f"written: {excerpt(str(to))}", flush=True)
    return OK


async def fork_session(
    server: Connection, session_id: str, messages: int | None, title: str | None, *, jsonl: bool
) -> int:
    """Create a session that begins with the messages of another, and print its id."""
    async with open_client(server) as mix:
        copy = await fork(mix, session_id, messages, title)
    if jsonl:
        print_record(copy)
    else:
        print(clean(copy.id), flush=True)
    return OK


async def rewind_session(server: Connection, session_id: str, turns: int) -> int:
    """Delete the last messages of a session, each with the reply to it."""
    async with open_client(server) as mix:
        text = await rewind(mix, session_id, turns)
    print(f"deleted from: {excerpt(text)}", flush=True)
    return OK


async def delete(server: Connection, session_ids: Sequence[str]) -> int:
    """Delete sessions one after another; stop at the first that fails."""
    async with open_client(server) as mix:
        for session_id in session_ids:
            await mix.sessions.delete(id=session_id)
            print(f"deleted {clean(session_id)}", flush=True)
    return OK


def _row(session: SessionData) -> tuple[str, ...]:
    count = session.user_message_count + session.assistant_message_count
    created = session.created_at.isoformat(timespec="seconds")
    return (clean(session.id), created, str(count), excerpt(session.title))


def _conversation(messages: Sequence[BackendMessage]) -> list[str]:
    lines = []
    for message in messages:
        if message.role == "user":
            lines.append(f"user: {clean(message.user_input)}")
            continue
        lines += [
            f"tool: {excerpt(f'{call.name} {call.input}'.rstrip())}"
            for call in message.tool_calls or ()
        ]
        if message.assistant_response:
            lines.append(f"assistant: {clean(message.assistant_response)}")
    return lines
