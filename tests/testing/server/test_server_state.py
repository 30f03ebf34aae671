# ruff: noqa: ASYNC240 - the files are small
"""`MixServer(state=...)`: what a later server has of the sessions, and what is refused.

Rules:

1. A later server has the sessions with their messages, files and callbacks, and makes no id twice.
2. A server that is killed leaves a file that can be read.
3. A file that is broken, newer or in use is refused with its name, and stays as it is.
4. The file is bounded, private, and written only when something has changed.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.wire_client import call
from trio_mix import Mix, errors, models
from trio_mix.testing import MixServer, Say, SubAgent, Turn, UseTool
from trio_mix.testing.server import _state, _state_file

if TYPE_CHECKING:
    from pathlib import Path

CALLBACK = models.Callback(tool_name="*", type="bash_script", bash_command="make")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_a_later_server_has_the_sessions_of_an_earlier_one(path: Path) -> None:
    turn = Turn(
        UseTool("glob", {"a": "ü\u2028"}, result="x"), SubAgent(Say("in")), Say("Grüß dich")
    )
    async with MixServer(state=path, pace=0) as first, Mix(first.url) as mix:
        first.script("Hi", turn)
        made = await mix.sessions.create(title="Kept", callbacks=[CALLBACK])
        gone = await mix.sessions.create(title="Gone")
        await mix.files.upload(id=made.id, file=bytes(range(256)), filename="a.bin")
        async with mix.open_stream(made.id) as session:
            await session.ask("Hi")
        await mix.sessions.delete(id=gone.id)
        before = [
            await mix.sessions.get(id=made.id),
            await mix.messages.get_session(id=made.id),
            await mix.sessions.export_session(id=made.id),
            await mix.sessions.list(),
        ]
    async with MixServer(state=path, pace=0) as second, Mix(second.url) as mix:
        after = [
            await mix.sessions.get(id=made.id),
            await mix.messages.get_session(id=made.id),
            await mix.sessions.export_session(id=made.id),
            await mix.sessions.list(),
        ]
        assert after == before
        assert await mix.files.get(id=made.id, filename="a.bin") == bytes(range(256))
        async with mix.open_stream(made.id) as session:
            await session.ask("Hello again")
        rows = [row.id for row in await mix.messages.get_session(id=made.id)]
        assert len(rows) == len(set(rows))
        assert (await mix.sessions.create(title="New")).id not in (made.id, gone.id)


async def test_a_killed_server_leaves_what_it_has_saved(path: Path) -> None:
    code = f"""
import os, sys, trio
from trio_mix.testing import MixServer
async def main():
    async with MixServer(state={str(path)!r}, listen=False) as server:
        server.create_session("Kept")
        await server.drop_streams()
        server.run_message("session-1", "Hi")
        while b"Kept" not in open({str(path)!r}, "rb").read():
            await trio.sleep(0.01)
        os.kill(os.getpid(), 9)
trio.run(main)
"""
    done = await trio.run_process([sys.executable, "-c", code], check=False)
    assert done.returncode == -9
    async with MixServer(state=path, listen=False) as server:
        assert (await call(server, "GET", "/api/sessions")).json[0]["title"] == "Kept"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "line 1.*not JSON"),
        (b"[]\n", "line 1.*does not begin as one"),
        (b'{"trio_mix_server_state":true,"counters":{}}\n', "line 1.*does not begin as one"),
        (b'{"trio_mix_server_state":2}\n', "newer version of trio_mix .format 2; this version"),
        (b'{"trio_mix_server_state":1}\n', "line 1.*another shape"),
        (b'{"trio_mix_server_state":1,"counters":{"a":"1"}}\n', "line 1.*another shape"),
        (b'{"trio_mix_server_state":1,"counters":{}}\n{"id":1}\n', "line 2.*another shape"),
        (b'{"trio_mix_server_state":1,"counters":{}}\n{"id":"s', "line 2.*end is missing"),
        (b"\xff\n", "line 1.*not JSON"),
    ],
    ids=repr,
)
async def test_a_file_that_is_broken_or_newer_is_refused_and_left_alone(
    path: Path, content: bytes, why: str
) -> None:
    path.write_bytes(content)
    with pytest.raises(errors.ConfigurationError, match=f"{path}.*{why}"):
        async with MixServer(state=path, listen=False):
            pass
    assert path.read_bytes() == content
    path.unlink()
    async with MixServer(state=path, listen=False):  # the refused one was unlocked
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="files are not locked there")
async def test_a_file_is_used_by_one_server_at_a_time(path: Path) -> None:
    async with MixServer(state=path, listen=False) as server:
        server.create_session()
        with pytest.raises(errors.ConfigurationError, match="in use by another server"):
            async with MixServer(state=path, listen=False):
                pass


async def test_the_file_is_private_and_not_written_without_a_change(path: Path) -> None:
    async with MixServer(state=path, listen=False) as server:
        server.create_session()
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.stat()
    async with MixServer(state=path, listen=False) as server:
        await call(server, "GET", "/api/sessions")
        state = server._process.state
        assert state is not None
        await state.save(server._backend.store)
        written = path.stat().st_ino
        await state.save(server._backend.store)
        assert path.stat().st_ino == written
    assert before.st_size == path.stat().st_size


async def test_beyond_the_limit_the_sessions_changed_longest_ago_are_left_out(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (_state, _state_file):
        monkeypatch.setattr(module, "MAX_STATE", 20_000)
    async with MixServer(state=path, pace=0, listen=False) as server:
        ids = [server.create_session(f"Number {number} " + "x" * 4_000) for number in range(9)]
        server._backend.store.add_row(server._backend.live[ids[0]].row, "user", "the newest")
    assert path.stat().st_size <= 20_000
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == 1
    assert "is full" in warned[0]
    async with MixServer(state=path, listen=False) as server:
        kept = list(server._backend.store.sessions)
    assert ids[0] in kept
    assert len(kept) == 4


async def test_a_folder_that_does_not_exist_is_an_error_with_the_name(path: Path) -> None:
    with pytest.raises(OSError, match="no-such"):
        async with MixServer(state=path / "no-such" / "file", listen=False):
            pass
