"""``ask --ticket``, ``resume`` and ``attach``: a message that outlives the command that sent it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, Ticket
from trio_mix.testing import AskPermission, CancelRequested, MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand, StartCommand
    from trio_mix.testing import Api

API: list[Api] = ["async", "blocking", "pipeline"]


async def test_a_ticket_is_stored_for_its_owner_and_shows_the_reply_again(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "job.ticket"
    for api in API:
        async with MixServer(api, pace=0) as server:
            server.script("Hi", Turn(Say("Hello you")))
            where = ("--server", server.url)
            asked = await run_command("ask", "Hi", "--ticket", str(file), *where)
            assert (asked.code, asked.out) == (0, "Hello you\n")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert Ticket.from_json(file.read_bytes()).state == "finished"
            again = await run_command("resume", str(file), *where)
            assert (again.code, again.out) == (0, "Hello you\n")
            lines = (await run_command("resume", str(file), "--jsonl", *where)).lines
            assert json.loads(lines[-1])["text"] == "Hello you"
            refused = await run_command("ask", "Ho", "--ticket", str(file), *where)
            assert (refused.code, refused.out) == (2, "")
            assert "job.ticket exists" in refused.err
            assert server.runs() == 1
        assert os.listdir(tmp_path) == ["job.ticket"]
        file.unlink()


async def test_a_message_whose_command_was_killed_is_resumed(
    run_command: RunCommand, start_command: StartCommand, tmp_path: Path
) -> None:
    file = tmp_path / "job.ticket"
    async with MixServer(pace=0) as server:
        more = trio.Event()
        server.script("Hi", Turn(Say("Before "), WaitFor(more), Say("and after.")))
        where = ("--server", server.url)
        async with start_command("ask", "Hi", "--ticket", str(file), *where) as process:
            assert process.stdout is not None
            printed = b""
            while b"Before" not in printed:
                printed += await process.stdout.receive_some()
            in_use = await run_command("resume", str(file), *where)
            assert (in_use.code, in_use.out) == (2, "")
            assert "in use" in in_use.err
            process.send_signal(signal.SIGKILL)
            await process.wait()
        more.set()
        done = await run_command("resume", str(file), *where)
        assert (done.code, done.out) == (0, "Before and after.\n")
        assert server.runs() == 1
        assert not [each for each in server.log if isinstance(each, CancelRequested)]


async def test_a_file_without_a_ticket_is_a_usage_error(
    run_command: RunCommand, tmp_path: Path
) -> None:
    (tmp_path / "torn").write_text('{"version": 1, "te', "utf-8")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    async with MixServer(pace=0) as server:
        where = ("--server", server.url)
        for name in ("torn", "folder", "fifo", "dangling", "missing"):
            done = await run_command("resume", str(tmp_path / name), *where)
            assert (done.code, done.out) == (2, ""), (name, done.err)
            assert done.err.count("\n") == 1, name
        for name in ("dangling", "no/such/folder"):
            done = await run_command("ask", "Hi", "--ticket", str(tmp_path / name), *where)
            assert (done.code, done.out) == (2, ""), (name, done.err)
        assert not server.requests("POST")
    assert sorted(os.listdir(tmp_path)) == ["dangling", "fifo", "folder", "torn"]


async def test_where_nothing_was_sent_no_ticket_is_left(
    run_command: RunCommand, tmp_path: Path
) -> None:
    async with MixServer(pace=0) as server:
        url = server.url
    file = tmp_path / "job.ticket"
    done = await run_command("ask", "Hi", "--ticket", str(file), "--server", url)
    assert done.code == 3
    assert not file.exists()


async def test_a_lock_on_a_replaced_file_is_taken_again(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "job.ticket"
    async with MixServer(pace=0) as server:
        where = ("--server", server.url)
        assert (await run_command("ask", "Hi", "--ticket", str(file), *where)).code == 0
        with file.open("rb") as old:
            fcntl.flock(old, fcntl.LOCK_EX)
            assert (await run_command("resume", str(file), *where)).code == 2
            (tmp_path / "copy").write_bytes(file.read_bytes())
            (tmp_path / "copy").replace(file)
            assert (await run_command("resume", str(file), *where)).code == 0


async def test_attach_shows_the_message_that_runs_and_does_not_cancel_it(
    run_command: RunCommand, start_command: StartCommand
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        more = trio.Event()
        server.script("Hi", Turn(Say("Before "), WaitFor(more), Say("and after.")))
        session = (await mix.sessions.create(title="t")).id
        where = (session, "--server", server.url)
        idle = await run_command("attach", *where)
        assert (idle.code, idle.out) == (2, "")
        assert "works on no message" in idle.err
        assert "subscribe" not in idle.err
        server.run_message(session, "Hi")
        async with start_command("attach", *where) as process:
            await server.wait_until(lambda: server.open_streams == 1)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        assert not [each for each in server.log if isinstance(each, CancelRequested)]
        async with start_command("attach", "--jsonl", *where) as process:
            assert process.stdout is not None
            printed = await process.stdout.receive_some()  # the gap event: it is attached
            more.set()
            async for data in process.stdout:
                printed += data
            assert await process.wait() == 0
        reply = json.loads(printed.splitlines()[-1])
        assert reply["text"] == "Before and after."


@pytest.mark.parametrize("option", [(), ("--grant", "bash")])
async def test_attach_leaves_permission_requests_to_the_sender_unless_an_option_grants_them(
    start_command: StartCommand, option: tuple[str, ...]
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        go = trio.Event()
        asks = AskPermission("bash", then=[Say("granted")], otherwise=[Say("denied")])
        server.script("Hi", Turn(Say("I ask: "), WaitFor(go), asks))
        session = (await mix.sessions.create(title="t")).id
        server.run_message(session, "Hi")
        async with (
            start_command("attach", session, "--jsonl", *option, "--server", server.url) as process,
            mix.open_stream(session) as sender,
            sender.subscribe() as everything,
        ):
            assert process.stdout is not None
            printed = await process.stdout.receive_some()
            go.set()
            if not option:
                async for event in everything:
                    if (name := getattr(event, "permission_id", None)) is not None:
                        await mix.permissions.grant(id=name)
                        break
            async for data in process.stdout:
                printed += data
            assert await process.wait() == 0
        assert json.loads(printed.splitlines()[-1])["text"] == "I ask: granted"
