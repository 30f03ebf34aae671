"""examples/daemon while it or the server is killed and restarted: no job is lost."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.daemon_kit import Folder
from trio_mix import Mix, Ticket
from trio_mix.testing import Hang, MessageFinished, MessageRun, MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix._ticket import TicketState


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


async def killed_in_mid_answer(folder: Folder, server: MixServer) -> None:
    """Have the daemon send job a, "A", and kill it while the agent is at it."""
    folder.put(a="A")
    async with folder.daemon(server) as daemon:
        with trio.fail_after(30):
            await server.wait_for(MessageRun, text="A")
        await daemon.kill()
    assert folder.names() == {"running": ["a"]}


async def test_an_answer_that_was_stored_after_a_kill_is_used(folder: Folder) -> None:
    go_on = trio.Event()
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("one "), WaitFor(go_on), Say("two")))
        await killed_in_mid_answer(folder, server)
        go_on.set()
        with trio.fail_after(30):
            await server.wait_for(MessageFinished, text="A")
        async with folder.daemon(server) as daemon:
            await daemon.program.says("job a: done")
        assert server.runs("A") == 1
    assert folder.result("done", "a")["text"] == "one two"
    assert folder.result("done", "a")["recovered"]
    assert folder.names() == {"done": ["a"]}


async def test_a_turn_that_still_runs_after_a_kill_is_waited_for(folder: Folder) -> None:
    go_on = trio.Event()
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("one "), WaitFor(go_on), Say("two")))
        await killed_in_mid_answer(folder, server)
        async with folder.daemon(server, "--settle=60") as daemon:
            await daemon.program.says("resuming it")
            go_on.set()
            await daemon.program.says("job a: done")
        assert server.runs("A") == 1
    assert folder.result("done", "a")["text"] == "one two"


async def test_a_job_without_activity_after_a_kill_is_sent_again(folder: Folder) -> None:
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("all")))
        await killed_in_mid_answer(folder, server)
        async with folder.daemon(server, "--settle=0.6") as daemon:
            await daemon.program.says("job a: will be sent again")
            await daemon.program.says("job a: done")
        assert server.runs("A") == 2
    assert folder.result("done", "a")["tries"] == 2


async def test_a_session_that_is_gone_after_a_kill_leaves_its_job_in_doubt(folder: Folder) -> None:
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()))
        await killed_in_mid_answer(folder, server)
        await server.restart(keep_sessions=False)
        async with folder.daemon(server) as daemon:
            await daemon.program.says("job a: doubt: its session is gone")
        assert server.runs("A") == 1


async def test_a_job_that_was_not_sent_before_a_kill_is_sent_once(folder: Folder) -> None:
    folder.put(a="A")
    async with MixServer(pace=0) as server:
        left_by_a_kill(folder, server.create_session())
        (folder.path / "inbox" / "a.txt").rename(folder.path / "running" / "a.txt")
        async with folder.daemon(server) as daemon:
            await daemon.program.says("job a: done")
            await daemon.program.says("job b: done")
        assert (server.runs("A"), server.runs("B")) == (1, 1)


def left_by_a_kill(folder: Folder, session_id: str, state: TicketState = "posting") -> None:
    """Leave job b, "B", as a daemon does that is killed after sending it to a session."""
    running = folder.path / "running"
    running.mkdir()
    (running / "b.txt").write_text("B")
    ticket = Ticket(session_id=session_id, text="B", ticket_id="t", state=state)
    note = {"tries": 1, "ticket": ticket.to_json()}
    (running / "b.json").write_text(json.dumps(note))


async def test_the_answer_to_another_prompt_is_never_taken(folder: Folder) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        other = (await mix.sessions.create(title="Another's")).id
        async with mix.open_stream(other) as session:
            await session.ask("Hello")
        left_by_a_kill(folder, other, "running")  # a server that reuses session ids
        async with folder.daemon(server) as daemon:
            await daemon.program.says("job b: doubt")
        assert len((await mix.sessions.export_session(id=other)).messages) == 2


async def test_a_job_whose_server_is_down_at_the_start_is_resumed_later(folder: Folder) -> None:
    async with MixServer(pace=0) as server:
        left_by_a_kill(folder, server.create_session())
        await server.stop()
        async with folder.daemon(server, "--workers=1") as daemon:
            await daemon.program.says("trying again")
            await server.start()
            await daemon.program.says("job b: done")
        assert server.runs("B") == 1


async def test_a_server_restarted_during_the_answer_gets_the_job_again(
    folder: Folder,
) -> None:
    folder.put(a="A")
    async with MixServer(pace=0) as server, folder.daemon(server, "--settle=0.6") as daemon:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("all")))
        with trio.fail_after(30):
            await server.wait_for(MessageRun, text="A")
        await server.restart()
        await daemon.program.says("job a: will be sent again")
        await daemon.program.says("job a: done")
        assert folder.result("done", "a")["text"] == "all"
        assert folder.result("done", "a")["tries"] == 2


async def test_a_job_is_given_up_after_the_last_try(folder: Folder) -> None:
    folder.put(a="A")
    async with (
        MixServer(pace=0) as server,
        folder.daemon(server, "--settle=0.6", "--tries=2") as daemon,
    ):
        server.script("A", Turn(Say("so far"), Hang()))
        for times in (1, 2):
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A", count=times)
            await server.restart()
        await daemon.program.says("job a: failed: given up after 2")


async def test_a_session_lost_during_the_answer_leaves_the_job_in_doubt(
    folder: Folder,
) -> None:
    folder.put(a="A")
    async with MixServer(pace=0) as server, folder.daemon(server) as daemon:
        server.script("A", Turn(Say("so far"), Hang()))
        with trio.fail_after(30):
            await server.wait_for(MessageRun, text="A")
        await server.restart(keep_sessions=False)
        await daemon.program.says("job a: doubt")
        folder.put(b="Hello")  # and the worker has a new session for the next one
        await daemon.program.says("job b: done")


async def test_sessions_lost_between_jobs_are_replaced(folder: Folder) -> None:
    async with MixServer(pace=0) as server, folder.daemon(server) as daemon:
        await daemon.ready_until(lambda _, state: len(state["streams"]) == 2)
        await server.restart(keep_sessions=False)
        folder.put(a="Hello", b="Hello")
        await daemon.program.says("job a: done")
        await daemon.program.says("job b: done")


async def test_what_is_no_prompt_is_one_line_in_the_log_also_after_a_kill(folder: Folder) -> None:
    hostile = ("latin", "folder", "fifo", "dangling", "unwritable")

    def fill(where: Path) -> None:
        (where / "latin.txt").write_bytes(b"na\xefve")
        (where / "folder.txt").mkdir()
        os.mkfifo(where / "fifo.txt")
        (where / "dangling.txt").symlink_to("nothing")

    async with MixServer(pace=0) as server:
        for accident in ("", "kill"):
            (folder.path / "running" / "unwritable.tmp").mkdir(parents=True)  # its note's file
            folder.put(good="Hello", unwritable="A")
            if accident:
                fill(folder.path / "running")
            else:
                fill(folder.path / "inbox")
            async with folder.daemon(server) as daemon:
                await daemon.program.says("job good: done")
                for name in hostile:
                    await daemon.program.says(f"job {name}: failed: ")
                shutil.rmtree(folder.path / "done")
                folder.put(later="Hello")
                await daemon.program.says("job later: done")
                await daemon.kill()
            log = daemon.program.output
            for name in hostile:
                assert sum(f"job {name}: " in line for line in log.splitlines()) == 1, log
                assert folder.result("failed", name)["error"]
            assert not server.runs("A")
            assert "Traceback" not in log
            for name in ("done", "failed", "running"):
                shutil.rmtree(folder.path / name)


@pytest.mark.parametrize("seed", [1, 2])
async def test_no_job_is_lost_whatever_is_killed(folder: Folder, seed: int) -> None:
    chance = random.Random(seed)
    jobs: set[str] = set()
    async with MixServer(pace=0.2) as server:
        for accident in ("kill", "server", "term", "kill", "server"):
            async with folder.daemon(
                server, "--settle=0.6", "--grace=0.1", "--workers=3"
            ) as daemon:
                new = {f"job{n}": f"Prompt {n}" for n in range(len(jobs), len(jobs) + 3)}
                jobs |= set(new)
                seen = server.runs() + chance.randrange(1, 4)
                folder.put(**new)
                with trio.fail_after(30):
                    await server.wait_until(partial(_has_run, server, seen))
                if accident == "server":
                    await server.restart(how="reset")
                    await daemon.program.until(folder.is_idle, "all jobs have ended")
                else:
                    daemon.program.signal(signal.SIGKILL if accident == "kill" else signal.SIGTERM)
                    await daemon.program.ended()
    found = folder.names()
    assert set(found) <= {"done", "doubt"}
    assert sorted(name for names in found.values() for name in names) == sorted(jobs)


def _has_run(server: MixServer, times: int) -> bool:
    return server.runs() >= times
