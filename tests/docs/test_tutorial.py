"""The tutorial's programs do what the page says."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

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
STEPS = ["step1", "step2", "step3", "step4", "step5"]


class Program:
    """A running step, with its keyboard and its screen."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.screen = ""

    async def type(self, text: str) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send_all(text.encode())

    async def see(self, text: str) -> None:
        """Read the screen until a text appears, and continue after it."""
        assert self.process.stdout is not None
        while text not in self.screen:
            more = await self.process.stdout.receive_some()
            assert more, f"{text!r} did not appear; the output: {self.screen!r}"
            self.screen += more.decode()
        self.screen = self.screen.partition(text)[2]

    async def leave(self) -> str:
        """Press Ctrl-D, and return the rest of the output."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        await self.process.stdin.aclose()
        async for more in self.process.stdout:
            self.screen += more.decode()
        assert await self.process.wait() == 0
        return self.screen


@asynccontextmanager
async def program(name: str, server: MixServer) -> AsyncIterator[Program]:
    """Run a step with a server; its stderr is on its screen too."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, "-u", "-W", "error", FOLDER / f"{name}.py"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    check=False,
                    env={"MIX_SERVER_URL": server.url},
                )
            )
            yield Program(process)


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
    async with MixServer(pace=0) as server, program("step1", server) as step:
        assert (
            await step.leave()
            == "Hello! I am the agent of the bundled server. What can I do for you?\n"
        )


async def test_step_2_prints_the_answer_as_it_arrives_and_the_tools() -> None:
    async with MixServer(pace=0) as server, program("step2", server) as step:
        await step.see("Let me look at the files. I found 5 files: README.md")
        assert (await step.leave()).endswith("\nTools used: ['Glob']\n")


@pytest.mark.parametrize("name", ["step3", "step4", "step5"])
async def test_steps_3_to_5_continue_in_one_session(name: str) -> None:
    async with MixServer(pace=0) as server, program(name, server) as step:
        await step.see("you> ")
        await step.type("Hello\n")
        await step.see("What can I do for you?")
        await step.see("you> ")
        await step.type("\n")
        await step.type("List the files\n")
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
    async with MixServer(pace=0) as server, program(name, server) as step:
        await step.see("you> ")
        await step.type("run a command\n")
        await step.see("Run a shell command: uname -s] allow? [y/N] ")
        await step.type(f"{answer}\n")
        await step.see(end)
        await step.see("you> ")
        await step.leave()


async def test_step_5_stops_one_answer_at_ctrl_c_and_continues() -> None:
    async with MixServer(pace=0) as server, program("step5", server) as step:
        server.script("Count", Turn(Say("One, two"), Hang()))
        await step.see("you> ")
        step.process.send_signal(signal.SIGINT)
        await step.see("[Ctrl-D leaves]\nyou> ")
        await step.type("Count\n")
        await step.see("One, two")
        step.process.send_signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        await step.type("Hello\n")
        await step.see("What can I do for you?")
        await step.leave()
        assert len(server.requests("POST", "/cancel")) + len(
            [r for r in server.requests("POST", "/api/sessions/") if r.path.endswith("/cancel")]
        )


async def test_step_5_stops_the_bundled_servers_story_at_ctrl_c() -> None:
    async with MixServer() as server, program("step5", server) as step:
        await step.see("you> ")
        await step.type("Tell me a story\n")
        await step.see("Once upon a time")
        step.process.send_signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        assert "ever noticed" not in await step.leave()


async def test_step_5_can_be_stopped_while_it_asks_for_permission() -> None:
    async with MixServer(pace=0) as server, program("step5", server) as step:
        server.script("Try", Turn(AskPermission("bash", description="Format the disk")))
        await step.see("you> ")
        await step.type("Try\n")
        await step.see("allow? [y/N] ")
        step.process.send_signal(signal.SIGINT)
        await step.see("[stopped]\nyou> ")
        await step.type("Hello\n")
        await step.see("What can I do for you?")
        await step.leave()


async def test_step_5_prints_why_a_message_failed_and_continues() -> None:
    async with MixServer(pace=0) as server, program("step5", server) as step:
        server.script("Try", Turn(Fail("the model is overloaded")))
        await step.see("you> ")
        await step.type("Try\n")
        await step.see("[The agent gave up the message")
        await step.see("the model is overloaded")
        await step.see("you> ")
        await step.type("!ls\n")
        await step.see("allow_shell=True")
        await step.see("you> ")
        await step.leave()


async def test_step_5_ends_with_the_reason_if_the_server_lost_its_session() -> None:
    async with MixServer(pace=0) as server, program("step5", server) as step:
        await step.see("you> ")
        await server.restart(keep_sessions=False)
        await step.type("Hello\n")
        await step.see("cannot be streamed from")
        await step.see("Bye.")


async def test_step_5_survives_a_restarted_server_and_a_lost_connection() -> None:
    async with MixServer(pace=0) as server, program("step5", server) as step:
        server.script("Long", Turn(Say("It begins"), Drop(), Pause(0.2), Say(" and ends.")))
        await step.see("you> ")
        await server.restart()
        await step.type("Hello\n")
        await step.see("What can I do for you?")
        await step.see("you> ")
        await step.type("Long\n")
        await server.wait_for(MessageRun, text="Long")
        await step.see("and ends.")
        await step.see("you> ")
        await step.leave()
