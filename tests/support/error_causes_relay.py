"""Causes of errors of `trio_mix.relay`."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import trio

from tests.support.error_stage import cause
from tests.support.relay_running import open_relay
from trio_mix import relay
from trio_mix.relay._sqlite_schema import as_log_error
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from tests.support.error_stage import Stage

_OPERATION = "cannot be used"


@cause(
    relay.LogBusy,
    "two relays use one file",
    operation="another relay",
    target="relay.db",
    remedy="Stop that one",
    real_clock=True,
)
async def two_relays(stage: Stage) -> None:
    path = stage.folder / "relay.db"
    async with relay.SqliteLog(path), relay.Relay(log=relay.SqliteLog(path)):
        pass


@cause(
    relay.LogCorrupt,
    "the file is something else",
    operation=_OPERATION,
    target="relay.db",
    remedy="Pass another path",
    real_clock=True,
)
async def no_log(stage: Stage) -> None:
    path = stage.folder / "relay.db"
    path.write_text("a text that is long enough not to be taken for an empty file" * 20)
    async with relay.SqliteLog(path):
        pass


@cause(
    relay.LogTooNew,
    "the file is that of a newer version",
    operation="a newer version of trio_mix has written it",
    target="relay.db",
    remedy="Use that version",
    real_clock=True,
)
async def newer(stage: Stage) -> None:
    path = stage.folder / "relay.db"
    async with relay.SqliteLog(path):
        pass
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    async with relay.SqliteLog(path):
        pass


@cause(
    relay.LogReadOnly,
    "the file is not writable",
    operation=_OPERATION,
    target="relay.db",
    remedy="Make the file and its folder writable",
)
async def read_only(stage: Stage) -> None:
    path = stage.folder / "relay.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            connection.execute("INSERT INTO t VALUES (1)")
        except sqlite3.Error as error:
            raise as_log_error(error, str(path)) from error


@cause(
    relay.LogFull,
    "the disk is full",
    operation=_OPERATION,
    target="relay.db",
    remedy="Free space",
)
async def full(stage: Stage) -> None:
    path = stage.folder / "relay.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA max_page_count = 1")
        try:
            connection.execute("CREATE TABLE t (x)")
        except sqlite3.Error as error:
            raise as_log_error(error, str(path)) from error


@cause(
    relay.LogError,
    "the folder does not exist",
    operation=_OPERATION,
    target="missing/relay.db",
    remedy="Check",
    real_clock=True,
)
async def no_folder(stage: Stage) -> None:
    async with relay.SqliteLog(stage.folder / "missing" / "relay.db"):
        pass


def _auth(stage: Stage) -> tuple[relay.Auth, str]:
    from trio_mix.relay._grants import new_token

    path = stage.folder / "tokens.toml"
    token = new_token(path, sessions=["session-1"], verbs=["read"])
    return relay.Auth.tokens(path), token


@cause(
    relay.Unauthorized,
    "a request has no token",
    operation="A token is needed",
    target="Authorization",
    remedy="pass it as",
)
async def no_token(stage: Stage) -> None:
    auth, _ = _auth(stage)
    auth.check(None)


@cause(
    relay.Forbidden,
    "a token that may only read is used to send",
    operation="does not allow",
    target="'send'",
    remedy="use one that was made with --may send",
)
async def reader_sends(stage: Stage) -> None:
    auth, token = _auth(stage)
    auth.check(token).check("send", "session-1")


@cause(
    relay.SessionUnknown,
    "a token is used for a session that it does not cover",
    operation="There is no session",
    target="'session-2'",
    remedy="Check the id",
)
async def other_session(stage: Stage) -> None:
    auth, token = _auth(stage)
    auth.check(token).check("read", "session-2")


@cause(
    relay.CommandRefused,
    "a turn is cancelled that does not exist",
    operation="refused to cancel",
    target="'turn_0'",
    remedy="Check the id",
)
async def no_turn(stage: Stage) -> None:
    del stage

    refused: list[Exception] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        del host, port
        await trio.lowlevel.checkpoint()
        return running.network.connect()

    async with (
        MixServer("async", listen=False) as server,
        open_relay(server) as running,
        relay.RelayClient("http://localhost", connect=connect) as client,
    ):
        try:
            await client.cancel("turn_0")
        except relay.CommandRefused as error:
            refused.append(error)  # raised below: the relay's nursery would put it into a group
    raise refused[0]
