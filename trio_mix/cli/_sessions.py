"""``sessions``: list, create, show and delete the server's sessions.

What it knows: the models of sessions and stored messages.
What it must never know: streams.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

import attrs
from rich.table import Table

from trio_mix.cli._connect import reach
from trio_mix.cli._errors import OK
from trio_mix.cli._render import clean, excerpt
from trio_mix.cli._screen import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.models import BackendMessage, SessionData

_COLUMNS = ("id", "created", "messages", "title")


async def list_sessions(server: str | None, *, jsonl: bool) -> int:
    """Print the sessions, one a line."""
    async with reach(server) as mix:
        sessions = await mix.sessions.list()
    console = terminal()
    if jsonl:
        for session in sessions:
            print(as_json(session))
    elif console:
        table = Table(*_COLUMNS, box=None, pad_edge=False)
        for session in sessions:
            table.add_row(*_row(session))
        console.print(table)
    else:
        for session in sessions:
            print("\t".join(_row(session)))
    return OK


async def create(server: str | None, title: str) -> int:
    """Make a session and print its id."""
    async with reach(server) as mix:
        session = await mix.sessions.create(title=title)
    print(session.id)
    return OK


async def show(server: str | None, session_id: str, *, jsonl: bool) -> int:
    """Print a session and its stored messages."""
    async with reach(server) as mix:
        session = await mix.sessions.get(id=session_id)
        messages = await mix.messages.get_session(id=session_id)
    if jsonl:
        print(as_json(session))
        for message in messages:
            print(as_json(message))
        return OK
    for name, value in zip(_COLUMNS, _row(session), strict=True):
        print(f"{name}: {value}")
    for line in _conversation(messages):
        print(line)
    return OK


async def delete(server: str | None, session_ids: Sequence[str]) -> int:
    """Delete sessions; the first that cannot be deleted ends it."""
    async with reach(server) as mix:
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
        if message.user_input:
            lines.append(f"user: {clean(message.user_input)}")
        lines += [
            f"tool: {excerpt(f'{call.name} {call.input}'.rstrip())}"
            for call in message.tool_calls or ()
        ]
        if message.assistant_response:
            lines.append(f"assistant: {clean(message.assistant_response)}")
    return lines


def as_json(record: attrs.AttrsInstance) -> str:
    """Make one line of JSON of a model, without what is null or hidden from its repr."""
    fields = attrs.asdict(record, filter=lambda field, value: field.repr and value is not None)
    return json.dumps(fields, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)
