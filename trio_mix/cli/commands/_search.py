"""``sessions search``: finds text in the titles and the stored messages of all sessions.

Rules:

1. Sessions are read one after another, the newest first, until the limit is reached; the history
   of all sessions has no replies on the oldest servers.
2. Case makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import excerpt, print_error

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mix import Mix
    from trio_mix.cli._client import Connection
    from trio_mix.models import BackendMessage

_BEFORE: Final = 40
_AFTER: Final = 80


@attrs.frozen
class Found:
    """A place where a text was found."""

    session: str
    title: str
    where: str
    """``title``, or the role of the message."""
    excerpt: str
    message_id: str | None = None


async def search(server: Connection, text: str, limit: int, *, jsonl: bool) -> int:
    """Print the places where the text was found, the newest first."""
    async with open_client(server) as mix:
        found = await _find(mix, text, limit)
    show_records(
        found,
        ("session", "where", "text", "title"),
        lambda each: (each.session, each.where, each.excerpt, each.title),
        jsonl=jsonl,
        empty="not found",
    )
    return OK


async def _find(mix: Mix, text: str, limit: int) -> list[Found]:
    found: list[Found] = []
    sessions = sorted(await mix.sessions.list(), key=lambda each: each.created_at, reverse=True)
    for session in sessions:
        session_id, title = clean(session.id), excerpt(session.title)
        if text.casefold() in session.title.casefold():
            found.append(Found(session_id, title, "title", _around(session.title, text)))
        for row in await mix.messages.get_session(id=session.id):
            await trio.lowlevel.checkpoint()
            for where, body in _bodies(row):
                if text.casefold() in body.casefold():
                    place = _around(body, text)
                    found.append(Found(session_id, title, where, place, clean(row.id)))
        if len(found) > limit:
            print_error(f"more than {limit} places were found: --limit shows more")
            return found[:limit]
    return found


def _bodies(row: BackendMessage) -> Iterator[tuple[str, str]]:
    if row.role == "user":
        yield "user", row.user_input
    elif row.assistant_response:
        yield "assistant", row.assistant_response


def _around(body: str, text: str) -> str:
    """Return the text where it was found, with some words before and after it."""
    at = max(
        body.casefold().find(text.casefold()), 0
    )  # case folding can change the length a little
    start = max(0, at - _BEFORE)
    part = body[start : at + len(text) + _AFTER]
    return ("…" if start else "") + excerpt(part) + ("…" if start + len(part) < len(body) else "")
