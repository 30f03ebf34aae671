"""The chat's history for the Up key, kept between chats.

Rules:

1. Only the user can read the file (mode 0600, its folder 0700), whatever the umask.
2. A text that looks like a key, token or password is not written, nor one that begins with a space,
   as in a shell.
3. If the history cannot be read or written, the chat works without it.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from trio_mix.cli._folders import state_folder
from trio_mix.testing.recording._masking import Masker

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_WORDS = re.compile(
    r"(?i)\b(pass(word|wd|phrase)|passwort|secret|token|api[ _-]?key|credentials?)\b\s*(is\b|[:=])"
)
_LONG_RANDOM = re.compile(r"\b(?=\w*\d)(?=\w*[a-z])(?=\w*[A-Z])[\w-]{32,}\b")


def history_path() -> Path:
    """Return the path of the history."""
    return state_folder() / "chat_history"


def looks_secret(text: str) -> bool:
    """Return whether a text may hold a secret."""
    return bool(
        _WORDS.search(text) or _LONG_RANDOM.search(text) or Masker().text(text, login=True) != text
    )


class PrivateHistory(FileHistory):
    """A history file without secrets, which only the user can read."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        path.chmod(0o600)
        super().__init__(path)

    def load_history_strings(self) -> Iterable[str]:
        """Yield the stored texts, the newest first; none if the file cannot be read."""
        try:
            yield from super().load_history_strings()
        except OSError:
            return

    def store_string(self, string: str) -> None:
        """Store a text, unless it looks secret or begins with a space."""
        if string.startswith(" ") or looks_secret(string):
            return
        try:
            super().store_string(string)
        except OSError:
            return


def open_history(*, keep: bool) -> History:
    """Return the history of all chats, or one in memory if that is unavailable or not wanted."""
    if keep:
        try:
            return PrivateHistory(history_path())
        except (OSError, RuntimeError):  # RuntimeError: no home folder
            pass
    return InMemoryHistory()
