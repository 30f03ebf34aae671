"""A folder that only this user can enter, for the files of one tunnel."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

DOWNLOADS: Final = "downloads"
"""The folder for downloads in it: a page must not replace the user's files, and Chromium does."""
_ATTEMPTS: Final = 5


def new_private_folder(prefix: str, base: str | None = None) -> Path:
    """Create a folder for temporary files that only this user can enter (0700)."""
    return Path(tempfile.mkdtemp(prefix=prefix, dir=base)).resolve()


def remove_folder(folder: Path) -> None:
    """Remove a folder with its files, as far as possible."""
    # Child processes that are being killed may still write a file: remove again.
    for _ in range(_ATTEMPTS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return


@final
class PrivateFolder:
    """The named folder, created if it does not exist; or a temporary one.

    Args:
      named: the folder's path; None: a temporary folder that `close` removes.
    """

    def __init__(self, named: str | os.PathLike[str] | None) -> None:
        self._named = named
        self.path: Path | None = None

    async def open(self) -> Path:
        """Create the folder, and return its resolved path.

        Raises:
          ConfigurationError: it cannot be created, or other users may write to it.
        """
        create: Callable[[], Path] = self._create
        self.path = await trio.to_thread.run_sync(create)
        return self.path

    async def close(self) -> None:
        """Remove a temporary folder; shielded."""
        if self.path is None or self._named is not None:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(remove_folder, self.path)

    def _create(self) -> Path:
        if self._named is None:
            folder = new_private_folder("trio-mix-files-")
            (folder / DOWNLOADS).mkdir(mode=0o700)
            return folder
        path = Path(self._named)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            resolved = path.resolve()
            mode = resolved.stat().st_mode
        except OSError as error:
            raise ConfigurationError(
                f"open_tunnel(folder={str(path)!r}): it cannot be created: {error.strerror}."
            ) from error
        if os.name == "posix" and mode & 0o077:
            raise ConfigurationError(
                f"open_tunnel(folder={str(path)!r}): other users have access to it. Name a folder"
                f" of this user only (chmod 700), or one that does not exist yet."
            )
        try:
            (resolved / DOWNLOADS).mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"open_tunnel(folder={str(path)!r}): its folder {DOWNLOADS!r} cannot be created:"
                f" {error.strerror}."
            ) from error
        return resolved
