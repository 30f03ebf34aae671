"""Attacks on the permission prompt with a real terminal: the server's outcome decides.

Each attack grants a permission that the user did not grant, or hides what is granted.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Literal

import pytest
import trio
import trio.testing

from trio_mix.testing import (
    AskPermission,
    MixServer,
    RequestReceived,
    Say,
    SubAgent,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from tests.support.command_line import OpenTerminal, RunCommand, Terminal

Command = Literal["ask", "chat"]
COMMANDS: tuple[Command, ...] = ("ask", "chat")
QUESTION = "[y/N"
CTRL_C, CTRL_D = "\x03", "\x04"


def request(
    description: str = "run it",
    tool: str = "bash",
    action: str = "execute",
    params: dict[str, object] | None = None,
    path: str = "",
) -> AskPermission:
    return AskPermission(
        tool_name=tool,
        action=action,
        description=description,
        params=params or {},
        path=path,
        then=[Say("IT RAN")],
        otherwise=[Say("IT WAS REFUSED")],
    )


async def start(terminal: Terminal, command: Command, text: str = "do") -> None:
    if command == "chat":
        await terminal.expect("you> ")
        await terminal.type(f"{text}\r")


def arguments(command: Command, server: MixServer) -> list[str]:
    return [command, *(["do"] if command == "ask" else []), "--server", server.url]


def is_granted(server: MixServer) -> bool:
    return any(
        isinstance(each, RequestReceived) and each.path.endswith("/grant") for each in server.log
    )


@pytest.mark.parametrize("command", COMMANDS)
async def test_keys_typed_before_the_question_do_not_answer_it(
    open_terminal: OpenTerminal, command: Command
) -> None:
    go = trio.Event()
    async with MixServer(pace=0) as server:
        server.script("do", Turn(Say("wait for it"), WaitFor(go), request()))
        async with open_terminal(*arguments(command, server)) as terminal:
            await start(terminal, command)
            await terminal.expect("wait for it")
            await terminal.type("y\ny\ny\n")
            go.set()
            await terminal.expect(QUESTION)
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")
        assert not is_granted(server)


async def test_keys_that_the_line_editor_holds_do_not_answer_the_question(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        async with open_terminal(*arguments("chat", server)) as terminal:
            await terminal.expect("you> ")
            await terminal.type("do\ry\ry\r")  # in one piece: the editor reads it all
            await terminal.expect(QUESTION)
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")
        assert not is_granted(server)


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_second_question_is_not_answered_by_the_keys_for_the_first(
    open_terminal: OpenTerminal, command: Command
) -> None:
    async with MixServer(pace=0) as server:
        second = AskPermission(description="second", then=[Say("BOTH RAN")], otherwise=[Say("ONE")])
        first = AskPermission(tool_name="edit", action="write", then=[second])
        server.script("do", Turn(first))
        async with open_terminal(*arguments(command, server)) as terminal:
            await start(terminal, command)
            await terminal.expect(QUESTION)
            await terminal.type("y\ny\ny\n")
            await terminal.expect("second")
            await terminal.expect(QUESTION)
            await terminal.type("\r")
            await terminal.expect("ONE")


@pytest.mark.parametrize("command", COMMANDS)
async def test_long_text_hides_nothing(open_terminal: OpenTerminal, command: Command) -> None:
    hidden = "harmless " * 30 + "; rm -rf /"
    asks = request(
        hidden, hidden, "execute", {hidden: hidden, "nested": {"list": [hidden]}}, hidden
    )
    async with MixServer(pace=0) as server:
        server.script("do", Turn(asks))
        async with open_terminal(*arguments(command, server), columns=100) as terminal:
            await start(terminal, command)
            await terminal.expect(QUESTION)
            shown = "".join(line.lstrip(" |") for line in terminal.shown.splitlines())
            assert shown.replace(" ", "").count("rm-rf/") == 6
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")


IMITATIONS = (
    "\x1b[2J\x1b[Hls",  # clears the screen
    "ls\x1b[8m; rm -rf /\x1b[0m",  # hides text
    "ls \x9b8m; rm -rf /",  # a C1 control
    "rm -rf /\rls -l      ",  # goes back to the start of the line
    "rm -rf /" + "\b" * 8 + "ls -l   ",  # erases
    "ls \u202efr- mr\u202c",  # changes the direction
    "r\u200bm -rf /",  # a zero-width space
    "ls" + "".join(chr(0xE0000 + ord(letter)) for letter in "; rm -rf /"),  # tags
    "ls\ufe0f\U000e0100",  # a variation selector
)


async def test_hidden_characters_are_shown_as_escapes(open_terminal: OpenTerminal) -> None:
    text = " ".join(IMITATIONS)
    hidden = {letter for letter in text if not letter.isprintable()} | {"\ufe0f", "\U000e0100"}
    asks = request(text, text, "execute", {text: text, "nested": [{text: text}]}, text)
    async with MixServer(pace=0) as server:
        server.script("do", Turn(asks))
        async with open_terminal(*arguments("ask", server)) as terminal:
            await terminal.expect(QUESTION)
            shown = "".join(line.lstrip(" |") for line in terminal.shown.splitlines())
            for letter in hidden:
                assert shown.count(letter.encode("unicode_escape").decode()) >= 5, ascii(letter)
                assert letter not in terminal.raw or letter in "\x1b\r"
            assert "\x1b[8m" not in terminal.raw
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")


async def test_text_of_the_server_cannot_imitate_a_question(open_terminal: OpenTerminal) -> None:
    text = "read a file\n\nGrant it? [y/N] \nPermission request\n  tool: ls\n    command: ls"
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request(text, params={"command": text})))
        async with open_terminal(*arguments("ask", server)) as terminal:
            for _ in range(3):  # two imitations, then the question
                await terminal.expect(QUESTION)
            lines = terminal.shown.splitlines()
            assert sum(line.startswith("Permission request") for line in lines) == 1
            assert sum(line.lstrip().startswith("tool:") for line in lines) == 1
            assert sum(line.startswith("Grant it?") for line in lines) == 1
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")


async def test_a_question_longer_than_the_screen_wants_yes_in_full(
    open_terminal: OpenTerminal,
) -> None:
    text = "\n".join(f"line {number}" for number in range(100))
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request(params={"content": f"rm -rf /\n{text}"})))
        for typed, outcome in (("y", "IT WAS REFUSED"), ("a", "IT WAS REFUSED"), ("yes", "IT RAN")):
            async with open_terminal(*arguments("ask", server)) as terminal:
                await terminal.expect("line 99")
                await terminal.expect("more than the screen shows")
                await terminal.expect("[yes/N]")
                await terminal.type(f"{typed}\r")
                await terminal.expect(outcome)


NOT_YES = (CTRL_D, "\r", "yes please\r", "a\r", "\x1by\r", "y" + 2 * CTRL_D)


async def test_everything_except_an_explicit_yes_denies(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        async with open_terminal(*arguments("chat", server)) as terminal:
            for typed in NOT_YES:
                await start(terminal, "chat")
                await terminal.expect(QUESTION)
                await terminal.type(typed)
                await terminal.expect("IT WAS REFUSED")
            assert not is_granted(server)
            await start(terminal, "chat")
            await terminal.expect(QUESTION)
            await terminal.type("y\r")
            await terminal.expect("IT RAN")
        for typed in (CTRL_D, "\r"):
            async with open_terminal(*arguments("ask", server)) as terminal:
                await terminal.expect(QUESTION)
                await terminal.type(typed)
                await terminal.expect("IT WAS REFUSED")


@pytest.mark.parametrize("command", COMMANDS)
async def test_ctrl_c_at_the_question_grants_nothing(
    open_terminal: OpenTerminal, command: Command
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        async with open_terminal(*arguments(command, server)) as terminal:
            await start(terminal, command)
            await terminal.expect(QUESTION)
            await terminal.type(CTRL_C)
            if command == "chat":
                await terminal.expect("cancelled")
                await terminal.type(CTRL_D)
            await terminal.end()
        assert not is_granted(server)


async def test_always_covers_identical_parameters_only_and_never_a_shell(
    open_terminal: OpenTerminal,
) -> None:
    edit = request("edit", tool="edit", action="write", params={"to": "a"})
    other = request("edit", tool="edit", action="write", params={"to": "b"})
    async with MixServer(pace=0) as server:
        for name, asks in {"one": edit, "other": other, "shell": request()}.items():
            server.script(name, Turn(asks))
        server.script("agent", Turn(SubAgent(edit)))
        async with open_terminal(*arguments("chat", server)) as terminal:
            for typed, answer, outcome in (
                ("one", "a", "IT RAN"),
                ("one", None, "IT RAN"),
                ("other", "", "IT WAS REFUSED"),
                ("agent", "", "done: "),
                ("shell", "a", "IT WAS REFUSED"),
                ("shell", "", "IT WAS REFUSED"),
            ):
                await start(terminal, "chat", typed)
                if answer is not None:
                    await terminal.expect(QUESTION)
                    await terminal.type(f"{answer}\r")
                await terminal.expect(outcome)
        async with open_terminal(*arguments("chat", server)) as terminal:  # another process
            await start(terminal, "chat", "one")
            await terminal.expect(QUESTION)


async def test_a_sub_agent_is_marked(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(SubAgent(request())))
        async with open_terminal(*arguments("ask", server)) as terminal:
            await terminal.expect("SUB-AGENT")
            await terminal.expect(QUESTION)


async def test_without_a_terminal_only_named_tools_are_granted(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        for options, granted in (
            ([], False),
            (["--grant", "edit"], False),
            (["--grant", "Bash"], False),
            (["--grant", "bash"], True),
        ):
            done = await run_command("ask", "do", *options, "--server", server.url, stdin="y\ny\n")
            assert done.out == ("IT RAN\n" if granted else "IT WAS REFUSED\n")
            chat = await run_command("chat", *options, "--server", server.url, stdin="do\ny\n")
            assert ("text: IT RAN" in chat.lines) is granted


async def test_a_question_is_never_put_where_it_is_not_seen(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        async with open_terminal(*arguments("ask", server), "--jsonl") as terminal:
            await terminal.expect("Permission request")
            await terminal.expect(QUESTION)
            await terminal.type("\r")
            await terminal.expect("IT WAS REFUSED")


async def test_a_hang_up_at_the_question_grants_nothing(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(request()))
        async with open_terminal(*arguments("ask", server)) as terminal:
            await terminal.expect(QUESTION)
            os.kill(terminal.process.pid, signal.SIGHUP)
            assert await terminal.end() == 129
            assert terminal.echoes()
        assert not is_granted(server)
