"""examples/batch.py as a process: interrupted, killed, restarted; no prompt is lost or repeated."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.example_programs import run_program
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
        assert "1 done, 2 cancelled, 1 left" in program.output
        assert server.running_turns == 0
        assert files.statuses("B") == ["sent", "cancelled"]
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


async def test_a_prompt_in_doubt_is_not_run_again_without_the_option(files: Files) -> None:
    files.prompts.write_text("A\n")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("a")))
        async with files.run(server) as program:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            program.process.kill()
            await program.ended()
        code, output = await files.run_to_end(server, "--settle=0.5")
        assert (code, "1 doubt" in output) == (1, True)
        assert server.runs("A") == 1
        assert "it began to run" in files.lines()[-1]["error"]
        assert (await files.run_to_end(server, "--settle=0.5", "--again"))[0] == 0
        assert server.runs("A") == 2


async def test_a_session_that_is_gone_leaves_its_prompt_in_doubt(files: Files) -> None:
    files.prompts.write_text("A\n")
    files.results.write_text('{"prompt": "A", "status": "sent", "session": "nowhere"}\n')
    async with MixServer(pace=0) as server:
        assert (await files.run_to_end(server))[0] == 1
        assert server.runs() == 0
    assert files.statuses("A") == ["sent", "doubt"]


async def test_a_prompt_that_was_not_sent_is_run_and_a_torn_line_is_dropped(files: Files) -> None:
    files.prompts.write_text("A\nB\n")
    async with MixServer(pace=0) as server:
        session = server.create_session()
        sent = json.dumps({"prompt": "A", "status": "sent", "session": session})
        files.results.write_text(sent + '\n{"prompt": "B", "sta')
        assert (await files.run_to_end(server))[0] == 0
        assert (server.runs("A"), server.runs("B")) == (1, 1)
    assert files.statuses("A") == ["sent", "sent", "done"]


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
