"""``files``: list, upload, download and delete the files of a session.

Rules:

1. A name from the server is never a path: only its last part is used, in the target folder.
2. An existing file is not overwritten without ``--force``.
3. On a terminal a bar shows the progress, on stderr; elsewhere one line reports a finished file.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK, CommandUsageError
from trio_mix.cli.ui._json import print_record
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from trio_mix.cli._client import Connection
    from trio_mix.models import FileInfo

STDOUT = Path("-")
_WIDE = 70


@attrs.frozen
class Transferred:
    """A downloaded file, as ``--jsonl`` prints it."""

    name: str
    path: str
    size: int


async def list_files(server: Connection, session: str, *, jsonl: bool) -> int:
    """Print a session's files."""
    async with open_client(server) as mix:
        files = await mix.files.list(id=session)
    show_records(
        files, ("name", "size", "modified"), _row, jsonl=jsonl, empty="no files in this session"
    )
    return OK


def _row(file: FileInfo) -> tuple[object, ...]:
    size = "folder" if file.is_dir else file.size
    return (file.name, size, file.modified.isoformat(timespec="seconds"))


async def upload(
    server: Connection, session: str, paths: Sequence[Path], name: str | None, *, jsonl: bool
) -> int:
    """Upload files one after another; stop at the first that fails.

    Raises:
      CommandUsageError: a path is not a file, or a name is passed with several files.
    """
    if name is not None and len(paths) > 1:
        raise CommandUsageError("--name works with one file only")
    for path in paths:
        if not path.is_file():
            raise CommandUsageError(f"{path} is not a file")
    async with open_client(server) as mix:
        for path in paths:
            with _bar("up", path.name) as progress:
                info = await mix.files.upload(
                    id=session, file=path, filename=name, progress=progress
                )
            if jsonl:
                print_record(info)
            else:
                print(f"uploaded {excerpt(info.name)} ({_bytes(info.size)})", flush=True)
    return OK


async def download(
    server: Connection,
    session: str,
    names: Sequence[str],
    to: Path | None,
    *,
    force: bool,
    jsonl: bool,
) -> int:
    """Download files, each completely or not at all; ``-`` is stdout.

    Raises:
      CommandUsageError: a file exists, or several files have the same target.
    """
    if to == STDOUT:
        if len(names) > 1:
            raise CommandUsageError("--to - works with one file only")
        return await _to_stdout(server, session, names[0])
    targets = [_target(name, to, several=len(names) > 1) for name in names]
    for target in targets:
        if target.exists() and not force:
            raise CommandUsageError(f"{target} exists: --force replaces it")
    async with open_client(server) as mix:
        for name, target in zip(names, targets, strict=True):
            with _bar("down", name) as progress:
                path = await mix.files.download(
                    id=session, filename=name, to=target, progress=progress
                )
            size = path.stat().st_size
            if jsonl:
                print_record(Transferred(name, str(path), size))
            else:
                print(f"downloaded {clean(str(path))} ({_bytes(size)})", flush=True)
    return OK


def _target(name: str, to: Path | None, *, several: bool) -> Path:
    own = Path(clean(name).replace("\\", "/")).name
    if own in ("", ".", ".."):
        raise CommandUsageError(f"{name!r} is not a file name here: choose one with --to")
    if to is None:
        return Path(own)
    if to.is_dir():
        return to / own
    if several:
        raise CommandUsageError(f"--to {to} is not a folder: several files need one")
    return to


async def _to_stdout(server: Connection, session: str, name: str) -> int:
    sys.stdout.flush()
    async with open_client(server) as mix, mix.files.get(id=session, filename=name) as content:
        async for piece in content:
            sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
    return OK


async def delete(server: Connection, session: str, names: Sequence[str]) -> int:
    """Delete files one after another; stop at the first that fails."""
    async with open_client(server) as mix:
        for name in names:
            await mix.files.delete(id=session, filename=name)
            print(f"deleted {clean(name)}", flush=True)
    return OK


@contextmanager
def _bar(direction: str, name: str) -> Iterator[Callable[[int, int | None], None] | None]:
    """Show a transfer's progress; yield the function that reports it, None without a terminal."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield None
        return
    columns = [BarColumn(bar_width=None), DownloadColumn()]
    if console.width >= _WIDE:
        columns += [TransferSpeedColumn(), TimeRemainingColumn()]
    label = TextColumn("{task.description}", markup=False)
    with Progress(label, *columns, console=console, transient=True) as progress:
        arrow = "↑" if direction == "up" else "↓"
        if "utf" not in (console.encoding or "").lower():
            arrow = direction
        task = progress.add_task(f"{arrow} {excerpt(name, 24)}", total=None)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        yield report


def _bytes(size: int) -> str:
    return f"{size:,} byte{'s' * (size != 1)}"
