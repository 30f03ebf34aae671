"""The examples that use a relay's WebSocket, in Python and in JavaScript."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.example_programs import ROOT, Program, run_program
from trio_mix.relay import Relay, SqliteLog
from trio_mix.testing import MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@asynccontextmanager
async def running(server: MixServer, folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Run a relay on a port; leaving ends it at once."""
    async with (
        Relay(server.url, log=SqliteLog(folder / "relay.db")) as relay,
        trio.open_nursery() as nursery,
    ):
        url = await nursery.start(relay.serve, "127.0.0.1", port)
        await relay.wait_ready()
        yield url
        nursery.cancel_scope.cancel()


async def test_many_sessions_over_one_socket(tmp_path: Path) -> None:
    async with MixServer("async") as server:
        server.script("List the files here", Turn(Say("a.txt and b.txt")))
        async with (
            running(server, tmp_path) as url,
            run_program("examples/many_sessions.py", server=url) as program,
        ):
            assert await program.ended() == 0
            assert program.output.count("answers: a.txt and b.txt") == 5
            assert "connects=1" in program.output


@asynccontextmanager
async def javascript(url: str, *arguments: str) -> AsyncIterator[Program]:
    """Run the example in Node.js."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine: the WebSocket was NOT tried from JavaScript")
    version = await trio.run_process([node, "--version"], capture_stdout=True)
    major = int(version.stdout.decode().removeprefix("v").partition(".")[0])
    if major < 20:
        pytest.skip("this Node.js has no WebSocket")
    flags = ["--experimental-websocket"] if major < 22 else []
    process = await trio.lowlevel.open_process(
        [node, *flags, str(ROOT / "examples" / "relay_socket.mjs"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"MIX_SERVER_URL": url},
    )
    program = Program(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.read)
            yield program
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            await process.wait()
            assert process.stdout is not None
            await process.stdout.aclose()


async def test_javascript_follows_a_turn_through_a_restart_of_the_relay(tmp_path: Path) -> None:
    go_on, restart = trio.Event(), trio.Event()

    async def run_relays(*, task_status: trio.TaskStatus[str]) -> None:
        async with running(server, tmp_path) as first:
            task_status.started(first)
            await restart.wait()
        async with running(server, tmp_path, int(first.rpartition(":")[2])):
            go_on.set()
            await trio.sleep_forever()

    async with MixServer("async") as server, trio.open_nursery() as nursery:
        server.script("go", Turn(Say("first "), WaitFor(go_on), Say("last")))
        session_id = server.create_session()
        url = await nursery.start(run_relays)
        async with javascript(url, session_id, "go") as program:
            await program.says("first ")
            restart.set()
            assert await program.ended() == 0
        rows = [row.partition(" ") for row in program.output.splitlines()]
        texts = [json.loads(data)["content"] for event, _, data in rows if event == "content"]
        assert "".join(texts) == "first last", program.output
        assert server.runs("go") == 1
        nursery.cancel_scope.cancel()
