"""``trio-mix web``: one command from nothing to a page that only this user can use."""

from __future__ import annotations

import os
import re
import signal
import stat
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import attrs
import trio

from tests.support.relay_command import Lines
from tests.support.wire_client import call
from trio_mix.testing import MemoryNetwork, MixServer

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.command_line import RunCommand, StartCommand


@attrs.frozen
class Address:
    """Where a request goes to."""

    url: str

    @property
    def network(self) -> MemoryNetwork:
        raise NotImplementedError


async def _started(process: trio.Process) -> str:
    """Return the address of the page that a process has printed."""
    lines = Lines(process)
    while not (found := re.search(r"http://\S+#token=\S+", line := await lines.next())):
        assert "a page for" in line
    assert (await lines.next()).startswith("Ctrl-C")
    return found[0]


async def test_one_command_runs_everything_and_opens_a_browser_without_showing_the_token(
    start_command: StartCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, browser = tmp_path / "pipe", tmp_path / "browser"
    os.mkfifo(pipe)
    browser.write_text(f'#!/bin/sh\necho "$1" > {pipe}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    monkeypatch.delenv("MIX_SERVER_URL", raising=False)
    async with start_command("web", "--port", "0") as process:
        page = await _started(process)
        url, _, token = page.partition("/relay/page/#token=")
        assert token.startswith("mixrelay_")
        argument = (await trio.to_thread.run_sync(pipe.read_text)).strip()
        assert argument.startswith("file://")
        assert token not in argument
        file = trio.Path(unquote(urlsplit(argument).path))
        assert page in await file.read_text()
        assert stat.S_IMODE((await file.stat()).st_mode) == 0o600
        assert stat.S_IMODE((await file.parent.stat()).st_mode) == 0o700

        address = Address(url)
        assert (await call(address, "GET", "/relay/page/")).status == 200
        assert (await call(address, "GET", "/api/sessions")).status == 401
        bearer = {"Authorization": f"Bearer {token}"}
        assert (await call(address, "GET", "/api/sessions", headers=bearer)).status == 200
        process.send_signal(signal.SIGINT)
        await process.wait()
        assert process.returncode == 0
        assert not await file.parent.exists()


async def test_a_named_server_is_used_and_its_events_are_kept(
    start_command: StartCommand, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        server.create_session(title="Mine")
        log = tmp_path / "kept.db"
        options = ("--server", server.url, "--log", f"sqlite:{log}", "--port", "0", "--no-open")
        async with start_command("web", *options) as process:
            url, _, token = (await _started(process)).partition("/relay/page/#token=")
            headers = {"Authorization": f"Bearer {token}"}
            got = await call(Address(url), "GET", "/api/sessions", headers=headers)
            assert [row["title"] for row in got.json] == ["Mine"]
            process.terminate()
            await process.wait()
        assert log.exists()


async def test_a_server_that_does_not_respond_is_reported_and_the_page_is_served(
    start_command: StartCommand, tmp_path: Path
) -> None:
    options = ("--server", "http://127.0.0.1:9", "--log", f"sqlite:{tmp_path}/l.db", "--port", "0")
    async with start_command("web", *options, "--no-open") as process:
        url = (await _started(process)).partition("/relay/page/")[0]
        assert (await call(Address(url), "GET", "/relay/page/")).status == 200
        assert process.stderr is not None
        assert b"http://127.0.0.1:9 does not respond yet" in await process.stderr.receive_some()


async def test_a_mistake_is_one_line(run_command: RunCommand) -> None:
    for options, problem in (
        (("--log", "file.db"), "sqlite:PATH"),
        (("--server", "http://user:secret@host"), "MIX_SERVER_URL"),
    ):
        ended = await run_command("web", "--no-open", "--port", "0", *options)
        assert ended.code == 2
        assert problem in ended.err
        assert "secret" not in ended.err
        assert len(ended.err.splitlines()) == 1
