"""Attaches files to a message: uploads them, and names them in its text.

The API has no attachments: a session has a folder for files, which its agent can read. So the
message says which files were added to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio_mix import Mix


def check_files(paths: Sequence[Path]) -> None:
    """Raise if a path is not a file, before anything is sent.

    Raises:
      CommandUsageError: one is not.
    """
    for path in paths:
        if not path.is_file():
            raise CommandUsageError(f"{path} is not a file")


async def attach_files(mix: Mix, session_id: str, paths: Sequence[Path], text: str) -> str:
    """Upload files to the session, and return the text of the message that names them."""
    await trio.lowlevel.checkpoint()
    if not paths:
        return text
    names = [excerpt((await mix.files.upload(id=session_id, file=path)).name) for path in paths]
    return f"{text}\n\nAttached to this session as files: {', '.join(names)}"
