"""Exports a session: as Markdown to read, or as the JSON of the server.

Rules:

1. The text of a message is in the export as the server stores it, except hidden characters.
2. Only the user can read the file, and an existing file is not replaced.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from trio_mix._rest._operation import quote_segment
from trio_mix._terminal_text import clean, escape_json
from trio_mix.cli._client import json_of
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._rewinding import is_missing
from trio_mix.cli.ui._json import to_json
from trio_mix.cli.ui._text import excerpt
from trio_mix.errors import MixError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from trio_mix import Mix, Response
    from trio_mix.models import BackendMessage, SessionData

TranscriptFormat: TypeAlias = Literal["markdown", "json"]

_BACKTICKS = re.compile("`{3,}")


def format_of(path: Path) -> TranscriptFormat:
    """Return the format that the name of a file stands for."""
    return "json" if path.suffix.lower() == ".json" else "markdown"


def file_name(session_id: str) -> str:
    """Return the name of a file for the export of a session."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]', '_', session_id).lstrip('.')[:100] or 'session'}.md"


def write_new(path: Path, text: str) -> None:
    """Write a text to a new file.

    Raises:
      CommandUsageError: the file exists.
      OSError: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CommandUsageError(f"{path} exists: name another file") from None
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


async def export_text(mix: Mix, session_id: str, form: TranscriptFormat) -> str:
    """Return the export of a session.

    Raises:
      TrioMixError: the session does not exist, or the server failed.
      CommandFailure: the server's export is not JSON.
    """
    if form == "json":
        try:
            path = f"/api/sessions/{quote_segment(session_id)}/export"
            answer = await mix.request("GET", path)
            return await trio.to_thread.run_sync(_pretty, answer, path)
        except MixError as error:
            if not is_missing(error):
                raise
    session = await mix.sessions.get(id=session_id)
    rows = await mix.messages.get_session(id=session_id)
    if form == "json":
        value = {**attrs.asdict(session), "messages": [attrs.asdict(row) for row in rows]}
        return to_json(value) + "\n"
    return await trio.to_thread.run_sync(_markdown, session, rows)


def _pretty(answer: Response, path: str) -> str:
    return escape_json(json.dumps(json_of(answer, path), ensure_ascii=False, indent=2)) + "\n"


def _markdown(session: SessionData, rows: Sequence[BackendMessage]) -> str:
    return "\n".join(_parts(session, rows))


def _parts(session: SessionData, rows: Sequence[BackendMessage]) -> Iterator[str]:
    yield f"# {excerpt(session.title)}\n"
    created = session.created_at.isoformat(timespec="seconds")
    yield f"Session {clean(session.id)}, created {created}\n"
    for row in rows:
        if row.role == "user":
            yield f"## User\n\n{clean(row.user_input)}\n"
            continue
        if row.role == "assistant" and (row.assistant_response or row.tool_calls):
            yield "## Assistant\n"
        for call in row.tool_calls or ():
            text = clean(call.input or "")
            fence = max([*_BACKTICKS.findall(text), "``"], key=len) + "`"
            yield f"Tool `{excerpt(call.name)}`:\n\n{fence}\n{text}\n{fence}\n"
        if row.assistant_response:
            yield f"{clean(row.assistant_response)}\n"
