"""The SQLite file: who can read it, and files that cannot be used."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import TYPE_CHECKING, Any

import pytest

from tests.relay.test_relay_log import made
from trio_mix.relay import SqliteLog
from trio_mix.relay._errors import (
    LogBusy,
    LogCorrupt,
    LogError,
    LogTooNew,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def modes_in(folder: Path) -> dict[str, int]:
    return {each.name: stat.S_IMODE(each.stat().st_mode) for each in folder.iterdir()}


async def test_the_files_are_private(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    before = os.umask(0)
    try:
        async with SqliteLog(path) as log:
            await log.remember("a", "b")
            modes = modes_in(tmp_path)
    finally:
        os.umask(before)
    assert set(modes) == {"relay.db", "relay.db-wal", "relay.db-shm", "relay.db-lock"}
    assert set(modes.values()) == {0o600}


async def test_a_second_relay_on_one_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    async with SqliteLog(path) as log:
        with pytest.raises(LogBusy, match=rf"another relay \(process {os.getpid()}\) uses it"):
            async with SqliteLog(path):
                pass
        await log.remember("a", "b")
    async with SqliteLog(path) as log:
        assert await log.recall("a") == "b"


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA application_id = 0x4D495852")
    connection.execute("PRAGMA user_version = 99")
    connection.execute("CREATE TABLE session (x)")
    connection.close()


def foreign(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customer (name)")
    connection.close()


UNUSABLE: dict[str, tuple[Callable[[Path], Any], type[LogError], str]] = {
    "no database": (lambda path: path.write_text("x" * 5000), LogCorrupt, "no SQLite database"),
    "another program's": (foreign, LogCorrupt, "a database of another program"),
    "a newer version's": (newer, LogTooNew, "format 99, this version knows 1"),
    "a folder": (lambda path: path.mkdir(), LogError, "Check"),
}


@pytest.mark.parametrize("name", UNUSABLE)
async def test_a_file_that_is_no_log_is_refused_and_not_changed(tmp_path: Path, name: str) -> None:
    make, error, text = UNUSABLE[name]
    path = tmp_path / "relay.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    for _ in range(2):  # nothing stays locked
        with pytest.raises(error, match=text):
            async with SqliteLog(path):
                pass
    assert not path.is_file() or path.read_bytes()[100:] == before[100:]


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="none/relay.db.*No such file"):
        async with SqliteLog(tmp_path / "none" / "relay.db"):
            pass


async def test_a_damaged_file_fails_what_needs_it_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "relay.db"
    async with SqliteLog(path) as log:
        lease = await log.acquire("s")
        await lease.append(made(lease, 400, size=1000))
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + b"\xaa" * 20_000 + content[middle + 20_000 :])
    async with SqliteLog(path) as log:
        with pytest.raises(LogCorrupt, match="damaged. Restore a backup"):
            await log.read("s", 0, max_bytes=2**30)
        await log.remember("a", "b")
        assert await log.recall("a") == "b"
