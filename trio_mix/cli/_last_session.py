"""Remembers the session that was used last on each server, for ``--continue``.

Rules:

1. Only the user can read the file. It has session ids and the addresses of servers, without
   credentials, of at most 100 servers.
2. If it cannot be read or written, commands work without it.
3. A session that ``ask`` has deleted is remembered as deleted, so that ``--continue`` does not
   silently return to an older conversation.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._folders import state_folder

if TYPE_CHECKING:
    from pathlib import Path

_SERVERS: Final = 100
_MOST: Final = 256 * 1024
_LONGEST_ID: Final = 1000
_DELETED: Final = ""


def _path() -> Path:
    return state_folder() / "sessions.json"


def _read() -> dict[str, str]:
    """Return the session id by server, the latest last."""
    try:
        with _path().open("rb") as file:
            found: object = json.loads(file.read(_MOST))
    except (OSError, ValueError, RuntimeError):  # RuntimeError: no home folder
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(url): each for url, each in found.items() if isinstance(each, str)}


def remember_session(server: str, session_id: str | None) -> None:
    """Store the session that was used last on a server.

    Args:
      server: the address of the server, without credentials.
      session_id: the session; None: it was deleted.
    """
    session_id = session_id or _DELETED
    if len(server) + len(session_id) > _LONGEST_ID:
        return
    known = _read()
    if list(known.items())[-1:] == [(server, session_id)]:
        return
    known.pop(server, None)
    known[server] = session_id
    text = json.dumps(dict(list(known.items())[-_SERVERS:]), indent=1)
    with suppress(OSError, RuntimeError):
        _replace(_path(), text)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, new = tempfile.mkstemp(prefix=".", dir=path.parent)  # readable by the user alone
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def last_session(server: str) -> str:
    """Return the session that was used last on a server.

    Args:
      server: the address of the server, without credentials.

    Raises:
      CommandUsageError: none is known, or it was deleted.
    """
    found = _read().get(server)
    if found is None:
        raise CommandUsageError(
            f"--continue: no session was used on {server} yet; `trio-mix sessions list` lists the "
            "sessions of the server, and --session ID continues one"
        )
    if found == _DELETED:
        raise CommandUsageError(
            "--continue: the last `trio-mix ask` has deleted its session, as it does without "
            "--keep; `trio-mix sessions list` lists the sessions that are left, and --session ID "
            "continues one"
        )
    return found
