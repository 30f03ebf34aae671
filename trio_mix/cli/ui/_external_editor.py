"""Opens the user's editor on a text: ``$VISUAL``, else ``$EDITOR``, else vi."""

from __future__ import annotations

import os
import shlex
import tempfile
from pathlib import Path

import trio

from trio_mix.cli._errors import CommandFailure

_LARGEST = 16 * 2**20


async def edit_text(text: str = "") -> str:
    """Let the user edit a text, and return it. Only the user can read its file.

    Raises:
      CommandFailure: the editor cannot be run or failed, or the text is too long.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="trio-mix-") as folder:
        path = Path(folder) / "message.md"
        path.write_text(text, encoding="utf-8")
        try:
            done = await trio.run_process(
                [*shlex.split(editor), str(path)], stdin=None, check=False
            )
        except (OSError, ValueError) as error:
            raise CommandFailure(f"the editor {editor!r} cannot be run: {error}") from None
        if done.returncode:
            raise CommandFailure(f"the editor {editor!r} ended with exit code {done.returncode}")
        if path.stat().st_size > _LARGEST:
            raise CommandFailure("the text is too long for a message")
        return path.read_text(encoding="utf-8", errors="replace")
