"""examples/batch.py as a process: interrupted, killed, restarted; no prompt is lost or repeated."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from examples import batch
from tests.support.example_programs import run_program
from trio_mix import Mix, Ticket
from trio_mix.testing import (
    AskPermission,
    Fail,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    Say,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.support.example_programs import Program
    from trio_mix._ticket import TicketState


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class Files:
    """A prompts file and a results file, and the program that is given them."""

    def __init__(self, folder: Path) -> None:
        self.prompts = folder / "prompts.txt"
        self.results = folder / "results.jsonl"

    def run(self, server: MixServer | str, *options: str) -> AbstractAsyncContextManager[Program]:
        url = server if isinstance(server, str) else server.url
        return run_program("examples/batch.py", self.prompts, self.results, *options, server=url)

    async def run_to_end(self, server: MixServer | str, *options: str) -> tuple[int, str]:
        async with self.run(server, *options) as program:
            code = await program.ended()
        return code, program.output

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.results.read_text().splitlines()]

    def statuses(self, prompt: str) -> list[str]:
        return [line["status"] for line in self.lines() if line["prompt"] == prompt]


async def test_every_prompt_has_one_result_and_a_second_run_has_nothing_to_do(files: Files) -> None:
    files.prompts.write_text("# of interest\nHello\nList the files\n\nHello\n")
    async with MixServer(pace=0) as server:
        code, output = await files.run_to_end(server, "-n2")
        assert code == 0
        assert "3 done" in output
        done = [line for line in files.lines() if line["status"] == "done"]
        assert [(line["prompt"], line["copy"]) for line in sorted(done, key=str)] == [
            ("Hello", 1),
            ("Hello", 2),
            ("List the files", 1),
        ]
        assert next(line["tools"] for line in done if "files" in line["prompt"]) == ["Glob"]
        assert server.runs() == 3
        assert len(server.requests("DELETE", "/api/sessions/")) == 3
        before = files.results.read_bytes()
        assert (await files.run_to_end(server))[0] == 0
        assert server.runs() == 3
    assert files.results.read_bytes() == before


async def test_a_prompt_that_moves_in_the_file_is_recognised(files: Files) -> None:
    files.prompts.write_text("Hello\n")
    async with MixServer(pace=0) as server:
        await files.run_to_end(server)
        files.prompts.write_text("A new one\n\nHello\n")
        assert (await files.run_to_end(server))[0] == 0
        assert server.runs("Hello") == 1
        assert server.runs("A new one") == 1


async def test_an_interrupted_run_cancels_its_turns_and_the_next_run_continues(
    files: Files,
) -> None:
    files.prompts.write_text("A\nB\nC\nD\n")
    async with MixServer(pace=0) as server:
        server.script("B", Turn(Say("so far"), Hang()), Turn(Say("b")))
        server.script("C", Turn(Hang()), Turn(Say("c")))
        async with files.run(server, "-n2") as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="B")
                await server.wait_for(MessageRun, text="C")
            program.signal(signal.SIGINT)
            assert await program.ended() == 130
        assert "1 done, 2 sent, 1 left" in program.output
        assert server.running_turns == 0
        assert set(files.statuses("B")) == {"sent"}
        code, output = await files.run_to_end(server)
        assert (code, "4 done" in output) == (0, True)
        assert {text: server.runs(text) for text in "ABCD"} == {"A": 1, "B": 2, "C": 2, "D": 1}


async def test_after_a_kill_the_answer_that_was_stored_meanwhile_is_used(files: Files) -> None:
    files.prompts.write_text("A\nB\n")
    go_on = trio.Event()
    async with MixServer(pace=0) as server:
        server.script("B", Turn(Say("one "), WaitFor(go_on), Say("two")))
        async with files.run(server, "-n1") as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="B")
            program.process.kill()
            await program.ended()
        go_on.set()
        with trio.fail_after(30):
            await server.wait_for(MessageFinished, text="B")
        code, _ = await files.run_to_end(server)
        assert code == 0
        assert server.runs("B") == 1
        assert files.lines()[-1]["text"] == "one two"
        assert files.lines()[-1]["recovered"]


async def test_after_a_kill_a_growing_answer_is_waited_for(files: Files) -> None:
    files.prompts.write_text("A\n")
    go_on = trio.Event()
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("one "), WaitFor(go_on), Say("two")))
        async with files.run(server) as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            program.process.kill()
            await program.ended()
        async with files.run(server) as program:
            with trio.fail_after(30):
                await server.wait_until(lambda: len(server.requests("GET", "/api/sessions/")) > 2)
            go_on.set()
            assert await program.ended() == 0
        assert server.runs("A") == 1
        assert files.lines()[-1]["text"] == "one two"


def sent_line(prompt: str, session: str, state: TicketState = "posting") -> str:
    ticket = Ticket(session_id=session, text=prompt, ticket_id=prompt, state=state)
    return json.dumps({"prompt": prompt, "status": "sent", "ticket": ticket.to_json()}) + "\n"


async def test_a_prompt_in_doubt_is_not_run_again_without_the_option(files: Files) -> None:
    files.prompts.write_text("A\n")
    files.results.write_text(sent_line("A", "nowhere"))
    async with MixServer(pace=0) as server:
        code, output = await files.run_to_end(server)
        assert (code, "1 doubt" in output) == (1, True)
        assert "session" in files.lines()[-1]["error"]
        assert (await files.run_to_end(server))[0] == 1
        assert server.runs("A") == 0
        assert (await files.run_to_end(server, "--again"))[0] == 0
        assert server.runs("A") == 1
    assert files.statuses("A")[:2] == ["sent", "doubt"]
    assert files.results.stat().st_mode & 0o777 == 0o644  # as it was


async def test_a_prompt_that_stopped_in_the_middle_is_run_again(files: Files) -> None:
    files.prompts.write_text("A\n")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("a")))
        async with files.run(server) as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            program.process.kill()
            await program.ended()
        assert files.results.stat().st_mode & 0o777 == 0o600
        code, _ = await files.run_to_end(server, "--settle=0.5")
        assert code == 0
        assert server.runs("A") == 2
    assert files.lines()[-1]["text"] == "a"


async def test_a_prompt_that_was_not_sent_is_run_and_a_torn_line_is_dropped(files: Files) -> None:
    files.prompts.write_text("A\nB\n")
    async with MixServer(pace=0) as server:
        session = server.create_session()
        files.results.write_text(sent_line("A", session) + '{"prompt": "B", "sta')
        assert (await files.run_to_end(server))[0] == 0
        assert (server.runs("A"), server.runs("B")) == (1, 1)
    assert files.statuses("A")[-1] == "done"


async def test_a_line_that_is_not_utf_8_fails_and_the_others_run(files: Files) -> None:
    files.prompts.write_bytes(b"na\xefve\nB\n")
    async with MixServer(pace=0) as server:
        for _ in range(2):
            code, output = await files.run_to_end(server)
            assert (code, "1 failed" in output, "Traceback" in output) == (1, True, False)
        assert server.runs() == server.runs("B") == 1


async def test_on_a_full_disk_nothing_is_sent(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with contextlib.closing(batch.Results(files.results)) as results:
        monkeypatch.setattr(os, "fsync", fsync)
        async with MixServer(pace=0, listen=False) as server:
            async with Mix(server.url, network=server.network) as mix:
                prompts = batch.Batch(mix, results, settle=1, grant=False, again=False)
                for key in (("A", 1), ("B", 1)):
                    await prompts.process(key)
                    assert prompts.status_of(key) is batch.Status.FAILED
            assert server.runs() == 0
    assert files.results.read_bytes() == b""


async def test_a_failed_prompt_is_retried_in_the_next_run(files: Files) -> None:
    files.prompts.write_text("A\nB\n!rm -rf /\n")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Fail("no luck")), Turn(Say("luck")))
        code, output = await files.run_to_end(server)
        assert code == 1
        assert "no luck" in output
        assert "1 done" in output
        files.prompts.write_text("A\nB\n")
        assert (await files.run_to_end(server))[0] == 0
        assert (server.runs("A"), server.runs("B")) == (2, 1)


async def test_a_server_restart_during_an_answer_fails_only_that_prompt(files: Files) -> None:
    files.prompts.write_text("A\nB\n")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("a")))
        async with files.run(server, "-n1", "--settle=0.5") as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            await server.restart()
            assert await program.ended() == 1
        assert "1 failed, 1 done" in program.output
        assert (await files.run_to_end(server))[0] == 0
        assert server.runs("B") == 1


@pytest.mark.parametrize(("option", "said"), [("--yes", "I may"), ("-n1", "I may not")])
async def test_permissions_are_denied_unless_granted_beforehand(
    files: Files, option: str, said: str
) -> None:
    files.prompts.write_text("A\n")
    async with MixServer(pace=0) as server:
        server.script(
            "A", Turn(AskPermission("bash", then=[Say("I may")], otherwise=[Say("I may not")]))
        )
        await files.run_to_end(server, option)
    assert files.lines()[-1]["text"] == said


async def test_two_runs_at_once_are_refused(files: Files) -> None:
    files.prompts.write_text("A\n")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Hang()))
        async with files.run(server):
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            code, output = await files.run_to_end(server)
        assert (code, "another run is using" in output) == (2, True)
        assert server.runs() == 1


async def test_a_missing_server_or_file_is_reported_without_a_traceback(files: Files) -> None:
    code, output = await files.run_to_end("http://127.0.0.1:9")
    assert (code, "No such file" in output, "Traceback" in output) == (2, True, False)
    files.prompts.write_text("A\n")
    code, output = await files.run_to_end("http://127.0.0.1:9")
    assert (code, "a Mix server is running" in output, "Traceback" in output) == (2, True, False)
