"""The tutorial's programs do what the page says."""

from __future__ import annotations

import re
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.example_programs import Program, run_program
from trio_mix.relay import Relay, SqliteLog
from trio_mix.testing import (
    AskPermission,
    Drop,
    Fail,
    Hang,
    MessageRun,
    MixServer,
    Pause,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOLDER = Path(__file__).parents[2] / "docs" / "tutorial"
PAGE = (FOLDER / "index.md").read_text("utf-8")
STEPS = ["step1", "step2", "step3", "step4", "step5", "step6"]


class Step:
    """A running step, with its keyboard and its screen."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._seen = 0

    @property
    def screen(self) -> str:
        """The output that `see` has not passed."""
        return self.program.output[self._seen :]

    async def type(self, line: str) -> None:
        """Type a line, and the return key."""
        await self.program.enter(line)

    async def see(self, text: str) -> None:
        """Wait until a text appears on the screen, and continue after it."""
        await self.program.until(lambda: text in self.screen, f"{text!r} appears")
        self._seen += self.screen.index(text) + len(text)

    async def leave(self) -> str:
        """Press Ctrl-D, and return the rest of the output."""
        await self.program.end_input()
        assert await self.program.ended() == 0
        return self.screen


@asynccontextmanager
async def running(name: str, server: MixServer) -> AsyncIterator[Step]:
    """Run a step with a server; its stderr is on its screen, too."""
    first = name == "step1"
    async with run_program(
        FOLDER / f"{name}.py", server=server.url, new_interpreter=first
    ) as program:
        yield Step(program)


def test_the_page_shows_every_step_and_nothing_else() -> None:
    assert re.findall(r"```\{literalinclude\} (\w+)\.py", PAGE) == STEPS
    assert sorted(path.stem for path in FOLDER.glob("*.py")) == STEPS
    assert "```python" not in PAGE


@pytest.mark.parametrize("name", STEPS)
def test_the_emphasized_lines_exist(name: str) -> None:
    lines = len((FOLDER / f"{name}.py").read_text("utf-8").splitlines())
    part = PAGE.partition(f"literalinclude}} {name}.py")[2].partition("```")[0]
    marked = re.search(r":emphasize-lines: (.*)", part)
    numbers = [int(number) for number in re.findall(r"\d+", marked[1])] if marked else []
    assert all(1 <= number <= lines for number in numbers)
    assert numbers == sorted(numbers)


def test_the_commands_are_those_of_the_readme() -> None:
    readme = (FOLDER.parents[1] / "README.md").read_text("utf-8")
    setup = re.search(r"<!-- command: set up -->\n```console\n(.*?)\n```", PAGE)
    assert setup is not None
    assert setup[1] in readme


async def test_step_1_prints_the_answer() -> None:
    async with MixServer(pace=0) as server, running("step1", server) as step:
        assert (
            await step.leave()
            == "Hello! I am the agent of the bundled server. What can I do for you?\n"
        )


async def test_step_2_prints_the_answer_as_it_arrives_and_the_tools() -> None:
    async with MixServer(pace=0) as server, running("step2", server) as step:
        await step.see("Let me look at the files. I found 5 files: README.md")
        assert (await step.leave()).endswith("\nTools used: ['Glob']\n")


@pytest.mark.parametrize("name", ["step3", "step4", "step5"])
async def test_steps_3_to_5_continue_in_one_session(name: str) -> None:
    async with MixServer(pace=0) as server, running(name, server) as step:
        await step.see("you> ")
        await step.type("Hello")
        await step.see("What can I do for you?")
        await step.see("you> ")
        await step.type("")
        await step.type("List the files")
        await step.see("README.md")
        await step.see("you> ")
        assert (await step.leave()).endswith("Bye.\n")
        assert len(server.requests("POST", "/api/sessions/")) >= 2
        assert (
            len({r.path for r in server.requests("POST", "/api/sessions/") if "mess" in r.path})
            == 1
        )


@pytest.mark.parametrize("name", ["step4", "step5"])
@pytest.mark.parametrize(("answer", "end"), [("y", "this is Linux"), ("", "did not allow")])
async def test_steps_4_and_5_ask_before_the_agent_runs_anything(
    name: str, answer: str, end: str
) -> None:
    async with MixServer(pace=0) as server, running(name, server) as step:
        await step.see("you> ")
        await step.type("run a command")
        await step.see("Run a shell command: uname -s] allow? [y/N] ")
        await step.type(answer)
        await step.see(end)
        await step.see("you> ")
        await step.leave()


async def test_step_5_stops_one_answer_at_ctrl_c_and_continues() -> None:
    async with MixServer(pace=0) as server, running("step5", server) as step:
        server.script("Count", Turn(Say("One, two"), Hang()))
        await step.see("you> ")
        step.program.signal(signal.SIGINT)
        await step.see("[Ctrl-D leaves]\nyou> ")
        await step.type("Count")
        await step.see("One, two")
        step.program.signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        await step.type("Hello")
        await step.see("What can I do for you?")
        await step.leave()
        assert len(server.requests("POST", "/cancel")) + len(
            [r for r in server.requests("POST", "/api/sessions/") if r.path.endswith("/cancel")]
        )


async def test_step_5_stops_the_bundled_servers_story_at_ctrl_c() -> None:
    async with MixServer() as server, running("step5", server) as step:
        await step.see("you> ")
        await step.type("Tell me a story")
        await step.see("Once upon a time")
        step.program.signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        assert "ever noticed" not in await step.leave()


async def test_step_5_can_be_stopped_while_it_asks_for_permission() -> None:
    async with MixServer(pace=0) as server, running("step5", server) as step:
        server.script("Try", Turn(AskPermission("bash", description="Format the disk")))
        await step.see("you> ")
        await step.type("Try")
        await step.see("allow? [y/N] ")
        step.program.signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        await step.type("Hello")
        await step.see("What can I do for you?")
        await step.leave()


async def test_step_5_prints_why_a_message_failed_and_continues() -> None:
    async with MixServer(pace=0) as server, running("step5", server) as step:
        server.script("Try", Turn(Fail("the model is overloaded")))
        await step.see("you> ")
        await step.type("Try")
        await step.see("[The agent gave up the message")
        await step.see("the model is overloaded")
        await step.see("you> ")
        await step.type("!ls")
        await step.see("allow_shell=True")
        await step.see("you> ")
        await step.leave()


async def test_step_5_ends_with_the_reason_if_the_server_lost_its_session() -> None:
    async with MixServer(pace=0) as server, running("step5", server) as step:
        await step.see("you> ")
        await server.restart(keep_sessions=False)
        await step.type("Hello")
        await step.see("cannot be streamed from")
        await step.see("Bye.")


async def test_step_5_survives_a_restarted_server_and_a_lost_connection() -> None:
    async with MixServer(pace=0) as server, running("step5", server) as step:
        server.script("Long", Turn(Say("It begins"), Drop(), Pause(0.2), Say(" and ends.")))
        await step.see("you> ")
        await server.restart()
        await step.type("Hello")
        await step.see("What can I do for you?")
        await step.see("you> ")
        await step.type("Long")
        await server.wait_for(MessageRun, text="Long")
        await step.see("and ends.")
        await step.see("you> ")
        await step.leave()


async def test_step_6_watches_the_chat_of_another_terminal_through_a_relay(tmp_path: Path) -> None:
    async with (
        MixServer(pace=0) as server,
        Relay(server.url, log=SqliteLog(tmp_path / "relay.db")) as relay,
        trio.open_nursery() as nursery,
    ):
        url = await nursery.start(relay.serve, "127.0.0.1", 0)
        async with run_program(FOLDER / "step5.py", server=url) as chat:
            await chat.until(lambda: "you> " in chat.output, "the chat has begun")
            async with run_program(FOLDER / "step6.py", server=url) as watcher:
                await watcher.until(lambda: "watching 'Tutorial'" in watcher.output, "it watches")
                await chat.enter("Hello")
                answer = "What can I do for you?"
                await chat.until(lambda: answer in chat.output, "the answer in the chat")
                await watcher.until(lambda: answer in watcher.output, "the answer in step 6")
            await chat.end_input()
            assert await chat.ended() == 0
        nursery.cancel_scope.cancel()


async def test_step_5_continues_with_a_server_that_was_stopped_and_kept_its_sessions(
    tmp_path: Path,
) -> None:
    assert "trio-mix serve --state " in PAGE
    state = tmp_path / "sessions.jsonl"
    async with MixServer() as server:
        url, port = server.url, int(server.url.rpartition(":")[2])
    async with run_program(FOLDER / "step5.py", server=url) as program:
        step = Step(program)
        async with MixServer(pace=0, state=state, port=port) as first:
            await step.see("you> ")
            await step.type("Hello")
            await step.see("What can I do for you?")
            await step.see("you> ")
            (session_id,) = first._backend.live
        await step.type("List the files")
        async with MixServer(pace=0, state=state, port=port) as second:
            await step.see("README.md")
            await step.see("you> ")
            assert second.runs("List the files", session_id) == 1
            await step.leave()
