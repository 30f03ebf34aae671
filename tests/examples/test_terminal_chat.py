"""examples/terminal_chat.py as a process, with a pipe as its keyboard."""

from __future__ import annotations

import signal

import pytest
import trio

from tests.support.example_programs import ROOT, run_program
from trio_mix.testing import (
    Api,
    AskPermission,
    Hang,
    MessageFinished,
    MixServer,
    Notify,
    PermissionAnswered,
    Say,
    Think,
    Turn,
    UseTool,
)

CHAT = "examples/terminal_chat.py"


def test_it_is_shorter_than_120_lines() -> None:
    assert len((ROOT / CHAT).read_text().splitlines()) < 120


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_the_agent_s_actions_are_shown_and_ctrl_d_leaves(api: Api) -> None:
    async with MixServer(api, pace=0) as server:
        server.script(
            "Hi", Turn(Think("Hm."), Say("Before. "), UseTool("glob", {}), Say("\x1b[31mAfter"))
        )
        async with run_program(CHAT, server=server.url) as program:
            await program.says("you> ")
            await program.enter("Hi")
            await program.says("you> ", times=2)
            await program.end_input()
            assert await program.ended() == 0
        assert "Hm." in program.output
        assert "Before. " in program.output
        assert "done]\n[31mAfter\n" in program.output
        assert "\x1b" not in program.output
        assert server.requests("DELETE", "/api/sessions/")


@pytest.mark.parametrize(("answer", "meaning"), [("y", "granted"), ("", "denied")])
async def test_a_permission_is_asked_for(answer: str, meaning: str) -> None:
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(AskPermission("bash", description="Run it", then=[Say("Thanks")])))
        async with run_program(CHAT, server=server.url) as program:
            await program.enter("Hi")
            await program.says("Allow bash? Run it [y/N] ")
            await program.enter(answer)
            with trio.fail_after(30):
                assert (await server.wait_for(PermissionAnswered)).answer == meaning
            await program.says("you> ", times=2)
            assert ("Thanks" in program.output) == (answer == "y")


async def test_a_notification_is_answered() -> None:
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(Notify("Which one?", response="text"), Say("Thanks")))
        async with run_program(CHAT, server=server.url) as program:
            await program.enter("Hi")
            await program.says("Which one? ")
            await program.enter("this one")
            await program.says("Thanks")


async def test_ctrl_c_cancels_only_the_message_and_leaves_at_the_prompt() -> None:
    async with MixServer(pace=0) as server:
        server.script("Hang", Turn(Say("So far"), Hang()))
        server.script("Hi", Turn(Say("Hello")))
        async with run_program(CHAT, server=server.url) as program:
            await program.enter("Hang")
            await program.says("So far")
            program.signal(signal.SIGINT)
            await program.says("(cancelled)\nyou> ")
            with trio.fail_after(30):
                assert (await server.wait_for(MessageFinished, text="Hang")).how == "cancelled"
            await program.enter("Hi")
            await program.says("Hello\nyou> ")
            program.signal(signal.SIGINT)
            assert await program.ended() == 0


async def test_a_refused_message_is_reported_and_the_chat_continues() -> None:
    async with MixServer(pace=0) as server, run_program(CHAT, server=server.url) as program:
        await program.enter("!rm -rf /")
        await program.says("as a shell command")
        await program.says("you> ", times=2)


async def test_a_missing_server_is_reported_without_a_traceback() -> None:
    async with run_program(CHAT, server="http://127.0.0.1:9") as program:
        assert await program.ended() == 1
    assert "Check that a Mix server is running at that address." in program.output
    assert "Traceback" not in program.output


async def test_demo_starts_its_own_server() -> None:
    async with run_program(CHAT, "--demo", new_interpreter=True) as program:
        await program.enter("Hello")
        await program.says("What can I do for you?\nyou> ")
        await program.end_input()
        assert await program.ended() == 0
